//! What leaves the program: one answer on standard output, everything else on standard error, one exit code.
//! It owns text, JSON, colour, progress and logging; it does not know what is answered.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::audit::AuditError;
use crate::desk::{DeskError, Kind};
use crate::gather::Trouble;
use crate::ledger::LedgerError;
use crate::plan::text::shown;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// What a command has to say, and the exit code that goes with it.
#[must_use]
#[derive(Debug)]
pub(super) struct Answer {
    /// Written out at once, so that fields keep the order in which `contract.md` gives them.
    json: Vec<u8>,
    text: Vec<u8>,
    exit: u8,
}

impl Answer {
    /// An answer for people and for scripts.
    pub(super) fn new<T: Serialize>(json: &T, text: impl Into<String>) -> Result<Self, Failure> {
        let json = serde_json::to_vec_pretty(json)
            .map_err(|error| Failure::unmet(format!("failed to write the answer as JSON: {error}")))?;
        Ok(Self { json, text: text.into().into_bytes(), exit: 0 })
    }

    /// An answer that is the same bytes for everybody: a script or a manual page.
    pub(super) fn raw(text: Vec<u8>) -> Self {
        let json = Value::String(String::from_utf8_lossy(&text).into_owned()).to_string().into_bytes();
        Self { json, text, exit: 0 }
    }

    /// The same with another exit code.
    pub(super) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    exit: u8,
    /// A stable word for scripts.
    code: &'static str,
    message: String,
    hint: Option<String>,
    /// Printed before the message: the picture of each fault in the files.
    detail: String,
    problems: Option<Box<Value>>,
}

impl Failure {
    fn new(exit: u8, code: &'static str, message: String) -> Self {
        Self { exit, code, message, hint: None, detail: String::new(), problems: None }
    }

    /// Something that should have happened did not (exit 1).
    pub(super) fn unmet(message: String) -> Self {
        Self::new(1, "failed", message)
    }

    /// What was typed or configured cannot be (exit 2).
    pub(super) fn usage(message: String) -> Self {
        Self::new(2, "usage", message)
    }

    /// It could be done and is refused (exit 3).
    pub(super) fn refused(message: String) -> Self {
        Self::new(3, "refused", message)
    }

    /// The ledger says no.
    pub(super) fn ledger(error: &LedgerError) -> Self {
        let (exit, code) = match error {
            LedgerError::Unreachable { .. } => (1, "unreachable"),
            LedgerError::Unknown { .. } => (2, "unknown"),
            LedgerError::State(_) => (2, "state"),
            LedgerError::Doubt(_) => (3, "refused"),
        };
        Self::new(exit, code, error.to_string())
    }

    /// A service function says no.
    pub(super) fn desk(error: &DeskError) -> Self {
        let (exit, code) = match error.kind {
            Kind::Unreachable => (1, "unreachable"),
            Kind::Unmet => (1, "failed"),
            Kind::Usage => (2, "usage"),
            Kind::Unknown => (2, "unknown"),
            Kind::Conflict => (2, "state"),
            Kind::Refused => (3, "refused"),
        };
        let mut failure = Self::new(exit, code, error.message.clone());
        failure.hint = error.hint.clone();
        failure
    }

    /// The audit log could not be read or written.
    pub(super) fn audit(error: &AuditError) -> Self {
        let (exit, code) = match error {
            AuditError::Ledger(error) => return Self::ledger(error),
            AuditError::Files { .. } => (1, "unreachable"),
            AuditError::Usage(_) => (2, "usage"),
            AuditError::Refused(_) => (3, "refused"),
            AuditError::Damaged(_) => (5, "damaged"),
        };
        Self::new(exit, code, error.to_string())
    }

    /// A service says no.
    pub(super) fn trouble(trouble: &Trouble) -> Self {
        let mut failure = Self::new(trouble.exit_code(), trouble.code(), trouble.to_string());
        failure.hint = trouble.hint().map(str::to_owned);
        failure
    }

