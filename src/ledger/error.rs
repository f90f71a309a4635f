//! The one error of every ledger.
//! It owns the kinds and their texts, none of which holds a subject's value; the exit codes are the caller's.

/// What went wrong in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached, opened, read or written.
    #[error("failed to {operation} in the ledger: {message}")]
    Unreachable {
        /// What was being done, as a verb.
        operation: &'static str,
        /// A lower-case fragment.
        message: String,
    },
    /// There is no such row (exit 2).
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// `request`, `hold`, `entitlement`, `plan`, `tenant`.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The row is not in a state that allows it (exit 2).
    #[error("{0}")]
    State(String),
    /// The ledger and what it should agree with do not agree: it is empty or older than the audit log, its key does
    /// not fit (exit 3).
    #[error("{0}")]
    Doubt(String),
}
