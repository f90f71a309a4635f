//! `demo`: a small contact center on `SQLite` and files. Not built yet.

use std::path::PathBuf;

use super::output::{Answer, Failure};

/// Answers `demo`.
pub(super) async fn run(_dir: Option<PathBuf>) -> Result<Answer, Failure> {
    Err(Failure::unmet("this version has no demo".to_owned()))
}
