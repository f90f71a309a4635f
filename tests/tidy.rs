//! The house rules that a compiler does not know: layers, purity, lengths, words, forbidden calls and crates.
//! It reads the sources as text; each rule has a sample that it must catch, so that it cannot fall silent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers of `ARCHITECTURE.md`, the longest path first. A module may use what lies below it, and its own files.
const LAYERS: [(&str, u32); 26] = [
    ("audit::checkpoint", 30),
    ("config::read", 58),
    ("ledger::rows", 25),
    ("audit::merkle", 30),
    ("evidence", 30),
    ("id", 0),
    ("policy", 10),
    ("facts", 10),
    ("schedule", 10),
    ("plan", 20),
    ("clock", 35),
    ("config", 39),
    ("stores", 40),
    ("ledger", 40),
    ("audit", 50),
    ("gather", 52),
    ("export", 53),
    ("outgoing", 53),
    ("enforce", 55),
    ("desk", 56),
    ("alarms", 56),
    ("service", 57),
    ("daemon", 61),
    ("http", 60),
    ("cli", 65),
    ("main", 70),
];

/// Modules that hold no I/O, no clock, no randomness and nothing asynchronous.
const PURE: [&str; 7] =
    ["policy", "facts", "schedule", "plan", "evidence", "audit::merkle", "audit::checkpoint"];

/// What a pure module may not say.
const IMPURE: [&str; 19] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "tokio",
    "sqlx",
    "async fn",
    ".await",
    "Utc::now",
    "Local::now",
    "SystemTime",
    "Instant::now",
    "getrandom",
    "now_v7",
    "new_v4",
    "thread_rng",
    "crate::clock",
];

/// Words that the glossary has replaced.
const FORBIDDEN_WORDS: [&str; 9] =
    ["customer", "organization", "organisation", "purge", "destroy", "wipe", "cooldown", "ttl", "sweep"];

/// Crates that bring a C tool chain, a second TLS or a known flaw.
const FORBIDDEN_CRATES: [&str; 4] = ["rsa", "aws-lc-sys", "openssl-sys", "native-tls"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// One source file: its path below `src`, its module, and its production lines without comments and tests.
struct Source {
    path: String,
    module: String,
    text: String,
    whole: String,
    lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let module = path.trim_end_matches(".rs").replace('/', "::");
        let production = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
        Self {
            path: path.to_owned(),
            module,
            text: without_comments(production),
            whole: text.to_owned(),
            lines: production.lines().count(),
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        Source::new(&path, &fs::read_to_string(file).unwrap())
    };
    let sources: Vec<Source> = files.iter().map(read).collect();
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Line comments blanked; a `//` inside a text (an URL) is not one.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            let cut = line
                .match_indices("//")
                .map(|(at, _)| at)
                .find(|&at| line[..at].matches('"').count().is_multiple_of(2) && !line[..at].ends_with(':'));
            format!("{}\n", &line[..cut.unwrap_or(line.len())])
        })
        .collect()
}

fn lay(module: &str) -> Option<(&'static str, u32)> {
    LAYERS.into_iter().find(|(name, _)| module == *name || module.starts_with(&format!("{name}::")))
}

fn is_within(module: &str, names: &[&str]) -> bool {
    names.iter().any(|name| module == *name || module.starts_with(&format!("{name}::")))
}

/// Every module path below `crate` that the text names, also those in braces and behind `super`.
fn named_modules(source: &Source) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in source.text.match_indices("crate::") {
        expand(&source.text[at + "crate::".len()..], "", &mut named);
    }
    for (at, _) in source.text.match_indices("super::") {
        if source.text[..at].ends_with("super::") {
            continue; // Counted with the first one of the chain.
        }
        let rest = source.text[at..].trim_start_matches("super::");
        let ups = (source.text.len() - at - rest.len()) / "super::".len();
        let mut parts: Vec<&str> = source.module.split("::").collect();
        parts.truncate(parts.len().saturating_sub(ups));
        let prefix = if parts.is_empty() { String::new() } else { format!("{}::", parts.join("::")) };
        expand(rest, &prefix, &mut named);
    }
    named
}