    /// The same, saying what failed where the text does not.
    pub(super) fn during(mut self, operation: &str) -> Self {
        if !self.message.starts_with("failed to") {
            self.message = format!("failed to {operation}: {}", self.message);
        }
        self
    }

    /// The same with what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the faults that are behind it, as a picture and as data.
    pub(super) fn faults(mut self, picture: String, problems: Value) -> Self {
        self.code = "invalid";
        self.detail = picture;
        self.problems = Some(Box::new(problems));
        self
    }

    /// The text.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "hint": self.hint});
        if let (Some(problems), Some(fields)) = (&self.problems, error.as_object_mut()) {
            fields.insert("problems".to_owned(), Value::clone(problems));
        }
        json!({"error": error})
    }

    fn say(&self) {
        if !self.detail.is_empty() {
            say(&format!("{}\n", self.detail.trim_end()));
        }
        let message = self.message.lines().map(shown).collect::<Vec<_>>().join("\n");
        say(&format!("{RED}error:{RED:#} {message}"));
        if let Some(hint) = &self.hint {
            say(&format!("{CYAN}hint:{CYAN:#} {hint}"));
        }
    }
}

/// Prints what came of a command; the result is the exit code.
pub(super) fn deliver(result: Result<Answer, Failure>, as_json: bool) -> u8 {
    let (exit, written) = match result {
        Ok(answer) if as_json => (answer.exit, write_bytes(&answer.json)),
        Ok(answer) => (answer.exit, write_text(&answer.text)),
        Err(failure) => {
            failure.say();
            (failure.exit, if as_json { write_json(&failure.json()) } else { Ok(()) })
        }
    };
    match written {
        // The reader has seen enough: `retentiond plan | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => {
            Failure::unmet(format!("failed to write the answer: {error}")).say();
            exit.max(1)
        }
        Ok(()) => exit,
    }
}

fn deliver_json(failure: &Failure) -> u8 {
    match write_json(&failure.json()) {
        Ok(()) => failure.exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => failure.exit,
        Err(_) => failure.exit.max(1),
    }
}

/// Prints help, version or what is wrong with the arguments; the result is the exit code.
pub(super) fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    use clap::error::ErrorKind;
    let text = without_values(error.render().ansi().to_string(), arguments);
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return deliver(Ok(Answer::raw(text.into_bytes())), false);
    }
    say(text.trim_end());
    let as_json =
        arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    if as_json {
        let plain = without_values(error.render().to_string(), arguments);
        let message = plain.trim_end().trim_start_matches("error: ").to_owned();
        return deliver_json(&Failure::usage(message));
    }
    2
}

/// Takes the value of every `KIND=VALUE` out of a message, for clap repeats what it does not understand.
fn without_values(mut text: String, arguments: &[OsString]) -> String {
    for argument in arguments.iter().filter_map(|argument| argument.to_str()) {
        let argument = argument.trim_start_matches("--subject=");
        if let Some((kind, value)) = argument.split_once('=')
            && !kind.starts_with("--")
            && !value.is_empty()
        {
            text = text.replace(value, "…");
        }
    }
    text
}

fn write_json(value: &Value) -> io::Result<()> {
    write_bytes(format!("{value:#}").as_bytes())
}

