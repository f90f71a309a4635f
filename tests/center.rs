//! The contact center's four systems at once: real calls in `MariaDB`, their recordings in object storage, their agents in
//! Redis, a log document for each in `OpenSearch`. After a month end, a hold, a request and a termination all four agree
//! with a separately written count, and so does a second run.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::harness::{Call, World, calls_csv, placement};
use crate::servers::{mariadb, objects, opensearch, redis, seaweedfs};

/// Those who share the 5,000 calls, in turns.
const TENANTS: [&str; 4] = ["t-1", "t-10", "T-1", "t-1x"];

/// Four calls in so many have a recording, of a few hundred KiB each.
const RECORDED: usize = 100;
const RECORDING_BYTES: usize = 200 * 1024;

/// The month end of the story, as year, month, day and second of the day in Singapore.
const AT: (u32, u32, u32, u32) = (2021, 9, 30, 12 * 3600);

/// One call and where it lies.
struct Placed {
    call: Call,
    tenant: &'static str,
    is_recorded: bool,
}

impl Placed {
    fn recording(&self) -> String {
        format!("rec/{}/{}.wav", self.tenant, self.call.call_id)
    }

    /// True where six calendar months have passed at [`AT`], by comparing dates as they are written.
    fn is_over_age(&self) -> bool {
        let numbers =
            |text: &str, by: char| -> Vec<u32> { text.split(by).map(|n| n.parse().unwrap()).collect() };
        let (date, time) = (numbers(&self.call.date, '/'), numbers(&self.call.time, ':'));
        let (day, month, year) = (date[0], date[1] + 6, date[2]);
        // All calls are of the first quarter, so the month in which they are due has 31 days or, for September, 30.
        let last = if month == 9 { 30 } else { 31 };
        (year, month, day.min(last), time[0] * 3600 + time[1] * 60 + time[2]) <= AT
    }
}

fn all() -> Vec<Placed> {
    let calls = calls_csv();
    assert_eq!(calls.len(), 5000);
    let placed = calls.into_iter().enumerate().map(|(index, call)| Placed {
        call,
        tenant: TENANTS[index % 4],
        // Four in a row, one of each tenant.
        is_recorded: index % RECORDED < 4,
    });
    placed.collect()
}

const CALL_DATA: &str = r#"
category = "call-data"
title = "Call data"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "DPSM §5; SLA §1.8"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
[[placements]]
name = "call-records"
store = "cc-mysql"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = { agent = ["agent"] }
[[placements]]
name = "recordings"
store = "cc-objects"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

/// Redis and the search cluster keep while the account lives: no rule of age.
fn kept_while_the_account_lives(category: &str, placement: &str) -> String {
    format!(
        "category = \"{category}\"\ntitle = \"{category}\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
         [[rules]]\ntrigger = \"request\"\ndeadline = \"30 days\"\nclause = \"Privacy §6\"\n\
         [[rules]]\ntrigger = \"termination\"\ngrace = \"15 days\"\ndeadline = \"30 days\"\nclause = \"SLA §7.5\"\n\
         {placement}"
    )
}

/// The four systems and the program's own folder.
struct Center {
    world: World,
    database: mariadb::Database,
    bucket: objects::Objects,
    redis: String,
    indices: String,
}

impl Center {
    async fn new(calls: &[Placed]) -> Self {
        let center = Self {
            world: World::empty(),
            database: mariadb::Database::new().await,
            bucket: objects::Objects::new(&seaweedfs::endpoint(), "center").await,
            redis: redis::database(),
            indices: "center-trajectory".to_owned(),
        };
        center.configure().await;
        center.fill_database(calls).await;
        center.fill_bucket(calls).await;
        center.fill_redis(calls);
        center.fill_indices(calls).await;
        center
    }

    async fn configure(&self) {
        let stores = format!(
            "[stores.cc-mysql]\nkind = \"mysql\"\nurl = \"{}\"\n\
             [stores.cc-objects]\nkind = \"s3\"\nbucket = \"{}\"\nendpoint = \"{}\"\npath_style = true\n\
             access_key = \"key\"\nsecret_key = \"secret\"\n\
             [stores.cc-redis]\nkind = \"redis\"\nurl = \"{}\"\n\
             [stores.cc-logs]\nkind = \"elasticsearch\"\nurl = \"{}\"\n",
            self.database.url().expose_secret(),
            self.bucket.name,
            self.bucket.endpoint,
            self.redis,
            opensearch::url().await,
        );
        self.world.write(
            "retentiond.toml",
            &format!(
                "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n\
                 [limits]\nrecords = 100000\nshare = \"100%\"\n{stores}"
            ),
        );
        self.world.write("policies/call-data.toml", CALL_DATA);
        let agents = "[[placements]]\nname = \"agents-online\"\nstore = \"cc-redis\"\nrole = \"cache\"\n\
                      keys = \"agent:{tenant}:{staff_id}\"\nsubjects = { agent = [\"staff_id\"] }\n";
        self.world.write("policies/agent-info.toml", &kept_while_the_account_lives("agent-info", agents));
        let logs = format!(
            "[[placements]]\nname = \"call-trajectory\"\nstore = \"cc-logs\"\nindex = \"{}-*\"\n\
             tenant = {{ field = \"tenant_id\" }}\nevent_time = {{ field = \"@timestamp\", time_zone = \"UTC\" }}\n\
             subjects = {{ agent = [\"agent_id\"] }}\n",
            self.indices
        );
        self.world.write("policies/logs.toml", &kept_while_the_account_lives("logs", &logs));
    }

