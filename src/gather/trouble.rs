//! What keeps a command from being carried out, each kind with its exit code.
//! It owns the codes of `contract.md`; the texts come from where the trouble arose.

use crate::audit::AuditError;
use crate::id::{PlacementId, StoreId};
use crate::ledger::LedgerError;
use crate::plan::PlanError;
use crate::plan::review::Violations;
use crate::stores::{ErrorKind, StoreError};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A store or the ledger is out of reach (exit 1).
    #[error("{0}")]
    Unreachable(String),
    /// The configuration, a policy or what was typed does not fit (exit 2).
    #[error("{0}")]
    Schema(String),
    /// Refused: a stop, an approval, a doubt about ledger, clock or identity (exit 3).
    #[error("{0}")]
    Doubt(String),
    /// The audit log is damaged (exit 5).
    #[error("{0}")]
    Damaged(String),
}

impl Trouble {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_) => 1,
            Self::Schema(_) => 2,
            Self::Doubt(_) => 3,
            Self::Damaged(_) => 5,
        }
    }

    /// A stable word for JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Schema(_) => "invalid",
            Self::Doubt(_) => "refused",
            Self::Damaged(_) => "damaged",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable(_) => Some("nothing was erased there; run the command again when it is back"),
            Self::Schema(_) => Some("`retentiond check --online` lists everything that does not fit"),
            Self::Doubt(_) => Some("`retentiond status` and `retentiond audit verify` tell more"),
            Self::Damaged(_) => {
                Some("keep the log as it is and compare it with a backup: see docs/backup.md")
            }
        }
    }

    pub(super) fn no_store(id: &StoreId) -> Self {
        Self::Schema(format!("store `{id}` is not configured"))
    }

    pub(crate) fn no_placement(name: &PlacementId) -> Self {
        Self::Schema(format!("there is no placement `{name}` with records of its own"))
    }

    pub(crate) fn unreachable(id: &StoreId, why: Option<&String>) -> Self {
        Self::Unreachable(why.cloned().unwrap_or_else(|| format!("store `{id}` was not opened")))
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error.kind {
            ErrorKind::Unreachable | ErrorKind::Refused => Self::Unreachable(text),
            ErrorKind::Schema | ErrorKind::Ambiguous => Self::Schema(text),
            ErrorKind::Identity | ErrorKind::Unresolved => Self::Doubt(text),
        }
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        let text = error.to_string();
        match error {
            LedgerError::Unreachable { .. } => Self::Unreachable(text),
            LedgerError::Unknown { .. } | LedgerError::State(_) => Self::Schema(text),
            LedgerError::Doubt(_) => Self::Doubt(text),
        }
    }
}

impl From<PlanError> for Trouble {
    fn from(error: PlanError) -> Self {
        Self::Doubt(error.to_string())
    }
}

impl From<Violations> for Trouble {
    fn from(violations: Violations) -> Self {
        Self::Doubt(violations.to_string())
    }
}

impl From<AuditError> for Trouble {
    fn from(error: AuditError) -> Self {
        let text = error.to_string();
        match error {
            AuditError::Ledger(ledger) => Self::from(ledger),
            AuditError::Files { .. } => Self::Unreachable(text),
            AuditError::Usage(_) => Self::Schema(text),
            AuditError::Refused(_) => Self::Doubt(text),
            AuditError::Damaged(_) => Self::Damaged(text),
        }
    }
}
