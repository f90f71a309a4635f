//! What does not fit across files and stores.

use super::*;
use retentiond::policy::{EpochUnit, Level};

#[test]
fn faults_of_all_files_are_told_at_once() {
    let config = replaced(CONFIG, "share = \"20%\"", "share = \"0%\"");
    let calls = replaced(POLICY, "period = \"6 months\"", "period = \"30\"");
    let calls = replaced(&calls, "title = \"Calls\"", "tittle = \"Calls\"");
    let calls = replaced(&calls, "store = \"calls\"", "store = \"call\"");
    let logs = replaced(LOGS, "index = \"cc-logs-*\"", "index = \"*\"");
    let loaded = World::new(&config, &[("calls.toml", &calls), ("logs.toml", &logs)]).load();
    assert_refused(&loaded, &config, "limits.share", "`0%` is not a share", "share");
    assert_refused(&loaded, &calls, "rules[0].period", "`30` is not a span", "period");
    assert_refused(&loaded, &calls, "tittle", "unknown key `tittle`", "tittle");
    assert_refused(&loaded, &logs, "placements[0].index", "means all indices", "index = \"*\"");
    let files: Vec<_> =
        loaded.faults.iter().map(|fault| fault.file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["retentiond.toml", "calls.toml", "calls.toml", "logs.toml"]);
}

#[test]
fn stores_are_judged_even_where_the_limits_are_wrong() {
    let config = replaced(CONFIG, "share = \"20%\"\n", "");
    let calls = replaced(POLICY, "store = \"calls\"", "store = \"call\"");
    let loaded = World::new(&config, &[("calls.toml", &calls), ("logs.toml", LOGS)]).load();
    assert_refused(&loaded, &config, "limits.share", "`share` is missing", "[limits]");
    assert_refused(
        &loaded,
        &calls,
        "placements[0].store",
        "the store `call` is not configured",
        "store = \"call\"",
    );
    assert!(loaded.faults.iter().any(|fault| fault.help.as_deref() == Some("did you mean `calls`?")));
}

#[test]
fn names_and_categories_are_used_once() {
    let logs = replaced(LOGS, "category = \"logs\"", "category = \"call-data\"");
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &logs)]).load();
    assert_refused(&loaded, &logs, "category", "`call-data` has a policy already", "category");
    assert!(errors(&loaded.faults)[0].help.as_ref().unwrap().contains("calls.toml"));
    refuse_logs(&[(
        "name = \"online\"",
        "name = \"audio\"",
        "placements[1].name",
        "second placement with the name `audio`",
    )]);
}

#[test]
fn two_placements_never_hold_the_same_records() {
    for prefix in ["rec/{tenant}/", "rec/{tenant}/x/", "{tenant}/"] {
        let text = POLICY.replace("prefix = \"ivr/{tenant}/\"", &format!("prefix = \"{prefix}\""));
        let text = replaced(&text, "{ key = \"ivr/{tenant}/%Y/%m/%d/\" }", "{ modified = true }");
        let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
        let line = format!("\nprefix = \"{prefix}\"");
        let message = "`ivr-audio` holds the same records as `audio`";
        assert_refused(&loaded, &text, "placements[2].prefix", message, &line);
    }
    let second = "[[placements]]\nname = \"again\"\nstore = \"calls\"\ntable = \"CALL_RECORD\"\ntenant = { column = \"t\" }\nsubjects = \"none\"\n";
    let text = format!("{LOGS}{second}");
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &text)]).load();
    assert_refused(
        &loaded,
        &text,
        "placements[2].table",
        "`again` holds the same records as `call-records`",
        "table",
    );
    assert!(errors(&loaded.faults)[0].help.as_ref().unwrap().contains("calls.toml"));
    let other = replaced(&text, "CALL_RECORD", "call_record_2");
    assert!(World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &other)]).load().policies.is_some());
}