fn write_bytes(json: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(json)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn write_text(text: &[u8]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text)?;
    if !text.ends_with(b"\n") && !text.is_empty() {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// A line in bold.
pub(super) fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// A word that alarms.
pub(super) fn alarm(text: &str) -> String {
    format!("{RED}{text}{RED:#}")
}

/// Text with every line bold that an indented one follows: the headings.
pub(super) fn with_headings(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let indented = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("  "));
    let mut styled = String::with_capacity(text.len());
    for (at, line) in lines.iter().enumerate() {
        if indented(at + 1) && !indented(at) && !line.is_empty() {
            styled.push_str(&bold(line));
        } else {
            styled.push_str(line);
        }
        styled.push('\n');
    }
    styled
}

/// A note on standard error.
pub(super) fn note(text: &str) {
    say(&format!("{CYAN}note:{CYAN:#} {text}"));
}

/// A warning on standard error.
pub(super) fn warn(text: &str) {
    say(&format!("{YELLOW}warning:{YELLOW:#} {text}"));
}

/// Whether colour may be used on standard error.
pub(super) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Whether colour may be used on standard output.
pub(super) fn stdout_has_color() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

fn say(line: &str) {
    // Nobody is left to tell when standard error itself is closed.
    let done = bars().suspend(|| writeln!(anstream::stderr().lock(), "{line}"));
    drop(done);
}

/// All progress bars, so that lines and logs go around them.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// A bar for long work: what, how many of how many, rate, time left. `None` where nobody watches a terminal.
pub(super) fn bar(what: &str, of: u64) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let template = "{prefix:<24} {bar:24} {human_pos} of {human_len} records  {per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bars().add(ProgressBar::new(of).with_style(style));
    bar.set_prefix(shown(what));
    Some(bar)
}

/// Who logs, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    /// A command: its answer is what counts, so only warnings are told.
    Command,
    /// A process that serves and is watched on a terminal.
    ServiceAsText,
    /// A process that serves and whose log is collected.
    ServiceAsJson,
}

impl Logs {
    /// The log of a process that serves: JSON where that was asked for or nobody watches.
    pub(super) fn of_service(json: bool) -> Self {
        if json || !io::stderr().is_terminal() { Self::ServiceAsJson } else { Self::ServiceAsText }
    }
}

/// Sends logs to standard error. Of a command: as JSON lines by the filter in `RETENTIOND_LOG` (or `RUST_LOG`), else
/// warnings only, as text. Of a process that serves: by the same filter, else from `info` on.
pub(super) fn start_logging(logs: Logs) -> Result<(), Failure> {
    let filter = ["RETENTIOND_LOG", "RUST_LOG"].into_iter().find_map(|name| {
        std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (name, value))
    });
    let is_asked_for = filter.is_some();
    let filter = match filter {
        Some((name, value)) => EnvFilter::try_new(value).map_err(|error| {
            Failure::usage(format!("{name} is not valid: {error}"))
                .hint("write `retentiond=info`, for example")
        })?,
        None if logs == Logs::Command => EnvFilter::new("retentiond=warn"),
        None => EnvFilter::new("retentiond=info"),
    };
    let lines = tracing_subscriber::fmt().with_writer(|| Beside).with_env_filter(filter);
    let started = match logs {
        Logs::ServiceAsJson => lines.json().try_init(),
        Logs::Command if is_asked_for => lines.json().try_init(),
        Logs::Command => lines.without_time().with_target(false).with_ansi(stderr_has_color()).try_init(),
        Logs::ServiceAsText => lines.with_target(false).with_ansi(stderr_has_color()).try_init(),
    };
    // A program that has the library inside may have its own subscriber; then that one is used.
    drop(started);
    Ok(())
}

/// Standard error, with the bars out of the way.
struct Beside;

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_subject_is_taken_out_of_a_usage_error() {
        let arguments: Vec<OsString> =
            ["x", "--subject=phone=+6591", "email=a@b.c"].into_iter().map(OsString::from).collect();
        let text = without_values("unexpected 'email=a@b.c' and 'phone=+6591'".to_owned(), &arguments);
        assert_eq!(text, "unexpected 'email=…' and 'phone=…'");
    }

    #[test]
    fn a_failure_as_json_has_code_message_and_hint() {
        let failure = Failure::usage("it cannot be".to_owned()).hint("try");
        let expected = json!({"error": {"code": "usage", "message": "it cannot be", "hint": "try"}});
        assert_eq!(failure.json(), expected);
    }

    #[test]
    fn a_line_above_indented_ones_is_a_heading() {
        let text = with_headings("A\n  b\n  c\n\nD\n");
        assert_eq!(text, format!("{BOLD}A{BOLD:#}\n  b\n  c\n\nD\n"));
    }
}
