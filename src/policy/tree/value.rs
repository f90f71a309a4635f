//! One value of the tree, read as the type that its key asks for.
//! It owns type faults and `${NAME}`; it does not know which key it belongs to.

use std::ops::Range;

use chrono::NaiveDate;
use toml::Spanned;
use toml::de::DeValue;

use super::{Document, Group, Section, Severity, nearest, type_name};

/// What is wrong with a text and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Wrong {
    /// Joins the two.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// One value with its place.
#[derive(Clone)]
pub struct Value<'d> {
    pub(super) document: &'d Document<'d>,
    pub(super) value: &'d DeValue<'d>,
    pub(super) span: Range<usize>,
    pub(super) field: String,
}

impl<'d> Value<'d> {
    /// Reports something that is wrong with the value.
    pub fn fault(&self, message: &str, help: &str) {
        self.document.push(Severity::Error, self.span.clone(), &self.field, message, Some(help.to_owned()));
    }

    /// Reports something that is accepted but should be seen.
    pub fn warn(&self, message: &str, help: &str) {
        self.document.push(Severity::Warning, self.span.clone(), &self.field, message, Some(help.to_owned()));
    }

    /// Path of the value, `rules[0].period` for example.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// True for a text, whatever it says.
    pub fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// True for a table, whatever is in it.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// True for a table that has this key.
    pub fn has(&self, name: &str) -> bool {
        self.value.as_table().is_some_and(|table| table.keys().any(|key| key.get_ref() == name))
    }

    /// How long a list is; `None` for everything else.
    pub fn items_count(&self) -> Option<usize> {
        self.value.as_array().map(|items| items.iter().count())
    }

    /// A text that is not blank, with `${NAME}` replaced where the file allows that.
    pub fn text(&self) -> Option<String> {
        let DeValue::String(text) = self.value else {
            self.wrong_type("a text in double quotes");
            return None;
        };
        let text = match self.document.dialect.lookup {
            Some(lookup) => expand(text, lookup),
            None => Ok(text.to_string()),
        };
        match text {
            Ok(text) if text.trim().is_empty() => {
                self.fault("the text is empty", "an empty value never means a default; write one");
                None
            }
            Ok(text) => Some(text),
            Err(wrong) => {
                self.fault(&wrong.message, &wrong.help);
                None
            }
        }
    }

    /// A text in a form of its own.
    pub fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        match parse(&self.text()?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.fault(&wrong.message, &wrong.help);
                None
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parsed(|text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let near = nearest(text, words.iter().map(|(word, _)| *word));
                let all = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("one of {all}"),
                };
                Wrong::new(format!("`{}` is not known here", text.escape_debug()), help)
            })
        })
    }

    /// A whole number, at least 1.
    pub fn count(&self) -> Option<u64> {
        let DeValue::Integer(number) = self.value else {
            self.wrong_type("a whole number without quotes");
            return None;
        };
        let count = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|count| *count > 0);
        if count.is_none() {
            self.fault(
                "the number must be at least 1 and fit into 64 bits",
                "there is no word for `unlimited`",
            );
        }
        count
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(value) = self.value else {
            self.wrong_type("true or false, without quotes");
            return None;
        };
        Some(*value)
    }

    /// A date without a time, as a TOML date or as text.
    pub fn date(&self) -> Option<NaiveDate> {
        let text = match self.value {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type("a date");
                return None;
            }
        };
        let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
        if date.is_none() {
            self.fault("this is not a date", "write year, month and day, for example 2000-01-01");
        }
        date
    }

    /// The values of a list.
    pub fn items(&self) -> Option<Vec<Value<'d>>> {
        let DeValue::Array(items) = self.value else {
            self.wrong_type("a list in square brackets");
            return None;
        };
        let item = |(index, item): (usize, &'d Spanned<DeValue<'d>>)| Value {
            document: self.document,
            value: item.get_ref(),
            span: item.span(),
            field: format!("{}[{index}]", self.field),
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A list of texts; `None` where one of them is wrong.
    pub fn texts(&self, parse: impl Fn(&str) -> Result<String, Wrong>) -> Option<Vec<String>> {
        let items = self.items()?;
        let texts: Vec<Option<String>> = items.iter().map(|item| item.parsed(&parse)).collect();
        texts.into_iter().collect()
    }

    /// A table read by the keys of `group`.
    pub fn section(&self, group: &'static Group) -> Option<Section<'d>> {
        let section = self.free_section()?;
        section.check_keys(group);
        Some(section)
    }

    /// A table whose names are free.
    pub fn free_section(&self) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value else {
            self.wrong_type("a table");
            return None;
        };
        Some(Section { document: self.document, table, path: self.field.clone(), span: self.span.clone() })
    }

    /// A list of tables read by the keys of `group`.
    pub fn sections(&self, group: &'static Group) -> Option<Vec<Section<'d>>> {
        if self.value.is_table() {
            let help = format!("write {} with double brackets, once for each", group.name);
            self.fault("expected a list of tables, found one table", &help);
            return None;
        }
        Some(self.items()?.iter().filter_map(|item| item.section(group)).collect())
    }

    fn wrong_type(&self, expected: &str) {
        let found = type_name(self.value);
        self.fault(&format!("expected {expected}, found {found}"), &format!("write {expected}"));
    }
}

/// Replaces `${NAME}`. What a variable holds is not looked at again, and never repeated in a fault.
fn expand(text: &str, lookup: super::Lookup<'_>) -> Result<String, Wrong> {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split('}').next().unwrap_or_default();
        let shaped = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let Some(tail) = after.get(name.len() + 1..).filter(|_| shaped) else {
            return Err(Wrong::new("`${` opens no variable", "write ${NAME} with letters, digits and `_`"));
        };
        let value = lookup(name).filter(|value| !value.trim().is_empty()).ok_or_else(|| {
            let message = format!("the environment variable `{name}` is unset or empty");
            Wrong::new(message, format!("set {name} before starting retentiond"))
        })?;
        done.push_str(before);
        done.push_str(&value);
        rest = tail;
    }
    done.push_str(rest);
    Ok(done)
}
