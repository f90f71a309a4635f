//! The command line as users and their scripts meet it: arguments, exit codes, streams, JSON to the letter.
//! It runs the built program; what is decided behind it has tests of its own.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use retentiond::clock::Clock;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with one store of files: prompts of three tenants, of which those of 2020 are long over age.
struct Center {
    dir: TempDir,
}

const CONFIG: &str = r#"
[ledger]
url = "sqlite://retentiond.db"

[policies]
path = "policies"

[schedule]
time_zone = "Asia/Singapore"

[limits]
records = 1000
share = "100%"

[stores.objects]
kind = "files"
path = "objects"
"#;

const POLICY: &str = r#"
category = "prompts"
title = "What callers said"
time_zone = "Asia/Singapore"
method = "delete"

[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"
entitlement = "extended-storage"

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
name = "prompt-files"
store = "objects"
prefix = "ivr/{tenant}/"
event_time = { key = "ivr/{tenant}/%Y/%m/%d/" }
subjects = "none"
"#;

const CALLS_CONFIG: &str = r#"
[stores.calls]
kind = "sqlite"
url = "sqlite://calls.db"
"#;

const CALLS_POLICY: &str = r#"
category = "call-data"
title = "Calls"
time_zone = "Asia/Singapore"
method = "delete"

[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"

[[rules]]
trigger = "request"
deadline = "10 days"
clause = "SLA §1.8"

[[placements]]
name = "call-records"
store = "calls"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = { phone = ["caller"] }
"#;

/// A caller whose number must never be seen.
const CANARY: &str = "+6591230001";

/// A file of today, which is not over age for half a year.
fn later(tenant: &str) -> String {
    format!("objects/ivr/{tenant}/{}/later.wav", Clock::System.now().format("%Y/%m/%d"))
}

impl Center {
    fn new() -> Self {
        let center = Self { dir: TempDir::new().unwrap() };
        center.write("retentiond.toml", CONFIG);
        center.write("policies/prompts.toml", POLICY);
        for tenant in ["t-1", "t-10", "T-1", "t-1x"] {
            center.write(&format!("objects/ivr/{tenant}/2020/01/31/old.wav"), "old");
            center.write(&later(tenant), "later");
        }
        center
    }

    /// The same with calls in a table: two of today per tenant, one by the canary and one by somebody else.
    fn with_calls() -> Self {
        let center = Self::new();
        center.write("retentiond.toml", &format!("{CONFIG}{CALLS_CONFIG}"));
        center.write("policies/calls.toml", CALLS_POLICY);
        let today = Clock::System.now().format("%Y-%m-%d 00:00:01");
        let rows: Vec<String> = ["t-1", "t-10", "T-1", "t-1x"]
            .iter()
            .flat_map(|tenant| {
                [CANARY, "+6591230002"].map(|caller| format!("('{tenant}','{today}','{caller}')"))
            })
            .collect();
        center.sql(&format!(
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT);
             CREATE INDEX due ON call_record (tenant_id, started_at);
             INSERT INTO call_record (tenant_id, started_at, caller) VALUES {}",
            rows.join(",")
        ));
        center
    }

    fn sql(&self, text: &str) {
        use sqlx::ConnectOptions as _;
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.path("calls.db")).create_if_missing(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned())).execute(&mut connection).await.unwrap();
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
        command.current_dir(self.dir.path()).args(arguments);
        for name in ["RETENTIOND_CONFIG", "RETENTIOND_LOG", "RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(arguments, &self.command(arguments).output().unwrap())
    }

    /// Runs with `--json` and demands the exit code and exactly one document.
    fn ask(&self, arguments: &[&str], exit: i32) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let ran = self.run(&arguments);
        ran.demand(exit);
        serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("{ran:?}: not one JSON document: {error}"))
    }

    fn old_files(&self) -> Vec<&'static str> {
        ["t-1", "t-10", "T-1", "t-1x"]
            .into_iter()
            .filter(|tenant| self.path(&format!("objects/ivr/{tenant}/2020/01/31/old.wav")).exists())
            .collect()
    }

    fn demand_nothing_recorded(&self, why: &str) {
        for name in ["retentiond.db", "ledger.key", "audit"] {
            assert!(!self.path(name).exists(), "{name} was made by {why}");
        }
    }
}

