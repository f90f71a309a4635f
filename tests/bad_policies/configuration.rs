//! Configurations that must be refused.

use super::*;

#[test]
fn limits_are_given_and_are_numbers() {
    for share in [
        "\"0%\"",
        "\"unlimited\"",
        "\"NaN\"",
        "\"-1\"",
        "\"-1%\"",
        "\"1000%\"",
        "\"101%\"",
        "\"20\"",
        "\"\"",
        "20",
        "nan",
    ] {
        refuse_configs(&[("share = \"20%\"", &format!("share = {share}"), "limits.share", "")]);
    }
    for records in ["0", "-1", "1.5", "\"100\"", "nan", "\"unlimited\"", "true"] {
        refuse_configs(&[("records = 100000", &format!("records = {records}"), "limits.records", "")]);
    }
    for line in ["records = 100000\n", "share = \"20%\"\n"] {
        let text = replaced(CONFIG, line, "");
        let loaded = World::new(&text, &[("calls.toml", POLICY)]).load();
        let field = format!("limits.{}", line.split(' ').next().unwrap());
        assert_refused(&loaded, &text, &field, "is missing", "[limits]");
    }
    let text = replaced(CONFIG, "share = \"20%\"", "share = \"100%\"");
    assert_eq!(World::new(&text, &[("calls.toml", POLICY)]).load().config.unwrap().limits.share_percent, 100);
}

#[test]
fn roots_that_hold_more_than_one_stores_files_are_refused() {
    for root in ["/", "/home", "/home/ann", "/srv", "/data/../", "~", "~/x", "../recordings", "", "/root"] {
        refuse_configs(&[(
            "path = \"recordings\"",
            &format!("path = \"{root}\""),
            "stores.recordings.path",
            "",
        )]);
    }
}

#[test]
fn stores_lie_apart_from_each_other_and_from_what_is_ours() {
    for (root, what) in [
        (".", "the configuration"),
        ("policies", "the policies"),
        ("audit/x", "the audit log"),
        ("policies/x", "the policies"),
    ] {
        let text = replaced(CONFIG, "path = \"recordings\"", &format!("path = \"{root}\""));
        let loaded = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]).load();
        assert!(loaded.config.is_none(), "{root}");
        let message = format!("the store `recordings` and {what} lie in each other");
        assert!(loaded.faults.iter().any(|fault| fault.message == message), "{:#?}", loaded.faults);
    }
    for url in ["sqlite://retentiond.db", "sqlite://recordings/calls.db"] {
        let text = replaced(CONFIG, "sqlite://calls.db", url);
        let loaded = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]).load();
        assert!(loaded.config.is_none() && loaded.faults[0].message.contains("lie in each other"), "{url}");
    }
}

