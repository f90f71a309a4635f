//! The body of an audit entry: canonical JSON of bounded size, the same whichever database holds the ledger.
//! It owns how a body is written; it does not number entries or store them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{LedgerError, ProposedAction};

/// Longest body, in bytes: an entry is read and hashed whole, by people too.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// Largest integer that every JSON reader keeps exact, 2^53; larger ones are written as text.
const EXACT_MAX: u64 = 1 << 53;

/// The fields that every entry has; a caller's own may not be named so.
const RESERVED: [&str; 3] = ["v", "at", "kind"];

/// Writes a body: keys sorted, no white space, no fractions.
///
/// *Properties*: the same fact gives the same bytes; the body is at most 8 KiB long. Where it would be longer, the
/// longest fields are replaced by their digest and length, so a reader can still compare them with the ledger.
///
/// # Errors
/// [`LedgerError::State`] where `fields` is not an object, uses a reserved name or holds a fraction.
pub(super) fn body(kind: &str, fields: Value, now: DateTime<Utc>) -> Result<String, LedgerError> {
    let Value::Object(fields) = fields else {
        return Err(refused("its fields are not an object"));
    };
    if RESERVED.iter().any(|name| fields.contains_key(*name)) {
        return Err(refused("it has a field `v`, `at` or `kind` of its own"));
    }
    let mut all = Map::new();
    for (name, value) in fields {
        all.insert(name, exact(value)?);
    }
    all.insert("v".to_owned(), json!(1));
    all.insert("at".to_owned(), json!(at(now)));
    all.insert("kind".to_owned(), json!(kind));
    loop {
        let text = canonical(&all);
        if text.len() <= BODY_BYTES_MAX || !shorten(&mut all) {
            return Ok(text);
        }
    }
}

/// An instant as entries write it: UTC, six fractional digits.
pub(super) fn at(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// SHA-256 (hex) of words that an operator wrote: they stay in the ledger, the entry shows that they are the same.
pub(super) fn words(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// A proposed action as entries tell it: somebody's words by their digest only.
pub(super) fn proposed(action: &ProposedAction) -> Value {
    match action {
        ProposedAction::ReleaseHold { hold_id, reason } => {
            json!({"kind": "release-hold", "hold_id": hold_id, "reason_sha256": words(reason)})
        }
        ProposedAction::TerminateTenant { tenant, terminated_at } => {
            json!({"kind": "terminate-tenant", "tenant": tenant, "terminated_at": at(*terminated_at)})
        }
        ProposedAction::ApprovePlan { plan_id, records, refused_at } => json!({
            "kind": "approve-plan", "plan_id": plan_id, "records": records, "refused_at": at(*refused_at),
        }),
    }
}

fn canonical(fields: &Map<String, Value>) -> String {
    // `serde_json::Map` keeps its keys sorted; `a_body_has_its_keys_sorted` notices a feature that changes it.
    Value::Object(fields.clone()).to_string()
}

/// Integers that a reader might round become text; fractions are refused.
fn exact(value: Value) -> Result<Value, LedgerError> {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(count), _) if count <= EXACT_MAX => Ok(Value::Number(number)),
            (None, Some(count)) if count.unsigned_abs() <= EXACT_MAX => Ok(Value::Number(number)),
            (Some(_), _) | (None, Some(_)) => Ok(Value::String(number.to_string())),
            (None, None) => Err(refused("it holds a fraction")),
        },
        Value::Array(values) => Ok(Value::Array(values.into_iter().map(exact).collect::<Result<_, _>>()?)),
        Value::Object(fields) => Ok(Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| Ok((name, exact(value)?)))
                .collect::<Result<_, LedgerError>>()?,
        )),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(value),
    }
}

/// Replaces the longest field by digest and length. False where there is nothing left to shorten.
fn shorten(fields: &mut Map<String, Value>) -> bool {
    let longest = fields
        .iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
        .map(|(name, value)| (value.to_string().len(), name.clone()))
        .max();
    let Some((length, name)) = longest else { return false };
    // A digest takes about a hundred bytes: shortening less than that would only make it longer.
    if length <= 128 {
        return false;
    }
    if let Some(value) = fields.get_mut(&name) {
        let count = match value {
            Value::Array(values) => values.len(),
            Value::Object(fields) => fields.len(),
            Value::String(text) => text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        };
        *value = json!({"count": count, "sha256": words(&value.to_string())});
    }
    true
}

fn refused(why: &str) -> LedgerError {
    LedgerError::State(format!("failed to write an audit entry: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("an instant")
    }

    #[test]
    fn a_body_has_its_keys_sorted() {
        let text =
            body("go", json!({"zeta": 1, "alpha": {"b": 2, "a": [true, null]}}), now()).expect("a body");
        assert_eq!(
            text,
            r#"{"alpha":{"a":[true,null],"b":2},"at":"2023-11-14T22:13:20.000001Z","kind":"go","v":1,"zeta":1}"#
        );
    }

    #[test]
    fn a_body_that_would_be_longer_than_8_kib_keeps_its_short_fields() {
        let long: Vec<String> = (0..2000).map(|n| format!("step-{n}")).collect();
        let text = body("plan-made", json!({"steps": long, "plan_id": "p", "note": "n".repeat(9000)}), now())
            .expect("a body");
        assert!(text.len() <= BODY_BYTES_MAX);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["plan_id"], "p");
        assert_eq!(value["steps"]["count"], 2000);
        assert_eq!(value["steps"]["sha256"], words(&json!(long).to_string()));
    }

    #[test]
    fn integers_stay_exact_and_fractions_are_refused() {
        let text = body("x", json!({"a": EXACT_MAX, "b": EXACT_MAX + 1, "c": -1}), now()).expect("a body");
        assert!(
            text.starts_with(r#"{"a":9007199254740992,"#)
                && text.contains(r#""b":"9007199254740993","c":-1"#)
        );
        assert!(body("x", json!({"a": [0.5]}), now()).is_err());
        assert!(body("x", json!({"kind": "y"}), now()).is_err());
        assert!(body("x", json!([]), now()).is_err());
    }
}
