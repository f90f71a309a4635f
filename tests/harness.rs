//! What several tests share. It owns the fixtures; it asserts nothing about the program.

use std::path::PathBuf;

/// A row of the real call-center data: 5,000 calls of the first quarter of 2021, Singapore time.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `ID0001` …
    pub(crate) call_id: String,
    /// The agent's first name.
    pub(crate) agent: String,
    /// `DD/MM/YYYY`.
    pub(crate) date: String,
    /// `HH:MM:SS`.
    pub(crate) time: String,
    /// What the call was about.
    pub(crate) topic: String,
}

/// All calls, in the order of the file.
///
/// The file is where `RETENTIOND_CALLS_CSV` says, or else in the data folder beside the repository.
pub(crate) fn calls_csv() -> Vec<Call> {
    let path = std::env::var_os("RETENTIOND_CALLS_CSV").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/calls.csv"),
        PathBuf::from,
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "failed to read the call data at `{}`: {error}; set RETENTIOND_CALLS_CSV to the path of calls.csv",
            path.display()
        )
    });
    let mut lines = text.lines();
    let header = lines.next().expect("a header");
    assert!(header.starts_with("call_id,agent,date,time,topic,"), "unknown columns: {header}");
    lines
        .map(|line| {
            let mut fields = line.split(',').map(str::to_owned);
            let mut next = || fields.next().expect("a field");
            Call { call_id: next(), agent: next(), date: next(), time: next(), topic: next() }
        })
        .collect()
}
