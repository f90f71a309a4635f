//! What the server must let the user do, as SQL, and what it does, from `SHOW GRANTS`. It owns which privileges are
//! needed and the findings about too few and too many; it grants nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{MARKER, Table};
use super::identity::create_table;
use super::session::{Link, Session};
use super::wanted::{fatal, warning};
use crate::config::StoreConfig;
use crate::policy::Records;
use crate::stores::grants::Need;
use crate::stores::sql::backticked;
use crate::stores::{Finding, StoreError};

/// Without these nothing can be enforced on a table.
const NEEDED: [&str; 2] = ["SELECT", "DELETE"];

/// Without it no value of a table can be overwritten.
const OVERWRITING: &str = "UPDATE";

/// Without it a server hides the triggers of a table.
const SEEING_TRIGGERS: &str = "TRIGGER";

/// Without it on the database, `MariaDB` hides foreign keys of tables on which the user has no right, or only that to
/// read. It lets nobody read or change a row.
const SEEING_REFERENCES: &str = "REFERENCES";

/// What a user that only looks may have at most.
const LOOKING: [&str; 5] = ["SELECT", SEEING_TRIGGERS, SEEING_REFERENCES, "SHOW VIEW", "REPLICATION CLIENT"];

/// Privileges that erasing never needs: with them a stolen password does more than retentiond can.
const TOO_MANY: [&str; 9] =
    ["ALL PRIVILEGES", "SUPER", "FILE", "DROP", "ALTER", "GRANT OPTION", "SHUTDOWN", "CREATE USER", "INSERT"];

/// What the user may do here, and what more.
#[derive(Debug, Default, PartialEq, Eq)]
struct Grants {
    /// On the table, from wherever it comes.
    here: BTreeSet<String>,
    /// On the whole database.
    on_schema: BTreeSet<String>,
    /// Anywhere.
    anywhere: BTreeSet<String>,
    /// Nothing that changes a row, not even in the marker.
    only_looks: bool,
    /// A role or a list of columns says more than these lines do.
    is_partly_told: bool,
}

