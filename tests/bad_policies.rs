//! Policies and configurations that must be refused, each with its field, its line and the reason; and the few that
//! look odd and are right. It owns no judgement about stores that are asked.
#![cfg(test)]

mod across;
mod configuration;
mod encoding;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use retentiond::config::read::{Loaded, load_with, render_faults};
use retentiond::config::{Config, StoreConfig};
use retentiond::id::{Category, PlacementId, StoreId, TenantId};
use retentiond::policy::tree::{Fault, Severity};
use retentiond::policy::{
    EventTime, Method, Period, Policies, Policy, Records, Role, SubjectFormat, TenantSource, Trigger,
};

const CONFIG: &str = r#"[ledger]
url = "sqlite://retentiond.db"
[policies]
path = "policies"
[limits]
records = 100000
share = "20%"
[stores.calls]
kind = "sqlite"
url = "sqlite://calls.db"
[stores.recordings]
kind = "files"
path = "recordings"
[stores.cache]
kind = "redis"
url = "redis://cache"
[stores.logs]
kind = "elasticsearch"
url = "https://search:9200"
[stores.objects]
kind = "s3"
bucket = "objects"
"#;

const POLICY: &str = r#"category = "call-data"
title = "Calls"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"
entitlement = "extended-storage"
[[rules]]
trigger = "request"
deadline = "30 days"
method = "zero"
clause = "SLA §1.8"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
[[placements]]
name = "call-records"
store = "calls"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at" }
subjects = { phone = ["caller", "callee"] }
[[placements]]
name = "audio"
store = "recordings"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
[[placements]]
name = "ivr-audio"
store = "recordings"
prefix = "ivr/{tenant}/"
event_time = { key = "ivr/{tenant}/%Y/%m/%d/" }
[[placements]]
name = "call-backup"
store = "recordings"
role = "backup"
rotation = "14 days"
"#;

const LOGS: &str = r#"category = "logs"
method = "delete"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "Privacy §6"
[[placements]]
name = "trajectory"
store = "logs"
index = "cc-logs-*"
tenant = { field = "tenant_id" }
event_time = { field = "@timestamp" }
subjects = { phone = ["call.caller"] }
[[placements]]
name = "online"
store = "cache"
keys = "agent:{tenant}:{staff_id}"
subjects = { agent = { columns = ["staff_id"], format = "digits" } }
role = "cache"
"#;

/// A folder with a configuration and policies.
struct World {
    folder: tempfile::TempDir,
    env: BTreeMap<&'static str, &'static str>,
}

impl World {
    fn new(config: &str, policies: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("retentiond.toml"), config).unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        let world = Self { folder, env: BTreeMap::new() };
        for (name, text) in policies {
            world.write(name, text.as_bytes());
        }
        world
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join("policies").join(name), bytes).unwrap();
    }

    fn load(&self) -> Loaded {
        let lookup = |name: &str| self.env.get(name).map(|value| (*value).to_owned());
        load_with(&self.folder.path().join("retentiond.toml"), &lookup)
    }
}

fn errors(faults: &[Fault]) -> Vec<&Fault> {
    faults.iter().filter(|fault| fault.severity == Severity::Error).collect()
}

/// Line of the first occurrence of a text.
fn line_of(text: &str, needle: &str) -> usize {
    let at = text.find(needle).unwrap_or_else(|| panic!("`{needle}` is not in the text"));
    1 + text[..at].matches('\n').count()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in the text");
    text.replacen(from, to, 1)
}

/// Asserts that nothing is in force and that one error says `message` about `field` on the last line of `needle`.
fn assert_refused(loaded: &Loaded, text: &str, field: &str, message: &str, needle: &str) {
    assert!(loaded.policies.is_none(), "something is in force: {needle}");
    let line = line_of(text, needle) + needle.trim_end().matches('\n').count();
    let found = loaded.faults.iter().any(|fault| {
        fault.severity == Severity::Error
            && fault.field == field
            && fault.message.contains(message)
            && fault.line == line
            && fault.help.as_ref().is_some_and(|help| !help.is_empty())
    });
    assert!(
        found,
        "no fault about `{field}` on line {line} saying `{message}` for `{needle}`; there is {:#?}",
        loaded.faults
    );
    assert!(render_faults(loaded, false).contains(message), "the picture leaves out `{message}`");
}

