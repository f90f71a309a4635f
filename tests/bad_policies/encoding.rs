//! Files that are too large, wrongly encoded or misnamed, and how a fault looks.

use super::*;
use retentiond::policy::parse::parse_policy;
use retentiond::policy::tree::render;

#[test]
fn files_are_utf8_and_small() {
    let utf16: Vec<u8> = POLICY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark: Vec<u8> = [vec![0xff, 0xfe], utf16.clone()].concat();
    let mut latin1 = POLICY.as_bytes().to_vec();
    let at = POLICY.find("§5").unwrap();
    latin1.splice(at..at + 2, [0xa7]);
    let huge = format!("{POLICY}#{}", "x".repeat(1024 * 1024));
    for (bytes, message, line) in [
        (utf16, "UTF-16", 0),
        (with_mark, "UTF-16", 0),
        (latin1, "not UTF-8", line_of(POLICY, "§5")),
        (huge.into_bytes(), "larger than 1 MiB", 0),
        (vec![b' '; 100 * 1024 * 1024], "larger than 1 MiB", 0),
    ] {
        let world = World::new(CONFIG, &[]);
        world.write("calls.toml", &bytes);
        let loaded = world.load();
        assert!(loaded.policies.is_none());
        let fault = &loaded.faults[0];
        assert!(fault.message.contains(message) && fault.line == line, "{fault:?}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing_but_the_digest() {
    let marked = format!("\u{feff}{}", POLICY.replace('\n', "\r\n"));
    let read = |text: &str| {
        let mut faults = Vec::new();
        let policy = parse_policy(Path::new("calls.toml"), text.as_bytes(), &mut faults);
        assert_eq!(faults, []);
        policy.unwrap()
    };
    let (plain, marked) = (read(POLICY), read(&marked));
    assert_ne!(plain.digest, marked.digest);
    assert_eq!(Policy { digest: plain.digest.clone(), ..marked }, plain);
    let broken = format!("\u{feff}{}", POLICY.replace("6 months", "6m").replace('\n', "\r\n"));
    let mut faults = Vec::new();
    assert!(parse_policy(Path::new("calls.toml"), broken.as_bytes(), &mut faults).is_none());
    assert_eq!((faults[0].line, faults[0].column), (line_of(POLICY, "period"), 10));
}

#[test]
fn the_digest_is_that_of_the_bytes_parsed() {
    use sha2::{Digest, Sha256};
    let mut faults = Vec::new();
    let policy = parse_policy(Path::new("calls.toml"), POLICY.as_bytes(), &mut faults).unwrap();
    assert_eq!(policy.digest, hex::encode(Sha256::digest(POLICY)));
}

#[test]
fn a_hundred_thousand_rules_are_refused() {
    let many = format!("category = \"x\"\nmethod = \"delete\"\n{}", "[[rules]]\n".repeat(100_000));
    let mut faults = Vec::new();
    assert!(parse_policy(Path::new("x.toml"), many.as_bytes(), &mut faults).is_none());
    assert!(faults.iter().any(|fault| fault.message == "`rules` has more than 1,000 entries"), "{faults:?}");
    let keys = (0..60_000).map(|n| format!("k{n} = {n}\n")).collect::<String>();
    let mut faults = Vec::new();
    assert!(parse_policy(Path::new("x.toml"), keys.as_bytes(), &mut faults).is_none());
    assert_eq!(faults.len(), 100);
    assert!(faults.iter().any(|fault| fault.message.contains("there are more faults")));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(parse_policy(Path::new("x.toml"), deep.as_bytes(), &mut Vec::new()).is_none());
}

#[test]
fn a_policy_in_another_language_is_told_and_not_read() {
    let world = World::new(
        CONFIG,
        &[("calls.toml", POLICY), ("logs.yaml", "category: logs"), (".logs.toml", "x"), ("notes.md", "x")],
    );
    let loaded = world.load();
    let [warning] = loaded.faults.as_slice() else { panic!("{:?}", loaded.faults) };
    assert!(warning.severity == Severity::Warning && warning.file.ends_with("policies/logs.yaml"));
    assert_eq!(loaded.policies.unwrap().iter().count(), 1);
}

#[test]
fn syntax_errors_are_told_without_guesses_about_what_is_missing() {
    let text = replaced(POLICY, "method = \"delete\"", "method: delete");
    let loaded = World::new(CONFIG, &[("calls.toml", &text)]).load();
    assert_refused(&loaded, &text, "", "key with no value", "method: delete");
    assert!(!loaded.faults.iter().any(|fault| fault.message.contains("is missing")), "{:#?}", loaded.faults);
}

#[test]
fn a_fault_shows_file_line_text_and_help() {
    let text = replaced(POLICY, "period = \"6 months\"", "retain_day = \"6 months\"");
    let text = replaced(&text, "grace = \"15 days\"", "grace = \"15 dyas\"");
    let path = Path::new("policies/call-data.toml");
    let mut faults = Vec::new();
    assert!(parse_policy(path, text.as_bytes(), &mut faults).is_none());
    let sources = BTreeMap::from([(path.to_owned(), text)]);
    insta::assert_snapshot!(render(&faults, &sources, false), @r#"
    error: `period` is missing
     --> policies/call-data.toml:4:1
      |
    4 | [[rules]]
      | ^^^^^^^^^
      |
      = help: a rule with the trigger `age` says it, for example "30 days"

    error: unknown key `retain_day` in [[rules]]
     --> policies/call-data.toml:6:1
      |
    6 | retain_day = "6 months"
      | ^^^^^^^^^^
      |
      = help: known here: trigger, period, grace, deadline, method, level, clause, entitlement

    error: `dyas` is not a unit of a span
      --> policies/call-data.toml:16:9
       |
    16 | grace = "15 dyas"
       |         ^^^^^^^^^
       |
       = help: did you mean `days`?
    "#);
    let colored = render(&faults, &sources, true);
    assert!(colored.contains("\u{1b}[") && !render(&faults, &sources, false).contains('\u{1b}'));
    assert_eq!(
        serde_json::to_value(&faults[2]).unwrap(),
        serde_json::json!({
            "severity": "error", "file": "policies/call-data.toml", "line": 16, "field": "rules[2].grace",
            "message": "`dyas` is not a unit of a span", "help": "did you mean `days`?",
        })
    );
}
