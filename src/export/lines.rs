//! How a record is written down: one line of JSON, from which everything can be read back exactly, and one row of CSV for
//! people and spreadsheets. It owns both forms; it reads no store.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::stores::{Field, Key, Value};

/// Whole numbers beyond this do not survive programs that read every number as a double.
const PLAIN_INT_MAX: i128 = 1 << 53;

/// What an export knows of the bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// The file in the export; `None` where the record has no bytes any more.
    pub(super) file: Option<String>,
    /// How many bytes.
    pub(super) bytes: u64,
    /// SHA-256, hex.
    pub(super) sha256: String,
    /// What the store told of them beside.
    pub(super) about: Vec<(String, Field)>,
}

/// A record as one line of JSON, its end included.
pub(super) fn json_line(key: &Key, fields: &[(String, Field)], taken: Option<&Taken>) -> String {
    let key: Vec<String> = key.0.iter().map(|value| json_of(&field_of(value))).collect();
    let mut line = format!("{{\"key\":[{}],\"fields\":{}", key.join(","), object(fields));
    if let Some(taken) = taken {
        match &taken.file {
            Some(file) => line.push_str(&format!(
                ",\"file\":{},\"bytes\":{},\"sha256\":{}",
                quoted(file),
                taken.bytes,
                quoted(&taken.sha256)
            )),
            None => line.push_str(",\"file\":null"),
        }
        if !taken.about.is_empty() {
            line.push_str(&format!(",\"about\":{}", object(&taken.about)));
        }
    }
    line.push_str("}\n");
    line
}

/// The first row of a CSV file.
pub(super) fn csv_header(fields: &[(String, Field)], has_bytes: bool) -> String {
    let mut cells: Vec<String> = fields.iter().map(|(name, _)| cell(name)).collect();
    if has_bytes {
        cells.extend(["file", "bytes", "sha256"].map(|name| format!("({name})")));
    }
    cells.join(",") + "\r\n"
}

/// A record as a row of CSV (RFC 4180). Nothing stored is an empty cell; an empty text is `""`.
pub(super) fn csv_row(fields: &[(String, Field)], taken: Option<&Taken>) -> String {
    let mut cells: Vec<String> = fields.iter().map(|(_, field)| csv_cell(field)).collect();
    if let Some(taken) = taken {
        match &taken.file {
            Some(file) => cells.extend([cell(file), taken.bytes.to_string(), taken.sha256.clone()]),
            None => cells.extend([String::new(), String::new(), String::new()]),
        }
    }
    cells.join(",") + "\r\n"
}

fn field_of(value: &Value) -> Field {
    match value {
        Value::Int(number) => Field::Int((*number).into()),
        Value::Text(text) => Field::Text(text.clone()),
        Value::Bytes(bytes) => Field::Bytes(bytes.clone()),
    }
}

fn object(fields: &[(String, Field)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, field)| format!("{}:{}", quoted(name), json_of(field))).collect();
    format!("{{{}}}", fields.join(","))
}

/// What JSON cannot say exactly is an object with one name that begins with `$`. A text is always a string, so that none
/// can be taken for it.
fn json_of(field: &Field) -> String {
    match field {
        Field::Null => "null".to_owned(),
        Field::Int(number) if number.abs() <= PLAIN_INT_MAX => number.to_string(),
        Field::Int(number) => format!("{{\"$int\":\"{number}\"}}"),
        Field::Number(digits) => format!("{{\"$number\":{}}}", quoted(digits)),
        Field::Text(text) => quoted(text),
        Field::Bytes(bytes) => format!("{{\"$base64\":\"{}\"}}", BASE64_STANDARD.encode(bytes)),
        // A line break outside of a string means nothing, and inside there is none.
        Field::Json(json) => format!("{{\"$json\":{}}}", json.replace(['\n', '\r'], " ")),
        Field::List(fields) => format!("[{}]", fields.iter().map(json_of).collect::<Vec<_>>().join(",")),
    }
}

fn csv_cell(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Int(number) => number.to_string(),
        Field::Number(digits) => digits.clone(),
        Field::Text(text) => cell(text),
        Field::Json(json) => cell(json),
        Field::Bytes(_) | Field::List(_) => cell(&json_of(field)),
    }
}

fn cell(text: &str) -> String {
    let is_plain = !text.is_empty()
        && !text.contains([',', '"', '\r', '\n'])
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<(String, Field)> {
        [
            ("id", Field::Int(9_007_199_254_740_993)),
            ("small", Field::Int(-7)),
            ("fee", Field::Number("1.10".to_owned())),
            ("note", Field::Text("a \"quoted\"\nnote, with é".to_owned())),
            ("raw", Field::Bytes(vec![0xff, 0])),
            ("none", Field::Null),
            ("empty", Field::Text(String::new())),
            ("phone", Field::Text("+6591110001".to_owned())),
            ("doc", Field::Json("{\n\"n\": 1.10}".to_owned())),
        ]
        .map(|(name, field)| (name.to_owned(), field))
        .to_vec()
    }

    #[test]
    fn a_line_is_one_line_of_json_with_every_value_exact() {
        let line = json_line(&Key(vec![Value::Int(1), Value::Text("x".into())]), &fields(), None);
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["key"], serde_json::json!([1, "x"]));
        assert_eq!(read["fields"]["id"], serde_json::json!({"$int": "9007199254740993"}));
        assert_eq!(read["fields"]["small"], -7);
        assert_eq!(read["fields"]["fee"], serde_json::json!({"$number": "1.10"}));
        assert_eq!(read["fields"]["note"], "a \"quoted\"\nnote, with é");
        assert_eq!(read["fields"]["raw"], serde_json::json!({"$base64": "/wA="}));
        assert!(read["fields"]["none"].is_null() && read["fields"]["empty"] == "");
        assert!(line.contains("{\"$json\":{ \"n\": 1.10}}"), "{line}");
        assert!(read.get("file").is_none());
    }

    #[test]
    fn bytes_are_named_with_their_digest_and_their_lack_is_said() {
        let taken = |file: Option<&str>| Taken {
            file: file.map(str::to_owned),
            bytes: 3,
            sha256: "abc".to_owned(),
            about: vec![("content_type".to_owned(), Field::Text("audio/wav".to_owned()))],
        };
        let with = json_line(&Key(vec![]), &[], Some(&taken(Some("objects/a"))));
        assert_eq!(
            with,
            "{\"key\":[],\"fields\":{},\"file\":\"objects/a\",\"bytes\":3,\"sha256\":\"abc\",\
             \"about\":{\"content_type\":\"audio/wav\"}}\n"
        );
        assert!(json_line(&Key(vec![]), &[], Some(&taken(None))).contains("\"file\":null"));
        assert_eq!(csv_row(&[], Some(&taken(None))), ",,\r\n");
    }

    #[test]
    fn a_row_tells_nothing_from_empty_and_quotes_what_needs_it() {
        assert_eq!(csv_header(&fields(), false), "id,small,fee,note,raw,none,empty,phone,doc\r\n");
        assert_eq!(
            csv_row(&fields(), None),
            "9007199254740993,-7,1.10,\"a \"\"quoted\"\"\nnote, with é\",\"{\"\"$base64\"\":\"\"/wA=\"\"}\",,\"\",\
             +6591110001,\"{\n\"\"n\"\": 1.10}\"\r\n"
        );
    }
}
