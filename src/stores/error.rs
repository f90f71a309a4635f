//! What can go wrong in a store, and whether trying again can help. It owns the types; what is done about them is said by
//! whoever asked.

use crate::id::StoreId;

/// What kind of trouble a store is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It cannot be reached, opened or read.
    Unreachable,
    /// A table, column, key or field that the policy names is not there or is of the wrong type (exit 2).
    Schema,
    /// It is not the store that it should be (exit 3).
    Identity,
    /// It refused: permission, constraint, read-only.
    Refused,
    /// The question matches several records.
    Ambiguous,
    /// A query that names a subject without its value, a tenant where none can be told: a bug, and nothing is done.
    Unresolved,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, after a pause.
    Later,
    /// It was tried again as often as is sensible.
    Exhausted,
}

/// What went wrong in a store. The text holds no value of a subject.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} in store `{store}`: {message}")]
pub struct StoreError {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Whether trying again can help.
    pub retry: Retry,
    /// What was being done, as a verb: `count records`.
    pub operation: &'static str,
    /// Where.
    pub store: StoreId,
    /// A lower-case fragment.
    pub message: String,
}