/// The statements that an administrator runs, once the two users are there: one that erases and one that plans.
pub fn grants(config: &StoreConfig, needs: &[Need<'_>]) -> String {
    let StoreConfig::Mysql { url } = config else { return String::new() };
    let Some((user, database)) = Link::names_in(url) else { return String::new() };
    let (eraser, planner) = (account(&user), account(&format!("{user}_plan")));
    // The name of a database is a pattern where all of it is meant.
    let whole = database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
    let whole = format!("{}.*", backticked(&whole));
    let marker = format!("{}.{}", backticked(&database), backticked(MARKER));
    let mut tables: BTreeMap<&str, bool> = BTreeMap::new();
    for need in needs {
        if let Some(Records::Table { table, .. }) = &need.placement.records {
            *tables.entry(table).or_default() |= need.overwrites();
        }
    }
    let (mut erasing, mut planning) = (String::new(), String::new());
    for (table, is_overwritten) in tables {
        let table = format!("{}.{}", backticked(&database), backticked(table));
        let updating = is_overwritten.then_some(OVERWRITING);
        let all: Vec<&str> = NEEDED.into_iter().chain(updating).chain([SEEING_TRIGGERS]).collect();
        erasing.push_str(&format!("GRANT {} ON {table} TO {eraser};\n", all.join(", ")));
        planning.push_str(&format!("GRANT SELECT, {SEEING_TRIGGERS} ON {table} TO {planner};\n"));
    }
    format!(
        "-- Make both users first, each with a password of its own. `%` is any host: name yours where you can.\n\
         -- The marker, by which the database proves that it is the one meant:\n\
         {};\n\
         GRANT SELECT, INSERT ON {marker} TO {eraser};\n\
         -- What is erased. TRIGGER and REFERENCES show what else an erasure would change:\n\
         {erasing}\
         GRANT {SEEING_REFERENCES} ON {whole} TO {eraser};\n\
         -- A second user, for `plan` in a configuration of its own: it can only look.\n\
         GRANT SELECT ON {marker} TO {planner};\n\
         {planning}\
         GRANT {SEEING_REFERENCES} ON {whole} TO {planner};\n\
         -- Worth it where there are replicas, so that one is told from the primary (MariaDB: REPLICA MONITOR):\n\
         -- GRANT REPLICATION CLIENT ON *.* TO {eraser};\n",
        create_table(&marker)
    )
}

fn account(user: &str) -> String {
    format!("'{}'@'%'", user.replace('\\', "\\\\").replace('\'', "''"))
}

/// Findings about the user's privileges on a table.
pub(super) async fn inspect(session: &mut Session<'_>, table: &Table) -> Result<Vec<Finding>, StoreError> {
    let mut lines = Vec::new();
    for row in session.raw_rows("SHOW GRANTS").await? {
        lines.push(session.trouble.text(&row, 0)?);
    }
    Ok(findings(&Grants::read(&lines, session.schema, &table.name), &table.name))
}

fn findings(grants: &Grants, table: &str) -> Vec<Finding> {
    let may = |what: &str| grants.here.contains(what) || grants.here.contains("ALL PRIVILEGES");
    let mut findings = Vec::new();
    let missing: Vec<&str> = NEEDED.into_iter().filter(|what| !may(what)).collect();
    if missing == ["DELETE"] && grants.only_looks && !grants.is_partly_told {
        findings.push(warning(
            "store",
            format!("the user may only look at `{table}`: a plan can be made, and nothing is erased"),
            "`enforce` needs the other user that `retentiond grants` names",
        ));
    } else if !missing.is_empty() {
        let message = format!("the user may not {} in `{table}`", missing.join(" and "));
        let help = format!("GRANT {} ON `{table}` TO the user in the url", missing.join(", "));
        findings.push(if grants.is_partly_told {
            warning("store", message, &help)
        } else {
            fatal("store", message, &help)
        });
    }
    if missing.is_empty() && !may(OVERWRITING) {
        findings.push(warning(
            "store",
            format!("the user may not UPDATE `{table}`, so nothing in it can be overwritten"),
            "grant UPDATE where a policy says overwrite-then-delete; delete does not need it",
        ));
    }
    // Any right on the whole database shows its foreign keys, but for the right to read.
    let sees_references = grants.on_schema.iter().any(|what| what != "SELECT");
    if missing.is_empty() && !(may(SEEING_TRIGGERS) && sees_references) {
        findings.push(warning(
            "store",
            "the server hides triggers of the table, or tables that may refer to it, from the user".to_owned(),
            "grant TRIGGER on the table and REFERENCES on the database, so that cascades and triggers can be seen",
        ));
    }
    let too_many: Vec<&str> = TOO_MANY.into_iter().filter(|what| grants.anywhere.contains(*what)).collect();
    if !too_many.is_empty() {
        findings.push(warning(
            "store",
            format!("the user may do more than erasing needs: {}", too_many.join(", ")),
            "make a user of its own; `retentiond grants` prints all that it needs",
        ));
    }
    findings
}

impl Grants {
    fn read(lines: &[String], schema: &str, table: &str) -> Self {
        let mut grants = Self { only_looks: true, ..Self::default() };
        for line in lines {
            let Some(rest) = line.strip_prefix("GRANT ") else { continue };
            let Some((what, rest)) = rest.split_once(" ON ") else {
                grants.is_partly_told = true;
                continue;
            };
            let scope = rest.split(" TO ").next().unwrap_or(rest);
            grants.is_partly_told |= what.contains('(');
            let mut privileges: BTreeSet<String> =
                what.split(',').map(|one| one.trim().to_ascii_uppercase()).collect();
            privileges.remove("USAGE");
            if rest.ends_with("WITH GRANT OPTION") {
                privileges.insert("GRANT OPTION".to_owned());
            }
            grants.only_looks &= privileges.iter().all(|what| LOOKING.contains(&what.as_str()));
            // A user's own marker table needs INSERT and nothing else does.
            let is_marker = scope.ends_with(&format!(".`{MARKER}`"));
            if !is_marker {
                grants.anywhere.extend(privileges.iter().cloned());
            }
            let (of_schema, of_table) = scope.rsplit_once('.').unwrap_or((scope, "*"));
            let is_here = of_schema == "*" || matches(unquoted(of_schema).as_str(), schema);
            if is_here && of_table == "*" {
                grants.on_schema.extend(privileges.iter().cloned());
            }
            if is_here && (of_table == "*" || unquoted(of_table) == table) {
                grants.here.extend(privileges);
            }
        }
        grants
    }
}

fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("``", "`"))
}

