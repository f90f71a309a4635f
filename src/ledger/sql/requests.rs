//! Erasure requests in the ledger, and the subjects that requests and holds name.
//! It owns the request table; it does not decide what a request covers or when it is done.

use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;
use serde_json::json;

use super::SqlLedger;
use super::statement::{Row, Session, query};
use super::write::{
    During, Writing, damaged, get, get_instant, get_instant_if_any, get_json, micros, new_id, to_json,
};
use crate::facts::{OpenRequest, RequestScope};
use crate::id::{Category, RequestId, SubjectKey, TenantId};
use crate::ledger::entry::at;
use crate::ledger::{LedgerError, NewRequest, NewScope, RequestPlacement, RequestRow, RequestState};
use crate::plan::{NamedSubject, SubjectOrigin};

/// Records the request, or finds the one that the same idempotency key made.
pub(super) async fn create(
    ledger: &SqlLedger,
    new: &NewRequest,
    now: DateTime<Utc>,
) -> Result<RequestRow, LedgerError> {
    let (scope, categories, subjects) = parts_of(&new.scope)?;
    let content = content_of(ledger, new, now)?;
    let idempotency = new.idempotency_key.as_deref().map(|key| ledger.seal.digest("idempotency", key));
    let mut write = ledger.write("record a request").await?;
    if let Some(key) = &idempotency {
        let before = query("SELECT request_id, content FROM request WHERE idempotency = ?")
            .bind(key)
            .fetch_optional(write.connection())
            .await
            .during("record a request")?;
        if let Some(before) = before {
            let id: String = get(&before, "request_id")?;
            if get::<&str>(&before, "content")? != content {
                return Err(LedgerError::State(
                    "the same idempotency key was given to another request before".to_owned(),
                ));
            }
            return one(write.connection(), &RequestId::new(id)).await;
        }
    }
    let id = RequestId::new(new_id("req", now)?);
    let named = named(ledger, &new.tenant, &subjects);
    let sealed = seal_subjects(&mut write, id.as_str(), &subjects).await?;
    let placements: Vec<RequestPlacement> = new.placements.iter().cloned().map(untouched).collect();
    query(
        "INSERT INTO request (request_id, tenant, known, state, received_at, recorded_at, deadline, scope,
             scope_categories, covers, subjects, placements, sealed, idempotency, content)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(new.tenant.as_str())
    .bind(new.known)
    .bind(word(RequestState::Received))
    .bind(micros(new.received_at))
    .bind(micros(now))
    .bind(micros(new.deadline))
    .bind(scope)
    .bind(to_json(&categories)?)
    .bind(to_json(&new.covers)?)
    .bind(to_json(&named)?)
    .bind(to_json(&placements)?)
    .bind(sealed)
    .bind(idempotency)
    .bind(content)
    .execute(write.connection())
    .await
    .during("record a request")?;
    write.touch(&new.tenant).await?;
    let row = one(write.connection(), &id).await?;
    let fields = json!({
        "request_id": id, "tenant": new.tenant, "known": new.known, "scope": scope, "subjects": named,
        "categories": new.covers, "placements": new.placements,
        "received_at": at(new.received_at), "deadline": at(new.deadline),
    });
    write.append("request-received", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// All requests, in order of receipt.
pub(super) async fn all(ledger: &SqlLedger) -> Result<Vec<RequestRow>, LedgerError> {
    query("SELECT * FROM request ORDER BY received_at, request_id")
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read requests")?
        .iter()
        .map(row_of)
        .collect()
}

/// One request, for a reader.
pub(super) async fn read(ledger: &SqlLedger, id: &RequestId) -> Result<RequestRow, LedgerError> {
    one(&mut ledger.look().await?, id).await
}

/// One request.
pub(super) async fn one(connection: &mut Session, id: &RequestId) -> Result<RequestRow, LedgerError> {
    let row = query("SELECT * FROM request WHERE request_id = ?")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .during("read a request")?;
    row_of(&row.ok_or_else(|| unknown(id))?)
}

/// Withdraws it.
pub(super) async fn cancel(
    ledger: &SqlLedger,
    id: &RequestId,
    now: DateTime<Utc>,
) -> Result<RequestRow, LedgerError> {
    let mut write = ledger.write("cancel a request").await?;
    let before = one(write.connection(), id).await?;
    refuse_unless_open(&before)?;
    query("UPDATE request SET state = ?, sealed = NULL WHERE request_id = ?")
        .bind(word(RequestState::Cancelled))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("cancel a request")?;
    write.destroy_key(id.as_str()).await?;
    write.touch(&before.tenant).await?;
    let row = one(write.connection(), id).await?;
    write.append("request-cancelled", json!({"request_id": id, "tenant": before.tenant}), now).await?;
    write.commit().await?;
    Ok(row)
}

/// Records how far it got. What did not change is no fact and gets no entry.
pub(super) async fn settle(
    ledger: &SqlLedger,
    id: &RequestId,
    state: RequestState,
    placements: &[RequestPlacement],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    if state == RequestState::Cancelled {
        return Err(LedgerError::State("a request is cancelled, not settled as cancelled".to_owned()));
    }
    let mut write = ledger.write("settle a request").await?;
    let before = one(write.connection(), id).await?;
    refuse_unless_open(&before)?;
    if before.state == state && before.placements == placements {
        return Ok(());
    }
    let completed = state == RequestState::Completed;
    query(
        "UPDATE request SET state = ?, placements = ?, completed_at = ?,
             sealed = CASE WHEN ? THEN NULL ELSE sealed END
         WHERE request_id = ?",
    )
    .bind(word(state))
    .bind(to_json(&placements)?)
    .bind(completed.then_some(micros(now)))
    .bind(completed)
    .bind(id.as_str())
    .execute(write.connection())
    .await
    .during("settle a request")?;
    if completed {
        write.destroy_key(id.as_str()).await?;
    }
    let fields = json!({
        "request_id": id, "tenant": before.tenant, "state": word(state),
        "placements": placements.iter().map(|p| json!({
            "placement": p.placement, "state": word(p.state), "erased": p.erased,
            "verified_absent": p.verified_absent,
        })).collect::<Vec<_>>(),
    });
    write.append("request-settled", fields, now).await?;
    write.commit().await
}

/// Requests that are still to be carried out, in order of receipt, then of id.
pub(super) async fn open(
    ledger: &SqlLedger,
    connection: &mut Session,
) -> Result<Vec<OpenRequest>, LedgerError> {
    let rows = query(
        "SELECT * FROM request WHERE state NOT IN ('completed', 'cancelled') ORDER BY received_at, request_id",
    )
    .fetch_all(&mut *connection)
    .await
    .during("read requests")?;
    let mut requests = Vec::with_capacity(rows.len());
    for row in &rows {
        let request_id: String = get(row, "request_id")?;
        let tenant = TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?;
        let scope = match get::<&str>(row, "scope")? {
            "everything" => RequestScope::Everything,
            "categories" => RequestScope::Categories(get_json(row, "scope_categories")?),
            "subjects" => {
                RequestScope::Subjects(open_subjects(ledger, connection, &request_id, &tenant, row).await?)
            }
            _ => return Err(damaged("scope")),
        };
        let received_at = get_instant(row, "received_at")?;
        let recorded_at = get_instant(row, "recorded_at")?;
        let request_id = RequestId::new(request_id);
        requests.push(OpenRequest { request_id, tenant, scope, received_at, recorded_at });
    }
    Ok(requests)
}

/// The values behind an open request or an active hold.
pub(super) async fn subjects_of(
    ledger: &SqlLedger,
    origin: &SubjectOrigin,
) -> Result<Vec<SubjectKey>, LedgerError> {
    let mut read = ledger.read("read subjects").await?;
    let (what, id, sql) = match origin {
        SubjectOrigin::Request(id) => (
            "request",
            id.as_str(),
            "SELECT *, state NOT IN ('completed', 'cancelled') AS open FROM request WHERE request_id = ?",
        ),
        SubjectOrigin::Hold(id) => {
            ("hold", id.as_str(), "SELECT *, released_at IS NULL AS open FROM hold WHERE hold_id = ?")
        }
    };
    let row = query(sql).bind(id).fetch_optional(&mut read).await.during("read subjects")?;
    let row = row.ok_or_else(|| LedgerError::Unknown { what, id: id.to_owned() })?;
    if !get::<bool>(&row, "open")? {
        return Err(LedgerError::State(format!("what {what} `{id}` named is no longer known: it is closed")));
    }
    let tenant = TenantId::observed(get(&row, "tenant")?).ok_or_else(|| damaged("tenant"))?;
    open_subjects(ledger, &mut read, id, &tenant, &row).await
}

/// Unseals the subjects of a row. A row that names none has nothing sealed.
pub(super) async fn open_subjects(
    ledger: &SqlLedger,
    connection: &mut Session,
    owner: &str,
    tenant: &TenantId,
    row: &Row,
) -> Result<Vec<SubjectKey>, LedgerError> {
    let Some(sealed) = get::<Option<&[u8]>>(row, "sealed")? else {
        // Missing never means none: a row that names somebody must be able to say whom.
        let named: Vec<NamedSubject> = get_json(row, "subjects")?;
        return if named.is_empty() { Ok(Vec::new()) } else { Err(damaged("sealed")) };
    };
    let stored = query("SELECT wrapped FROM row_key WHERE owner = ?")
        .bind(owner)
        .fetch_optional(connection)
        .await
        .during("read subjects")?
        .ok_or_else(|| damaged("wrapped"))?;
    let key = ledger.seal.row_key(owner, get(&stored, "wrapped")?)?;
    let text = key.open("subjects", sealed)?;
    let pairs: Vec<(String, String)> = serde_json::from_str(&text).map_err(|_| damaged("sealed"))?;
    Ok(pairs
        .into_iter()
        .map(|(kind, value)| {
            let fingerprint = ledger.seal.fingerprint(tenant, &kind, &value);
            SubjectKey::new(kind, value, fingerprint)
        })
        .collect())
}

/// Seals kinds and values under a new key of their owner. Nothing named: nothing sealed.
pub(super) async fn seal_subjects(
    write: &mut Writing<'_>,
    owner: &str,
    subjects: &[(String, String)],
) -> Result<Option<Vec<u8>>, LedgerError> {
    if subjects.is_empty() {
        return Ok(None);
    }
    let text = Zeroizing::new(to_json(&subjects)?);
    let key = write.new_key(owner).await?;
    Ok(Some(key.seal("subjects", &text)?))
}

/// Sorted, each once. An empty kind or value is refused: it would name every record that names nobody.
pub(super) fn checked_subjects(subjects: &[(String, String)]) -> Result<Vec<(String, String)>, LedgerError> {
    if subjects.iter().any(|(kind, value)| kind.is_empty() || value.trim().is_empty()) {
        return Err(LedgerError::State("a subject has an empty kind or value".to_owned()));
    }
    let mut subjects = subjects.to_vec();
    subjects.sort();
    subjects.dedup();
    Ok(subjects)
}

/// Subjects as they may be shown.
pub(super) fn named(
    ledger: &SqlLedger,
    tenant: &TenantId,
    subjects: &[(String, String)],
) -> Vec<NamedSubject> {
    subjects
        .iter()
        .map(|(kind, value)| NamedSubject {
            kind: kind.clone(),
            fingerprint: ledger.seal.fingerprint(tenant, kind, value),
        })
        .collect()
}

type Parts = (&'static str, Vec<Category>, Vec<(String, String)>);

/// What a scope names. Nothing named is refused here too, for it must never come to mean everything.
fn parts_of(scope: &NewScope) -> Result<Parts, LedgerError> {
    match scope {
        NewScope::Everything => Ok(("everything", Vec::new(), Vec::new())),
        NewScope::Categories(categories) if !categories.is_empty() => {
            let mut categories = categories.clone();
            categories.sort();
            categories.dedup();
            Ok(("categories", categories, Vec::new()))
        }
        NewScope::Subjects(subjects) if !subjects.is_empty() => {
            Ok(("subjects", Vec::new(), checked_subjects(subjects)?))
        }
        NewScope::Categories(_) | NewScope::Subjects(_) => {
            Err(LedgerError::State("the request names nothing to erase".to_owned()))
        }
    }
}

/// Keyed digest of what makes two requests the same. The receipt counts only where the caller gave one: otherwise
/// it is `now` and differs each time that the same request is sent again.
fn content_of(ledger: &SqlLedger, new: &NewRequest, now: DateTime<Utc>) -> Result<String, LedgerError> {
    let received = (new.received_at != now).then(|| micros(new.received_at));
    let text = Zeroizing::new(to_json(&(&new.tenant, parts_of(&new.scope)?, received))?);
    Ok(ledger.seal.digest("request", &text))
}

fn row_of(row: &Row) -> Result<RequestRow, LedgerError> {
    Ok(RequestRow {
        request_id: RequestId::new(get::<String>(row, "request_id")?),
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        known: get(row, "known")?,
        state: state_of(get(row, "state")?)?,
        received_at: get_instant(row, "received_at")?,
        recorded_at: get_instant(row, "recorded_at")?,
        deadline: get_instant(row, "deadline")?,
        completed_at: get_instant_if_any(row, "completed_at")?,
        categories: get_json(row, "covers")?,
        subjects: get_json(row, "subjects")?,
        everything: get::<&str>(row, "scope")? == "everything",
        placements: get_json(row, "placements")?,
    })
}

fn untouched(placement: crate::id::PlacementId) -> RequestPlacement {
    RequestPlacement {
        placement,
        state: RequestState::Received,
        erased: 0,
        verified_absent: 0,
        residual: Vec::new(),
    }
}

fn refuse_unless_open(row: &RequestRow) -> Result<(), LedgerError> {
    match row.state {
        RequestState::Completed | RequestState::Cancelled => {
            Err(LedgerError::State(format!("request `{}` is {} already", row.request_id, word(row.state))))
        }
        RequestState::Received | RequestState::Waiting | RequestState::Enforcing | RequestState::Residual => {
            Ok(())
        }
    }
}

fn word(state: RequestState) -> &'static str {
    match state {
        RequestState::Received => "received",
        RequestState::Waiting => "waiting",
        RequestState::Enforcing => "enforcing",
        RequestState::Residual => "residual",
        RequestState::Completed => "completed",
        RequestState::Cancelled => "cancelled",
    }
}

fn state_of(text: &str) -> Result<RequestState, LedgerError> {
    use RequestState::{Cancelled, Completed, Enforcing, Received, Residual, Waiting};
    [Received, Waiting, Enforcing, Residual, Completed, Cancelled]
        .into_iter()
        .find(|state| word(*state) == text)
        .ok_or_else(|| damaged("state"))
}

fn unknown(id: &RequestId) -> LedgerError {
    LedgerError::Unknown { what: "request", id: id.as_str().to_owned() }
}