#[test]
fn records_are_found_by_a_table_with_a_key_of_their_own_category() {
    let found = "{ placement = \"call-records\"";
    refuse_policies(&[
        (
            found,
            "{ placement = \"call-record\"",
            "placements[1].found_by.placement",
            "no placement `call-record`",
        ),
        (found, "{ placement = \"audio\"", "placements[1].found_by.placement", "found by itself"),
        (found, "{ placement = \"ivr-audio\"", "placements[1].found_by.placement", "has no table"),
        (found, "{ placement = \"call-backup\"", "placements[1].found_by.placement", "has no table"),
        (found, "{ placement = \"online\"", "placements[1].found_by.placement", "another category, `logs`"),
    ]);
    let text = replaced(POLICY, "key = [\"id\"]\n", "");
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert_refused(&loaded, &text, "placements[1].found_by.placement", "a table without key", "found_by");
    let chain = "[[placements]]\nname = \"chain\"\nstore = \"recordings\"\nfound_by = { placement = \"audio\", column = \"x\", prefix = \"z/{tenant}/\" }\n";
    let text = format!("{POLICY}{chain}");
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert_refused(
        &loaded,
        &text,
        "placements[4].found_by.placement",
        "is itself found by another",
        "found_by = { placement = \"audio\"",
    );
    let text = replaced(POLICY, "column = \"recording_key\", ", "");
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert_refused(&loaded, &text, "placements[1].found_by.column", "`column` is missing", "found_by");
}

#[test]
fn a_placement_fits_the_kind_of_its_store() {
    refuse_policies(&[
        (
            "store = \"calls\"\ntable",
            "store = \"cache\"\ntable",
            "placements[0].table",
            "does not fit the store `cache`",
        ),
        ("store = \"calls\"\ntable", "store = \"recordings\"\ntable", "placements[0].table", "of kind files"),
        (
            "store = \"recordings\"\nprefix",
            "store = \"calls\"\nprefix",
            "placements[2].prefix",
            "of kind sqlite",
        ),
        (
            "store = \"recordings\"\nfound_by",
            "store = \"cache\"\nfound_by",
            "placements[1].found_by",
            "of kind redis",
        ),
    ]);
    refuse_logs(&[
        (
            "store = \"logs\"\nindex",
            "store = \"calls\"\nindex",
            "placements[0].index",
            "`index` does not fit",
        ),
        ("store = \"cache\"\nkeys", "store = \"logs\"\nkeys", "placements[1].keys", "`keys` does not fit"),
    ]);
}

#[test]
fn a_method_beyond_the_store_is_refused_unless_the_placement_accepts_less() {
    let zero = replaced(LOGS, "method = \"delete\"", "method = \"zero\"");
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &zero)]).load();
    assert_refused(
        &loaded,
        &zero,
        "placements[0].store",
        "kind elasticsearch cannot do `zero`, which the request rule",
        "store = \"logs\"",
    );
    assert_refused(&loaded, &zero, "placements[1].store", "kind redis cannot do `zero`", "store = \"cache\"");
    let help = errors(&loaded.faults)[0].help.clone().unwrap();
    assert!(help.contains("accept_level"), "{help}");

    let accepted = zero.replace("subjects =", "accept_level = \"deleted\"\nsubjects =");
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &accepted)]).load();
    assert_eq!(loaded.faults, []);
    let policies = loaded.policies.unwrap();
    let (_, online) = policies.placement(&PlacementId::new("online")).unwrap();
    assert_eq!(online.accept_level, Some(Level::Deleted));
    let too_high = zero.replace("subjects =", "accept_level = \"scrubbed\"\nsubjects =");
    let loaded = World::new(CONFIG, &[("calls.toml", POLICY), ("logs.toml", &too_high)]).load();
    assert_refused(&loaded, &too_high, "placements[1].store", "cannot do `zero`", "store = \"cache\"");

    let verified = replaced(POLICY, "method = \"zero\"", "method = \"zero\"\nlevel = \"verified\"");
    let loaded = World::new(CONFIG, &[("calls.toml", &verified), ("logs.toml", LOGS)]).load();
    assert_refused(
        &loaded,
        &verified,
        "placements[0].store",
        "reaches `scrubbed` with `zero`, not `verified`",
        "store = \"calls\"",
    );
}

#[test]
fn an_age_rule_needs_the_event_time_of_every_record() {
    let text = replaced(POLICY, "event_time = { column = \"started_at\" }\n", "");
    let loaded = World::new(CONFIG, &[("calls.toml", &text), ("logs.toml", LOGS)]).load();
    assert_refused(&loaded, &text, "placements[0].event_time", "has no event_time", "[[placements]]");
    assert!(
        errors(&loaded.faults)[0]
            .help
            .as_ref()
            .unwrap()
            .contains("cannot tell the event time has no age rule")
    );
    let no_age = text.split("[[rules]]\ntrigger = \"request\"").collect::<Vec<_>>();
    let no_age = format!(
        "category = \"call-data\"\nmethod = \"delete\"\n[[rules]]\ntrigger = \"request\"{}",
        no_age[1]
    );
    assert!(World::new(CONFIG, &[("calls.toml", &no_age), ("logs.toml", LOGS)]).load().policies.is_some());
}

