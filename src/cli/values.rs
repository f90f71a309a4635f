//! Values as people type them: instants, subjects, names, words. It owns their checks; a text that fails never
//! comes back in a message where it may name a person.

use chrono::{DateTime, Utc};

use super::output::{Failure, warn};
use crate::desk::checks;
use crate::id::{Category, TenantId};

/// An instant as RFC 3339, which has an offset.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    checks::time(text)
}

/// Refuses an instant in the future where only the past counts.
pub(super) fn not_in_future(option: &str, at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Failure> {
    checks::not_in_future(option, at, now).map_err(|error| Failure::desk(&error))
}

/// A tenant, exactly as typed. One that mixes scripts is accepted with a warning.
pub(super) fn tenant(text: &str) -> Result<TenantId, Failure> {
    let tenant = TenantId::parse(text)
        .map_err(|error| Failure::usage(error.to_string()).hint("name exactly one tenant"))?;
    if tenant.looks_mixed() {
        warn(&format!("the tenant `{tenant}` mixes letters of two scripts; is it the one you mean?"));
    }
    Ok(tenant)
}

/// Subjects given as `KIND=VALUE`, none of them twice.
pub(super) fn subjects(typed: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut subjects: Vec<(String, String)> = Vec::with_capacity(typed.len());
    for text in typed {
        let refuse = |why: &str| Err(Failure::usage(format!("--subject is not valid: {why}")));
        let Some((kind, value)) = text.split_once('=') else {
            return refuse("it is not KIND=VALUE");
        };
        if let Some(why) = checks::subject_fault(kind, value) {
            return refuse(why);
        }
        let subject = (kind.to_owned(), value.to_owned());
        if subjects.contains(&subject) {
            return refuse("it is given twice");
        }
        subjects.push(subject);
    }
    Ok(subjects)
}

/// Categories; whether a policy knows them is asked later.
pub(super) fn categories(typed: &[String]) -> Vec<Category> {
    typed.iter().map(Category::new).collect()
}

/// A text in an operator's words, that is kept: not empty, one line, not too long.
pub(super) fn words(option: &str, text: &str) -> Result<String, Failure> {
    checks::words(option, text).map_err(|error| Failure::desk(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_refused() {
        for text in
            ["2026-01-31", "2026-01-31T12:00:00", "12:00", "", "now", "2026-02-30T12:00:00Z", "1767225600"]
        {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(time("2016-12-31T23:59:60Z").is_err());
        assert_eq!(time("2026-01-31T12:00:00+08:00").unwrap().to_rfc3339(), "2026-01-31T04:00:00+00:00");
    }

    #[test]
    fn only_an_instant_after_now_is_in_the_future() {
        let now = time("2026-01-31T12:00:00Z").unwrap();
        assert!(not_in_future("--at", now, now).is_ok());
        assert!(not_in_future("--at", now - chrono::TimeDelta::nanoseconds(1), now).is_ok());
        assert!(not_in_future("--at", now + chrono::TimeDelta::nanoseconds(1), now).is_err());
    }

    #[test]
    fn a_subject_needs_a_kind_and_a_value_and_is_never_repeated_in_a_message() {
        let long = format!("phone={}", "9".repeat(1025));
        for text in
            ["phone", "=+6591234567", "phone=", "phone= ", "pho ne=+6591234567", "phone=+659\n1", &long]
        {
            let failure = subjects(&[text.to_owned()]).unwrap_err();
            assert!(!failure.message().contains("659") && !failure.message().contains("999"), "{text}");
        }
        let twice = ["phone=+6591234567".to_owned(), "phone=+6591234567".to_owned()];
        assert!(subjects(&twice).unwrap_err().message().contains("twice"));
        let edge = format!("phone={}", "9".repeat(1024));
        assert_eq!(subjects(&[edge]).unwrap().len(), 1);
        let equals = subjects(&["email=a=b".to_owned()]).unwrap();
        assert_eq!(equals, [("email".to_owned(), "a=b".to_owned())]);
    }

    #[test]
    fn words_are_one_line_of_bounded_length() {
        assert_eq!(words("--authority", " Court order 7 ").unwrap(), "Court order 7");
        assert!(words("--authority", " ").is_err());
        assert!(words("--authority", "a\nb").is_err());
        assert!(words("--authority", &"a".repeat(1024)).is_ok());
        assert!(words("--authority", &"a".repeat(1025)).is_err());
    }
}