/// Cases that change the policy of calls: what is replaced, by what, the field, the message.
fn refuse_policies(cases: &[(&str, &str, &str, &str)]) {
    for (from, to, field, message) in cases {
        let text = replaced(POLICY, from, to);
        let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
        assert_refused(&loaded, &text, field, message, to);
    }
}

/// As [`refuse_policies`], for the policy of logs.
fn refuse_logs(cases: &[(&str, &str, &str, &str)]) {
    for (from, to, field, message) in cases {
        let text = replaced(LOGS, from, to);
        let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &text)]).load();
        assert_refused(&loaded, &text, field, message, to);
    }
}

/// As [`refuse_policies`], for the configuration.
fn refuse_configs(cases: &[(&str, &str, &str, &str)]) {
    for (from, to, field, message) in cases {
        let text = replaced(CONFIG, from, to);
        let loaded = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]).load();
        assert_refused(&loaded, &text, field, message, to);
    }
}

fn good() -> (Config, Policies) {
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", LOGS)]).load();
    assert_eq!(loaded.faults, [], "{}", render_faults(&loaded, false));
    (loaded.config.unwrap(), loaded.policies.unwrap())
}

#[test]
fn a_good_policy_is_read_with_its_defaults() {
    let (_, policies) = good();
    let calls = policies.of(&Category::new("call-data")).unwrap();
    assert_eq!((calls.title.as_str(), calls.time_zone), ("Calls", chrono_tz::Asia::Singapore));
    assert_eq!(calls.digest.len(), 64);
    let age = calls.rule(Trigger::Age).unwrap();
    assert_eq!(age.period, Some(Period { months: 6, days: 0 }));
    assert_eq!((age.deadline, age.method), (Period { months: 0, days: 2 }, Method::Delete));
    assert_eq!(age.entitlement.as_deref(), Some("extended-storage"));
    let termination = calls.rule(Trigger::Termination).unwrap();
    assert_eq!(termination.grace, Some(Period { months: 0, days: 15 }));
    assert_eq!(calls.rule(Trigger::Request).unwrap().method, Method::Zero);

    let (_, rows) = policies.placement(&PlacementId::new("call-records")).unwrap();
    assert_eq!(rows.records, Some(Records::Table { table: "call_record".into(), key: vec!["id".into()] }));
    assert_eq!((rows.role, &rows.tenant), (Role::Primary, &TenantSource::Column("tenant_id".into())));
    assert_eq!(rows.plausible_from.to_string(), "2000-01-01");
    let format = "%Y-%m-%d %H:%M:%S".to_owned();
    let time_zone = chrono_tz::Asia::Singapore;
    assert_eq!(rows.event_time, Some(EventTime::Text { column: "started_at".into(), format, time_zone }));
    assert_eq!(rows.subjects["phone"].columns, ["caller", "callee"]);

    let (_, audio) = policies.placement(&PlacementId::new("audio")).unwrap();
    assert_eq!(audio.tenant, TenantSource::Template);
    assert!(matches!(&audio.records, Some(Records::FoundBy { prefix, .. }) if prefix == "rec/{tenant}/"));
    let (_, backup) = policies.placement(&PlacementId::new("call-backup")).unwrap();
    assert_eq!((backup.role, &backup.records), (Role::Backup, &None));
    assert_eq!(backup.rotation, Some(Period { months: 0, days: 14 }));
    let (_, online) = policies.placement(&PlacementId::new("online")).unwrap();
    assert_eq!(online.subjects["agent"].format, SubjectFormat::Digits);
}

