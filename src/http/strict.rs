//! JSON as it is accepted: read once, no name twice, nothing unknown, bounded in depth and length.
//! It owns these limits; no value that was sent comes back in a message.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::ApiError;

/// Deepest nesting: our own documents have four levels.
const DEPTH_MAX: usize = 32;

/// Most members of one list or object.
const LIST_MAX: usize = 1_000;

/// Reads a body.
///
/// # Errors
/// 400 with what is wrong, but none of what was sent.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let refuse = |why: &str| ApiError::malformed("malformed", format!("the body is not accepted: {why}"));
    let text = std::str::from_utf8(body).map_err(|_| refuse("it is not UTF-8"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|error| refuse(&told(&error)))?;
    reader.end().map_err(|_| refuse("something follows the JSON document"))?;
    if !value.is_object() {
        // A list would be taken for the fields in their order.
        return Err(refuse("it is not an object"));
    }
    T::deserialize(value).map_err(|error| refuse(&unfit(&error)))
}

/// Our own refusals say what they are about; those of the parser may repeat what was sent, so only the place is told.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match OURS.iter().find(|ours| text.starts_with(**ours)) {
        Some(ours) => (*ours).to_owned(),
        None => format!("it is not JSON (line {}, column {})", error.line(), error.column()),
    }
}

const TWICE: &str = "a name is given twice in one object";
const DEEP: &str = "it is nested deeper than 32 levels";
const LONG: &str = "a list or object has more than 1000 members";
const OURS: [&str; 3] = [TWICE, DEEP, LONG];

/// Names of missing fields are ours, everything else in the text may be theirs.
fn unfit(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return format!("the field `{name}` is missing");
    }
    if text.starts_with("unknown field") {
        return "it has a field that is not known here".to_owned();
    }
    "a field is not of the kind that the document says".to_owned()
}

/// Reads any value, at a depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX { Err(E::custom(DEEP)) } else { Ok(Self { depth: self.depth + 1 }) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(deeper)? {
            if values.len() >= LIST_MAX {
                return Err(A::Error::custom(LONG));
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(TWICE));
            }
            if fields.len() >= LIST_MAX {
                return Err(A::Error::custom(LONG));
            }
            let value = object.next_value_seed(deeper)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: String,
    }

    fn refused<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        parse::<T>(text.as_bytes()).unwrap_err().message
    }

    #[test]
    fn a_name_given_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            assert!(refused::<Value>(text).contains("given twice"), "{text}");
        }
        assert_eq!(parse::<Value>(br#"{"a":1,"A":2}"#).unwrap(), serde_json::json!({"a": 1, "A": 2}));
    }

    #[test]
    fn depth_and_length_are_bounded_at_the_edge() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse::<Value>(nested(32).as_bytes()).is_ok());
        assert!(refused::<Value>(&nested(33)).contains("32 levels"));
        assert!(refused::<Value>(&nested(1_000)).contains("32 levels"));
        assert!(refused::<Value>(&"[".repeat(100_000)).contains("32 levels"));
        let list = |members: usize| format!("{{\"a\":[{}]}}", vec!["1"; members].join(","));
        assert!(parse::<Value>(list(1_000).as_bytes()).is_ok());
        assert!(refused::<Value>(&list(1_001)).contains("1000 members"));
    }

    #[test]
    fn what_is_not_json_or_not_as_told_is_refused_without_repeating_it() {
        for text in [
            "",
            "{",
            "nul",
            "NaN",
            "{\"name\":1e999}",
            "{'name':1}",
            "{\"name\":\"+6591\"} x",
            "\u{feff}{}",
            "{\"name\":5916591}",
            "{\"+6591\":1,\"name\":\"\"}",
            "{\"name\":\"\\ud800\"}",
            "[]",
            "[\"+6591\"]",
            "\"+6591\"",
        ] {
            let message = refused::<Named>(text);
            assert!(!message.contains("6591"), "{message}");
        }
        assert!(parse::<Named>(b"{\"name\":\"\xff\"}").unwrap_err().message.contains("UTF-8"));
        assert_eq!(refused::<Named>("{}"), "the body is not accepted: the field `name` is missing");
        assert!(refused::<Named>("{\"name\":\"a\",\"b\":1}").contains("not known here"));
        assert_eq!(parse::<Named>(br#" {"name":"a"} "#).unwrap().name, "a");
    }
}
