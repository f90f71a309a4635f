//! Receipts: what was accepted, signed with the log's key, so that who asked can show it although everything of ours is
//! lost. It owns the text that is signed; what is accepted, and when, is decided by its callers.
//!
//! A receipt is a C2SP `signed-note`. Its first line tells it from a checkpoint, whose first line is the log's name.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use super::folder::Folder;
use super::key::LogKey;
use super::{AuditError, origin_of, publish};
use crate::ledger::Ledger;

/// The first line of every receipt.
pub const RECEIPT_HEAD: &str = "retentiond receipt v1";

/// What a receipt says.
#[derive(Debug, Clone)]
pub struct Receipt<'a> {
    /// The id of what was accepted.
    pub id: &'a str,
    /// When it was received: the start of its clock.
    pub received_at: DateTime<Utc>,
    /// By when it is done; `None` where nothing is promised.
    pub deadline: Option<DateTime<Utc>>,
    /// The body that was accepted, as it came.
    pub body: &'a [u8],
}

impl Receipt<'_> {
    /// The text that is signed: one `name value` a line.
    pub fn text(&self) -> String {
        let at = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut text = format!("{RECEIPT_HEAD}\nid {}\nreceived_at {}\n", self.id, at(self.received_at));
        if let Some(deadline) = self.deadline {
            text.push_str(&format!("deadline {}\n", at(deadline)));
        }
        text.push_str(&format!("body_sha256 {}\n", hex::encode(Sha256::digest(self.body))));
        text
    }
}

/// Signs receipts.
pub struct Signer(LogKey);

impl Signer {
    /// The signer of this log. Where nothing was ever published, the log and its key are made first.
    ///
    /// # Errors
    /// Where the key cannot be read or made: then nothing should be accepted.
    pub async fn open(ledger: &dyn Ledger, dir: &Path, now: DateTime<Utc>) -> Result<Self, AuditError> {
        let origin = origin_of(&ledger.ledger_id().await?);
        if let Some(key) = LogKey::load(&mut Folder::new(dir), &origin)? {
            return Ok(Self(key));
        }
        publish(ledger, dir, now).await?;
        let key = LogKey::load(&mut Folder::new(dir), &origin)?;
        key.map(Self).ok_or_else(|| AuditError::Refused("the audit log has no key yet".into()))
    }

    /// The signed note of a receipt.
    ///
    /// # Errors
    /// Where the log has no name that signs.
    pub fn sign(&self, receipt: &Receipt<'_>) -> Result<String, AuditError> {
        self.0.sign_text(&receipt.text())
    }
}