#[test]
fn addresses_and_keys_fit_their_kind() {
    refuse_configs(&[
        ("sqlite://retentiond.db", "mysql://u:s3cret@db", "ledger.url", "not the address of a database"),
        ("sqlite://calls.db", "calls.db", "stores.calls.url", "not the address of a SQLite file"),
        ("sqlite://calls.db", "sqlite://:memory:", "stores.calls.url", "names no file"),
        ("redis://cache", "http://cache", "stores.cache.url", "not the address of such a store"),
        ("https://search:9200", "https://u:p@search:9200", "stores.logs.url", "holds a user or a password"),
        ("kind = \"sqlite\"", "kind = \"sqllite\"", "stores.calls.kind", "`sqllite` is not known here"),
        (
            "bucket = \"objects\"",
            "bucket = \"o\"\naccess_key = \"x\"",
            "stores.objects.access_key",
            "without `secret_key`",
        ),
        (
            "bucket = \"objects\"",
            "bucket = \"o\"\ndelete_integrity = \"sha1\"",
            "stores.objects.delete_integrity",
            "not known",
        ),
        ("bucket = \"objects\"", "buckets = \"o\"", "stores.objects.buckets", "unknown key `buckets`"),
        (
            "url = \"redis://cache\"",
            "url = \"redis://cache\"\nnodes = [\"a\"]",
            "stores.cache.nodes",
            "stands beside `url`",
        ),
        (
            "url = \"redis://cache\"",
            "url = \"redis://cache\"\npassword = \"p\"",
            "stores.cache.password",
            "stands beside `url`",
        ),
        (
            "url = \"redis://cache\"",
            "nodes = [\"a\"]\nuser = \"u\"",
            "stores.cache.user",
            "without `password`",
        ),
        (
            "url = \"redis://cache\"",
            "nodes = [\"redis://u:p@a\"]",
            "stores.cache.nodes[0]",
            "user or a password",
        ),
        ("[stores.calls]", "[stores.\"a b\"]", "stores.a b", "is not a name"),
        ("[limits]", "[limit]", "limit", "unknown key `limit`"),
    ]);
    for (line, field, message) in [
        ("[schedule]\nrequest_delay = \"1 week\"", "schedule.request_delay", "not in minutes, hours or days"),
        ("[schedule]\ncron = \"* *\"", "schedule.cron", "it has 2 fields"),
        ("[schedule]\ntime_zone = \"CST\"", "schedule.time_zone", "no unambiguous time zone"),
        ("[schedule]\ncrom = \"x\"", "schedule.crom", "unknown key `crom`"),
        ("[http]\nlisten = \"8787\"", "http.listen", "not an address with a port"),
    ] {
        let text = format!("{CONFIG}{line}\n");
        let loaded = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]).load();
        assert_refused(&loaded, &text, field, message, line);
    }
}

#[test]
fn a_variable_that_is_unset_or_empty_is_an_error() {
    let text = replaced(CONFIG, "path = \"recordings\"", "path = \"${ROOT}/recordings\"");
    let mut world = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]);
    assert_refused(&world.load(), &text, "stores.recordings.path", "`ROOT` is unset or empty", "${ROOT}");
    world.env.insert("ROOT", " ");
    assert_refused(&world.load(), &text, "stores.recordings.path", "`ROOT` is unset or empty", "${ROOT}");
    world.env.insert("ROOT", "/srv/cc");
    let config = world.load().config.unwrap();
    let recordings = &config.stores[&StoreId::new("recordings")];
    assert!(matches!(recordings, StoreConfig::Files { path } if path == Path::new("/srv/cc/recordings")));
    for broken in ["${", "${}", "${A B}", "${1A}", "${A"] {
        refuse_configs(&[(
            "path = \"recordings\"",
            &format!("path = \"x/{broken}\""),
            "stores.recordings.path",
            "opens no variable",
        )]);
    }
}

#[test]
fn a_secret_is_never_printed() {
    let text = replaced(CONFIG, "https://search:9200", "https://reader:hunter2@search:9200");
    let mut world = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]);
    let loaded = world.load();
    assert!(loaded.config.is_none());
    assert!(!render_faults(&loaded, false).contains("hunter2"));
    let text = replaced(CONFIG, "url = \"redis://cache\"", "url = \"http://${PASSWORD}\"");
    world = World::new(&text, &[("calls.toml", POLICY), ("logs.toml", LOGS)]);
    world.env.insert("PASSWORD", "hunter2");
    let loaded = world.load();
    assert!(loaded.config.is_none());
    assert!(
        !render_faults(&loaded, false).contains("hunter2")
            && !format!("{:?}", loaded.faults).contains("hunter2")
    );
    let text = replaced(CONFIG, "bucket = \"objects\"", "secret_key = \"hunter2");
    let loaded = World::new(&text, &[("calls.toml", POLICY)]).load();
    assert!(loaded.config.is_none());
    assert!(!render_faults(&loaded, false).contains("hunter2"));
}

#[test]
fn a_policy_holds_no_secret() {
    for line in [
        "password = \"hunter2\"",
        "secret_key = \"hunter2\"",
        "access_key = \"hunter2\"",
        "title = \"mysql://a:hunter2@b/c\"",
    ] {
        let text = replaced(POLICY, "title = \"Calls\"", line);
        let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
        assert_refused(&loaded, &text, line.split(' ').next().unwrap(), "a policy holds none", line);
        assert!(!render_faults(&loaded, false).contains("hunter2"));
    }
}

