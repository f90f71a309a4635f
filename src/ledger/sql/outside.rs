//! What the service has to say and to attend to, as the ledger keeps it: messages, alarms and ticks of schedules.
//! It owns those tables; when an alarm is due, and how often a message is tried, is decided by its callers.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::SqlLedger;
use super::statement::{Row, Session, query};
use super::write::{
    During, Writing, damaged, get, get_instant, get_instant_if_any, get_json, micros, signed, to_json,
    unsigned,
};
use crate::id::TenantId;
use crate::ledger::{AlarmRow, DeliveryFate, DeliveryRow, LedgerError, NewAlarm, NewDelivery};

/// Messages of this kind are a duty towards a tenant: that they were made, and what became of them, is in the log.
const NOTICE: &str = "notice";

/// The message is durable. False where it was enqueued before.
pub(super) async fn enqueue(
    ledger: &SqlLedger,
    new: &NewDelivery,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let mut write = ledger.write("enqueue a message").await?;
    let before = query("SELECT 1 FROM delivery WHERE idempotency = ?").bind(&new.key);
    if before.exists(write.connection()).await.during("enqueue a message")? {
        return Ok(false);
    }
    query(
        "INSERT INTO delivery (idempotency, kind, tenant, url, body, enqueued_at, next_at, tries)
         VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
    )
    .bind(&new.key)
    .bind(&new.kind)
    .bind(new.tenant.as_ref().map(TenantId::as_str))
    .bind(&new.url)
    .bind(&new.body)
    .bind(micros(now))
    .bind(micros(now))
    .execute(write.connection())
    .await
    .during("enqueue a message")?;
    if new.kind == NOTICE {
        write.append("notice-enqueued", json!({"delivery": new.key}), now).await?;
    }
    write.commit().await?;
    Ok(true)
}

