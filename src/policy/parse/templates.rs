//! Where records are found by name: prefixes, Redis key templates, index patterns.
//! It owns which of them can never mean *everything*; how a tenant is put in is said by `template`.

use super::words::{cut, identifier};
use crate::policy::template::TENANT_MARK;
use crate::policy::tree::Wrong;

/// Whether a template must say whose a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantMark {
    /// `{tenant}` stands in it exactly once.
    Once,
    /// The placement has one constant tenant, so `{tenant}` does not stand in it.
    Never,
}

/// Reads a prefix template such as `ivr/{tenant}/`.
///
/// # Errors
/// For what would match too much (no separator at its end, no tenant, wildcards) or never (a leading separator).
pub(super) fn prefix(text: &str, mark: TenantMark) -> Result<String, Wrong> {
    let help = "write folders with `/` between and behind them, for example \"ivr/{tenant}/\"";
    let refuse = |why: &str| Err(Wrong::new(format!("the prefix `{}` {why}", cut(text)), help));
    if text.starts_with('/') {
        return refuse("begins with `/`; names in a store do not");
    }
    if !text.ends_with('/') {
        return refuse("does not end with `/`, so it would match its neighbours too");
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || "*?[]\\%$~".contains(c)) {
        return refuse("holds a wildcard, a white space or a special character");
    }
    let segments: Vec<&str> = text.trim_end_matches('/').split('/').collect();
    if text.ends_with("//") || segments.iter().any(|segment| ["", ".", ".."].contains(segment)) {
        return refuse("holds an empty segment, `.` or `..`");
    }
    if segments.iter().any(|segment| *segment != TENANT_MARK && segment.contains(['{', '}'])) {
        return refuse("holds braces other than `{tenant}` as a segment of its own");
    }
    tenant_marks(text, mark, "prefix")?;
    Ok(text.to_owned())
}

/// Reads a Redis key template such as `agent:{tenant}:{staff_id}`.
///
/// # Errors
/// For wildcards, a missing tenant, names that touch, and templates without any fixed text.
pub(super) fn keys(text: &str, mark: TenantMark) -> Result<String, Wrong> {
    let help = "write a template such as \"agent:{tenant}:{staff_id}\"";
    let refuse = |why: &str| Err(Wrong::new(format!("the key template `{}` {why}", cut(text)), help));
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || "*?[]\\^".contains(c)) {
        return refuse("holds a wildcard or a white space");
    }
    let mut names: Vec<&str> = Vec::new();
    let mut fixed = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if before.is_empty() && !names.is_empty() {
            return refuse("has two names without a separator between them");
        }
        let Some((name, tail)) = after.split_once('}') else {
            return refuse("opens a brace and does not close it");
        };
        if identifier(name).is_err() || name.contains('{') || names.contains(&name) && name != "tenant" {
            return refuse("has a name that is empty, not a word or there twice");
        }
        fixed.push_str(before);
        names.push(name);
        rest = tail;
    }
    fixed.push_str(rest);
    if fixed.contains('}') {
        return refuse("closes a brace that is not open");
    }
    if !fixed.contains(char::is_alphanumeric) {
        return refuse("has no fixed text, so it would match every key");
    }
    tenant_marks(text, mark, "key template")?;
    Ok(text.to_owned())
}

/// Reads an index pattern such as `cc-logs-*`.
///
/// # Errors
/// For patterns that match everything, exclude, or name several.
pub(super) fn index(text: &str) -> Result<String, Wrong> {
    let help = "name an index, or a prefix with `*` at its end, for example \"cc-logs-*\"";
    let refuse = |why: &str| Err(Wrong::new(format!("the index pattern `{}` {why}", cut(text)), help));
    if text.is_empty() || text.starts_with(['-', '_', '+', '.', '<', '*']) {
        return refuse("means all indices, excludes some, or names an internal one");
    }
    let stem = text.strip_suffix('*').unwrap_or(text);
    if stem.contains(|c: char| {
        c.is_control() || c.is_whitespace() || c.is_uppercase() || "*?,\"<>|\\/#:{}[]%$".contains(c)
    }) {
        return refuse("holds a capital letter, a separator or a wildcard before its end");
    }
    if stem.len() < text.len() && !stem.ends_with(['-', '_', '.']) {
        return refuse("does not end its fixed part with `-`, so it would match its neighbours too");
    }
    Ok(text.to_owned())
}

