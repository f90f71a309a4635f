//! Canaries: values of subjects and secrets that are planted in a center and must appear in nothing that the program
//! writes, at the noisiest level of logging, when everything goes well and when everything goes wrong. And the other side
//! of it: one request can be followed by its id.

use std::fs;
use std::path::Path;

use retentiond::alarms::{Board, Notes, watch_once};
use retentiond::clock::Clock;
use retentiond::metrics::{MetricFacts, render};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::harness::{World, wait_for};
use crate::servers::{mariadb, moto, objects, redis};

/// Values of subjects, each as it is searched for.
const OF_SUBJECTS: [&str; 6] =
    ["98880007777", "AGENTCANARY", "CANARYFILE", "NOTECANARY", "BADCANARY", "EMAILCANARY"];

/// Secrets of the operator and of callers.
const SECRETS: [&str; 4] = ["SECRETCANARY", "PWCANARY", "IDEMCANARY", "HOOKCANARY"];

const PHONE: &str = "+6598880007777";

const TOLD: &str = r#"
[alarms]
webhooks = ["https://ops.example.com/HOOKCANARY"]
secret = "SECRETCANARY"
"#;

/// Collects everything that is written.
struct Aviary {
    world: World,
    heard: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Aviary {
    fn new(world: World) -> Self {
        let secrets = SECRETS.iter().map(|secret| (*secret).to_owned()).collect();
        Self { world, heard: Vec::new(), secrets }
    }

    /// Runs a command with every log there is, and keeps what it says. The answer is kept too.
    fn run(&mut self, line: &str) -> Value {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn run_words(&mut self, words: &[&str]) -> Value {
        let mut command = self.world.command(words);
        let output = command.env("RETENTIOND_LOG", "trace").env("RUST_BACKTRACE", "1").output().unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        self.heard.push((format!("standard output of {words:?}"), out.to_string()));
        self.heard.push((format!("standard error of {words:?}"), log.to_string()));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn hear(&mut self, what: &str, text: impl Into<String>) {
        self.heard.push((what.to_owned(), text.into()));
    }

    /// Alarms, notices and metrics of one look, as they would leave the process.
    fn look(&mut self) {
        let (metrics, bodies) = wait_for(async {
            let ledger = self.world.ledger().await;
            let now = Clock::System.now();
            let board = Board::default();
            let world = self.world.load(now);
            let watched = watch_once(&world, &ledger, &Notes::default(), now).await.unwrap();
            assert!(!watched.standing.is_empty(), "there is something to tell");
            board.post(watched, &ledger).await.unwrap();
            let metrics = render(&MetricFacts { snapshot: board.snapshot(), now }).unwrap();
            let rows = retentiond::ledger::Ledger::undelivered(&ledger, 10_000).await.unwrap();
            let bodies: Vec<String> = rows.into_iter().map(|row| row.body).collect();
            (metrics, bodies)
        });
        assert!(!bodies.is_empty());
        self.hear("metrics", metrics);
        self.hear("webhooks", bodies.join("\n"));
    }

    /// Nothing that was heard, and no file that is ours, holds a canary.
    fn assert_silent(&self) {
        for (what, text) in &self.heard {
            for canary in OF_SUBJECTS.iter().copied().chain(self.secrets.iter().map(String::as_str)) {
                let line = text.lines().find(|line| line.contains(canary));
                assert!(line.is_none(), "{canary} in {what}: {line:?}");
            }
        }
        let mut files = 0;
        for name in ["retentiond.db", "retentiond.db-wal", "ledger.key", "plan.json", "certificate.html"] {
            files += u32::from(self.search(&self.world.path(name)));
        }
        assert!(files >= 2, "the ledger was looked at");
        for file in walk(&self.world.path("audit")) {
            self.search(&file);
        }
    }

    fn search(&self, file: &Path) -> bool {
        let Ok(bytes) = fs::read(file) else { return false };
        // The ledger has to know where messages go; nothing else of it is readable.
        let secrets = self.secrets.iter().map(String::as_str).filter(|secret| *secret != "HOOKCANARY");
        for canary in OF_SUBJECTS.iter().copied().chain(secrets) {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} in {}", file.display());
        }
        true
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// A center in which t-1 has a person, an agent, a recording and a note that are canaries.
fn planted() -> World {
    let world = World::center();
    let config = fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write("retentiond.toml", &format!("{config}{TOLD}"));
    world.sql(
        "calls.db",
        &format!(
            "INSERT INTO call_record VALUES (91, 't-1', '2021-02-01 10:00:00', '{PHONE}', '+6591110099',
               'AGENTCANARY', 'NOTECANARY', 'rec/t-1/CANARYFILE.wav');
             INSERT INTO call_record VALUES (92, 't-1', 'NOTECANARY', '{PHONE}', '{PHONE}', 'AGENTCANARY', 'NOTECANARY',
               NULL);
             INSERT INTO agent VALUES ('t-1', 'AGENTCANARY', '{PHONE}');"
        ),
    );
    world.write("objects/rec/t-1/CANARYFILE.wav", "NOTECANARY");
    world
}

#[test]
fn nothing_that_goes_well_says_a_value_of_a_subject_or_a_secret() {
    let mut aviary = Aviary::new(planted());
    aviary.run("check --online");
    aviary.run("plan --out plan.json");
    let phone = format!("phone={PHONE}");
    let words =
        ["request", "create", "--tenant", "t-1", "--subject", &phone, "--subject", "agent=AGENTCANARY"];
    let request = aviary.run_words(&[&words[..], &["--key", "IDEMCANARY"]].concat());
    let id = request["request_id"].as_str().expect("a request").to_owned();
    let hold =
        aviary.run_words(&["hold", "place", "--tenant", "t-1", "--subject", &phone, "--authority", "court"]);
    aviary.run("plan");
    aviary.run("status");
    aviary.look();
    aviary.run("enforce");
    aviary.assert_silent();
    assert_eq!(aviary.world.number("calls.db", "SELECT count(*) FROM call_record WHERE id IN (91, 92)"), 2);
    aviary.run(&format!("hold release {}", hold["hold_id"].as_str().unwrap()));
    let report = aviary.run("enforce");
    assert_eq!(report["status"], "done", "{report:#}");
    assert_eq!(aviary.world.number("calls.db", "SELECT count(*) FROM call_record WHERE id IN (91, 92)"), 0);
    let shown = aviary.run(&format!("request show {id}"));
    assert_eq!(shown["state"], "completed", "{shown:#}");
    for line in [
        "request list",
        "hold list",
        "audit show",
        "audit verify",
        "tenant terminate t-10",
        "tenant list",
        "simulate --from 2026-01-01T00:00:00Z --to 2026-01-03T00:00:00Z",
        "grants",
        "status",
    ] {
        aviary.run(line);
    }
    aviary.run(&format!("certificate {id} --html certificate.html"));
    aviary.run(&format!("certificate {}", report["run_id"].as_str().unwrap()));
    aviary.look();
    let token = aviary.run("token create --principal ops --role operator");
    let token = token["token"].as_str().expect("a token").to_owned();
    // It is shown once, to whoever made it.
    aviary.heard.retain(|(_, text)| !text.contains(&token));
    aviary.secrets.push(token);
    aviary.run("token list");
    aviary.run("audit show");
    aviary.assert_silent();
    let heard = aviary.heard.iter().map(|(_, text)| text.as_str()).collect::<String>();
    for expected in
        ["batch done", "step ends", "request settled", "alarm-raised", "retentiond_records_overdue"]
    {
        assert!(heard.contains(expected), "nothing was heard of {expected}");
    }
}

#[test]
fn nothing_that_goes_wrong_says_a_value_of_a_subject_or_a_secret() {
    let mut aviary = Aviary::new(planted());
    let phone = format!("phone={PHONE}");
    // What is typed wrong.
    for words in [
        &["request", "create", "--tenant", "t-1", "--subject", "phone=BADCANARY\u{7}x"][..],
        &["request", "create", "--tenant", "t-1", "--subject", "email=EMAILCANARY"][..],
        &["request", "create", "--tenant", "t-1", "--subject", "phone=BADCANARY", "--category", "nothing"][..],
        &["request", "create", "--tenant", "t-1", "--subjects", "phone=BADCANARY"][..],
        &["hold", "place", "--tenant", "*", "--subject", "phone=BADCANARY", "--authority", "x"][..],
    ] {
        aviary.run_words(words);
    }
    let words = ["request", "create", "--tenant", "t-1", "--subject", &phone];
    aviary.run_words(&[&words[..], &["--key", "IDEMCANARY"]].concat());
    aviary.run_words(&["request", "create", "--tenant", "t-1", "--everything", "--key", "IDEMCANARY"]);
    // A trigger that quotes a value.
    aviary.world.sql(
        "calls.db",
        &format!(
            "CREATE TRIGGER refuse BEFORE DELETE ON call_record WHEN OLD.id = 91
             BEGIN SELECT RAISE(ABORT, 'caller {PHONE} of AGENTCANARY is referred to'); END"
        ),
    );
    aviary.run("enforce");
    aviary.look();
    aviary.world.sql("calls.db", "DROP TRIGGER refuse");
    // What a row names is no file.
    let file = aviary.world.path("objects/rec/t-1/CANARYFILE.wav");
    if file.exists() {
        fs::remove_file(&file).unwrap();
    }
    aviary.world.sql(
        "calls.db",
        "INSERT INTO call_record VALUES (93, 't-1', '2021-02-01 10:00:00', '1', '2', 'A1', 'x',
         'rec/t-1/CANARYFILE.wav'), (94, 't-1', '2021-02-01 10:00:00', '1', '2', 'A1', 'x', 'rec/t-10/CANARYFILE2.wav')",
    );
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    let report = aviary.run("enforce");
    assert_eq!(report["status"], "failed", "{report:#}");
    aviary.run(&format!("certificate {}", report["run_id"].as_str().unwrap()));
    aviary.run("status");
    aviary.look();
    // A store that is broken, one that is gone, a table that is not there, a key of another ledger.
    let whole = fs::read(aviary.world.path("calls.db")).unwrap();
    fs::write(aviary.world.path("calls.db"), [&whole[..2_000], &[0x41; 8_000][..]].concat()).unwrap();
    aviary.run("plan");
    aviary.run("enforce");
    aviary.run("check --online");
    fs::write(aviary.world.path("calls.db"), &whole).unwrap();
    aviary.world.sql("calls.db", "ALTER TABLE call_record RENAME TO elsewhere");
    aviary.run("enforce");
    aviary.world.sql("calls.db", "ALTER TABLE elsewhere RENAME TO call_record");
    let key = fs::read(aviary.world.path("ledger.key")).unwrap();
    let mut other = key.clone();
    other.reverse();
    fs::write(aviary.world.path("ledger.key"), other).unwrap();
    aviary.run("plan");
    aviary.run("enforce");
    fs::write(aviary.world.path("ledger.key"), key).unwrap();
    aviary.look();
    aviary.assert_silent();
}

#[test]
fn an_address_of_a_store_that_is_not_there_keeps_its_password() {
    for (kind, url) in [
        ("mysql", "mysql://ops:PWCANARY@127.0.0.1:9/calls"),
        ("redis", "redis://ops:PWCANARY@127.0.0.1:9/0"),
        ("mysql", "mysql://ops:PWCANARY@nowhere.invalid/calls"),
        ("mysql", "mysql:/ops:PWCANARY@127.0.0.1"),
        ("elasticsearch", "http://ops:PWCANARY@127.0.0.1:9"),
        ("elasticsearch", "http://127.0.0.1:9\"\nuser = \"ops\"\npassword = \"PWCANARY"),
        (
            "s3",
            "\"\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:9\"\naccess_key = \"k\"\nsecret_key = \"PWCANARY",
        ),
    ] {
        let mut aviary = Aviary::new(planted());
        let url =
            if kind == "s3" { url.trim_start_matches("\"\n").to_owned() } else { format!("url = \"{url}") };
        let stanza = format!("kind = \"{kind}\"\n{url}\"\n[stores.calls]");
        aviary.world.edit("retentiond.toml", "[stores.calls]", &format!("[stores.other]\n{stanza}"));
        let placement = match kind {
            "redis" => "keys = \"agent:{tenant}:{staff_id}\"\n",
            "elasticsearch" => "index = \"cc-*\"\ntenant = { field = \"t\" }\nsubjects = \"none\"\n",
            "s3" => "prefix = \"x/{tenant}/\"\n",
            _ => "table = \"agent\"\nkey = [\"id\"]\ntenant = { column = \"t\" }\nsubjects = \"none\"\n",
        };
        let policy = fs::read_to_string(aviary.world.path("policies/agent-info.toml")).unwrap();
        let more = format!("{policy}\n[[placements]]\nname = \"other\"\nstore = \"other\"\n{placement}");
        aviary.world.write("policies/agent-info.toml", &more);
        for line in ["check", "check --online", "plan", "enforce", "status", "grants"] {
            aviary.run(line);
        }
        for (what, text) in &aviary.heard {
            assert!(!text.contains("PWCANARY"), "{kind}: {what}: {text}");
        }
    }
}

const ON_SERVERS: &str = r#"
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
clause = "DPSM §5"
[[placements]]
name = "call-records"
store = "db"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = { phone = ["caller"], agent = ["agent_id"] }
[[placements]]
name = "recordings"
store = "bucket"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

/// No rule of age: a cache cannot tell when.
const IN_CACHE: &str = r#"
category = "agent-info"
title = "Agents"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "DPSM §5"
[[placements]]
name = "agents"
store = "cache"
role = "cache"
keys = "agent:{tenant}:{staff_id}"
subjects = { agent = ["staff_id"] }
"#;

#[test]
fn the_clients_of_the_servers_say_nothing_either() {
    // The connections of its clients belong to one runtime.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, cache) = (World::empty(), redis::database());
    let database = runtime.block_on(mariadb::Database::new());
    let bucket = runtime.block_on(objects::Objects::new(&moto::endpoint(), "canaries"));
    let config = fs::read_to_string(world.path("retentiond.toml")).unwrap();
    let (settings, _) = config.split_once("[stores.calls]").unwrap();
    world.write(
        "retentiond.toml",
        &format!(
            "{settings}{TOLD}[stores.db]\nkind = \"mysql\"\nurl = \"{}\"\n[stores.cache]\nkind = \"redis\"\n\
             url = \"{cache}\"\n[stores.bucket]\nkind = \"s3\"\nbucket = \"{}\"\nendpoint = \"{}\"\n\
             path_style = true\naccess_key = \"key\"\nsecret_key = \"SECRETCANARY\"\n",
            database.url().expose_secret(),
            bucket.name,
            bucket.endpoint
        ),
    );
    world.write("policies/call-data.toml", ON_SERVERS);
    world.write("policies/agent-info.toml", IN_CACHE);
    runtime.block_on(async {
        database
            .run(&format!(
                "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(64) NOT NULL, started_at DATETIME,
                   caller VARCHAR(64), agent_id VARCHAR(64), recording_key VARCHAR(200), KEY (started_at),
                   KEY (tenant_id), KEY (recording_key), KEY (caller), KEY (agent_id));
                 INSERT INTO call_record VALUES
                   (1, 't-1', '2021-01-31 10:00:00', '{PHONE}', 'AGENTCANARY', 'rec/t-1/CANARYFILE.wav'),
                   (2, 't-1', '2021-02-01 10:00:00', '{PHONE}', 'AGENTCANARY', NULL)"
            ))
            .await;
        bucket.put("rec/t-1/CANARYFILE.wav", b"NOTECANARY").await;
    });
    let mut connection = redis::connect(&cache);
    redis::send(&mut connection, &["HSET", "agent:t-1:AGENTCANARY", "phone", PHONE]);
    let mut aviary = Aviary::new(world);
    aviary.run("check --online");
    let phone = format!("phone={PHONE}");
    aviary.run_words(&[
        "request",
        "create",
        "--tenant",
        "t-1",
        "--subject",
        &phone,
        "--subject",
        "agent=AGENTCANARY",
    ]);
    runtime.block_on(database.run(&format!(
        "CREATE TRIGGER refuse BEFORE DELETE ON call_record FOR EACH ROW
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'caller {PHONE} of AGENTCANARY is referred to'"
    )));
    let failed = aviary.run("enforce");
    assert_ne!(failed["status"], "done", "{failed:#}");
    aviary.look();
    runtime.block_on(database.run("DROP TRIGGER refuse"));
    let done = aviary.run("enforce");
    assert_eq!(done["status"], "done", "{done:#}");
    assert_eq!(done["totals"]["failed"], 0);
    assert!(redis::everything(&mut connection).is_empty(), "the agent is gone");
    assert_eq!(runtime.block_on(bucket.content("rec/t-1/CANARYFILE.wav")), None);
    aviary.assert_silent();
}

#[test]
fn one_request_can_be_followed_by_its_id_through_every_line() {
    let world = planted();
    let lines = |words: &[&str]| -> (Value, Vec<Value>) {
        let output = world.command(words).env("RETENTIOND_LOG", "retentiond=debug").output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let lines = log.lines().filter(|line| line.starts_with('{'));
        let lines = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        (serde_json::from_slice(&output.stdout).unwrap(), lines)
    };
    let (request, made) =
        lines(&["request", "create", "--tenant", "t-1", "--subject", &format!("phone={PHONE}")]);
    let id = request["request_id"].as_str().unwrap();
    let (report, ran) = lines(&["enforce"]);
    let run = report["run_id"].as_str().unwrap();
    let of_request = |line: &&Value| line.to_string().contains(id);
    assert!(made.iter().any(|line| of_request(&line)), "its receipt: {made:#?}");
    let told: Vec<&str> =
        ran.iter().filter(of_request).filter_map(|line| line["fields"]["message"].as_str()).collect();
    for message in ["step begins", "batch done", "step ends", "request settled"] {
        assert!(told.contains(&message), "{message} is not among {told:?}");
    }
    // Whatever a step of the request says, it says with the ids of request, step and run.
    let in_step = |line: &&Value| {
        let spans = line["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().any(|span| span["name"] == "step" && span["request_id"] == id)
    };
    let steps: Vec<&Value> = ran.iter().filter(in_step).collect();
    assert!(steps.len() >= 3, "{steps:#?}");
    for line in steps {
        let text = line["spans"].to_string();
        assert!(
            text.contains(run) && text.contains("step_id") && text.contains("\"tenant\":\"t-1\""),
            "{line:#}"
        );
    }
}