/// Reads `a::{b::c, d}` into `a::b::c` and `a::d`.
fn expand(text: &str, prefix: &str, named: &mut BTreeSet<String>) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let path = &text[..end];
    if !text[end..].starts_with('{') {
        named.insert(format!("{prefix}{}", path.trim_end_matches(':')));
        return;
    }
    let mut depth = 0_usize;
    let mut from = end + 1;
    for (at, c) in text[end..].char_indices().map(|(at, c)| (at + end, c)) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            let item = text[from..at].trim();
            if !item.is_empty() {
                expand(item, &format!("{prefix}{path}"), named);
            }
            from = at + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

fn forbidden_edges(source: &Source) -> Vec<String> {
    // `lib` is only the list of modules, and `cli` composes everything below it.
    let Some((own, own_layer)) = lay(&source.module) else { return Vec::new() };
    let mut found = Vec::new();
    for named in named_modules(source) {
        let Some((other, other_layer)) = lay(&named) else { continue };
        let family = |name: &str| name.split("::").next().unwrap_or(name).to_owned();
        let within = own == other || family(own) == family(other) && other_layer <= own_layer;
        // Policies speak of capabilities and facts of levels and methods: plain data on one floor.
        let below = other_layer < own_layer || own_layer == 10 && other_layer == 10;
        if !(within || below) {
            let edge =
                format!("{}: {own} (layer {own_layer}) uses {other} (layer {other_layer})", source.path);
            found.push(edge);
        }
        if let Some(why) = store_uses_store(&source.module, &named) {
            found.push(format!("{}: {why}", source.path));
        }
    }
    found.dedup();
    found
}

/// No store knows another one; what they share is in `sql` and `event_time`.
fn store_uses_store(own: &str, named: &str) -> Option<String> {
    const KINDS: [&str; 8] =
        ["memory", "mysql", "sqlite", "redis", "s3", "elasticsearch", "files", "backups"];
    let store = |module: &str| {
        let mut parts = module.split("::");
        (parts.next() == Some("stores")).then(|| parts.next().unwrap_or_default().to_owned())
    };
    let (own, other) = (store(own)?, store(named)?);
    let differ = own != other && !own.is_empty() && KINDS.contains(&other.as_str());
    differ.then(|| format!("store `{own}` uses store `{other}`"))
}

fn impurities(source: &Source) -> Vec<String> {
    if !is_within(&source.module, &PURE) {
        return Vec::new();
    }
    IMPURE
        .into_iter()
        .filter(|word| source.text.contains(word))
        .map(|word| format!("{}: a pure module says `{word}`", source.path))
        .collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if source.lines > FILE_LINES_MAX {
        found.push(format!("{}: {} production lines, {FILE_LINES_MAX} at most", source.path, source.lines));
    }
    let lines: Vec<&str> = source.text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        let is_function = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn ", "pub const fn "]
            .iter()
            .any(|lead| start.starts_with(lead))
            || start.starts_with("pub(") && start.contains(" fn ");
        let signature_ends = lines[at..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if !is_function || signature_ends.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let indent = &line[..line.len() - start.len()];
        let close = format!("{indent}}}");
        let Some(length) = lines[at..].iter().position(|line| **line == close) else { continue };
        if length + 1 > FUNCTION_LINES_MAX {
            let name = start.split('(').next().unwrap_or(start);
            found.push(format!(
                "{}: `{name}` has {} lines, {FUNCTION_LINES_MAX} at most",
                source.path,
                length + 1
            ));
        }
    }
    found
}

fn unsafe_sql(source: &Source) -> Vec<String> {
    let may = ["stores/sql", "ledger/sqlite", "stores/mysql", "ledger/mysql"];
    if may.iter().any(|start| source.path.starts_with(start)) || !source.text.contains("AssertSqlSafe") {
        return Vec::new();
    }
    vec![format!("{}: `AssertSqlSafe` outside the files that quote identifiers", source.path)]
}

