//! What `check --online` says about a Redis store: role, privileges, eviction, persistence, types of keys.
//! It owns the findings; it changes nothing.

use ::redis::{Cmd, Value as Reply};

use super::MARKER;
use super::layout::Layout;
use super::link::{Link, Session};
use super::scan::Pass;
use super::wire::{cmd, cmd_on, text};
use crate::policy::{EventTime, Placement};
use crate::stores::{Finding, StoreError};

/// Keys whose type is looked at: enough to see that an application writes another one.
const SAMPLE: usize = 2_000;

/// Steps of the scan for them, in a store where few keys fit.
const SAMPLE_STEPS: usize = 20;

/// What enforcing needs, as `ACL DRYRUN` is asked.
pub(super) const NEEDED: [&[&str]; 9] = [
    &["SCAN", "0"],
    &["EXISTS", KEY],
    &["TYPE", KEY],
    &["HMGET", KEY, "field"],
    &["WATCH", KEY],
    &["UNWATCH"],
    &["MULTI"],
    &["EXEC"],
    &["UNLINK", KEY],
];

/// What it must not have.
const DANGEROUS: [&[&str]; 6] = [
    &["FLUSHALL"],
    &["FLUSHDB"],
    &["KEYS", "*"],
    &["CONFIG", "SET", "save", ""],
    &["DEBUG", "SLEEP", "0"],
    &["EVAL", "return 1", "0"],
];

/// Stands for a key of the placement in the lists above.
const KEY: &str = "\0key";

/// What stands between the placement and its enforcement.
pub(super) async fn inspect(link: &Link, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
    let layout = match Layout::of(placement) {
        Ok(layout) => layout,
        Err(message) => {
            let help = "a Redis store holds `keys = \"agent:{tenant}:{staff_id}\"`";
            return Ok(vec![finding(true, "records", message, help)]);
        }
    };
    let mut session = link.session("look over the store").await?;
    let mut findings = Vec::new();
    facts(&mut session, &mut findings).await?;
    privileges(&mut session, &layout, &mut findings).await?;
    types(&mut session, placement, &layout, &mut findings).await?;
    Ok(findings)
}

fn finding(fatal: bool, field: &str, message: &str, help: &str) -> Finding {
    Finding { fatal, field: field.into(), message: message.into(), help: help.into() }
}

/// The lines of `INFO` that matter here.
async fn facts(session: &mut Session<'_>, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let sections = ["replication", "memory", "persistence"];
    let commands: Vec<Cmd> = sections.iter().map(|section| cmd(&["INFO", section])).collect();
    let replies = session.ask(0, commands).await?;
    let mut lines = String::new();
    for reply in &replies {
        lines.push_str(text(reply).unwrap_or_default());
    }
    let fact = |name: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    if fact("role").is_none() {
        let message = "the user may not run INFO, so persistence and eviction cannot be looked at";
        findings.push(finding(false, "store", message, "grant it `+info`, or look yourself"));
        return Ok(());
    }
    if fact("role") == Some("slave") {
        let message =
            "the server is a replica, which is refused: it lags, and what is erased there comes back";
        findings.push(finding(false, "store", message, "name the primary, or its sentinels"));
    }
    if fact("maxmemory_policy").is_some_and(|policy| policy.starts_with("allkeys")) {
        let message = "the server evicts any key when memory is short, our marker among them";
        let help = "use a `volatile-…` policy or `noeviction`; without its marker the store is not believed";
        findings.push(finding(false, "store", message, help));
    }
    let save = session.ask(0, vec![cmd(&["CONFIG", "GET", "save"])]).await?;
    let snapshots = match save.first() {
        Some(Reply::Array(pair)) => pair.get(1).and_then(text).map(|rule| !rule.is_empty()),
        _ => None,
    };
    if fact("aof_enabled") == Some("1") {
        let message = "erased values stay in the append-only file until it is rewritten";
        findings.push(finding(
            false,
            "store",
            message,
            "run BGREWRITEAOF after a run, and count backups of the file in",
        ));
    }
    match snapshots {
        Some(true) | None => {
            let message =
                "erased values stay in snapshots (RDB), where there are any, until the next one is written";
            findings.push(finding(
                false,
                "store",
                message,
                "run BGSAVE after a run, and count backups of the file in",
            ));
        }
        Some(false) if fact("aof_enabled") == Some("0") => {
            let message = "the server keeps nothing over a restart, our marker neither";
            let help = "after a restart the store is refused until it is known to be the same; turn persistence on to avoid that";
            findings.push(finding(false, "store", message, help));
        }
        Some(false) => {}
    }
    Ok(())
}