#[test]
fn a_good_configuration_is_read_with_its_defaults() {
    let world = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", LOGS)]);
    let config = world.load().config.unwrap();
    let at = |name: &str| world.folder.path().join(name);
    assert_eq!(config.ledger.place.file(), Some(at("retentiond.db").as_path()));
    assert_eq!(config.ledger.key_file, at("ledger.key"));
    assert_eq!((config.policies, config.audit), (at("policies"), at("audit")));
    assert_eq!((config.limits.records, config.limits.share_percent), (100_000, 20));
    assert_eq!(
        (config.schedule.cron.as_str(), config.http.listen.as_str()),
        ("30 2 * * *", "127.0.0.1:8787")
    );
    assert_eq!(config.schedule.request_delay, Duration::from_secs(3_600));
    assert_eq!(config.schedule.time_zone, chrono_tz::Asia::Singapore);
    let calls = &config.stores[&StoreId::new("calls")];
    assert!(matches!(calls, StoreConfig::Sqlite { path } if *path == at("calls.db")));
    let recordings = &config.stores[&StoreId::new("recordings")];
    assert!(matches!(recordings, StoreConfig::Files { path } if *path == at("recordings")));
}

#[test]
fn the_shipped_policies_fit_the_example_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("docs/retentiond.example.toml")).unwrap();
    let mut world = World::new(&example, &[]);
    for name in [
        "CC_MYSQL_USER",
        "CC_MYSQL_PASSWORD",
        "CC_REDIS_PASSWORD",
        "CC_S3_ACCESS_KEY",
        "CC_S3_SECRET_KEY",
        "CC_ES_USER",
        "CC_ES_PASSWORD",
    ] {
        world.env.insert(name, "from-the-environment");
    }
    for entry in std::fs::read_dir(root.join("policies")).unwrap() {
        let path = entry.unwrap().path();
        world.write(path.file_name().unwrap().to_str().unwrap(), &std::fs::read(&path).unwrap());
    }
    let loaded = world.load();
    assert_eq!(loaded.faults, [], "{}", render_faults(&loaded, false));
    let policies = loaded.policies.unwrap();
    let rules: Vec<String> = policies.iter().flat_map(rules_of).collect();
    insta::assert_snapshot!(rules.join("\n"), @r"
    agent-info Request - - 0m30d Delete DPSM §5
    agent-info Termination - 0m15d 0m30d Delete SLA §7.5; DPSM §5
    call-analytics Age 6m0d - 0m2d Delete DPSM §5
    call-analytics Request - - 0m30d Zero DPSM §5
    call-analytics Termination - 0m15d 0m30d Zero SLA §7.5
    call-data Age 6m0d - 0m2d Delete DPSM §5
    call-data Request - - 0m30d Zero DPSM §5; SLA §1.8
    call-data Termination - 0m15d 0m30d Zero SLA §7.5
    configuration Request - - 0m30d Zero DPSM §5; SLA §1.8
    configuration Termination - 0m15d 0m30d Zero SLA §7.5; DPSM §5
    logs Request - - 0m30d Delete Privacy §6
    logs Termination - 0m15d 0m30d Delete SLA §7.5; Privacy §6
    ");
    for category in ["call-data", "call-analytics"] {
        let policy = policies.of(&Category::new(category)).unwrap();
        let age = policy.rule(Trigger::Age).unwrap();
        assert_eq!(age.entitlement.as_deref(), Some("extended-storage"));
        assert!(policy.placements.iter().any(|p| matches!(p.records, Some(Records::FoundBy { .. }))));
    }
}

/// The rules of a policy, a line each, as the promises have them in their table.
fn rules_of(policy: &Policy) -> Vec<String> {
    let days =
        |span: Option<Period>| span.map_or("-".to_owned(), |span| format!("{}m{}d", span.months, span.days));
    policy
        .rules
        .iter()
        .map(|rule| {
            let (period, grace, deadline) = (days(rule.period), days(rule.grace), days(Some(rule.deadline)));
            let (category, trigger, method) = (&policy.category, rule.trigger, rule.method);
            format!("{category} {trigger:?} {period} {grace} {deadline} {method:?} {}", rule.clause)
        })
        .collect()
}