#[test]
fn a_missing_configuration_says_how_to_get_one() {
    let loaded = load_with(Path::new("/nonexistent/retentiond.toml"), &|_| None);
    assert!(loaded.config.is_none() && loaded.policies.is_none());
    let [fault] = loaded.faults.as_slice() else { panic!("{:?}", loaded.faults) };
    assert_eq!((fault.line, fault.severity), (0, Severity::Error));
    assert!(fault.help.as_ref().unwrap().contains("retentiond demo"));
    assert!(render_faults(&loaded, false).contains("/nonexistent/retentiond.toml"));
    let text = replaced(CONFIG, "path = \"policies\"", "path = \"polices\"");
    let loaded = World::new(&text, &[("calls.toml", POLICY)]).load();
    assert!(loaded.policies.is_none() && loaded.faults[0].message.contains("failed to read the policies"));
}

/// The configuration with these lines at its end is refused, at this field and with these words.
fn refuse_lines(lines: &str, field: &str, message: &str) {
    let text = format!("{CONFIG}\n{lines}\n");
    let loaded = World::new(&text, &[("calls.toml", POLICY)]).load();
    assert!(loaded.config.is_none(), "{lines}");
    let found = loaded.faults.iter().any(|fault| fault.field == field && fault.message.contains(message));
    assert!(found, "{lines}: {:#?}", loaded.faults);
}

#[test]
fn hosts_that_may_be_called_are_names_and_private_ones_have_a_port() {
    for host in
        ["https://hooks.example.com", "*.example.com", "Hooks.example.com", "a b", "0x7f000001", "1", "a:0"]
    {
        refuse_lines(&format!("[outgoing]\nhosts = [\"{host}\"]"), "outgoing.hosts[0]", "");
    }
    refuse_lines("[outgoing]\nprivate_hosts = [\"hooks.internal\"]", "outgoing.private_hosts[0]", "no port");
    refuse_lines("[outgoing]\nhost = [\"hooks.internal\"]", "outgoing.host", "");
    refuse_lines("[tenants.\"a/b\"]\ncontroller = \"x\"", "tenants.a/b", "");
    refuse_lines("[tenants.a]\nsecret = \"short\"", "tenants.a.secret", "too short");
    for domain in ["https://opendsr.example.com", "opendsr.example.com:443", "10.0.0.1", "localhost"] {
        let lines = format!("[opendsr]\ndomain = \"{domain}\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"");
        refuse_lines(&lines, "opendsr.domain", "");
    }
    refuse_lines("[opendsr]\ndomain = \"opendsr.example.com\"", "opendsr.key", "is missing");
}

#[test]
fn an_address_that_alarms_could_not_reach_is_refused_where_it_is_written() {
    for (url, why) in [
        ("http://hooks.example.com/", "https"),
        ("https://127.0.0.1/", "loopback"),
        ("https://10.0.0.1/", "private"),
        ("https://[::1]/", "loopback"),
        ("https://2130706433/", "number"),
    ] {
        refuse_lines(&format!("[alarms]\nwebhooks = [\"{url}\"]"), "alarms.webhooks[0]", why);
        refuse_lines(&format!("[tenants.a]\nnotices = \"{url}\""), "tenants.a.notices", why);
    }
    for lines in [
        "[alarms]\nwebhooks = [\"https://hooks.example.com/x\"]",
        "[alarms]\nwebhooks = [\"http://10.0.0.1:8080/x\"]\n[outgoing]\nprivate_hosts = [\"10.0.0.1:8080\"]",
    ] {
        let loaded = World::new(&format!("{CONFIG}\n{lines}\n"), &[("calls.toml", POLICY)]).load();
        assert!(loaded.config.is_some(), "{lines}: {:#?}", loaded.faults);
    }
}