fn tenant_marks(text: &str, mark: TenantMark, what: &str) -> Result<(), Wrong> {
    let count = text.matches(TENANT_MARK).count();
    match (mark, count) {
        (TenantMark::Once, 1) | (TenantMark::Never, 0) => Ok(()),
        (TenantMark::Once, 0) => Err(Wrong::new(
            format!("the {what} `{}` does not say whose the records are", cut(text)),
            "put {tenant} where the tenant stands, or say tenant = { constant = \"…\" }",
        )),
        (TenantMark::Once, _) => Err(Wrong::new(
            format!("the {what} `{}` holds {{tenant}} more than once", cut(text)),
            "put {tenant} in once",
        )),
        (TenantMark::Never, _) => Err(Wrong::new(
            format!("the {what} `{}` holds {{tenant}} beside a constant tenant", cut(text)),
            "leave one of the two out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TenantMark::{Never, Once};

    #[test]
    fn a_prefix_names_one_tenants_folder() {
        for text in ["rec/{tenant}/", "{tenant}/", "a/b/{tenant}/c/"] {
            assert_eq!(prefix(text, Once), Ok(text.to_owned()));
        }
        assert_eq!(prefix("rec/", Never), Ok("rec/".to_owned()));
        for text in [
            "",
            "/",
            "*",
            "**/*",
            "logs",
            "rec/{tenant}",
            "/rec/{tenant}/",
            "rec/*/{tenant}/",
            "rec/../{tenant}/",
            "rec//{tenant}/",
            "rec/{tenant}//",
            "rec/",
            "rec/{tenant}/{tenant}/",
            "rec/{agent}/{tenant}/",
            "rec/x{tenant}/",
            "./{tenant}/",
            "rec/{tenant }/",
            "${ROOT}/{tenant}/",
            "rec/%Y/{tenant}/",
            "rec\\{tenant}/",
            "{tenant}{tenant}/",
            "rec/\0{tenant}/",
        ] {
            assert!(prefix(text, Once).is_err(), "{text}");
        }
        assert!(prefix("rec/{tenant}/", Never).is_err());
        assert!(prefix("/", Never).is_err());
    }

    #[test]
    fn a_key_template_names_one_tenants_keys() {
        for text in ["agent:{tenant}:{staff_id}", "{tenant}:agent:{id}"] {
            assert_eq!(keys(text, Once), Ok(text.to_owned()));
        }
        assert_eq!(keys("agent:{id}", Never), Ok("agent:{id}".to_owned()));
        for text in [
            "*",
            "tenant:*",
            "agent:{staff_id}",
            "agent:[{tenant}:x",
            "agent:{tenant}{id}",
            "agent:{tenant",
            "agent:tenant}",
            "{tenant}",
            "{tenant}:{id}",
            "agent:{}:{tenant}",
            "agent:{tenant}:{tenant}",
            "agent:{id}:{id}:{tenant}",
            "",
            "agent:{{tenant}}",
        ] {
            assert!(keys(text, Once).is_err(), "{text}");
        }
    }

    #[test]
    fn an_index_pattern_never_means_all() {
        for text in ["cc-logs", "cc-logs-*", "cc_logs_2025", "cc-logs-2025.*"] {
            assert_eq!(index(text), Ok(text.to_owned()));
        }
        for text in [
            "*",
            "_all",
            "-a",
            "logs*",
            "a,b-*",
            "a-*-b",
            "<logs-{now/d}>",
            ".kibana",
            "Logs-*",
            "a b",
            "",
            "*-logs",
        ] {
            assert!(index(text).is_err(), "{text}");
        }
    }
}