#[test]
fn an_empty_policy_erases_nothing_and_is_an_error() {
    for text in ["", "  \n\n", "# only a comment\n", "{}", "[]", "null", "\u{feff}"] {
        let loaded = World::new(CONFIG, &[("calls.toml", text), ("logs.toml", LOGS)]).load();
        assert!(loaded.policies.is_none(), "{text:?}");
        assert!(!errors(&loaded.faults).is_empty(), "{text:?}");
        assert!(loaded.faults.iter().all(|fault| fault.file.ends_with("policies/calls.toml")), "{text:?}");
    }
    let loaded = World::new(CONFIG, &[("calls.toml", "# nothing\n")]).load();
    assert!(render_faults(&loaded, false).contains("an empty policy erases nothing and is an error"));
    let loaded = World::new(CONFIG, &[]).load();
    assert!(loaded.policies.is_none());
    assert!(loaded.faults[0].message.contains("there is no policy"));
}

#[test]
fn unknown_and_misplaced_keys_are_refused_with_a_hint() {
    refuse_policies(&[
        ("title = \"Calls\"", "tittle = \"Calls\"", "tittle", "unknown key `tittle`"),
        (
            "period = \"6 months\"",
            "retain_day = \"6 months\"",
            "rules[0].retain_day",
            "unknown key `retain_day`",
        ),
        ("title = \"Calls\"", "period = \"6 months\"", "period", "`period` has no meaning in the top level"),
        (
            "key = [\"id\"]",
            "clause = \"x\"",
            "placements[0].clause",
            "`clause` has no meaning in [[placements]]",
        ),
        ("key = [\"id\"]", "where = \"1=1\"", "placements[0].where", "unknown key `where`"),
        ("key = [\"id\"]", "query = {}", "placements[0].query", "unknown key `query`"),
        ("tenant = { column", "tenant = { columm", "placements[0].tenant.columm", "unknown key `columm`"),
    ]);
    let text = replaced(POLICY, "title = \"Calls\"", "period = \"6 months\"\ntittle = \"x\"");
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    let help: Vec<_> = loaded.faults.iter().filter_map(|fault| fault.help.as_deref()).collect();
    assert!(help.contains(&"`period` belongs in [[rules]]"), "{help:?}");
    assert!(help.contains(&"did you mean `title`?"), "{help:?}");
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let text = replaced(POLICY, "period = \"6 months\"", "period = \"6 months\"\nperiod = \"6 years\"");
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    assert_refused(&loaded, &text, "", "duplicate key", "period = \"6 years\"");
}

#[test]
fn a_span_is_never_guessed() {
    for span in [
        "\"\"",
        "\" \"",
        "0",
        "30",
        "true",
        "12:30:00",
        "2025-01-01",
        "[\"6 months\"]",
        "\"0 days\"",
        "\"-1 days\"",
        "\"0.5 days\"",
        "\"1e9 days\"",
        "\"9223372036854775807 days\"",
        "\"30\"",
        "\"30m\"",
        "\"P6M\"",
        "\"P1M\"",
        "\"PT1M\"",
        "\"-1d\"",
        "\"10001 days\"",
    ] {
        refuse_policies(&[("period = \"6 months\"", &format!("period = {span}"), "rules[0].period", "")]);
        refuse_policies(&[("grace = \"15 days\"", &format!("grace = {span}"), "rules[2].grace", "")]);
        refuse_policies(&[(
            "rotation = \"14 days\"",
            &format!("rotation = {span}"),
            "placements[3].rotation",
            "",
        )]);
    }
    for text in ["012", "~", "no", "6 months"] {
        let policy = replaced(POLICY, "period = \"6 months\"", &format!("period = {text}"));
        let loaded = World::new(CONFIG, &[("calls.toml", &policy)]).load();
        assert!(loaded.policies.is_none(), "{text}");
        let line = line_of(&policy, &format!("period = {text}"));
        assert!(loaded.faults.iter().any(|fault| fault.line == line), "{text}: {:#?}", loaded.faults);
    }
}