/// Messages whose turn it is; nobody else gets them before `until`.
pub(super) async fn take_deliveries(
    ledger: &SqlLedger,
    most: u32,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<DeliveryRow>, LedgerError> {
    let mut write = ledger.write("take messages").await?;
    let due = query(
        "SELECT number FROM delivery WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, number LIMIT ?",
    )
    .bind(micros(now))
    .bind(most)
    .fetch_all(write.connection())
    .await
    .during("take messages")?;
    let mut taken = Vec::new();
    for row in &due {
        let number: i64 = get(row, "number")?;
        query("UPDATE delivery SET next_at = ?, tries = tries + 1 WHERE number = ?")
            .bind(micros(until))
            .bind(number)
            .execute(write.connection())
            .await
            .during("take messages")?;
        let row = query("SELECT * FROM delivery WHERE number = ?").bind(number).fetch_one(write.connection());
        taken.push(delivery_of(&row.await.during("take messages")?)?);
    }
    write.commit().await?;
    Ok(taken)
}

/// What came of a try to send a message.
pub(super) async fn settle_delivery(
    ledger: &SqlLedger,
    number: u64,
    fate: &DeliveryFate,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let (delivered, given_up, next, failure) = match fate {
        DeliveryFate::Received => (Some(now), None, None, None),
        DeliveryFate::Later { failure, next_at } => (None, None, Some(*next_at), Some(failure)),
        DeliveryFate::GivenUp { failure } => (None, Some(now), None, Some(failure)),
    };
    let mut write = ledger.write("settle a message").await?;
    query("UPDATE delivery SET delivered_at = ?, given_up_at = ?, next_at = ?, failure = ? WHERE number = ?")
        .bind(delivered.map(micros))
        .bind(given_up.map(micros))
        .bind(next.map(micros))
        .bind(failure)
        .bind(signed(number)?)
        .execute(write.connection())
        .await
        .during("settle a message")?;
    let row = query("SELECT kind, idempotency FROM delivery WHERE number = ?")
        .bind(signed(number)?)
        .fetch_optional(write.connection())
        .await
        .during("settle a message")?;
    let entry = match fate {
        DeliveryFate::Received => Some("notice-delivered"),
        DeliveryFate::GivenUp { .. } => Some("notice-given-up"),
        DeliveryFate::Later { .. } => None,
    };
    if let (Some(row), Some(entry)) = (row, entry)
        && get::<String>(&row, "kind")? == NOTICE
    {
        let key: String = get(&row, "idempotency")?;
        write.append(entry, json!({"delivery": key}), now).await?;
    }
    write.commit().await
}

/// Messages that were not received: on their way or given up, in order.
pub(super) async fn undelivered(ledger: &SqlLedger, most: u32) -> Result<Vec<DeliveryRow>, LedgerError> {
    let rows = query("SELECT * FROM delivery WHERE delivered_at IS NULL ORDER BY number LIMIT ?")
        .bind(most)
        .fetch_all(&mut ledger.look().await?)
        .await;
    rows.during("read messages")?.iter().map(delivery_of).collect()
}

/// What stands from now on: new alarms are raised, those no longer there are cleared. Answers what has changed.
pub(super) async fn set_alarms(
    ledger: &SqlLedger,
    standing: &[NewAlarm],
    now: DateTime<Utc>,
) -> Result<Vec<AlarmRow>, LedgerError> {
    let mut write = ledger.write("record alarms").await?;
    let before = standing_alarms(write.connection()).await?;
    let mut changed = Vec::new();
    for row in before.iter().filter(|row| !standing.iter().any(|alarm| alarm.key == row.alarm.key)) {
        query("UPDATE alarm SET cleared_at = ? WHERE number = ?")
            .bind(micros(now))
            .bind(signed(row.number)?)
            .execute(write.connection())
            .await
            .during("record alarms")?;
        write.append("alarm-cleared", json!({"alarm": row.alarm.key}), now).await?;
        changed.push(AlarmRow { cleared_at: Some(now), ..row.clone() });
    }
    update_standing(&mut write, &before, standing).await?;
    for alarm in standing.iter().filter(|alarm| !before.iter().any(|row| row.alarm.key == alarm.key)) {
        if changed.iter().any(|row| row.alarm.key == alarm.key && row.cleared_at.is_none()) {
            continue;
        }
        query("INSERT INTO alarm (alarm, kind, message, fields, raised_at) VALUES (?, ?, ?, ?, ?)")
            .bind(&alarm.key)
            .bind(&alarm.kind)
            .bind(&alarm.message)
            .bind(to_json(&alarm.fields)?)
            .bind(micros(now))
            .execute(write.connection())
            .await
            .during("record alarms")?;
        let number = query("SELECT max(number) FROM alarm").number(write.connection()).await;
        let number = unsigned(number.during("record alarms")?, "number")?;
        write.append("alarm-raised", json!({"alarm": alarm.key, "alarm_kind": alarm.kind}), now).await?;
        changed.push(AlarmRow { number, alarm: alarm.clone(), raised_at: now, cleared_at: None });
    }
    write.commit().await?;
    Ok(changed)
}

/// What alarms say that stood before and stand still: their numbers may have moved. Nobody is told anew.
async fn update_standing(
    write: &mut Writing<'_>,
    before: &[AlarmRow],
    standing: &[NewAlarm],
) -> Result<(), LedgerError> {
    for row in before {
        let moved = standing.iter().find(|alarm| alarm.key == row.alarm.key && **alarm != row.alarm);
        let Some(alarm) = moved else { continue };
        query("UPDATE alarm SET message = ?, fields = ? WHERE number = ?")
            .bind(&alarm.message)
            .bind(to_json(&alarm.fields)?)
            .bind(signed(row.number)?)
            .execute(write.connection())
            .await
            .during("record alarms")?;
    }
    Ok(())
}

/// Alarms that stand, and those cleared since an instant, in order.
pub(super) async fn alarms(ledger: &SqlLedger, since: DateTime<Utc>) -> Result<Vec<AlarmRow>, LedgerError> {
    let rows = query("SELECT * FROM alarm WHERE cleared_at IS NULL OR cleared_at >= ? ORDER BY number")
        .bind(micros(since))
        .fetch_all(&mut ledger.look().await?)
        .await;
    rows.during("read alarms")?.iter().map(alarm_of).collect()
}

/// Takes the instant of a schedule. False where somebody attends to it, or to a later one.
pub(super) async fn claim_tick(
    ledger: &SqlLedger,
    name: &str,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let mut write = ledger.write("claim a tick").await?;
    let taken = query("SELECT 1 FROM tick WHERE name = ? AND due_at >= ?").bind(name).bind(micros(due_at));
    if taken.exists(write.connection()).await.during("claim a tick")? {
        return Ok(false);
    }
    put_tick(write.connection(), name, due_at, now).await?;
    write.commit().await?;
    Ok(true)
}

/// Puts an instant in the place of the one that was read. False where another one is there by now.
pub(super) async fn swap_tick(
    ledger: &SqlLedger,
    name: &str,
    read: Option<DateTime<Utc>>,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let mut write = ledger.write("claim a tick").await?;
    let row = query("SELECT due_at FROM tick WHERE name = ?").bind(name).fetch_optional(write.connection());
    let there = row.await.during("claim a tick")?.map(|row| get_instant(&row, "due_at")).transpose()?;
    if there.map(micros) != read.map(micros) {
        return Ok(false);
    }
    put_tick(write.connection(), name, due_at, now).await?;
    write.commit().await?;
    Ok(true)
}

async fn put_tick(
    connection: &mut Session,
    name: &str,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    query("REPLACE INTO tick (name, due_at, claimed_at) VALUES (?, ?, ?)")
        .bind(name)
        .bind(micros(due_at))
        .bind(micros(now))
        .execute(connection)
        .await
        .during("claim a tick")
        .map(drop)
}

/// The last instant of a schedule that was claimed.
pub(super) async fn last_tick(ledger: &SqlLedger, name: &str) -> Result<Option<DateTime<Utc>>, LedgerError> {
    let mut look = ledger.look().await?;
    let row = query("SELECT due_at FROM tick WHERE name = ?").bind(name).fetch_optional(&mut look);
    row.await.during("read a tick")?.map(|row| get_instant(&row, "due_at")).transpose()
}

fn delivery_of(row: &Row) -> Result<DeliveryRow, LedgerError> {
    Ok(DeliveryRow {
        number: unsigned(get(row, "number")?, "number")?,
        key: get(row, "idempotency")?,
        kind: get(row, "kind")?,
        tenant: tenant_of(row)?,
        url: get(row, "url")?,
        body: get(row, "body")?,
        enqueued_at: get_instant(row, "enqueued_at")?,
        tries: u32::try_from(get::<i64>(row, "tries")?).map_err(|_| damaged("tries"))?,
        delivered_at: get_instant_if_any(row, "delivered_at")?,
        given_up_at: get_instant_if_any(row, "given_up_at")?,
        failure: get(row, "failure")?,
    })
}

fn tenant_of(row: &Row) -> Result<Option<TenantId>, LedgerError> {
    let tenant: Option<&str> = get(row, "tenant")?;
    tenant.map(|tenant| TenantId::observed(tenant).ok_or_else(|| damaged("tenant"))).transpose()
}

async fn standing_alarms(connection: &mut Session) -> Result<Vec<AlarmRow>, LedgerError> {
    let rows = query("SELECT * FROM alarm WHERE cleared_at IS NULL ORDER BY number").fetch_all(connection);
    rows.await.during("read alarms")?.iter().map(alarm_of).collect()
}

fn alarm_of(row: &Row) -> Result<AlarmRow, LedgerError> {
    Ok(AlarmRow {
        number: unsigned(get(row, "number")?, "number")?,
        alarm: NewAlarm {
            key: get(row, "alarm")?,
            kind: get(row, "kind")?,
            message: get(row, "message")?,
            fields: get_json(row, "fields")?,
        },
        raised_at: get_instant(row, "raised_at")?,
        cleared_at: get_instant_if_any(row, "cleared_at")?,
    })
}
