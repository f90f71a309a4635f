//! Checks of what people and programs write: subjects, words, instants. It owns their limits; a text that fails never
//! comes back in a message where it may name a person.

use chrono::{DateTime, Utc};

use super::DeskError;

/// Longest value of a subject, in bytes: an e-mail address has 254 at most, and longer ones are pasted by mistake.
const SUBJECT_BYTES_MAX: usize = 1024;

/// Longest text that is kept in an audit entry, in bytes: an entry has at most 8 KiB.
const WORDS_BYTES_MAX: usize = 1024;

/// Most subjects that one request or hold names.
const SUBJECTS_MAX: usize = 1_000;

/// An instant as RFC 3339, which has an offset.
///
/// # Errors
/// A text for people.
pub fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let instant = DateTime::parse_from_rfc3339(text).map_err(|error| {
        format!("it is not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00+08:00 ({error})")
    })?;
    if instant.timestamp_subsec_nanos() >= 1_000_000_000 {
        return Err("it is a leap second, which no clock here can count".to_owned());
    }
    Ok(instant.to_utc())
}

/// Refuses an instant in the future where only the past counts.
///
/// # Errors
/// [`super::Kind::Usage`].
pub fn not_in_future(what: &str, at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), DeskError> {
    if at > now {
        return Err(DeskError::usage(format!("{what} lies in the future"))
            .hint("it may name a past time, never a future one"));
    }
    Ok(())
}

/// Why a subject's kind and value are not fit to be asked for; none of the texts holds them.
pub fn subject_fault(kind: &str, value: &str) -> Option<&'static str> {
    if kind.is_empty() || value.trim().is_empty() {
        Some("kind or value is empty")
    } else if kind.chars().any(|c| c.is_control() || c.is_whitespace()) || value.chars().any(char::is_control)
    {
        Some("it holds a control character")
    } else if value.len() > SUBJECT_BYTES_MAX || kind.len() > SUBJECT_BYTES_MAX {
        Some("it is longer than 1024 bytes")
    } else {
        None
    }
}

/// Refuses subjects that are not fit to be asked for, or named twice.
///
/// # Errors
/// [`super::Kind::Usage`].
pub fn subjects(subjects: &[(String, String)]) -> Result<(), DeskError> {
    if subjects.len() > SUBJECTS_MAX {
        return Err(DeskError::usage("more than 1000 subjects are named".to_owned()));
    }
    for (at, subject) in subjects.iter().enumerate() {
        let twice = subjects[..at].contains(subject).then_some("it is given twice");
        if let Some(why) = subject_fault(&subject.0, &subject.1).or(twice) {
            return Err(DeskError::usage(format!("a subject is not valid: {why}")));
        }
    }
    Ok(())
}

/// The kinds among subjects.
pub fn kinds(subjects: &[(String, String)]) -> Vec<String> {
    subjects.iter().map(|(kind, _)| kind.clone()).collect()
}

/// A text in somebody's words, that is kept: not empty, one line, not too long. `name` says what it is.
///
/// # Errors
/// [`super::Kind::Usage`].
pub fn words(name: &str, text: &str) -> Result<String, DeskError> {
    let text = text.trim();
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > WORDS_BYTES_MAX {
        "it is longer than 1024 bytes"
    } else if text.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return Ok(text.to_owned());
    };
    Err(DeskError::usage(format!("{name} is not valid: {why}")))
}
