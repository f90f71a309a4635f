//! What an entry of the log must look like: one canonical JSON object of limited size, and how a bundle holds them.
//! It owns these two formats and what breaks them; who writes an entry and what it says is the ledger's business.

use serde_json::Value;

/// Largest entry that goes into the log: the bundle format ends at 65,535 bytes, and 8 KiB hold any fact of ours.
pub const ENTRY_BYTES_MAX: usize = 8 * 1024;

/// Largest integer that every JSON reader holds exactly (2^53); larger ones must be decimal strings.
const INTEGER_MAX: u64 = 1 << 53;

/// Says what is wrong with an entry, as a lower-case fragment: it is too large, no JSON object, not canonical (keys
/// sorted, none twice, no white space), or holds a number that not every reader reads alike.
pub fn fault_of(body: &str) -> Option<&'static str> {
    if body.len() > ENTRY_BYTES_MAX {
        return Some("it is larger than 8 KiB");
    }
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return Some("it is not JSON");
    };
    if !value.is_object() {
        return Some("it is not a JSON object");
    }
    if !numbers_are_plain(&value) {
        return Some("it holds a fraction or an integer beyond 2^53");
    }
    // A key that occurs twice, unsorted keys, white space and needless escapes all differ when written anew.
    let canonical = value.to_string();
    if canonical != body {
        return Some("its JSON is not canonical");
    }
    None
}

/// Appends an entry to a bundle: its length in two bytes, then itself. `None` where it does not fit the format.
#[must_use]
pub fn append(bundle: &mut Vec<u8>, body: &str) -> Option<()> {
    let length = u16::try_from(body.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(body.as_bytes());
    Some(())
}

/// Takes a bundle apart; `None` where its lengths do not add up.
pub fn split(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    Some(entries)
}

fn numbers_are_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => {
            number.as_u64().is_some_and(|n| n <= INTEGER_MAX)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() <= INTEGER_MAX)
        }
        Value::Array(items) => items.iter().all(numbers_are_plain),
        Value::Object(fields) => fields.values().all(numbers_are_plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_objects_are_accepted() {
        for body in ["{}", r#"{"a":1,"b":{"c":[true,null,"é"]}}"#, r#"{"n":-9007199254740992}"#] {
            assert_eq!(fault_of(body), None, "{body}");
        }
    }

    #[test]
    fn anything_that_two_readers_could_read_differently_is_named() {
        for (body, fault) in [
            (r#"{"a":1,"a":2}"#, "its JSON is not canonical"),
            (r#"{"a":1,"a":1}"#, "its JSON is not canonical"),
            (r#"{"b":1,"a":2}"#, "its JSON is not canonical"),
            (r#"{"a": 1}"#, "its JSON is not canonical"),
            (r#"{"a":"\u0041"}"#, "its JSON is not canonical"),
            ("{}\n", "its JSON is not canonical"),
            (r#"{"a":1.5}"#, "it holds a fraction or an integer beyond 2^53"),
            (r#"{"a":1e3}"#, "it holds a fraction or an integer beyond 2^53"),
            (r#"{"a":[9007199254740993]}"#, "it holds a fraction or an integer beyond 2^53"),
            ("[]", "it is not a JSON object"),
            ("", "it is not JSON"),
            (r#"{"a":1"#, "it is not JSON"),
        ] {
            assert_eq!(fault_of(body), Some(fault), "{body}");
        }
    }

    #[test]
    fn the_size_limit_holds_to_the_byte() {
        let body = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
        assert_eq!(fault_of(&body(ENTRY_BYTES_MAX)), None);
        assert_eq!(fault_of(&body(ENTRY_BYTES_MAX + 1)), Some("it is larger than 8 KiB"));
    }

    #[test]
    fn bundles_are_taken_apart_as_they_were_put_together() {
        let mut bundle = Vec::new();
        for body in ["{}", "", r#"{"a":1}"#] {
            append(&mut bundle, body).unwrap();
        }
        assert_eq!(split(&bundle).unwrap(), [b"{}".as_slice(), b"", br#"{"a":1}"#]);
        assert_eq!(split(&bundle[..bundle.len() - 1]), None);
        assert_eq!(split(&[0]), None);
        assert_eq!(split(&[]).unwrap(), Vec::<&[u8]>::new());
        assert!(append(&mut bundle, &"x".repeat(65_535)).is_some());
        assert!(append(&mut bundle, &"x".repeat(65_536)).is_none());
    }
}
