//! The one error of the service functions: what kind it is, and a sentence for people.
//! It owns the kinds; exit codes and HTTP statuses are their interface's.

use crate::ledger::LedgerError;

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for cannot be.
    Usage,
    /// There is no such thing.
    Unknown,
    /// Its state does not allow it.
    Conflict,
    /// It could be done and is refused.
    Refused,
    /// The ledger, or what it needs, is out of reach: nothing was recorded.
    Unreachable,
    /// Something that should have happened did not.
    Unmet,
}

/// Why something was not done, for people. It never holds a subject's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DeskError {
    /// What kind.
    pub kind: Kind,
    /// A lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// With [`Kind::Conflict`]: the state that does not allow it, where it has a word.
    pub state: Option<&'static str>,
}

impl DeskError {
    fn new(kind: Kind, message: String) -> Self {
        Self { kind, message, hint: None, state: None }
    }

    /// What was asked for cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message.into())
    }

    /// There is no such thing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Kind::Unknown, message.into())
    }

    /// Its state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message.into())
    }

    /// It could be done and is refused.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message.into())
    }

    /// Something that should have happened did not.
    pub fn unmet(message: impl Into<String>) -> Self {
        Self::new(Kind::Unmet, message.into())
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the state that does not allow it.
    #[must_use]
    pub fn in_state(mut self, state: &'static str) -> Self {
        self.state = Some(state);
        self
    }
}

impl From<LedgerError> for DeskError {
    fn from(error: LedgerError) -> Self {
        let kind = match error {
            LedgerError::Unreachable { .. } => Kind::Unreachable,
            LedgerError::Unknown { .. } => Kind::Unknown,
            LedgerError::State(_) => Kind::Conflict,
            LedgerError::Doubt(_) => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}
