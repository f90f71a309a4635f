//! The policies and the example configuration that are shipped, on real servers: tables, keys, objects and indices as they
//! name them, worked on by users with nothing but what `retentiond grants` prints. An account ends, a caller asks, and
//! what is old goes; what is left is said by hand.

use std::collections::BTreeSet;
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::harness::{World, placement};
use crate::servers::{mariadb, objects, opensearch, redis, seaweedfs};

/// Who ends, who has a caller that asks, and whose names are all but the same.
const TENANTS: [&str; 3] = ["t-1", "t-2", "t-10"];

/// The caller that asks, and another one.
const PHONES: [&str; 2] = ["+6591110001", "+6591110002"];

/// A table and its columns behind `id` and `tenant_id`. `PHONE`, `AGENT`, `TIME` and `KEY` stand for values.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, &'static str, &'static str)],
}

const fn table(name: &'static str, columns: &'static [(&'static str, &'static str, &'static str)]) -> Table {
    Table { name, columns }
}

const TEXT: &str = "VARCHAR(64)";

const TABLES: [Table; 18] = [
    table(
        "agent",
        &[
            ("staff_id", TEXT, "AGENT"),
            ("phone", TEXT, "PHONE"),
            ("cellphone", TEXT, ""),
            ("email", TEXT, "a@example.com"),
        ],
    ),
    table("agent_device_check", &[("staff_id", TEXT, "AGENT"), ("browser", TEXT, "Firefox")]),
    table(
        "call_recording",
        &[
            ("started_at", "DATETIME", "TIME"),
            ("caller", TEXT, "PHONE"),
            ("callee", TEXT, "100"),
            ("agent_id", TEXT, "AGENT"),
            ("recording_key", TEXT, "rec/KEY"),
        ],
    ),
    table(
        "call_transfer",
        &[("started_at", "DATETIME", "TIME"), ("phone", TEXT, "PHONE"), ("seconds", "INT", "30")],
    ),
    table(
        "ivr_entry",
        &[
            ("entered_at", "DATETIME", "TIME"),
            ("caller", TEXT, "PHONE"),
            ("spoken", "TEXT", "my number is 7"),
            ("audio_key", TEXT, "ivr/KEY"),
        ],
    ),
    table(
        "service_record",
        &[
            ("processed_at", "DATETIME", "TIME"),
            ("calling_number", TEXT, "PHONE"),
            ("called_number", TEXT, "100"),
            ("agent_id", TEXT, "AGENT"),
            ("voicemail_key", TEXT, "voicemail/KEY"),
        ],
    ),
    table("call_metric", &[("measured_at", "DATETIME", "TIME"), ("calls", "INT", "3")]),
    table(
        "agent_metric",
        &[("measured_at", "DATETIME", "TIME"), ("agent_id", TEXT, "AGENT"), ("calls", "INT", "3")],
    ),
    table("quick_reply", &[("reply", "TEXT", "Hello")]),
    table("blocked_number", &[("phone", TEXT, "PHONE")]),
    table("keyword", &[("word", TEXT, "refund")]),
    table("role_permission", &[("role", TEXT, "lead"), ("permission", TEXT, "listen")]),
    table("screen_pop", &[("phone", TEXT, "PHONE"), ("provider", TEXT, "telco")]),
    table("quick_reply_backup", &[("reply", "TEXT", "Hello")]),
    table("blocked_number_backup", &[("phone", TEXT, "PHONE")]),
    table("keyword_backup", &[("word", TEXT, "refund")]),
    table("role_permission_backup", &[("role", TEXT, "lead"), ("permission", TEXT, "listen")]),
    table("screen_pop_backup", &[("phone", TEXT, "PHONE"), ("provider", TEXT, "telco")]),
];

impl Table {
    fn has(&self, value: &str) -> bool {
        self.columns.iter().any(|(.., own)| *own == value)
    }

    fn time(&self) -> Option<&str> {
        self.columns.iter().find(|(.., value)| *value == "TIME").map(|(column, ..)| *column)
    }

    /// Three rows of each tenant: of the caller that asks, of another one, and of the other one long ago.
    fn script(&self) -> String {
        let of = |what: fn(&(&str, &str, &str)) -> String| -> String {
            self.columns.iter().map(|column| format!(", {}", what(column))).collect()
        };
        let index = self.time().map(|column| format!(", KEY (tenant_id, {column})")).unwrap_or_default();
        let naming = self.columns.iter().find(|(column, ..)| column.ends_with("_key"));
        let naming = naming.map(|(column, ..)| format!(", KEY ({column})")).unwrap_or_default();
        let mut script = format!(
            "CREATE TABLE {} (id INT PRIMARY KEY, tenant_id {TEXT} NOT NULL{}{index}{naming});",
            self.name,
            of(|(column, declared, _)| format!("{column} {declared}"))
        );
        for (at, tenant) in TENANTS.iter().enumerate() {
            for row in 1..=3 {
                let id = at * 10 + row;
                let values: String = self
                    .columns
                    .iter()
                    .map(|(.., value)| {
                        let key = format!("{tenant}/{id}.wav");
                        let value = value
                            .replace("PHONE", PHONES[usize::from(row > 1)])
                            .replace("AGENT", if row > 1 { "A2" } else { "A1" })
                            .replace(
                                "TIME",
                                if row == 3 { "2021-01-05 10:00:00" } else { "2021-09-01 10:00:00" },
                            )
                            .replace("KEY", &key);
                        format!(", '{value}'")
                    })
                    .collect();
                script.push_str(&format!("INSERT INTO {} VALUES ({id}, '{tenant}'{values});", self.name));
            }
        }
        script
    }

    /// What must be left, by hand: nothing of who ended, nothing old where age counts, nothing of the caller that asked.
    fn left(&self) -> BTreeSet<i32> {
        let mut left = BTreeSet::from([11, 12, 13, 21, 22, 23]);
        if self.time().is_some() {
            left.retain(|id| id % 10 != 3);
        }
        if self.has("PHONE") {
            left.remove(&11);
        }
        left
    }
}

/// The indices, with the field that names a caller or an agent in each.
const INDICES: [(&str, &str, &str); 5] = [
    ("cc-operation-2021", "operator_id", ""),
    ("cc-agent-status-2021", "agent_id", ""),
    ("cc-trajectory-2021", "agent_id", "caller"),
    ("cc-sip-2021", "callee", "caller"),
    ("cc-quality-2021", "", ""),
];

struct Shipped {
    world: World,
    database: mariadb::Database,
    bucket: objects::Objects,
    redis: String,
    /// Of a user of its own in every server.
    user: &'static str,
}

impl Shipped {
    async fn new() -> Self {
        let shipped = Self {
            world: World::empty(),
            database: mariadb::Database::new().await,
            bucket: objects::Objects::new(&seaweedfs::endpoint(), "shipped").await,
            redis: redis::database(),
            user: "retentiond",
        };
        shipped.configure(&opensearch::url().await);
        shipped.fill().await;
        shipped.grant().await;
        shipped
    }

    /// The shipped files; only the addresses, and what the environment would give, are changed.
    fn configure(&self, search: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        let mut config = read(&root.join("docs/retentiond.example.toml"));
        let mut put = |from: &str, to: &str| {
            assert!(config.contains(from), "`{from}` is not in the example");
            config = config.replace(from, to);
        };
        let address = self.database.url_of(&format!("{}:secret", self.user));
        put(
            "mysql://${CC_MYSQL_USER}:${CC_MYSQL_PASSWORD}@mysql.internal:3306/contact_center",
            address.expose_secret(),
        );
        let address = self.redis.replace("redis://", &format!("redis://{}:secret@", self.user));
        put("rediss://retentiond:${CC_REDIS_PASSWORD}@redis.internal:6380/0", &address);
        put("\"cc-objects\"", &format!("\"{}\"\npath_style = true", self.bucket.name));
        put("https://objects.internal", &self.bucket.endpoint);
        put("${CC_S3_ACCESS_KEY}", "key");
        put("${CC_S3_SECRET_KEY}", "secret");
        put("https://search.internal:9200", search);
        put("user     = \"${CC_ES_USER}\"\npassword = \"${CC_ES_PASSWORD}\"\n", "");
        self.world.write("retentiond.toml", &config);
        for entry in std::fs::read_dir(root.join("policies")).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            self.world.write(&format!("policies/{name}"), &read(&file));
        }
    }

    async fn fill(&self) {
        let script: String = TABLES.iter().map(Table::script).collect();
        self.database.run(&script).await;
        for (at, tenant) in TENANTS.iter().enumerate() {
            for folder in ["rec", "ivr", "voicemail"] {
                for row in 1..=3 {
                    self.bucket.put(&format!("{folder}/{tenant}/{}.wav", at * 10 + row), b"audio").await;
                }
            }
        }
        let mut connection = redis::connect(&self.redis);
        for tenant in TENANTS {
            for agent in ["A1", "A2"] {
                redis::send(
                    &mut connection,
                    &["HSET", &format!("agent:{tenant}:{agent}"), "status", "online"],
                );
            }
        }
        for (index, agent, caller) in INDICES {
            let mut fields = json!({"tenant_id": {"type": "keyword"}, "@timestamp": {"type": "date"}});
            for field in ["agent_id", "operator_id", "caller", "callee"] {
                fields[field] = json!({"type": "keyword"});
            }
            opensearch::done("PUT", &format!("/{index}"), json!({"mappings": {"properties": fields}})).await;
            let mut documents = Vec::new();
            for tenant in TENANTS {
                for (row, phone) in PHONES.iter().enumerate() {
                    let mut source = json!({"tenant_id": tenant, "@timestamp": "2021-09-01T02:00:00Z"});
                    if !agent.is_empty() {
                        source[agent] = json!(format!("A{}", row + 1));
                    }
                    if !caller.is_empty() {
                        source[caller] = json!(phone);
                    }
                    documents.push((format!("{tenant}-{row}"), source));
                }
            }
            let lines: Vec<(&str, &str, &str, Value)> =
                documents.iter().map(|(id, source)| (index, id.as_str(), "", source.clone())).collect();
            opensearch::write(&lines).await;
        }
    }

    /// What an administrator does with what `retentiond grants` prints.
    async fn grant(&self) {
        let printed = self.world.ok("grants");
        for user in [self.user, &format!("{}_plan", self.user)] {
            self.database.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'")).await;
        }
        self.database.run(text_of(&printed, "cc-mysql")).await;
        let mut connection = redis::connect(&self.redis);
        let acl = text_of(&printed, "cc-redis").lines().find(|line| line.starts_with("ACL ")).unwrap();
        redis::send(&mut connection, &acl.split(' ').collect::<Vec<_>>());
        redis::send(&mut connection, &["ACL", "SETUSER", self.user, ">secret"]);
    }

    async fn rows_left(&self, table: &str) -> BTreeSet<i32> {
        let mut connection = self.database.connect().await;
        let sql = format!("SELECT id FROM {table}");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn text_of<'g>(printed: &'g Value, store: &str) -> &'g str {
    let all = printed["grants"].as_array().unwrap();
    all.iter().find(|one| one["store"] == store).unwrap()["text"].as_str().unwrap()
}

const AT: &str = "2021-09-30T12:00:00+08:00";

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_policies_are_enforced_on_four_real_systems_by_users_that_may_do_the_least() {
    let _alone = opensearch::alone_with_the_marker().await;
    let shipped = Shipped::new().await;
    let world = &shipped.world;
    assert_eq!(world.ok("check")["problems"], json!([]));
    let online = world.ok("check --online");
    assert_eq!(online["ok"], true, "{online:#}");
    for words in ["may not SELECT", "may not DELETE", "may not run", "hides", "more than erasing", "no index"]
    {
        assert!(!online["problems"].to_string().contains(words), "{words}: {online:#}");
    }

    let planner = shipped.world.path("plan.toml");
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    std::fs::write(&planner, config.replace("mysql://retentiond:", "mysql://retentiond_plan:")).unwrap();
    world.ok("tenant terminate t-1 --at 2021-09-10T00:00:00+08:00");
    let request = format!(
        "request create --tenant t-2 --subject phone={} --received 2021-09-20T09:00:00+08:00",
        PHONES[0]
    );
    let request = world.ok(&request)["request_id"].as_str().unwrap().to_owned();
    let planned = world.ok(&format!("plan --at {AT} --config plan.toml"));
    assert_eq!(shipped.rows_left("agent").await.len(), 9);

    let report = world.ok(&format!("enforce --at {AT}"));
    let total = |name: &str| placement(&report, name)["erased"].as_u64().unwrap();
    let steps: u64 =
        planned["steps"].as_array().unwrap().iter().map(|step| step["records"].as_u64().unwrap()).sum();
    assert_eq!(report["totals"]["erased"], steps, "{report:#}");
    assert_eq!(report["totals"]["verified_absent"], steps);
    for table in &TABLES {
        assert_eq!(shipped.rows_left(table.name).await, table.left(), "{}", table.name);
    }
    assert_eq!((total("call-recordings"), total("recordings"), total("keywords-backup")), (6, 6, 3));
    let kept = ["t-2/12.wav", "t-10/21.wav", "t-10/22.wav"];
    let objects: BTreeSet<String> = ["rec", "ivr", "voicemail"]
        .iter()
        .flat_map(|folder| kept.map(|name| format!("{folder}/{name}")))
        .collect();
    assert_eq!(shipped.bucket.current().await.into_iter().collect::<BTreeSet<_>>(), objects);
    let keys: Vec<String> = redis::everything(&mut redis::connect(&shipped.redis))
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect();
    assert_eq!(keys, ["agent:t-10:A1", "agent:t-10:A2", "agent:t-2:A1", "agent:t-2:A2"]);
    for (index, _, caller) in INDICES {
        let left: Vec<String> = opensearch::all(index).await.into_iter().map(|(_, id, ..)| id).collect();
        let asked = if caller.is_empty() { vec!["t-2-0"] } else { vec![] };
        let expected: Vec<&str> = ["t-10-0", "t-10-1"].into_iter().chain(asked).chain(["t-2-1"]).collect();
        assert_eq!(left, expected, "{index}");
    }
    levels_are_told_as_they_are(world, &request);
    assert_eq!(world.ok(&format!("enforce --at {AT}"))["totals"]["erased"], 0);
    world.assert_settled();
}

/// `zero` was asked for; the certificate says what these systems reach.
fn levels_are_told_as_they_are(world: &World, request: &str) {
    let certificate = world.ok(&format!("certificate {request}"));
    let placements = certificate["placements"].as_array().unwrap();
    for (name, level, required) in [
        ("call-recordings", "overwritten", "scrubbed"),
        ("recordings", "deleted", "scrubbed"),
        ("screen-pops-backup", "overwritten", "scrubbed"),
        ("agents", "deleted", "deleted"),
        ("sip-messages", "deleted", "deleted"),
    ] {
        let certified = placements.iter().find(|one| one["placement"] == name).unwrap();
        assert_eq!(
            (&certified["level"], &certified["level_required"]),
            (&json!(level), &json!(required)),
            "{name}"
        );
        assert_eq!(certified["counts"]["verified_absent"], 1, "{name}: {certified:#}");
        assert_eq!(certified["failures"], json!([]), "{name}");
    }
}