/// Too few and too many privileges, as far as the server tells them to this user.
async fn privileges(
    session: &mut Session<'_>,
    layout: &Layout,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    // A key like those of the placement: every `*` of the pattern is a possible segment.
    let key: Vec<u8> = layout.pattern(None).into_iter().filter(|byte| *byte != b'\\').collect();
    let Reply::BulkString(user) =
        session.ask(0, vec![cmd(&["ACL", "WHOAMI"])]).await?.pop().unwrap_or_default()
    else {
        return probe(session, &key, findings).await;
    };
    let user = String::from_utf8_lossy(&user).into_owned();
    let dry = |words: &[&str]| {
        let mut command = cmd(&["ACL", "DRYRUN", &user]);
        for word in words {
            if *word == KEY {
                command.arg(key.as_slice());
            } else {
                command.arg(*word);
            }
        }
        command
    };
    let asked: Vec<Cmd> = NEEDED.iter().chain(&DANGEROUS).map(|words| dry(words)).collect();
    let replies = session.ask(0, asked).await?;
    if matches!(replies.first(), Some(Reply::ServerError(_))) {
        // Nobody who may do little may ask what others may do. What can be tried without harm is tried.
        return probe(session, &key, findings).await;
    }
    let is_allowed = |reply: &&Reply| matches!(reply, Reply::Okay) || text(reply) == Some("OK");
    let named = |allowed: bool, from: usize, list: &[&[&str]]| -> Vec<String> {
        let replies = replies.iter().skip(from).zip(list);
        replies
            .filter(|(reply, _)| is_allowed(reply) == allowed)
            .filter_map(|(_, words)| words.first().map(|word| (*word).to_owned()))
            .collect()
    };
    let missing = named(false, 0, &NEEDED);
    if !missing.is_empty() {
        let message = format!("the user may not run {} on these keys", missing.join(", "));
        findings.push(finding(true, "store", &message, "`retentiond grants` prints all that it needs"));
    }
    let excess = named(true, NEEDED.len(), &DANGEROUS);
    if !excess.is_empty() {
        let message = format!("the user may run {}", excess.join(", "));
        let help =
            "give retentiond a user of its own that may only read and unlink the keys of its placements";
        findings.push(finding(false, "store", &message, help));
    }
    Ok(())
}

async fn probe(session: &mut Session<'_>, key: &[u8], findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let primary = session.owner(key);
    let asked = [
        ("SCAN", cmd(&["SCAN", "0", "COUNT", "1"])),
        ("EXISTS", cmd_on("EXISTS", key, &[])),
        ("HMGET", cmd_on("HMGET", key, &["field"])),
        ("HMGET on the marker", cmd_on("HMGET", MARKER, &["store"])),
    ];
    let mut missing = Vec::new();
    for (name, command) in asked {
        let on = if name.ends_with("marker") { session.owner(MARKER) } else { primary };
        match session.ask(on, vec![command]).await?.pop() {
            Some(Reply::ServerError(answer)) if answer.code() == "NOPERM" => missing.push(name),
            _ => {}
        }
    }
    if !missing.is_empty() {
        let message = format!("the user may not run {} on these keys", missing.join(", "));
        let help =
            "`retentiond grants` prints all that it needs, for the keys of the placement and for the marker";
        findings.push(finding(true, "store", &message, help));
    }
    Ok(())
}

/// Where fields are asked for, keys that are no hashes are parked, or name nobody.
async fn types(
    session: &mut Session<'_>,
    placement: &Placement,
    layout: &Layout,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let time = match &placement.event_time {
        Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => Some(column),
        Some(EventTime::Key(_) | EventTime::Modified) | None => None,
    };
    let mut subjects = placement.subjects.values().flat_map(|source| &source.columns);
    let field = match time {
        Some(_) => "event_time",
        None if subjects.any(|column| layout.names().all(|name| name != column)) => "subjects",
        None => return Ok(()),
    };
    let mut pass = Pass::begin(session, layout.pattern(None)).await?;
    let (mut seen, mut others) = (0_usize, 0_usize);
    for _ in 0..SAMPLE_STEPS {
        if seen >= SAMPLE {
            break;
        }
        let Some((primary, keys)) = pass.next(session, layout).await? else { break };
        let commands: Vec<Cmd> = keys.iter().map(|key| cmd_on("TYPE", key, &[])).collect();
        for reply in session.ask(primary, commands).await? {
            match text(&reply) {
                Some("hash") => seen += 1,
                Some("none") | None => {}
                Some(_) => {
                    seen += 1;
                    others += 1;
                }
            }
        }
    }
    if others > 0 {
        let message = match time {
            Some(_) => format!(
                "{others} of {seen} keys looked at are no hashes: without an event time they are parked"
            ),
            None => format!("{others} of {seen} keys looked at are no hashes: they name no subject"),
        };
        findings.push(finding(false, field, &message, "give keys of other types a placement of their own"));
    }
    Ok(())
}
