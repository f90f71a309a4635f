//! Messages about alarms, for the addresses that the operator named. It owns what they say and what makes one the same
//! message; sending is `outgoing`'s.

use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::gather::Trouble;
use crate::ledger::{AlarmRow, Ledger, NewDelivery};

/// Enqueues, for every alarm and address, that it was raised and, where it was, that it was cleared. What was enqueued
/// before is not enqueued again.
pub(super) async fn enqueue(
    webhooks: &[String],
    ledger: &dyn Ledger,
    rows: &[AlarmRow],
    now: DateTime<Utc>,
) -> Result<(), Trouble> {
    if webhooks.is_empty() {
        return Ok(());
    }
    let source = ledger.ledger_id().await?;
    for row in rows {
        for url in webhooks {
            ledger.enqueue(&message(row, &source, url, "raised"), now).await?;
            if row.cleared_at.is_some() {
                ledger.enqueue(&message(row, &source, url, "cleared"), now).await?;
            }
        }
    }
    Ok(())
}

fn message(row: &AlarmRow, source: &str, url: &str, what: &str) -> NewDelivery {
    let cleared_at = row.cleared_at.filter(|_| what == "cleared");
    let body = json!({
        "type": format!("alarm-{what}"),
        "source": source,
        "alarm": row.number,
        "key": row.alarm.key,
        "kind": row.alarm.kind,
        "message": row.alarm.message,
        "fields": row.alarm.fields,
        "raised_at": row.raised_at,
        "cleared_at": cleared_at,
    });
    NewDelivery {
        key: format!("alarm/{}/{what}/{}", row.number, digest(url)),
        kind: "alarm".to_owned(),
        tenant: None,
        url: url.to_owned(),
        body: body.to_string(),
    }
}

/// An address as part of a key: it may hold a secret.
pub(super) fn digest(url: &str) -> String {
    hex::encode(Sha256::digest(url.as_bytes())).chars().take(16).collect()
}