#[test]
fn what_a_rule_needs_is_never_left_out() {
    for (from, field, needle) in [
        ("period = \"6 months\"\n", "rules[0].period", "[[rules]]"),
        ("grace = \"15 days\"\n", "rules[2].grace", "method = \"zero\"\nclause = \"SLA §1.8\"\n[[rules]]"),
        (
            "deadline = \"30 days\"\nmethod",
            "rules[1].deadline",
            "entitlement = \"extended-storage\"\n[[rules]]",
        ),
        ("clause = \"DPSM §5\"\n", "rules[0].clause", "[[rules]]"),
        ("trigger = \"age\"\n", "rules[0].trigger", "[[rules]]"),
        ("name = \"call-records\"\n", "placements[0].name", "[[placements]]"),
        ("store = \"calls\"\n", "placements[0].store", "[[placements]]"),
        ("tenant = { column = \"tenant_id\" }\n", "placements[0].tenant", "[[placements]]"),
        ("subjects = { phone = [\"caller\", \"callee\"] }\n", "placements[0].subjects", "[[placements]]"),
        ("category = \"call-data\"\n", "category", "title"),
    ] {
        let text = replaced(POLICY, from, if from.ends_with("method") { "method" } else { "" });
        let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
        assert_refused(&loaded, &text, field, "is missing", needle);
    }
    let text = replaced(POLICY, "method = \"delete\"\n", "");
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    assert_refused(&loaded, &text, "method", "`method` is missing", "category");
    let no_rules = "category = \"x\"\nmethod = \"delete\"\nrules = []\nplacements = []\n";
    let loaded = World::new(CONFIG, &[("x.toml", no_rules)]).load();
    assert_refused(&loaded, no_rules, "rules", "`rules` is empty", "rules");
    assert_refused(&loaded, no_rules, "placements", "`placements` is empty", "placements");
}

#[test]
fn the_keys_of_a_rule_fit_its_trigger() {
    refuse_policies(&[
        (
            "trigger = \"age\"",
            "trigger = \"age\"\ngrace = \"1 day\"",
            "rules[0].grace",
            "`grace` has no meaning",
        ),
        (
            "trigger = \"request\"",
            "trigger = \"request\"\nperiod = \"1 day\"",
            "rules[1].period",
            "no meaning",
        ),
        (
            "trigger = \"request\"",
            "trigger = \"request\"\nentitlement = \"x\"",
            "rules[1].entitlement",
            "no meaning",
        ),
        (
            "\"termination\"\ngrace = \"15 days\"",
            "\"age\"\ngrace = \"15 days\"",
            "rules[2].grace",
            "`grace` has no meaning",
        ),
        ("trigger = \"age\"", "trigger = \"Age\"", "rules[0].trigger", "`Age` is not known here"),
        ("method = \"zero\"", "method = \"wipe\"", "rules[1].method", "`wipe` is not known here"),
        (
            "method = \"zero\"",
            "method = \"zero\"\nlevel = \"deleted\"",
            "rules[1].level",
            "less than the method",
        ),
        ("method = \"zero\"", "method = \"zero\"\nlevel = \"shredded\"", "rules[1].level", "not known here"),
        ("clause = \"DPSM §5\"", "clause = \"  \"", "rules[0].clause", "the text is empty"),
    ]);
}

#[test]
fn a_second_rule_for_a_trigger_is_refused() {
    let text = replaced(
        POLICY,
        "[[placements]]",
        "[[rules]]\ntrigger = \"request\" # again\ndeadline = \"9 days\"\nclause = \"x\"\n[[placements]]",
    );
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    assert_refused(&loaded, &text, "rules[3].trigger", "a second rule", "trigger = \"request\" # again");
}

#[test]
fn a_clock_that_leaves_no_time_is_refused() {
    refuse_policies(&[
        ("grace = \"15 days\"", "grace = \"31 days\"", "rules[2].grace", "no time is left"),
        ("grace = \"15 days\"", "grace = \"30 days\"", "rules[2].grace", "no time is left"),
        ("grace = \"15 days\"", "grace = \"1 month\"", "rules[2].grace", "no time is left"),
        ("rotation = \"14 days\"", "rotation = \"15 days\"", "placements[3].rotation", "leaves no time"),
        ("rotation = \"14 days\"", "rotation = \"1 month\"", "placements[3].rotation", "leaves no time"),
    ]);
    let text = replaced(POLICY, "grace = \"15 days\"", "grace = \"16 days\"");
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert_refused(&loaded, &text, "placements[3].rotation", "has 14 days", "rotation");
    let text = replaced(POLICY, "rotation = \"14 days\"", "rotation = \"2 weeks\"");
    assert!(World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load().policies.is_some());
}

