//! Who may do what over the network, as the ledger keeps it: tokens, proposals, answers under idempotency keys.
//! It owns those tables; what a role may do is decided by its callers.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteLedger;
use super::write::{
    During, damaged, get, get_instant, get_instant_if_any, get_json, get_word, micros, new_id, to_json,
    word_of,
};
use crate::id::{ProposalId, TenantId, TokenId};
use crate::ledger::entry::{at, proposed};
use crate::ledger::{AnswerClaim, GivenAnswer, LedgerError, NewToken, ProposalRow, ProposedAction, TokenRow};

/// How long a question counts as being answered: far longer than an answer takes, so whoever claimed it is dead.
const ANSWERING: TimeDelta = TimeDelta::minutes(2);

/// The token is good from now on.
pub(super) async fn make_token(
    ledger: &SqliteLedger,
    new: &NewToken,
    now: DateTime<Utc>,
) -> Result<TokenRow, LedgerError> {
    let mut write = ledger.write("make a token").await?;
    let id = TokenId::new(new_id("tok", now)?);
    sqlx::query(
        "INSERT INTO token (token_id, principal, role, tenant, digest, made_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(&new.principal)
    .bind(word_of(&new.role)?)
    .bind(new.tenant.as_ref().map(TenantId::as_str))
    .bind(&new.digest)
    .bind(micros(now))
    .bind(new.expires_at.map(micros))
    .execute(write.connection())
    .await
    .during("make a token")?;
    let row = token(write.connection(), &id).await?;
    let fields = json!({
        "token_id": id, "principal": new.principal, "role": new.role, "tenant": new.tenant,
        "expires_at": new.expires_at.map(at),
    });
    write.append("token-made", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// The token is no longer good.
pub(super) async fn revoke_token(
    ledger: &SqliteLedger,
    id: &TokenId,
    now: DateTime<Utc>,
) -> Result<TokenRow, LedgerError> {
    let mut write = ledger.write("revoke a token").await?;
    if token(write.connection(), id).await?.revoked_at.is_some() {
        return Err(LedgerError::State(format!("token `{id}` is revoked already")));
    }
    sqlx::query("UPDATE token SET revoked_at = ? WHERE token_id = ?")
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("revoke a token")?;
    let row = token(write.connection(), id).await?;
    write.append("token-revoked", json!({"token_id": id, "principal": row.principal}), now).await?;
    write.commit().await?;
    Ok(row)
}

/// All tokens, in order of making.
pub(super) async fn tokens(ledger: &SqliteLedger) -> Result<Vec<TokenRow>, LedgerError> {
    let rows = sqlx::query("SELECT * FROM token ORDER BY number").fetch_all(&ledger.readers).await;
    rows.during("read tokens")?.iter().map(token_of).collect()
}

/// The token with this digest, good or not.
pub(super) async fn token_of_digest(
    ledger: &SqliteLedger,
    digest: &str,
) -> Result<Option<TokenRow>, LedgerError> {
    let row =
        sqlx::query("SELECT * FROM token WHERE digest = ?").bind(digest).fetch_optional(&ledger.readers);
    row.await.during("read a token")?.as_ref().map(token_of).transpose()
}

/// The proposal waits for another person.
pub(super) async fn propose(
    ledger: &SqliteLedger,
    action: &ProposedAction,
    by: &str,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<ProposalRow, LedgerError> {
    let mut write = ledger.write("record a proposal").await?;
    let id = ProposalId::new(new_id("prop", now)?);
    sqlx::query(
        "INSERT INTO proposal (proposal_id, action, proposed_by, proposed_at, expires_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(to_json(action)?)
    .bind(by)
    .bind(micros(now))
    .bind(micros(expires_at))
    .execute(write.connection())
    .await
    .during("record a proposal")?;
    let row = proposal(write.connection(), &id).await?;
    let fields = json!({
        "proposal_id": id, "action": proposed(action), "proposed_by": by, "expires_at": at(expires_at),
    });
    write.append("proposed", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// All proposals, in order.
pub(super) async fn proposals(ledger: &SqliteLedger) -> Result<Vec<ProposalRow>, LedgerError> {
    let rows = sqlx::query("SELECT * FROM proposal ORDER BY number").fetch_all(&ledger.readers).await;
    rows.during("read proposals")?.iter().map(proposal_of).collect()
}

/// Another person approves. Guarded by `nobody_approves_what_they_proposed`.
pub(super) async fn approve_proposal(
    ledger: &SqliteLedger,
    id: &ProposalId,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ProposalRow, LedgerError> {
    let mut write = ledger.write("approve a proposal").await?;
    let row = proposal(write.connection(), id).await?;
    if row.proposed_by == by {
        return Err(LedgerError::State(format!(
            "proposal `{id}` is approved by another person than who made it"
        )));
    }
    if row.approved_at.is_some() {
        return Err(LedgerError::State(format!("proposal `{id}` is approved already")));
    }
    if now >= row.expires_at {
        return Err(LedgerError::State(format!("proposal `{id}` has expired; make it again")));
    }
    sqlx::query("UPDATE proposal SET approved_by = ?, approved_at = ? WHERE proposal_id = ?")
        .bind(by)
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("approve a proposal")?;
    let row = proposal(write.connection(), id).await?;
    write
        .append(
            "approved",
            json!({"proposal_id": id, "action": proposed(&row.action), "approved_by": by}),
            now,
        )
        .await?;
    write.commit().await?;
    Ok(row)
}

/// Who asks first under a key has to answer.
pub(super) async fn claim_answer(
    ledger: &SqliteLedger,
    principal: &str,
    key: &str,
    content: &str,
    now: DateTime<Utc>,
) -> Result<AnswerClaim, LedgerError> {
    let key = ledger.seal.digest("answer", key);
    let content = ledger.seal.digest("question", content);
    let mut write = ledger.write("claim an answer").await?;
    let before = sqlx::query("SELECT * FROM answer WHERE principal = ? AND idempotency = ?")
        .bind(principal)
        .bind(&key)
        .fetch_optional(write.connection())
        .await
        .during("claim an answer")?;
    if let Some(before) = before {
        if get::<&str>(&before, "content")? != content {
            return Ok(AnswerClaim::Other);
        }
        if let Some(status) = get::<Option<i64>>(&before, "status")? {
            let status = u16::try_from(status).map_err(|_| damaged("status"))?;
            return Ok(AnswerClaim::Given(GivenAnswer { status, body: get(&before, "body")? }));
        }
        if now < get_instant(&before, "claimed_at")? + ANSWERING {
            return Ok(AnswerClaim::Running);
        }
    }
    sqlx::query(
        "INSERT INTO answer (principal, idempotency, content, claimed_at) VALUES (?, ?, ?, ?)
         ON CONFLICT (principal, idempotency) DO UPDATE SET claimed_at = excluded.claimed_at",
    )
    .bind(principal)
    .bind(&key)
    .bind(&content)
    .bind(micros(now))
    .execute(write.connection())
    .await
    .during("claim an answer")?;
    write.commit().await?;
    Ok(AnswerClaim::New)
}

/// The answer is durable. `None` gives the claim back: nothing was done, and the same may be asked again.
pub(super) async fn give_answer(
    ledger: &SqliteLedger,
    principal: &str,
    key: &str,
    answer: Option<&GivenAnswer>,
) -> Result<(), LedgerError> {
    let key = ledger.seal.digest("answer", key);
    let mut write = ledger.write("record an answer").await?;
    let statement = match answer {
        Some(answer) => {
            sqlx::query("UPDATE answer SET status = ?, body = ? WHERE principal = ? AND idempotency = ?")
                .bind(i64::from(answer.status))
                .bind(&answer.body)
        }
        None => sqlx::query("DELETE FROM answer WHERE status IS NULL AND principal = ? AND idempotency = ?"),
    };
    statement.bind(principal).bind(&key).execute(write.connection()).await.during("record an answer")?;
    write.commit().await
}

/// Answers older than an instant are forgotten.
pub(super) async fn forget_answers(ledger: &SqliteLedger, before: DateTime<Utc>) -> Result<u64, LedgerError> {
    let mut write = ledger.write("forget old answers").await?;
    let gone = sqlx::query("DELETE FROM answer WHERE claimed_at < ?")
        .bind(micros(before))
        .execute(write.connection())
        .await
        .during("forget old answers")?;
    write.commit().await?;
    Ok(gone.rows_affected())
}

async fn token(connection: &mut SqliteConnection, id: &TokenId) -> Result<TokenRow, LedgerError> {
    let row =
        sqlx::query("SELECT * FROM token WHERE token_id = ?").bind(id.as_str()).fetch_optional(connection);
    let unknown = || LedgerError::Unknown { what: "token", id: id.to_string() };
    token_of(&row.await.during("read a token")?.ok_or_else(unknown)?)
}

fn token_of(row: &SqliteRow) -> Result<TokenRow, LedgerError> {
    let tenant: Option<&str> = get(row, "tenant")?;
    Ok(TokenRow {
        token_id: TokenId::new(get::<String>(row, "token_id")?),
        principal: get(row, "principal")?,
        role: get_word(row, "role")?,
        tenant: tenant.map(|text| TenantId::observed(text).ok_or_else(|| damaged("tenant"))).transpose()?,
        made_at: get_instant(row, "made_at")?,
        expires_at: get_instant_if_any(row, "expires_at")?,
        revoked_at: get_instant_if_any(row, "revoked_at")?,
    })
}

async fn proposal(connection: &mut SqliteConnection, id: &ProposalId) -> Result<ProposalRow, LedgerError> {
    let row = sqlx::query("SELECT * FROM proposal WHERE proposal_id = ?")
        .bind(id.as_str())
        .fetch_optional(connection);
    let unknown = || LedgerError::Unknown { what: "proposal", id: id.to_string() };
    proposal_of(&row.await.during("read a proposal")?.ok_or_else(unknown)?)
}

fn proposal_of(row: &SqliteRow) -> Result<ProposalRow, LedgerError> {
    Ok(ProposalRow {
        proposal_id: ProposalId::new(get::<String>(row, "proposal_id")?),
        action: get_json(row, "action")?,
        proposed_by: get(row, "proposed_by")?,
        proposed_at: get_instant(row, "proposed_at")?,
        expires_at: get_instant(row, "expires_at")?,
        approved_by: get(row, "approved_by")?,
        approved_at: get_instant_if_any(row, "approved_at")?,
    })
}