/// Names of databases in grants are patterns: `%` for anything, `_` for one character, a backslash before what is meant.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('%') => (0..=name.len())
            .filter(|at| name.is_char_boundary(*at))
            .any(|at| name.get(at..).is_some_and(|tail| matches(rest.as_str(), tail))),
        Some(next) => {
            let literal = if next == '\\' { rest.next() } else { None };
            let mut name = name.chars();
            match (name.next(), literal) {
                (Some(first), Some(literal)) => first == literal && matches(rest.as_str(), name.as_str()),
                (Some(first), None) => {
                    (next == '_' || first == next) && matches(rest.as_str(), name.as_str())
                }
                (None, _) => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Grants {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        Grants::read(&lines, "call_center", "call_record")
    }

    #[test]
    fn just_enough_is_no_finding() {
        let grants = read(&[
            "GRANT USAGE ON *.* TO `r`@`%` IDENTIFIED BY PASSWORD '*X'",
            "GRANT REFERENCES ON `call\\_center`.* TO `r`@`%`",
            "GRANT SELECT, TRIGGER ON `call_center`.`call_record` TO `r`@`%`",
            "GRANT UPDATE, DELETE ON `call_center`.`call_record` TO `r`@`%`",
            "GRANT INSERT ON `call_center`.`retentiond_marker` TO `r`@`%`",
        ]);
        assert_eq!(findings(&grants, "call_record"), []);
    }

    #[test]
    fn too_few_and_too_many_are_told_apart() {
        let of = |lines: &[&str]| findings(&read(lines), "call_record");
        let few = of(&["GRANT SELECT, DELETE ON `call_center`.`other` TO `r`@`%`"]);
        assert!(few[0].fatal && few[0].message.contains("SELECT and DELETE"), "{few:?}");
        let looks = of(&["GRANT SELECT, TRIGGER ON `call_center`.`call_record` TO `r`@`%`"]);
        assert!(looks.len() == 1 && !looks[0].fatal && looks[0].message.contains("only look"), "{looks:?}");
        let forgotten = of(&[
            "GRANT SELECT, TRIGGER ON `call_center`.`call_record` TO `r`@`%`",
            "GRANT SELECT, INSERT ON `call_center`.`retentiond_marker` TO `r`@`%`",
        ]);
        assert!(forgotten[0].fatal && forgotten[0].message.contains("may not DELETE"), "{forgotten:?}");
        let blind = of(&[
            "GRANT SELECT ON `call_center`.* TO `r`@`%`",
            "GRANT UPDATE, DELETE, TRIGGER ON `call_center`.`call_record` TO `r`@`%`",
        ]);
        assert!(blind.len() == 1 && blind[0].message.contains("hides"), "{blind:?}");
        let of_a_namesake = of(&["GRANT SELECT, DELETE ON `callxcenter`.* TO `r`@`%`"]);
        assert!(of_a_namesake[0].fatal);
        let many = of(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]);
        assert!(many.len() == 1 && !many[0].fatal, "{many:?}");
        assert!(many[0].message.contains("ALL PRIVILEGES, GRANT OPTION"), "{many:?}");
        let role = of(&["GRANT `eraser` TO `r`@`%`", "GRANT USAGE ON *.* TO `r`@`%`"]);
        assert!(!role[0].fatal, "a role may hold the rest: {role:?}");
    }
}