#[test]
fn a_prefix_never_means_the_whole_store() {
    for prefix in [
        "",
        "/",
        "*",
        "**/*",
        "ivr",
        "ivr/{tenant}",
        "/ivr/{tenant}/",
        "ivr/",
        "ivr/../{tenant}/",
        "ivr//{tenant}/",
        "ivr/*/{tenant}/",
        "{tenant}/{tenant}/",
        "${ROOT}/{tenant}/",
    ] {
        refuse_policies(&[
            ("prefix = \"ivr/{tenant}/\"", &format!("prefix = \"{prefix}\""), "placements[2].prefix", ""),
            (
                "prefix = \"rec/{tenant}/\" }",
                &format!("prefix = \"{prefix}\" }}"),
                "placements[1].found_by.prefix",
                "",
            ),
        ]);
    }
    let constant =
        replaced(POLICY, "prefix = \"ivr/{tenant}/\"", "prefix = \"ivr/\"\ntenant = { constant = \"acme\" }");
    let constant = replaced(&constant, "{ key = \"ivr/{tenant}/%Y", "{ key = \"ivr/%Y");
    let loaded = World::new(CONFIG, &[("calls.toml", &constant), ("logs.toml", LOGS)]).load();
    assert_eq!(loaded.faults, []);
    let policies = loaded.policies.unwrap();
    let (_, ivr) = policies.placement(&PlacementId::new("ivr-audio")).unwrap();
    assert_eq!(ivr.tenant, TenantSource::Constant(TenantId::parse("acme").unwrap()));
}

#[test]
fn identifiers_hold_no_sql() {
    let long = "t".repeat(65);
    for name in [
        "users; DROP TABLE x",
        "a`b",
        "db.tbl.col.x",
        "a b",
        "a\\u0000b",
        "a'b",
        "a\\\"b",
        "a\\nb",
        &long,
        "",
    ] {
        refuse_policies(&[
            ("table = \"call_record\"", &format!("table = \"{name}\""), "placements[0].table", ""),
            (
                "column = \"started_at\"",
                &format!("column = \"{name}\""),
                "placements[0].event_time.column",
                "",
            ),
            (
                "{ column = \"tenant_id\"",
                &format!("{{ column = \"{name}\""),
                "placements[0].tenant.column",
                "",
            ),
            (
                "column = \"recording_key\"",
                &format!("column = \"{name}\""),
                "placements[1].found_by.column",
                "",
            ),
            ("key = [\"id\"]", &format!("key = [\"{name}\"]"), "placements[0].key[0]", ""),
            ("[\"caller\", ", &format!("[\"{name}\", "), "placements[0].subjects.phone[0]", ""),
        ]);
    }
    for name in ["start", "end", "order", "2fa", &"t".repeat(64)] {
        let text = replaced(POLICY, "\"started_at\"", &format!("\"{name}\""));
        let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
        assert!(loaded.policies.is_some(), "{name}");
    }
}

