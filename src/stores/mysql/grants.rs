//! What the server lets the user do, from `SHOW GRANTS`. It owns the reading of those lines and the findings about too
//! few and too many privileges; it grants nothing.

use std::collections::BTreeSet;

use super::catalogue::Table;
use super::session::Session;
use super::wanted::{fatal, warning};
use crate::stores::{Finding, StoreError};

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
    /// A role or a list of columns says more than these lines do.
    is_partly_told: bool,
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
    let everywhere =
        |what: &str| grants.on_schema.contains(what) || grants.on_schema.contains("ALL PRIVILEGES");
    let mut findings = Vec::new();
    let missing: Vec<&str> = ["SELECT", "DELETE"].into_iter().filter(|what| !may(what)).collect();
    if !missing.is_empty() {
        let message = format!("the user may not {} in `{table}`", missing.join(" and "));
        let help = format!("GRANT {} ON `{table}` TO the user in the url", missing.join(", "));
        findings.push(if grants.is_partly_told {
            warning("store", message, &help)
        } else {
            fatal("store", message, &help)
        });
    }
    if missing.is_empty() && !may("UPDATE") {
        findings.push(warning(
            "store",
            format!("the user may not UPDATE `{table}`, so nothing in it can be overwritten"),
            "grant UPDATE where a policy says overwrite-then-delete; delete does not need it",
        ));
    }
    let unseen: Vec<&str> = [("TRIGGER", may("TRIGGER")), ("SELECT", everywhere("SELECT"))]
        .into_iter()
        .filter_map(|(what, may)| (!may).then_some(what))
        .collect();
    if missing.is_empty() && !unseen.is_empty() {
        findings.push(warning(
            "store",
            "the server hides triggers of the table, or tables that may refer to it, from the user".to_owned(),
            "grant TRIGGER on the table and SELECT on the database, so that cascades and triggers can be seen",
        ));
    }
    let too_many: Vec<&str> = TOO_MANY.into_iter().filter(|what| grants.anywhere.contains(*what)).collect();
    if !too_many.is_empty() {
        findings.push(warning(
            "store",
            format!("the user may do more than erasing needs: {}", too_many.join(", ")),
            "make a user of its own with SELECT, DELETE, UPDATE and TRIGGER on what the policies name",
        ));
    }
    findings
}

impl Grants {
    fn read(lines: &[String], schema: &str, table: &str) -> Self {
        let mut grants = Self::default();
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
            // A user's own marker table needs INSERT and nothing else does.
            let is_marker = scope.ends_with(&format!(".`{}`", super::catalogue::MARKER));
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
            "GRANT SELECT, TRIGGER ON `call\\_center`.* TO `r`@`%`",
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
        let of_a_namesake = of(&["GRANT SELECT, DELETE ON `callxcenter`.* TO `r`@`%`"]);
        assert!(of_a_namesake[0].fatal);
        let many = of(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]);
        assert!(many.len() == 1 && !many[0].fatal, "{many:?}");
        assert!(many[0].message.contains("ALL PRIVILEGES, GRANT OPTION"), "{many:?}");
        let role = of(&["GRANT `eraser` TO `r`@`%`", "GRANT USAGE ON *.* TO `r`@`%`"]);
        assert!(!role[0].fatal, "a role may hold the rest: {role:?}");
    }
}
