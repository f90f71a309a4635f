//! The keys of a policy and of the configuration, once, and the JSON Schema made from them.
//! It owns which keys there are and what they mean; the decoders read by these lists, and judge the values themselves.

mod config_keys;
mod policy_keys;

use serde_json::{Map, Value, json};

use super::tree::{Group, Key, Shape};

pub use config_keys::*;
pub use policy_keys::*;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// JSON Schema (draft 2020-12) of one file in the policies folder.
pub fn policy_schema() -> Value {
    document(&POLICY, "A retentiond policy", "Everything promised about one category of data.")
}

/// JSON Schema (draft 2020-12) of `retentiond.toml`.
pub fn config_schema() -> Value {
    document(&CONFIG, "retentiond.toml", "The configuration of retentiond.")
}

fn document(group: &Group, title: &str, about: &str) -> Value {
    let mut schema = object(group);
    if let Some(members) = schema.as_object_mut() {
        members.insert("$schema".to_owned(), json!(DRAFT));
        members.insert("title".to_owned(), json!(title));
        members.insert("description".to_owned(), json!(about));
    }
    schema
}

fn object(group: &Group) -> Value {
    let properties: Map<String, Value> =
        group.keys.iter().map(|key| (key.name.to_owned(), member(key))).collect();
    let required: Vec<&str> = group.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

fn member(key: &Key) -> Value {
    let mut schema = shape(key.shape);
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), json!(key.about));
    }
    schema
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Count => json!({ "type": "integer", "minimum": 1 }),
        Shape::Date => json!({ "type": "string", "format": "date" }),
        Shape::Texts => json!({
            "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "uniqueItems": true,
        }),
        Shape::Section(group) => object(group),
        Shape::Sections(group) => json!({ "type": "array", "items": object(group), "minItems": 1 }),
        Shape::Named(groups) => {
            let kinds: Vec<Value> = groups.iter().map(|group| store_of_kind(group)).collect();
            json!({ "type": "object", "additionalProperties": { "oneOf": kinds } })
        }
        Shape::Subjects(group) => json!({
            "oneOf": [
                { "const": "none" },
                { "type": "object", "minProperties": 1,
                  "additionalProperties": { "oneOf": [shape_of_list(), object(group)] } },
            ],
        }),
    }
}

fn shape_of_list() -> Value {
    shape(Shape::Texts)
}

/// A store's table whose `kind` is the one word that its group is for.
fn store_of_kind(group: &Group) -> Value {
    let mut schema = object(group);
    if let Some(kind) = schema.pointer_mut("/properties/kind") {
        *kind = json!({ "const": group.name, "description": KIND_ABOUT });
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks groups and schema side by side.
    fn same_names(group: &Group, schema: &Value) {
        let properties = schema["properties"].as_object().expect(group.name);
        let in_schema: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut known: Vec<&str> = group.keys.iter().map(|key| key.name).collect();
        known.sort_unstable();
        let mut sorted = in_schema.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known, "{}", group.name);
        assert_eq!(schema["additionalProperties"], json!(false), "{}", group.name);
        for key in group.keys {
            let member = &properties[key.name];
            assert!(member["description"].as_str().is_some_and(|about| !about.is_empty()), "{}", key.name);
            match key.shape {
                Shape::Section(inner) => same_names(inner, member),
                Shape::Sections(inner) => same_names(inner, &member["items"]),
                Shape::Named(inner) => {
                    let kinds = member["additionalProperties"]["oneOf"].as_array().unwrap();
                    for (inner, kind) in inner.iter().zip(kinds) {
                        same_names(inner, kind);
                    }
                }
                Shape::Subjects(inner) => {
                    same_names(inner, &member["oneOf"][1]["additionalProperties"]["oneOf"][1]);
                }
                Shape::Text
                | Shape::Pattern(_)
                | Shape::Words(_)
                | Shape::Boolean
                | Shape::Count
                | Shape::Date
                | Shape::Texts => {}
            }
        }
    }

    #[test]
    fn the_schema_names_exactly_the_keys_that_the_decoder_knows() {
        same_names(&POLICY, &policy_schema());
        same_names(&CONFIG, &config_schema());
        assert_eq!(policy_schema()["$schema"], json!(DRAFT));
    }

    #[test]
    fn the_schema_knows_the_words_and_what_is_required() {
        let policy = policy_schema();
        assert_eq!(
            policy["properties"]["method"]["enum"],
            json!(["delete", "overwrite-then-delete", "zero"])
        );
        assert_eq!(policy["required"], json!(["category", "method", "rules", "placements"]));
        let limits = &config_schema()["properties"]["limits"];
        assert_eq!(limits["required"], json!(["records", "share"]));
    }
}
