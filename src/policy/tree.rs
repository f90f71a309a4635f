//! A reader of TOML that keeps places and collects every fault instead of stopping at the first.
//! It owns reading by known keys and types; it does not know what a policy or a configuration means.

mod fault;
mod nearest;
mod secrets;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use fault::{Fault, Severity, has_errors, render};
pub use nearest::nearest;
pub use value::{Value, Wrong};

/// Longest file read. A policy of a thousand rules fits many times; what is longer was not written by an operator.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Most faults kept for one file: nobody reads more, and a hostile file must not fill the memory.
const FAULTS_MAX: usize = 100;

/// What a key may hold; the JSON Schema is made from it.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any text that is not empty.
    Text,
    /// Text that matches a regular expression.
    Pattern(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number, at least 1.
    Count,
    /// A date, as a TOML date or as text.
    Date,
    /// A list of texts.
    Texts,
    /// A table of its own.
    Section(&'static Group),
    /// A list of tables.
    Sections(&'static Group),
    /// A table whose names are free and whose values are tables of one of these groups, told apart by `kind`.
    Named(&'static [&'static Group]),
    /// The word `none`, or a table from kinds of subject to columns.
    Subjects(&'static Group),
}

/// One known key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// True where it can never be left out.
    pub required: bool,
    /// What it means, for the schema.
    pub about: &'static str,
    /// What it may hold.
    pub shape: Shape,
}

/// The known keys of one kind of table.
#[derive(Debug)]
pub struct Group {
    /// How the table is called in a fault, `[[rules]]` for example.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Looks up a variable of the environment.
pub type Lookup<'t> = &'t dyn Fn(&str) -> Option<String>;

/// How one kind of file is read.
#[derive(Clone, Copy)]
pub struct Dialect<'t> {
    /// Every group of the file, so that a key under the wrong parent can be told where it belongs.
    pub groups: &'static [&'static Group],
    /// Replaces `${NAME}` in texts; `None` where a file takes nothing from the environment.
    pub lookup: Option<Lookup<'t>>,
    /// Whether a password or key found in the file is a fault.
    pub secrets: Secrets,
}

/// Whether a file may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// It may.
    Allowed,
    /// It is a fault.
    Refused,
}

/// Where a value is in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Bytes in the text.
    pub span: Range<usize>,
}

/// One file with its text, its tree and the faults found so far.
pub struct Document<'t> {
    file: &'t Path,
    /// Where each line begins.
    line_starts: Vec<usize>,
    text: &'t str,
    table: DeTable<'t>,
    /// True after a syntax error: parts may be missing from the tree, so nothing may be called missing.
    torn: bool,
    dialect: Dialect<'t>,
    faults: RefCell<Vec<Fault>>,
}

/// The text of a file: UTF-8 without its byte order mark.
///
/// # Errors
/// A fault where the bytes are too many, UTF-16 or not UTF-8.
pub fn text_of<'t>(file: &Path, bytes: &'t [u8]) -> Result<&'t str, Box<Fault>> {
    let refuse = |line, message: &str, help: &str| {
        let mut fault = Fault::of_file(file, message, help);
        fault.line = line;
        Err(Box::new(fault))
    };
    if bytes.len() > FILE_BYTES_MAX {
        return refuse(
            0,
            "the file is larger than 1 MiB",
            "one file holds one category; is this the right file?",
        );
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return refuse(0, "the file is not UTF-8; it looks like UTF-16 or binary data", "save it as UTF-8");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            refuse(line, "the file is not UTF-8", "save it as UTF-8")
        }
    }
}

