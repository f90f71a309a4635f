//! `completions` and `man`, made from the definitions of the command line. Both are rendered into memory first: the
//! generators panic or fail on a closed pipe.

use clap::Command;
use clap_complete::Shell;

use super::output::{Answer, Failure};

/// Answers `completions`.
pub(super) fn completions(shell: Shell, mut command: Command) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "retentiond", &mut script);
    Answer::raw(script)
}

/// Answers `man`, for the program or for one of its verbs.
pub(super) fn man(verb: &[String], command: Command) -> Result<Answer, Failure> {
    let mut name = "retentiond".to_owned();
    let mut page = command;
    page.build();
    for word in verb {
        let known = page.find_subcommand(word).cloned();
        page = known.ok_or_else(|| Failure::usage(format!("there is no verb `{}`", verb.join(" "))))?;
        name = format!("{name}-{word}");
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.display_name(&name))
        .title(name)
        .render(&mut text)
        .map_err(|error| Failure::unmet(format!("failed to render the manual page: {error}")))?;
    Ok(Answer::raw(text))
}
