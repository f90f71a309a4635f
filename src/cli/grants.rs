//! `grants`: the least privileges that the stores need. It only shapes the answer; no store is opened.

use serde::Serialize;

use super::context::Context;
use super::output::{Answer, Failure};
use crate::plan::text::shown;
use crate::stores::grants;

#[derive(Debug, Serialize)]
struct Listed {
    grants: Vec<grants::Grants>,
}

/// Answers `grants`.
pub(super) fn grants(context: &Context) -> Result<Answer, Failure> {
    let world = context.world()?;
    let all = grants::all(&world.config, &world.policies);
    let one = |grant: &grants::Grants| {
        let lines: Vec<String> = grant.text.lines().map(shown).collect();
        format!("# Store {} ({})\n{}\n", grant.store, grant.kind, lines.join("\n"))
    };
    let text = all.iter().map(one).collect::<Vec<_>>().join("\n");
    Answer::new(&Listed { grants: all }, text)
}