    async fn fill_database(&self, calls: &[Placed]) {
        self.database
            .run(
                "CREATE TABLE call_record (id BIGINT AUTO_INCREMENT PRIMARY KEY, call_id VARCHAR(16) NOT NULL,
                 tenant_id VARCHAR(64) NOT NULL, started_at DATETIME NOT NULL, agent VARCHAR(64), topic VARCHAR(64),
                 recording_key VARCHAR(200), KEY by_time (tenant_id, started_at), KEY started (started_at),
                 KEY by_recording (recording_key))",
            )
            .await;
        let mut connection = self.database.connect().await;
        for some in calls.chunks(500) {
            let values = vec!["(?, ?, STR_TO_DATE(?, '%d/%m/%Y %H:%i:%s'), ?, ?, ?)"; some.len()].join(", ");
            let insert = format!(
                "INSERT INTO call_record (call_id, tenant_id, started_at, agent, topic, recording_key) VALUES {values}"
            );
            let mut query = sqlx::query(AssertSqlSafe(insert));
            for placed in some {
                let call = &placed.call;
                query = query
                    .bind(&call.call_id)
                    .bind(placed.tenant)
                    .bind(format!("{} {}", call.date, call.time))
                    .bind(&call.agent)
                    .bind(&call.topic)
                    .bind(placed.is_recorded.then(|| placed.recording()));
            }
            query.execute(&mut connection).await.unwrap();
        }
    }

    async fn fill_bucket(&self, calls: &[Placed]) {
        let recording = vec![0x5a; RECORDING_BYTES];
        for placed in calls.iter().filter(|placed| placed.is_recorded) {
            self.bucket.put(&placed.recording(), &recording).await;
        }
    }

    fn fill_redis(&self, calls: &[Placed]) {
        let mut connection = redis::connect(&self.redis);
        for (tenant, agent) in agents(calls) {
            let key = format!("agent:{tenant}:{agent}");
            redis::send(&mut connection, &["HSET", &key, "status", "online", "nickname", &agent]);
        }
    }

    async fn fill_indices(&self, calls: &[Placed]) {
        let mapping = json!({"mappings": {"properties": {
            "tenant_id": {"type": "keyword"}, "agent_id": {"type": "keyword"}, "@timestamp": {"type": "date"}}}});
        for month in ["01", "02", "03"] {
            opensearch::done("PUT", &format!("/{}-2021-{month}", self.indices), mapping.clone()).await;
        }
        for some in calls.chunks(1000) {
            let documents: Vec<(String, String, Value)> = some
                .iter()
                .map(|placed| {
                    let part = |at: usize| placed.call.date.split('/').nth(at).unwrap();
                    let (day, month, year) = (part(0), part(1), part(2));
                    let source = json!({
                        "tenant_id": placed.tenant, "agent_id": placed.call.agent,
                        "@timestamp": format!("{year}-{month:0>2}-{day:0>2}T{}+08:00", placed.call.time)
                    });
                    (format!("{}-2021-{month:0>2}", self.indices), placed.call.call_id.clone(), source)
                })
                .collect();
            let lines: Vec<(&str, &str, &str, Value)> = documents
                .iter()
                .map(|(index, id, source)| (index.as_str(), id.as_str(), "", source.clone()))
                .collect();
            opensearch::write(&lines).await;
        }
    }

    async fn calls_left(&self) -> BTreeSet<String> {
        let mut connection = self.database.connect().await;
        let rows = sqlx::query("SELECT call_id FROM call_record").fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn recordings_left(&self) -> BTreeSet<String> {
        self.bucket.current().await.into_iter().filter(|key| key.starts_with("rec/")).collect()
    }

    fn agents_left(&self) -> BTreeSet<String> {
        let mut connection = redis::connect(&self.redis);
        let keys = redis::everything(&mut connection).into_iter();
        keys.map(|(key, _)| String::from_utf8(key).unwrap()).filter(|key| key.starts_with("agent:")).collect()
    }

    async fn documents_left(&self) -> BTreeSet<String> {
        opensearch::all(&format!("{}-*", self.indices)).await.into_iter().map(|(_, id, _, _)| id).collect()
    }
}