#[derive(Debug)]
struct Ran {
    arguments: Vec<String>,
    exit: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(arguments: &[&str], output: &Output) -> Self {
        Self {
            arguments: arguments.iter().map(|text| text.chars().take(80).collect()).collect(),
            exit: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    fn demand(&self, exit: i32) {
        assert_eq!(self.exit, Some(exit), "{:?}: {self:#?}", self.arguments);
        assert!(!self.err.contains("panicked"), "{:?}: {self:#?}", self.arguments);
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn demand_keys(value: &Value, wanted: &[&str]) {
    let there = keys(value);
    for name in wanted {
        assert!(there.contains(name), "`{name}` is missing in {value:#}");
    }
}

#[test]
fn help_names_every_verb_and_goes_to_standard_output() {
    let ran = Center::new().run(&["--help"]);
    ran.demand(0);
    for verb in [
        "check",
        "plan",
        "enforce",
        "status",
        "explain",
        "simulate",
        "request",
        "tenant",
        "hold",
        "entitlement",
        "stop",
        "go",
        "audit",
        "certificate",
        "schema",
        "demo",
        "completions",
        "man",
    ] {
        assert!(ran.out.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {}", ran.out);
    }
    assert_eq!(ran.err, "");
    let version = Center::new().run(&["--version"]);
    version.demand(0);
    assert_eq!(version.out.trim(), concat!("retentiond ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_cannot_be_understood_is_exit_2_and_records_nothing() {
    let center = Center::new();
    let at = "2026-01-01T00:00:00Z";
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["plan", "--att", at],
        &["explain"],
        &["explain", "prompt-files"],
        &["simulate", "--from", at],
        &["simulate", "--from", at, "--to", "2025-01-01T00:00:00Z"],
        &["enforce", "--plan", "a", "--approve", "b"],
        &["enforce", "--at", at, "--approve", "b"],
        &["hold", "place", "--authority", "x"],
        &["hold", "place", "--tenant", "t-1"],
        &["hold", "place", "--tenant", "--subject", "phone=1", "--authority", "x"],
        &["hold", "place", "--tenant", "t-1", "--tenant", "t-2", "--authority", "x"],
        &["hold", "place", "--tenant", "t-1", "--authority", " "],
        &["hold", "place", "--tenant", "t-1", "--authority", "x", "--subject", "phone"],
        &["hold", "place", "--tenant", "t-1", "--authority", "x", "--subject", "phone=1"],
        &["hold", "place", "--tenant", "t-1", "--authority", "x", "--category", "promts"],
        &["request", "create", "--everything"],
        &["request", "create", "--tenant", "t-1"],
        &["request", "create", "--tenant", "t-1", "--everything", "--category", "prompts"],
        &["request", "create", "--tenant", "t-1", "--subject", "phone=1", "--category", "prompts"],
        &["request", "create", "--tenant", "t-1", "--subject", "phone=1", "--everything"],
        &["request", "create", "--tenant", "t-1", "--subject", "phone=1"],
        &["request", "create", "--tenant", "t-1", "--category", ""],
        &["request", "create", "--tenant", "t-1", "--category", "promts"],
        &["request", "create", "--tenant", "t-1", "--category", "prompts", "--category", "prompts"],
        &["request", "create", "--tenant", "t-1", "--everything", "--key", ""],
        &["entitlement", "grant", "extended-storag", "--tenant", "t-1"],
        &["entitlement", "grant", "extended-storage", "--tenant", "t-1", "--until", "2020-01-01T00:00:00Z"],
        &["schema", "policies"],
        &["completions", "tcsh"],
        &["man", "frobnicate"],
    ] {
        let ran = center.run(arguments);
        ran.demand(2);
        assert_eq!(ran.out, "", "{arguments:?}");
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
    center.demand_nothing_recorded("a usage error");
}

#[test]
fn a_mistyped_name_comes_back_with_the_nearest_known_one() {
    let ran = Center::new().run(&["request", "create", "--tenant", "t-1", "--category", "promts"]);
    ran.demand(2);
    assert!(ran.err.contains("error: failed to record the request: "), "{}", ran.err);
    assert!(ran.err.contains("`promts`") && ran.err.contains("did you mean `prompts`?"), "{}", ran.err);
}

#[test]
fn an_error_as_json_is_one_document_and_the_text_is_still_told() {
    let center = Center::new();
    for arguments in
        [&["hold", "place", "--tenant", "*", "--authority", "x"][..], &["request"], &["plan", "--x"]]
    {
        let error = &center.ask(arguments, 2)["error"];
        assert_eq!(error["code"], "usage", "{arguments:?}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{arguments:?}");
        assert!(!center.run(arguments).err.is_empty());
    }
}

#[test]
fn a_time_needs_a_date_a_clock_and_an_offset() {
    let center = Center::new();
    for time in
        ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T00:00:00Z", "31/01/2026", "1767225600"]
    {
        center.run(&["plan", "--at", time]).demand(2);
        center.run(&["tenant", "terminate", "t-1", "--at", time]).demand(2);
        center.run(&["request", "create", "--tenant", "t-1", "--everything", "--received", time]).demand(2);
    }
    center.demand_nothing_recorded("a bad time");
}

#[test]
fn what_may_only_lie_in_the_past_is_refused_in_the_future() {
    let center = Center::new();
    let future = "2999-01-01T00:00:00Z";
    for arguments in [
        &["enforce", "--at", future][..],
        &["tenant", "terminate", "t-1", "--at", future],
        &["request", "create", "--tenant", "t-1", "--everything", "--received", future],
    ] {
        let ran = center.run(arguments);
        ran.demand(2);
        assert!(ran.err.contains("future"), "{}", ran.err);
    }
    center.demand_nothing_recorded("a future time");
    assert_eq!(center.old_files().len(), 4);
}

#[test]
fn a_missing_or_broken_configuration_is_exit_2_for_every_verb_that_reads_it() {
    let center = Center::new();
    center.write("broken.toml", "[ledger\n");
    for file in ["nowhere.toml", "broken.toml"] {
        for verb in [
            &["check"][..],
            &["plan"],
            &["enforce"],
            &["status"],
            &["explain", "prompt-files", "x"],
            &["simulate", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z"],
            &["request", "list"],
            &["request", "create", "--tenant", "t-1", "--everything"],
            &["tenant", "show", "t-1"],
            &["hold", "place", "--tenant", "t-1", "--authority", "x"],
            &["hold", "list"],
            &["entitlement", "list"],
            &["stop"],
            &["go"],
            &["audit", "verify"],
            &["certificate", "run-1"],
        ] {
            let ran = center.run(&[verb, &["--config", file]].concat());
            ran.demand(2);
            assert!(format!("{}{}", ran.out, ran.err).contains(file), "{ran:?}");
        }
    }
    center.demand_nothing_recorded("a missing configuration");
    let mut command = center.command(&["check"]);
    let ran = Ran::new(&["check"], &command.env("RETENTIOND_CONFIG", "nowhere.toml").output().unwrap());
    ran.demand(2);
}

/// D.1 of the bad-input corpus: what could be taken for a pattern, a path, several tenants or none.
fn bad_tenants() -> Vec<String> {
    let mut bad: Vec<String> = [
        "",
        " ",
        "\t",
        "\u{a0}",
        "\u{200b}",
        "\u{3000}",
        "*",
        "acme*",
        "ac?e",
        "acm[e]",
        "acm\\e",
        "{a,b}",
        "tenant-1/../tenant-2",
        "tenant-1/",
        "cafe\u{301}",
        "acme ",
        " acme",
        "%",
        "acme%",
        "' OR '1'='1",
        "x'; DROP TABLE t;--",
        "`",
        "\"",
        "\\",
        "a\nb",
        "a\rb",
        "..",
        ".",
        "a/b",
        "a\\b",
        "C:",
        "con",
        "~",
        "a\u{202e}b",
        "a,b",
        "a,,b",
        ",",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    bad.push("a".repeat(256));
    bad.push("a".repeat(64 * 1024));
    bad
}

#[test]
fn a_tenant_that_is_not_exactly_one_name_is_refused_and_nothing_is_recorded() {
    let center = Center::new();
    for tenant in bad_tenants() {
        for arguments in [
            &["hold", "place", "--tenant", &tenant, "--authority", "court order 1"][..],
            &["request", "create", "--tenant", &tenant, "--everything"],
            &["tenant", "terminate", &tenant],
        ] {
            center.run(arguments).demand(2);
        }
    }
    center.demand_nothing_recorded("a bad tenant");
    assert_eq!(center.old_files().len(), 4);
}

#[test]
fn a_tenant_that_looks_like_a_value_is_taken_to_the_letter() {
    let center = Center::new();
    let names = [
        "null",
        "NULL",
        "None",
        "undefined",
        "NaN",
        "true",
        "0",
        "-1",
        "1e3",
        "0x10",
        "01",
        "_",
        "ACME",
        "acme",
        "café",
        "straße",
        "strasse",
        "ı",
        "i",
        "tenant-1",
        "tenant-10",
        "all",
        "аcme",
    ];
    for name in names {
        center.run(&["hold", "place", "--tenant", name, "--authority", "court order 1"]).demand(0);
    }
    let longest = "a".repeat(255);
    center.run(&["hold", "place", "--tenant", &longest, "--authority", "court order 1"]).demand(0);
    let list = center.ask(&["hold", "list"], 0);
    let held: Vec<&str> =
        list["holds"].as_array().unwrap().iter().map(|hold| hold["tenant"].as_str().unwrap()).collect();
    assert_eq!(held, [&names[..], &[&longest]].concat());
    let mixed = center.run(&["hold", "place", "--tenant", "аcme", "--authority", "court order 1"]);
    assert!(mixed.err.contains("two scripts"), "{mixed:?}");
}

#[test]
fn plan_makes_nothing_and_says_what_goes_and_why() {
    let center = Center::new();
    let plan = center.ask(&["plan"], 0);
    demand_keys(&plan, &["plan_id", "at", "policy_digest", "steps", "kept", "refusals", "totals"]);
    assert_eq!(plan["totals"]["erase"], 4);
    let step = &plan["steps"][0];
    let names = [
        "step_id",
        "placement",
        "store",
        "category",
        "tenant",
        "reason",
        "clause",
        "method",
        "records",
        "oldest",
        "newest",
        "due_since",
        "deadline",
    ];
    demand_keys(step, &names);
    assert_eq!(
        (&step["reason"], &step["clause"], &step["method"]),
        (&"age".into(), &"DPSM §5".into(), &"delete".into())
    );
    let text = center.run(&["plan"]);
    text.demand(0);
    for part in ["prompt-files", "DPSM §5", "Total: 4 records to erase", "retentiond enforce"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    assert!(!text.out.contains('\u{1b}'), "colour without a terminal");
    center.demand_nothing_recorded("plan");
    assert_eq!(center.old_files().len(), 4);
}

#[test]
fn enforce_reports_to_the_letter_and_a_second_run_finds_nothing() {
    let center = Center::new();
    let report = center.ask(&["enforce"], 0);
    demand_keys(&report, &["run_id", "plan_id", "at", "status", "placements", "refusals", "totals"]);
    assert_eq!(report["status"], "done");
    let placement = &report["placements"][0];
    let counts = ["erased", "already_absent", "changed", "failed", "verified_absent"];
    demand_keys(placement, &[&["placement", "level", "residual"][..], &counts].concat());
    demand_keys(&report["totals"], &counts);
    assert_eq!((&report["totals"]["erased"], &report["totals"]["verified_absent"]), (&4.into(), &4.into()));
    assert_eq!(center.old_files(), Vec::<&str>::new());
    assert!(center.path(&later("t-1")).exists());
    assert_eq!(center.ask(&["enforce"], 0)["totals"]["erased"], 0);
    let verdict = center.ask(&["audit", "verify"], 0);
    demand_keys(&verdict, &["sound", "entries", "head", "checked_at"]);
    assert_eq!(verdict["sound"], true);
}

#[test]
fn a_plan_in_a_file_is_carried_out_unchanged_or_not_at_all() {
    let center = Center::new();
    center.run(&["plan", "--out", "plan.json"]).demand(0);
    let text = fs::read_to_string(center.path("plan.json")).unwrap();
    center.write("torn.json", &text[..text.len() / 2]);
    center.run(&["enforce", "--plan", "torn.json"]).demand(2);
    center.run(&["enforce", "--plan", "nowhere.json"]).demand(2);
    center.write("altered.json", &text.replace("\"records\": 4", "\"records\": 5"));
    center.run(&["enforce", "--plan", "altered.json"]).demand(3);
    assert_eq!(center.old_files().len(), 4);
    center.run(&["enforce", "--plan", "plan.json"]).demand(0);
    assert_eq!(center.old_files(), Vec::<&str>::new());
}

#[test]
fn a_hold_is_placed_listed_and_released_and_keeps_only_its_own_tenant() {
    let center = Center::new();
    let placed = center.ask(&["hold", "place", "--tenant", "t-1", "--authority", "court order 17"], 0);
    let names = ["hold_id", "tenant", "subjects", "categories", "authority", "placed_at", "released_at"];
    demand_keys(&placed, &names);
    let id = placed["hold_id"].as_str().unwrap();
    let plan = center.ask(&["plan"], 0);
    assert_eq!((&plan["totals"]["erase"], &plan["totals"]["held"]), (&3.into(), &1.into()));
    assert_eq!((&plan["kept"][0]["tenant"], &plan["kept"][0]["reason"]), (&"t-1".into(), &"hold".into()));
    center.run(&["enforce"]).demand(0);
    assert_eq!(center.old_files(), ["t-1"]);
    center.run(&["hold", "release", "hold-unknown"]).demand(2);
    center.run(&["hold", "release", id]).demand(0);
    let listed = center.ask(&["hold", "list"], 0);
    demand_keys(&listed["holds"][0], &names);
    assert!(listed["holds"][0]["released_at"].is_string());
    center.run(&["enforce"]).demand(0);
    assert_eq!(center.old_files(), Vec::<&str>::new());
}

#[test]
fn a_request_is_recorded_shown_listed_and_cancelled() {
    let center = Center::new();
    let create = ["request", "create", "--tenant", "t-1", "--category", "prompts"];
    let created =
        center.ask(&[&create[..], &["--received", "2026-01-31T12:00:00+08:00", "--key", "k-1"]].concat(), 0);
    let names = [
        "request_id",
        "tenant",
        "known",
        "state",
        "received_at",
        "deadline",
        "completed_at",
        "categories",
        "placements",
    ];
    demand_keys(&created, &names);
    assert_eq!((&created["state"], &created["known"]), (&"received".into(), &true.into()));
    assert_eq!(created["deadline"], "2026-03-02T04:00:00Z");
    let id = created["request_id"].as_str().unwrap();
    let again =
        center.ask(&[&create[..], &["--received", "2026-01-31T12:00:00+08:00", "--key", "k-1"]].concat(), 0);
    assert_eq!(again["request_id"], id);
    demand_keys(&center.ask(&["request", "show", id], 0), &names);
    assert_eq!(center.ask(&["request", "list"], 0)["requests"].as_array().unwrap().len(), 1);
    assert_eq!(center.ask(&["request", "cancel", id], 0)["state"], "cancelled");
    center.run(&["request", "cancel", id]).demand(2);
    center.run(&["request", "show", "req-unknown"]).demand(2);
}

#[test]
fn a_request_for_a_tenant_that_no_store_knows_is_accepted_with_a_warning() {
    let center = Center::new();
    let ran = center.run(&["request", "create", "--tenant", "t-2", "--everything", "--json"]);
    ran.demand(0);
    assert!(ran.err.contains("no store knows the tenant `t-2`"), "{ran:?}");
    let created: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(created["known"], false);
}

#[test]
fn a_termination_prints_its_calendar_and_says_when_it_is_already_due() {
    let center = Center::new();
    let ran = center.run(&["tenant", "terminate", "t-1", "--at", "2026-01-31T12:00:00+08:00"]);
    ran.demand(0);
    for part in [
        "prompts",
        "SLA §7.5",
        "2026-02-15 12:00 +08:00",
        "2026-03-02 12:00 +08:00",
        "Already due",
        "24 hours",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let shown = center.ask(&["tenant", "show", "t-1"], 0);
    assert_eq!((&shown["tenant"], &shown["state"]), (&"t-1".into(), &"terminated".into()));
    assert_eq!(shown["grace_until"], "2026-02-15T04:00:00Z");
    assert_eq!(shown["deadline"], "2026-03-02T04:00:00Z");
    center.run(&["tenant", "terminate", "t-1"]).demand(2);
    let neighbour = center.ask(&["tenant", "show", "t-10"], 0);
    assert_eq!((&neighbour["state"], &neighbour["grace_until"]), (&"active".into(), &Value::Null));
    center.run(&["tenant", "reinstate", "t-1"]).demand(0);
    center.run(&["tenant", "reinstate", "t-10"]).demand(2);
    assert_eq!(center.ask(&["tenant", "list"], 0)["tenants"][0]["state"], "active");
    let fresh = center.run(&["tenant", "terminate", "t-1"]);
    fresh.demand(0);
    assert!(!fresh.out.contains("Already due"), "{fresh:?}");
}

#[test]
fn an_entitlement_is_granted_listed_and_ended() {
    let center = Center::new();
    let granted = center.ask(&["entitlement", "grant", "extended-storage", "--tenant", "t-1"], 0);
    let names = ["entitlement_id", "name", "tenant", "categories", "granted_at", "until", "ended_at"];
    demand_keys(&granted, &names);
    assert_eq!(center.ask(&["plan"], 0)["totals"]["entitled"], 1);
    center.run(&["entitlement", "end", granted["entitlement_id"].as_str().unwrap()]).demand(0);
    demand_keys(&center.ask(&["entitlement", "list"], 0)["entitlements"][0], &names);
    assert_eq!(center.ask(&["plan"], 0)["totals"]["erase"], 4);
}

#[test]
fn after_stop_nothing_is_erased_until_go() {
    let center = Center::new();
    assert_eq!(center.ask(&["stop", "--reason", "storage is being moved"], 0)["stopped"], true);
    center.run(&["enforce"]).demand(3);
    assert_eq!(center.old_files().len(), 4);
    assert_eq!(center.ask(&["go"], 0)["was_stopped"], true);
    assert_eq!(center.ask(&["go"], 0)["was_stopped"], false);
    center.run(&["enforce"]).demand(0);
    assert_eq!(center.old_files(), Vec::<&str>::new());
}

#[test]
fn a_broken_policy_stops_planning_but_neither_a_hold_nor_the_stop() {
    let center = Center::new();
    center.write("policies/more.toml", "category = \"more\"\nperiode = \"6 months\"\n");
    let ran = center.run(&["plan"]);
    ran.demand(2);
    assert!(ran.err.contains("more.toml") && ran.err.contains("periode"), "{ran:?}");
    let problems = &center.ask(&["check"], 2)["problems"];
    demand_keys(&problems[0], &["severity", "file", "line", "field", "message", "help"]);
    assert!(center.ask(&["plan"], 2)["error"]["problems"].as_array().is_some_and(|list| !list.is_empty()));
    center.demand_nothing_recorded("a broken policy");
    center.run(&["stop"]).demand(0);
    center.run(&["hold", "place", "--tenant", "t-1", "--authority", "court order 1"]).demand(0);
    assert_eq!(center.ask(&["hold", "list"], 0)["holds"].as_array().unwrap().len(), 1);
}

#[test]
fn check_says_that_all_is_well() {
    let center = Center::new();
    let checked = center.ask(&["check", "--online"], 0);
    assert_eq!((&checked["ok"], &checked["problems"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(center.run(&["check"]).out.contains("no problem found"));
    center.demand_nothing_recorded("check");
}

#[test]
fn an_overdue_promise_is_exit_4_and_reported_all_the_same() {
    let center = Center::new();
    let status = center.ask(&["status"], 4);
    demand_keys(
        &status,
        &["due", "overdue", "at_risk", "held", "parked", "requests_open", "last_run", "audit_head", "ok"],
    );
    assert_eq!((&status["ok"], &status["overdue"]), (&false.into(), &4.into()));
    assert!(center.run(&["status"]).out.contains("A promise is overdue."));
    center.demand_nothing_recorded("status");
    center.run(&["enforce"]).demand(0);
    assert_eq!(center.ask(&["status"], 0)["ok"], true);
}

#[test]
fn explain_and_simulate_answer_to_the_letter() {
    let center = Center::new();
    let why = center.ask(&["explain", "prompt-files", "ivr/t-1/2020/01/31/old.wav"], 0);
    let names =
        ["placement", "key", "tenant", "event_time", "disposition", "reason", "clause", "due_at", "deadline"];
    demand_keys(&why, &names);
    assert_eq!(
        (&why["disposition"], &why["reason"], &why["tenant"]),
        (&"erase".into(), &"age".into(), &"t-1".into())
    );
    center.run(&["explain", "prompt-files", "ivr/t-1/nothing.wav"]).demand(2);
    center.run(&["explain", "promt-files", "ivr/t-1/2020/01/31/old.wav"]).demand(2);
    let calendar = center
        .ask(&["simulate", "--from", "2020-07-01T00:00:00+08:00", "--to", "2020-08-31T00:00:00+08:00"], 0);
    let day = &calendar["days"][0];
    demand_keys(day, &["date", "placement", "reason", "records"]);
    assert_eq!(day["records"], 4);
    center.demand_nothing_recorded("explain and simulate");
}

/// The file below a folder that holds these bytes.
fn file_with(folder: &Path, bytes: &[u8]) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return file_with(&path, bytes);
        }
        fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes).then_some(path)
    })
}

#[test]
fn a_tampered_audit_log_is_exit_5_and_a_lost_ledger_is_refused() {
    let center = Center::new();
    center.run(&["hold", "place", "--tenant", "t-1", "--authority", "court order 17"]).demand(0);
    let tile = file_with(&center.path("audit/tile/entries"), b"\"t-1\"").unwrap();
    let honest = fs::read(&tile).unwrap();
    let at = honest.windows(5).position(|bytes| bytes == b"\"t-1\"").unwrap();
    let mut forged = honest.clone();
    forged[at + 3] = b'2';
    fs::write(&tile, &forged).unwrap();
    assert_eq!(center.ask(&["audit", "verify"], 5)["sound"], false);
    assert!(center.run(&["audit", "verify"]).out.contains("damaged"));
    fs::write(&tile, &honest).unwrap();
    assert_eq!(center.ask(&["audit", "verify"], 0)["sound"], true);
    for name in ["retentiond.db", "retentiond.db-wal", "retentiond.db-shm"] {
        let path = center.path(name);
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
    for arguments in [
        &["enforce"][..],
        &["plan"],
        &["hold", "list"],
        &["hold", "place", "--tenant", "t-2", "--authority", "x"],
        &["request", "create", "--tenant", "t-1", "--everything"],
    ] {
        center.run(arguments).demand(3);
    }
    assert!(!center.path("retentiond.db").exists(), "a new ledger would have forgotten the hold");
    assert_eq!(center.old_files().len(), 4);
}

#[test]
fn the_log_is_shown_and_exported() {
    let center = Center::new();
    center.run(&["hold", "place", "--tenant", "t-1", "--authority", "court order 17"]).demand(0);
    let entries = center.ask(&["audit", "show"], 0);
    assert!(entries["entries"].as_array().is_some_and(|list| !list.is_empty()));
    assert!(center.run(&["audit", "show"]).out.contains("t-1"));
    center.run(&["audit", "export", "copy"]).demand(0);
    assert!(center.path("copy/checkpoint").exists() && !center.path("copy/log.key").exists());
    center.run(&["audit", "export", "copy"]).demand(2);
}

#[test]
fn a_certificate_is_made_of_a_run_and_refused_for_what_is_not_there() {
    let center = Center::new();
    let run = center.ask(&["enforce"], 0);
    let id = run["run_id"].as_str().unwrap();
    let ran = center.run(&["certificate", id, "--html", "certificate.html"]);
    ran.demand(0);
    assert!(ran.out.contains("prompt-files") && ran.out.contains("erased and looked for again"), "{ran:?}");
    let made = center.ask(&["certificate", id], 0);
    let counts = &made["placements"][0]["counts"];
    assert_eq!(
        (&counts["erased"], &counts["verified_absent"], &made["state"]),
        (&4.into(), &4.into(), &"done".into())
    );
    assert!(fs::read_to_string(center.path("certificate.html")).unwrap().contains("prompt-files"));
    center.run(&["certificate", "run-unknown"]).demand(2);
    center.run(&["certificate", "req-unknown"]).demand(2);
}

#[test]
fn the_value_of_a_subject_is_in_no_output() {
    let center = Center::new();
    let canary = "+6591230001";
    let subject = format!("phone={canary}");
    for arguments in [
        &["hold", "place", "--tenant", "t-1", "--authority", "x", "--subject", &subject][..],
        &["request", "create", "--tenant", "t-1", "--subject", &subject],
        &["request", "create", "--tenant", "t-1", "--subject", &subject, "--subject", &subject],
        &["request", "create", "--tenant", "t-1", "--subject", "phone=1", &subject],
        &["request", "create", "--tenant", "t-1", "--subjet", &subject],
    ] {
        for arguments in [arguments.to_vec(), [arguments, &["--json"]].concat()] {
            let ran = center.run(&arguments);
            ran.demand(2);
            assert!(!ran.out.contains(canary) && !ran.err.contains(canary), "{ran:?}");
        }
    }
}

#[test]
fn schemas_completions_and_manual_pages_need_no_configuration() {
    let empty = TempDir::new().unwrap();
    let center = Center { dir: empty };
    for which in ["policy", "config"] {
        let schema: Value = serde_json::from_str(&center.run(&["schema", which]).out).unwrap();
        assert!(schema["$schema"].is_string() && schema["properties"].is_object());
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(center.run(&["completions", shell]).out.contains("retentiond"), "{shell}");
    }
    assert!(center.run(&["man"]).out.contains(".TH retentiond"));
    assert!(center.run(&["man", "hold", "place"]).out.contains("authority"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let center = Center::new();
    for arguments in [&["completions", "bash"][..], &["man"], &["plan"], &["plan", "--json"], &["--help"]] {
        let mut child =
            center.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {err}");
        assert_eq!(err, "", "{arguments:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_exit_1() {
    let center = Center::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = center.command(&["plan"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to write the answer"));
}

#[test]
fn audit_entries_go_out_as_json_lines_when_asked_for() {
    let center = Center::new();
    let arguments = ["hold", "place", "--tenant", "t-1", "--authority", "court order 17"];
    let output = center.command(&arguments).env("RETENTIOND_LOG", "retentiond::audit=info").output().unwrap();
    let ran = Ran::new(&arguments, &output);
    ran.demand(0);
    let lines: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty(), "{ran:?}");
    let output = center.command(&["plan"]).env("RETENTIOND_LOG", "a=b=c").output().unwrap();
    Ran::new(&["plan"], &output).demand(2);
}

#[test]
fn a_request_names_its_subject_by_fingerprint_everywhere_and_erases_only_that() {
    let center = Center::with_calls();
    let subject = format!("phone={CANARY}");
    let create = ["request", "create", "--tenant", "t-1", "--subject", &subject];
    let created = center.ask(&create, 0);
    assert_eq!(created["categories"], serde_json::json!(["call-data"]));
    assert_eq!(created["placements"][0]["placement"], "call-records");
    let id = created["request_id"].as_str().unwrap();
    let plan = center.ask(&["plan", "--out", "plan.json"], 0);
    let step = plan["steps"].as_array().unwrap().iter().find(|step| step["request_id"] == id).unwrap();
    assert_eq!((&step["records"], &step["reason"]), (&1.into(), &"request".into()));
    demand_keys(&step["subject"], &["kind", "fingerprint"]);
    let mut seen = vec![fs::read_to_string(center.path("plan.json")).unwrap()];
    for arguments in [
        &["plan"][..],
        &["request", "list"],
        &["request", "show", id],
        &["hold", "place", "--tenant", "t-10", "--subject", &subject, "--authority", "court order 2"],
        &["hold", "list", "--json"],
        &["enforce"],
        &["request", "show", id, "--json"],
        &["status"],
        &["audit", "show", "--json"],
    ] {
        let ran = center.run(arguments);
        assert!(!matches!(ran.exit, Some(2) | None), "{ran:?}");
        seen.extend([ran.out, ran.err]);
    }
    for text in &seen {
        assert!(!text.contains("91230001"), "{text}");
    }
    let shown = center.ask(&["request", "show", id], 0);
    assert_eq!((&shown["state"], &shown["placements"][0]["erased"]), (&"completed".into(), &1.into()));
    assert_eq!(center.ask(&["explain", "call-records", "2"], 0)["tenant"], "t-1");
    center.run(&["explain", "call-records", "1"]).demand(2);
    center.run(&["explain", "call-records", "3"]).demand(0);
}

#[test]
fn a_hold_on_a_kind_that_no_policy_knows_is_refused() {
    let center = Center::with_calls();
    let ran = center.run(&[
        "hold",
        "place",
        "--tenant",
        "t-1",
        "--authority",
        "x",
        "--subject",
        "phnoe=+6591230001",
    ]);
    ran.demand(2);
    assert!(ran.err.contains("did you mean `phone`?") && !ran.err.contains("91230001"), "{ran:?}");
    center.demand_nothing_recorded("a hold on an unknown kind");
}