#[test]
fn an_event_time_is_read_in_one_way_only() {
    let own = "event_time = { column = \"started_at\" }";
    let key = "event_time = { key = \"ivr/{tenant}/%Y/%m/%d/\" }";
    refuse_policies(&[
        (
            own,
            "event_time = { column = \"c\", format = \"%d %b %Y\" }",
            "placements[0].event_time.format",
            "not understood",
        ),
        (
            own,
            "event_time = { column = \"c\", format = \"%Y-%m\" }",
            "placements[0].event_time.format",
            "no whole date",
        ),
        (
            own,
            "event_time = { column = \"c\", unit = \"hours\" }",
            "placements[0].event_time.unit",
            "not known here",
        ),
        (
            own,
            "event_time = { column = \"c\", unit = \"seconds\", format = \"%F\" }",
            "placements[0].event_time.format",
            "stands beside `unit`",
        ),
        (own, "event_time = { key = \"x\" }", "placements[0].event_time.key", "does not fit"),
        (own, "event_time = { modified = true }", "placements[0].event_time.modified", "does not fit"),
        (own, "event_time = {}", "placements[0].event_time.column", "`column` is missing"),
        (own, "event_time = \"started_at\"", "placements[0].event_time", "expected a table"),
        (
            key,
            "event_time = { key = \"%Y/%m/%d/\" }",
            "placements[2].event_time.key",
            "does not begin with the prefix",
        ),
        (key, "event_time = { key = \"ivr/{tenant}/%Y/\" }", "placements[2].event_time.key", "no whole date"),
        (key, "event_time = { modified = false }", "placements[2].event_time.modified", "says nothing"),
        (
            key,
            "event_time = { key = \"ivr/{tenant}/%Y/%m/%d/\", modified = true }",
            "placements[2].event_time",
            "stands beside",
        ),
        (key, "event_time = {}", "placements[2].event_time", "does not say where"),
        (key, "event_time = { column = \"x\" }", "placements[2].event_time.column", "does not fit"),
    ]);
    for zone in ["EST", "CST", "GMT+8", "Asia/Beijing", "", "Mars/Olympus", "Etc/GMT+8"] {
        let to = format!("event_time = {{ column = \"c\", time_zone = \"{zone}\" }}");
        refuse_policies(&[(own, &to, "placements[0].event_time.time_zone", "")]);
        refuse_policies(&[("title = \"Calls\"", &format!("time_zone = \"{zone}\""), "time_zone", "")]);
    }
    for zone in ["America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca", "UTC"] {
        let text = replaced(POLICY, "title = \"Calls\"", &format!("time_zone = \"{zone}\""));
        let policies = World::new(CONFIG, &[("calls.toml", &text)]).load().policies.unwrap();
        let (policy, rows) = policies.placement(&PlacementId::new("call-records")).unwrap();
        assert_eq!(policy.time_zone.name(), zone);
        assert!(
            matches!(&rows.event_time, Some(EventTime::Text { time_zone, .. }) if time_zone.name() == zone)
        );
    }
    let text = replaced(POLICY, own, "event_time = { column = \"c\", unit = \"milliseconds\" }");
    let policies = World::new(CONFIG, &[("calls.toml", &text)]).load().policies.unwrap();
    let (_, rows) = policies.placement(&PlacementId::new("call-records")).unwrap();
    assert_eq!(rows.event_time, Some(EventTime::Epoch { column: "c".into(), unit: EpochUnit::Milliseconds }));
}

#[test]
fn the_time_of_modification_is_accepted_with_a_warning() {
    let text = replaced(POLICY, "{ key = \"ivr/{tenant}/%Y/%m/%d/\" }", "{ modified = true }");
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    let [warning] = loaded.faults.as_slice() else { panic!("{:?}", loaded.faults) };
    assert_eq!(
        (warning.severity, warning.field.as_str()),
        (Severity::Warning, "placements[2].event_time.modified")
    );
    let policies = loaded.policies.unwrap();
    let (_, ivr) = policies.placement(&PlacementId::new("ivr-audio")).unwrap();
    assert_eq!(ivr.event_time, Some(EventTime::Modified));
}