#[test]
fn a_constant_tenant_is_one_tenant() {
    for tenant in [
        "",
        " ",
        "\\t",
        "\\u00a0",
        "\\u200b",
        "\\u3000",
        "*",
        "acme*",
        "ac?e",
        "acm[e]",
        "{a,b}",
        "tenant-1/../tenant-2",
        "cafe\\u0301",
        "acme ",
        "acme\\u0000x",
        "%",
        "acme%",
        "' OR '1'='1",
        "x'; DROP TABLE t;--",
        "`",
        "a\\\"b",
        "a\\nb",
        "..",
        ".",
        "a/b",
        "a\\\\b",
        "C:",
        "con",
        "~",
        "a\\u202eb",
        "${TENANT}",
    ] {
        let to = format!("tenant = {{ constant = \"{tenant}\" }}");
        refuse_policies(&[("tenant = { column = \"tenant_id\" }", &to, "placements[0].tenant.constant", "")]);
    }
    for tenant in ["1", "true", "1e3", "0x10", "[\"a\", \"b\"]", "[]"] {
        let to = format!("tenant = {{ constant = {tenant} }}");
        refuse_policies(&[(
            "tenant = { column = \"tenant_id\" }",
            &to,
            "placements[0].tenant.constant",
            "expected a text",
        )]);
    }
    for tenant in ["t-1", "t-10", "T-1", "t-1x", "null", "NaN", "0", "-1", "acme_1", "straße"] {
        let to = format!("tenant = {{ constant = \"{tenant}\" }}");
        let text = replaced(POLICY, "tenant = { column = \"tenant_id\" }", &to);
        let policies =
            World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load().policies.unwrap();
        let (_, rows) = policies.placement(&PlacementId::new("call-records")).unwrap();
        assert_eq!(rows.tenant, TenantSource::Constant(TenantId::parse(tenant).unwrap()));
    }
    let to = "tenant = { constant = \"\u{430}cme\" }";
    let text = replaced(POLICY, "tenant = { column = \"tenant_id\" }", to);
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert!(loaded.policies.is_some());
    assert_eq!((loaded.faults[0].severity, loaded.faults[0].line), (Severity::Warning, line_of(&text, to)));
}

#[test]
fn a_tenant_is_named_in_one_way_that_fits_the_records() {
    refuse_policies(&[
        (
            "tenant = { column = \"tenant_id\" }",
            "tenant = { field = \"x\" }",
            "placements[0].tenant.field",
            "does not fit",
        ),
        ("tenant = { column = \"tenant_id\" }", "tenant = {}", "placements[0].tenant", "exactly one"),
        (
            "tenant = { column = \"tenant_id\" }",
            "tenant = \"all\"",
            "placements[0].tenant",
            "expected a table",
        ),
        (
            "tenant = { column = \"tenant_id\" }",
            "tenant = { column = \"a\", constant = \"b\" }",
            "placements[0].tenant",
            "exactly one",
        ),
    ]);
}

#[test]
fn index_patterns_and_key_templates_never_mean_all() {
    for index in ["*", "_all", "-a", "a,b", "", "logs*", "*-logs", ".kibana"] {
        refuse_logs(&[("index = \"cc-logs-*\"", &format!("index = \"{index}\""), "placements[0].index", "")]);
    }
    for keys in
        ["*", "tenant:*", "agent:{staff_id}", "agent:[{tenant}:{id}", "{tenant}", "agent:{tenant}{id}", ""]
    {
        refuse_logs(&[(
            "keys = \"agent:{tenant}:{staff_id}\"",
            &format!("keys = \"{keys}\""),
            "placements[1].keys",
            "",
        )]);
    }
}

#[test]
fn what_a_placement_is_made_of_is_said_once() {
    refuse_policies(&[
        ("key = [\"id\"]", "prefix = \"a/{tenant}/\"", "placements[0].prefix", "stands beside `table`"),
        (
            "prefix = \"ivr/{tenant}/\"",
            "prefix = \"ivr/{tenant}/\"\nkey = [\"x\"]",
            "placements[2].key",
            "no meaning without `table`",
        ),
        ("\"backup\"\nrotation", "\"cache\"\nrotation", "placements[3].rotation", "only a backup"),
        ("key = [\"id\"]", "key = []", "placements[0].key", "the list is empty"),
        ("key = [\"id\"]", "key = [\"id\", \"id\"]", "placements[0].key", "stands in the list twice"),
        ("key = [\"id\"]", "key = \"id\"", "placements[0].key", "expected a list"),
        ("[\"caller\", \"callee\"]", "[]", "placements[0].subjects.phone", "the list is empty"),
        (
            "subjects = { phone = [\"caller\", \"callee\"] }",
            "subjects = {}",
            "placements[0].subjects",
            "is empty",
        ),
        (
            "subjects = { phone = [\"caller\", \"callee\"] }",
            "subjects = \"nobody\"",
            "placements[0].subjects",
            "not known here",
        ),
    ]);
}