impl<'t> Document<'t> {
    /// Parses a text; syntax errors become faults and what could be read is kept.
    pub fn parse(file: &'t Path, text: &'t str, dialect: Dialect<'t>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            file,
            line_starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
            text,
            table: table.into_inner(),
            torn: !errors.is_empty(),
            dialect,
            faults: RefCell::new(Vec::new()),
        };
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let help = match error.message() {
                "duplicate key" => "a key or table is written once; remove one of the two",
                _ => "see https://toml.io for the syntax; texts stand in double quotes",
            };
            document.push(Severity::Error, span, "", error.message(), Some(help.to_owned()));
        }
        if dialect.secrets == Secrets::Refused {
            secrets::refuse(&document);
        }
        document
    }

    /// The top level, read by the keys of `group`.
    pub fn root(&self, group: &'static Group) -> Section<'_> {
        let section = Section { document: self, table: &self.table, path: String::new(), span: 0..0 };
        section.check_keys(group);
        section
    }

    /// True where nothing but white space and comments was found.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && !self.torn
    }

    /// True where a syntax error may have hidden parts of the file.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// True where an error was found.
    pub fn has_errors(&self) -> bool {
        has_errors(&self.faults.borrow())
    }

    /// Where each value of the tree is, by its path (`rules[0].period`).
    pub fn marks(&self) -> BTreeMap<String, Mark> {
        let mut marks = BTreeMap::new();
        for (key, value) in &self.table {
            self.mark(key.get_ref().to_string(), value, &mut marks);
        }
        marks
    }

    fn mark(&self, path: String, value: &Spanned<DeValue<'_>>, marks: &mut BTreeMap<String, Mark>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.mark(format!("{path}.{}", key.get_ref()), value, marks);
                }
            }
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.mark(format!("{path}[{index}]"), item, marks);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        let (line, column) = self.place(value.span().start);
        marks.insert(path, Mark { line, column, span: value.span() });
    }

    /// Everything that was found wrong, in order of place.
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, 1 + self.text.get(start..at).unwrap_or_default().chars().count())
    }

    /// True where no more faults are kept, so that a hostile file does not cost time either.
    fn is_full(&self) -> bool {
        self.faults.borrow().len() >= FAULTS_MAX
    }

    fn push(&self, severity: Severity, span: Range<usize>, field: &str, message: &str, help: Option<String>) {
        let mut faults = self.faults.borrow_mut();
        let known = faults.iter().any(|fault| fault.span.as_ref() == Some(&span) && fault.message == message);
        if known || faults.len() >= FAULTS_MAX {
            return;
        }
        let (line, column) = self.place(span.start);
        let last = faults.len() + 1 == FAULTS_MAX;
        let message = if last { "there are more faults in this file; they are not shown" } else { message };
        faults.push(Fault {
            severity: if last { Severity::Error } else { severity },
            file: self.file.to_owned(),
            line,
            column,
            span: Some(span),
            field: field.to_owned(),
            message: message.to_owned(),
            help: help.filter(|_| !last),
        });
    }
}

/// One table of the file.
#[derive(Clone)]
pub struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    path: String,
    span: Range<usize>,
}

impl<'d> Section<'d> {
    /// The value of a key, where it is there.
    pub fn get(&self, name: &str) -> Option<Value<'d>> {
        let (_, value) = self.table.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(Value {
            document: self.document,
            value: value.get_ref(),
            span: value.span(),
            field: self.field(name),
        })
    }

    /// The value of a key that must be there; a fault where it is not.
    pub fn require(&self, name: &str, help: &str) -> Option<Value<'d>> {
        let value = self.get(name);
        if value.is_none() && !self.document.torn {
            self.fault_of(name, &format!("`{name}` is missing"), help);
        }
        value
    }

    /// Keys and values of a table whose names are free.
    pub fn entries(&self) -> impl Iterator<Item = (&'d str, Value<'d>)> + '_ {
        self.table.iter().map(|(key, value)| {
            let name: &str = key.get_ref();
            let (document, field) = (self.document, self.field(name));
            (name, Value { document, value: value.get_ref(), span: value.span(), field })
        })
    }

    /// Reports that a key is wrong or missing; it points at the key, or at the table where it is missing.
    pub fn fault_of(&self, name: &str, message: &str, help: &str) {
        let key = self.table.keys().find(|key| key.get_ref() == name);
        let span = key.map_or(self.span.clone(), |key| key.span());
        self.document.push(Severity::Error, span, &self.field(name), message, Some(help.to_owned()));
    }

    /// Reports something about the table as a whole.
    pub fn fault(&self, message: &str, help: &str) {
        self.document.push(Severity::Error, self.span.clone(), &self.path, message, Some(help.to_owned()));
    }

    /// Path of the table, `rules[0]` for example; empty at the top level.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// True where a syntax error may have hidden keys.
    pub fn is_torn(&self) -> bool {
        self.document.torn
    }

    /// Reports every key that the group does not know.
    pub fn check_keys(&self, group: &Group) {
        let known: BTreeSet<&str> = group.keys.iter().map(|key| key.name).collect();
        for key in self.table.keys().filter(|key| !known.contains(key.get_ref().as_ref())) {
            let name: &str = key.get_ref();
            if self.document.is_full() {
                return;
            }
            let secret = self.document.dialect.secrets == Secrets::Refused && secrets::is_secret_name(name);
            if !secret {
                let (message, help) = self.unknown(name, group);
                self.document.push(Severity::Error, key.span(), &self.field(name), &message, Some(help));
            }
        }
    }

    fn unknown(&self, name: &str, group: &Group) -> (String, String) {
        let mut elsewhere: Vec<&str> = Vec::new();
        for other in self.document.dialect.groups {
            if other.keys.iter().any(|key| key.name == name) && !elsewhere.contains(&other.name) {
                elsewhere.push(other.name);
            }
        }
        let here = group.name;
        if !elsewhere.is_empty() {
            let parents = elsewhere.join(" or ");
            return (format!("`{name}` has no meaning in {here}"), format!("`{name}` belongs in {parents}"));
        }
        let names = group.keys.iter().map(|key| key.name);
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        (format!("unknown key `{}` in {here}", name.escape_debug()), help)
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// How a type is called in a fault.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
