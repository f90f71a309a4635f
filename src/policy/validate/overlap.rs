//! Two placements that hold the same records.
//! It owns when two places meet; it errs on the side of saying that they do.

use crate::policy::parse::ParsedPolicy;
use crate::policy::template::TENANT_MARK;
use crate::policy::tree::{Fault, Severity};
use crate::policy::{Placement, Records};

/// Reports every placement that meets an earlier one: its records would be counted and judged twice.
pub(super) fn judge(policies: &[ParsedPolicy], faults: &mut Vec<Fault>) {
    let mut earlier: Vec<(&ParsedPolicy, &Placement)> = Vec::new();
    for policy in policies {
        for (index, placement) in policy.policy.placements.iter().enumerate() {
            let first = earlier.iter().find(|(_, other)| meet(other, placement));
            if let Some((home, other)) = first {
                let message = format!("`{}` holds the same records as `{}`", placement.name, other.name);
                let help = format!(
                    "`{}` is in {}; every record belongs to one placement, so make the two distinct",
                    other.name,
                    home.file.display()
                );
                let field = format!("placements[{index}].{}", key_of(placement));
                faults.push(policy.fault(Severity::Error, &field, message, help));
            }
            earlier.push((policy, placement));
        }
    }
}

fn key_of(placement: &Placement) -> &'static str {
    match &placement.records {
        Some(Records::Table { .. }) => "table",
        Some(Records::FoundBy { .. }) => "found_by",
        Some(Records::Prefix(_)) => "prefix",
        Some(Records::Keys(_)) => "keys",
        Some(Records::Index(_)) => "index",
        None => "rotation",
    }
}

fn meet(a: &Placement, b: &Placement) -> bool {
    if a.store != b.store || a.name == b.name {
        return false;
    }
    let (Some(a), Some(b)) = (&a.records, &b.records) else {
        return false;
    };
    use Records::{FoundBy, Index, Keys, Prefix, Table};
    match (a, b) {
        // SQLite and many installations of MySQL do not tell `Calls` from `calls`.
        (Table { table: a, .. }, Table { table: b, .. }) => a.to_lowercase() == b.to_lowercase(),
        (FoundBy { placement: a, column: x, .. }, FoundBy { placement: b, column: y, .. }) => {
            a == b && x == y
        }
        (Prefix(a) | FoundBy { prefix: a, .. }, Prefix(b)) | (Prefix(a), FoundBy { prefix: b, .. }) => {
            prefixes_meet(a, b)
        }
        (Keys(a), Keys(b)) => keys_meet(a, b),
        (Index(a), Index(b)) => patterns_meet(a, b),
        (Table { .. } | FoundBy { .. } | Prefix(_) | Keys(_) | Index(_), _) => false,
    }
}

/// True where one prefix lies inside the other for some tenant.
fn prefixes_meet(a: &str, b: &str) -> bool {
    let segments = |text: &str| text.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    segments(a).iter().zip(&segments(b)).all(|(a, b)| a == b || a == TENANT_MARK || b == TENANT_MARK)
}

/// True where some key may match both templates; a name matches no `:`.
fn keys_meet(a: &str, b: &str) -> bool {
    let head = |text: &str| text.split('{').next().unwrap_or_default().to_owned();
    let (head_a, head_b) = (head(a), head(b));
    if !head_a.starts_with(&head_b) && !head_b.starts_with(&head_a) {
        return false;
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split(':').collect(), b.split(':').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || a.contains('{') || b.contains('{'))
}

/// True where some index may match both patterns; a `*` stands at the end only.
fn patterns_meet(a: &str, b: &str) -> bool {
    match (a.strip_suffix('*'), b.strip_suffix('*')) {
        (None, None) => a == b,
        (Some(stem), None) => b.starts_with(stem),
        (None, Some(stem)) => a.starts_with(stem),
        (Some(a), Some(b)) => a.starts_with(b) || b.starts_with(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_meet_where_one_lies_in_the_other() {
        for (a, b, meet) in [
            ("rec/{tenant}/", "rec/{tenant}/", true),
            ("rec/{tenant}/", "rec/{tenant}/2025/", true),
            ("rec/{tenant}/", "rec/acme/", true),
            ("{tenant}/", "rec/{tenant}/", true),
            ("rec/{tenant}/", "ivr/{tenant}/", false),
            ("rec/{tenant}/", "rec-old/{tenant}/", false),
            ("rec/acme/", "rec/beta/", false),
            ("{tenant}/rec/", "{tenant}/ivr/", false),
        ] {
            assert_eq!(prefixes_meet(a, b), meet, "{a} {b}");
            assert_eq!(prefixes_meet(b, a), meet, "{b} {a}");
        }
    }

    #[test]
    fn patterns_and_templates_meet_where_one_name_fits_both() {
        for (a, b, meet) in
            [("a-*", "a-b-*", true), ("a-*", "a-1", true), ("a-*", "b-*", false), ("a", "a-1", false)]
        {
            assert_eq!(patterns_meet(a, b), meet, "{a} {b}");
            assert_eq!(patterns_meet(b, a), meet, "{b} {a}");
        }
        for (a, b, meet) in [
            ("agent:{tenant}:{id}", "agent:{tenant}:{staff}", true),
            ("agent:{tenant}:{id}", "agent:{tenant}:status", true),
            ("agent:{tenant}:{id}", "call:{tenant}:{id}", false),
            ("agent:{tenant}:{id}", "agent:{tenant}:{id}:x", false),
            ("agent/{tenant}", "call/{tenant}", false),
        ] {
            assert_eq!(keys_meet(a, b), meet, "{a} {b}");
            assert_eq!(keys_meet(b, a), meet, "{b} {a}");
        }
    }
}
