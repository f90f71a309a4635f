//! A fault: what is wrong in a file, where, and what to do about it; and how it is shown.
//! It owns the picture; it does not find anything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer};

use super::secrets;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is planned or enforced until it is mended.
    Error,
    /// It is accepted, and shown.
    Warning,
}

/// One thing that is wrong in one file. As JSON: `severity`, `file`, `line`, `field`, `message`, `help`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// Where: the file.
    #[serde(serialize_with = "as_text")]
    pub file: PathBuf,
    /// Where: the line, from 1; 0 where no line can be named.
    pub line: usize,
    /// Where: the character in the line, from 1; 0 where none can be named.
    #[serde(skip)]
    pub column: usize,
    /// Where: the bytes in the text (after a byte order mark).
    #[serde(skip)]
    pub span: Option<Range<usize>>,
    /// The key, with its path: `rules[0].period`. Empty where none can be named.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    /// An error about a file as a whole.
    pub fn of_file(file: &Path, message: &str, help: &str) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            span: None,
            field: String::new(),
            message: message.to_owned(),
            help: Some(help.to_owned()),
        }
    }
}

/// True where at least one fault is an error.
pub fn has_errors(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.severity == Severity::Error)
}

/// Shows faults for people: file, line, the text in question and a `help:` line. `sources` holds the text of each file;
/// a line that may show a secret is never printed.
pub fn render(faults: &[Fault], sources: &BTreeMap<PathBuf, String>, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let shown: Vec<String> = faults.iter().map(|fault| render_one(fault, sources, &renderer)).collect();
    let mut text = shown.join("\n\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn render_one(fault: &Fault, sources: &BTreeMap<PathBuf, String>, renderer: &Renderer) -> String {
    let level = match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = fault.file.display().to_string();
    let title = level.primary_title(fault.message.as_str());
    let source = sources.get(&fault.file);
    let excerpt = source.zip(fault.span.clone()).and_then(|(text, span)| excerpt(text, span));
    let mut group = match excerpt {
        Some((line_text, span)) => {
            let annotation = AnnotationKind::Primary.span(span);
            title.element(Snippet::source(line_text).line_start(fault.line).path(path).annotation(annotation))
        }
        None if fault.line == 0 => title.element(Origin::path(path)),
        None => title.element(Origin::path(path).line(fault.line).char_column(fault.column.max(1))),
    };
    if let Some(help) = &fault.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The first line of the span and the span in it, at least one character wide; `None` where it must not be shown.
fn excerpt(text: &str, span: Range<usize>) -> Option<(&str, Range<usize>)> {
    let start = span.start.min(text.len());
    let line_start = text.get(..start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(line_start..)?.split('\n').next()?.trim_end_matches('\r');
    if secrets::may_show(line) {
        return None;
    }
    let from = (start - line_start).min(line.len());
    let to = (span.end.max(start) - line_start).min(line.len());
    let to = if to > from { to } else { from + line.get(from..)?.chars().next().map_or(0, char::len_utf8) };
    let from =
        if to > from { from } else { from - line.get(..from)?.chars().next_back().map_or(0, char::len_utf8) };
    Some((line, from..to))
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