fn unfinished(source: &Source) -> Vec<String> {
    let stub = "(being built)";
    let mut found: Vec<String> = ["todo!", "unimplemented!", "dbg!"]
        .into_iter()
        .filter(|word| source.text.contains(word))
        .map(|word| format!("{}: `{word}` in production code", source.path))
        .collect();
    if source.whole.contains(stub) {
        found.push(format!("{}: it says `{stub}`", source.path));
    }
    found
}

/// Names that leave the program: public types, everything in `cli` that clap turns into words, and serde's fields.
fn forbidden_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut serde = false;
    let mut clap = false;
    for line in source.text.lines() {
        let start = line.trim_start();
        if start.starts_with("#[") {
            serde |= start.contains("Serialize");
            clap |= ["Args", "Subcommand", "Parser", "ValueEnum"].iter().any(|name| start.contains(name));
        }
        let named = start.starts_with("pub struct ")
            || start.starts_with("pub enum ")
            || start.starts_with("pub trait ")
            || start.starts_with("pub type ");
        let renamed =
            start.starts_with("#[serde(") || start.starts_with("#[arg(") || start.starts_with("#[command(");
        let inner = (serde || clap) && line.starts_with("    ") && !start.starts_with("#[doc");
        if named || renamed || inner {
            let name = if renamed { start } else { start.split(['=', '>']).next().unwrap_or(start) };
            for word in words_of(name) {
                if FORBIDDEN_WORDS.contains(&word.as_str()) {
                    found.push(format!("{}: the word `{word}` in `{start}`", source.path));
                }
            }
        }
        if line == "}" {
            (serde, clap) = (false, false);
        }
    }
    found
}

/// The words of a name or a line: `TtlPeriod` is `ttl` and `period`, and so is `ttl_period`.
fn words_of(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

fn forbidden_crates(lock: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned);
    lock.lines().filter_map(name).filter(|name| FORBIDDEN_CRATES.contains(&name.as_str())).collect()
}

fn demand_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn no_module_uses_a_layer_above_its_own() {
    demand_none("forbidden edge between layers", sources().iter().flat_map(forbidden_edges).collect());
}

#[test]
fn every_module_has_a_layer() {
    let without = |source: &Source| lay(&source.module).is_none() && source.module != "lib";
    let found = sources().iter().filter(|source| without(source)).map(|source| source.path.clone()).collect();
    demand_none("module without a layer in tests/tidy.rs", found);
}

#[test]
fn pure_modules_do_no_io_and_ask_no_clock() {
    demand_none("impure", sources().iter().flat_map(impurities).collect());
}

#[test]
fn files_and_functions_are_short() {
    demand_none("too long", sources().iter().flat_map(too_long).collect());
}

#[test]
fn sql_is_asserted_safe_only_where_identifiers_are_quoted() {
    demand_none("unsafe SQL", sources().iter().flat_map(unsafe_sql).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    demand_none("unfinished", sources().iter().flat_map(unfinished).collect());
}

#[test]
fn names_that_leave_the_program_follow_the_glossary() {
    demand_none("not in the glossary", sources().iter().flat_map(forbidden_words).collect());
}

#[test]
fn no_forbidden_crate_is_locked() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    assert!(lock.contains("name = \"retentiond\""), "the lock file was not read");
    demand_none("forbidden crate", forbidden_crates(&lock));
}

mod the_checks_themselves {
    use super::*;

    #[test]
    fn an_edge_upwards_is_found_however_it_is_written() {
        for text in [
            "use crate::ledger::Ledger;",
            "use crate::{id::TenantId, stores::Reader};",
            "fn f() { crate::gather::plan_at() }",
            "use crate::{\n    id::TenantId,\n    audit::{self, publish},\n};",
            "use super::super::cli;",
        ] {
            assert_eq!(forbidden_edges(&Source::new("plan/decide.rs", text)).len(), 1, "{text}");
        }
        let fine = "//! [`crate::ledger`]\nuse crate::{id, policy::Policies};\nuse super::due;\n";
        assert_eq!(forbidden_edges(&Source::new("plan/decide.rs", fine)), Vec::<String>::new());
    }