fn agents(calls: &[Placed]) -> BTreeSet<(&'static str, String)> {
    calls.iter().map(|placed| (placed.tenant, placed.call.agent.clone())).collect()
}

/// What must be left, said by hand: a hold on one agent of `T-1`, a request about one of `t-1`, the end of `t-10`.
struct Left {
    calls: BTreeSet<String>,
    recordings: BTreeSet<String>,
    agents: BTreeSet<String>,
    documents: BTreeSet<String>,
}

const HELD: &str = "Joe";
const ASKED: &str = "Diane";

impl Left {
    fn of(calls: &[Placed]) -> Self {
        let is_held = |tenant: &str, agent: &str| tenant == "T-1" && agent == HELD;
        let must_go = |tenant: &str, agent: &str| {
            !is_held(tenant, agent) && (tenant == "t-10" || tenant == "t-1" && agent == ASKED)
        };
        let of = |placed: &&Placed| !must_go(placed.tenant, &placed.call.agent);
        let stays = |placed: &&Placed| {
            of(placed) && (is_held(placed.tenant, &placed.call.agent) || !placed.is_over_age())
        };
        Self {
            calls: calls.iter().filter(stays).map(|placed| placed.call.call_id.clone()).collect(),
            recordings: calls.iter().filter(stays).filter(|p| p.is_recorded).map(Placed::recording).collect(),
            agents: agents(calls)
                .into_iter()
                .filter(|(tenant, agent)| !must_go(tenant, agent))
                .map(|(tenant, agent)| format!("agent:{tenant}:{agent}"))
                .collect(),
            documents: calls.iter().filter(of).map(|placed| placed.call.call_id.clone()).collect(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_systems_agree_with_a_separate_count_at_a_month_end_and_so_does_a_second_run() {
    let calls = all();
    let _alone = opensearch::alone_with_the_marker().await;
    let center = Center::new(&calls).await;
    let world = &center.world;
    let over_age = calls.iter().filter(|placed| placed.is_over_age()).count();
    assert_eq!(over_age, 4964, "the count of the whole file at that instant");
    for agent in [HELD, ASKED] {
        assert!(calls.iter().any(|placed| placed.call.agent == agent), "{agent} is in the file");
    }
    let online = world.ok("check --online");
    assert_eq!(online["ok"], true, "{online:#}");
    world.ok(&format!("hold place --tenant T-1 --subject agent={HELD} --authority court"));
    let request =
        format!("request create --tenant t-1 --subject agent={ASKED} --received 2021-09-20T09:00:00+08:00");
    let request = world.ok(&request)["request_id"].as_str().unwrap().to_owned();
    world.ok("tenant terminate t-10 --at 2021-09-10T00:00:00+08:00");

    let plan = world.ok("plan --at 2021-09-30T12:00:00+08:00");
    let report = world.ok("enforce --at 2021-09-30T12:00:00+08:00");
    let left = Left::of(&calls);
    let recorded = calls.iter().filter(|placed| placed.is_recorded).count();
    for (name, before, after) in [
        ("call-records", calls.len(), left.calls.len()),
        ("recordings", recorded, left.recordings.len()),
        ("agents-online", agents(&calls).len(), left.agents.len()),
        ("call-trajectory", calls.len(), left.documents.len()),
    ] {
        let counts = placement(&report, name);
        assert_eq!(counts["erased"], before - after, "{name}: {report:#}");
        assert_eq!(counts["verified_absent"], before - after, "{name}");
        assert!(before - after > 0 && after > 0, "{name}: some go and some stay");
        let planned: u64 = plan["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["placement"] == name)
            .map(|step| step["records"].as_u64().unwrap())
            .sum();
        assert_eq!(planned, (before - after) as u64, "{name}: what was planned");
    }
    let agree = async || {
        assert_eq!(center.calls_left().await, left.calls);
        assert_eq!(center.recordings_left().await, left.recordings);
        assert_eq!(center.agents_left(), left.agents);
        assert_eq!(center.documents_left().await, left.documents);
    };
    agree().await;
    assert_eq!(world.ok(&format!("request show {request}"))["state"], "completed");
    let again = world.ok("enforce --at 2021-09-30T12:00:00+08:00");
    assert_eq!((&again["status"], &again["totals"]["erased"]), (&json!("done"), &json!(0)), "{again:#}");
    agree().await;
    world.assert_settled();
}
