//! `check`: what is wrong in the files and, when asked, between them and the stores. It only shapes the answer.

use serde_json::{Value, json};

use super::context::Context;
use super::output::{Answer, Failure, alarm, stdout_has_color};
use crate::config::read::render_faults;
use crate::gather;
use crate::plan::text::{counted, shown};
use crate::policy::tree::has_errors;

/// Answers `check`; exit code 2 where an error was found.
pub(super) async fn check(context: &Context, online: bool) -> Result<Answer, Failure> {
    let loaded = context.load();
    let mut problems = as_list(serde_json::to_value(&loaded.faults));
    let mut text = render_faults(&loaded, stdout_has_color());
    if online && !has_errors(&loaded.faults) {
        let found =
            gather::check_online(&context.world()?).await.map_err(|trouble| Failure::trouble(&trouble))?;
        for problem in as_list(serde_json::to_value(&found)) {
            text.push_str(&one(&problem));
            problems.push(problem);
        }
    }
    let errors = problems.iter().filter(|problem| problem["severity"] == "error").count();
    let ok = errors == 0;
    text.push_str(&summary(context, &problems, errors, online));
    let answer = Answer::new(&json!({"ok": ok, "problems": problems}), text)?;
    Ok(if ok { answer } else { answer.exit(2) })
}

fn as_list(value: serde_json::Result<Value>) -> Vec<Value> {
    match value {
        Ok(Value::Array(list)) => list,
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn one(problem: &Value) -> String {
    let word = |field: &str| problem[field].as_str().map(shown).unwrap_or_default();
    let severity = if problem["severity"] == "error" { alarm("error") } else { word("severity") };
    let mut text = format!("{severity}: {}\n", word("message"));
    let place: Vec<String> = [
        word("file"),
        problem["line"].as_u64().filter(|line| *line > 0).map(|l| l.to_string()).unwrap_or_default(),
        word("field"),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect();
    if !place.is_empty() {
        text.push_str(&format!("  at {}\n", place.join(", ")));
    }
    if !word("help").is_empty() {
        text.push_str(&format!("  help: {}\n", word("help")));
    }
    text.push('\n');
    text
}

fn summary(context: &Context, problems: &[Value], errors: usize, online: bool) -> String {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let file = context.file().display();
    if problems.is_empty() {
        let asked = if online { "files and stores agree" } else { "`check --online` also asks the stores" };
        return format!("{file}: no problem found; {asked}\n");
    }
    let warnings = problems.len() - errors;
    format!(
        "{file}: {}, {}\n",
        counted(number(errors), "error", "errors"),
        counted(number(warnings), "warning", "warnings")
    )
}