    #[test]
    fn ledger_and_stores_do_not_know_each_other_nor_a_store_another() {
        assert_eq!(forbidden_edges(&Source::new("stores/files.rs", "use crate::ledger::Ledger;")).len(), 1);
        assert_eq!(forbidden_edges(&Source::new("ledger/sqlite.rs", "use crate::stores::Query;")).len(), 1);
        assert_eq!(forbidden_edges(&Source::new("stores/files.rs", "use super::sqlite::X;")).len(), 1);
        assert_eq!(
            forbidden_edges(&Source::new("stores/sqlite/erase.rs", "use super::super::files;")).len(),
            1
        );
        for fine in ["use super::{Query, sql::quote};", "use crate::stores::event_time::x;"] {
            assert_eq!(forbidden_edges(&Source::new("stores/sqlite.rs", fine)), Vec::<String>::new());
        }
    }

    #[test]
    fn io_and_now_in_a_pure_module_are_found_but_not_in_its_tests() {
        let bad = "fn f() { let now = Utc::now(); std::fs::read(now) }";
        assert_eq!(impurities(&Source::new("plan/due.rs", bad)).len(), 2);
        assert_eq!(impurities(&Source::new("audit/merkle.rs", "use tokio::fs;")).len(), 1);
        assert_eq!(impurities(&Source::new("gather.rs", bad)).len(), 0);
        let tested = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{ {bad} }}");
        assert_eq!(impurities(&Source::new("plan/due.rs", &tested)).len(), 0);
    }

    #[test]
    fn the_first_line_too_many_is_found() {
        let file = |lines: usize| too_long(&Source::new("id.rs", &"x\n".repeat(lines))).len();
        assert_eq!((file(FILE_LINES_MAX), file(FILE_LINES_MAX + 1)), (0, 1));
        let function = |lines: usize| {
            let text =
                format!("    pub(crate) async fn f(\n    ) {{\n{}    }}\n", "        x;\n".repeat(lines - 3));
            too_long(&Source::new("id.rs", &text)).len()
        };
        assert_eq!((function(FUNCTION_LINES_MAX), function(FUNCTION_LINES_MAX + 1)), (0, 1));
    }

    #[test]
    fn asserted_sql_and_unfinished_code_are_found() {
        assert_eq!(unsafe_sql(&Source::new("gather.rs", "sqlx::AssertSqlSafe(text)")).len(), 1);
        assert_eq!(unsafe_sql(&Source::new("stores/sql.rs", "sqlx::AssertSqlSafe(text)")).len(), 0);
        assert_eq!(unfinished(&Source::new("gather.rs", "fn f() { todo!() }\n// dbg! is banned")).len(), 1);
        assert_eq!(unfinished(&Source::new("gather.rs", "//! (being built)\n")).len(), 1);
    }

    #[test]
    fn forbidden_words_are_found_in_types_arguments_and_fields_only() {
        let found = |text: &str| forbidden_words(&Source::new("cli.rs", text)).len();
        assert_eq!(found("pub struct CustomerId(String);"), 1);
        assert_eq!(found("#[derive(Serialize)]\nstruct A {\n    ttl_seconds: u64,\n}\n"), 1);
        assert_eq!(found("#[derive(Subcommand)]\nenum A {\n    Purge,\n}\n"), 1);
        assert_eq!(found("    #[serde(rename = \"wipe-all\")]"), 1);
        assert_eq!(found("fn destroy_key() {}\nlet throttle = 1;\npub struct Throttle;"), 0);
    }

    #[test]
    fn a_forbidden_crate_is_found_by_its_whole_name() {
        assert_eq!(forbidden_crates("name = \"rsa\"\nname = \"rsa-like\"\nname = \"parsa\""), ["rsa"]);
    }
}
