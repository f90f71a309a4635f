//! Opening a ledger on a server: the schema, brought up to date one statement at a time, and the key.
//! It owns what is made on first use and what is refused; it reads no row but those of `meta`.
//!
//! A server does not undo a change of the schema, so each migration is one statement that does no harm when it is run
//! again: a process that dies between a statement and its record leaves nothing that the next one stumbles over.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::Server;
use super::wire::{Pool, Role};
use crate::config::{server_options, server_place};
use crate::ledger::LedgerError;
use crate::ledger::sql::statement::{Session, query};
use crate::ledger::sql::write::{During, get};
use crate::ledger::sql::{Engine, SqlLedger, birth};

/// The migrations in order: number, what it is for, text. Forward only; a number once shipped never changes.
const MIGRATIONS: [(i64, &str, &str); 31] = [
    (1, "meta", include_str!("../../../migrations/mysql/0001_meta.sql")),
    (2, "row_key", include_str!("../../../migrations/mysql/0002_row_key.sql")),
    (3, "tenant_generation", include_str!("../../../migrations/mysql/0003_tenant_generation.sql")),
    (4, "request", include_str!("../../../migrations/mysql/0004_request.sql")),
    (5, "tenant", include_str!("../../../migrations/mysql/0005_tenant.sql")),
    (6, "hold", include_str!("../../../migrations/mysql/0006_hold.sql")),
    (7, "entitlement", include_str!("../../../migrations/mysql/0007_entitlement.sql")),
    (8, "stop", include_str!("../../../migrations/mysql/0008_stop.sql")),
    (9, "plan", include_str!("../../../migrations/mysql/0009_plan.sql")),
    (10, "refused_plan", include_str!("../../../migrations/mysql/0010_refused_plan.sql")),
    (11, "policy", include_str!("../../../migrations/mysql/0011_policy.sql")),
    (12, "run", include_str!("../../../migrations/mysql/0012_run.sql")),
    (13, "run_plan", include_str!("../../../migrations/mysql/0013_run_plan.sql")),
    (14, "intent", include_str!("../../../migrations/mysql/0014_intent.sql")),
    (15, "outcome", include_str!("../../../migrations/mysql/0015_outcome.sql")),
    (16, "erased_scope", include_str!("../../../migrations/mysql/0016_erased_scope.sql")),
    (17, "marked_store", include_str!("../../../migrations/mysql/0017_marked_store.sql")),
    (18, "scrub_owed", include_str!("../../../migrations/mysql/0018_scrub_owed.sql")),
    (19, "entry", include_str!("../../../migrations/mysql/0019_entry.sql")),
    (20, "head", include_str!("../../../migrations/mysql/0020_head.sql")),
    (21, "token", include_str!("../../../migrations/mysql/0021_token.sql")),
    (22, "proposal", include_str!("../../../migrations/mysql/0022_proposal.sql")),
    (23, "answer", include_str!("../../../migrations/mysql/0023_answer.sql")),
    (24, "delivery", include_str!("../../../migrations/mysql/0024_delivery.sql")),
    (25, "alarm", include_str!("../../../migrations/mysql/0025_alarm.sql")),
    (26, "export", include_str!("../../../migrations/mysql/0026_export.sql")),
    (27, "tick", include_str!("../../../migrations/mysql/0027_tick.sql")),
    (28, "executor", include_str!("../../../migrations/mysql/0028_executor.sql")),
    (29, "lease", include_str!("../../../migrations/mysql/0029_lease.sql")),
    (30, "step_claim", include_str!("../../../migrations/mysql/0030_step_claim.sql")),
    (31, "opendsr_request", include_str!("../../../migrations/mysql/0031_opendsr_request.sql")),
];

/// Remembers which migrations were run, and of which text.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS retentiond_schema (
    version BIGINT NOT NULL PRIMARY KEY,
    what    VARBINARY(64) NOT NULL,
    sum     VARBINARY(64) NOT NULL
) ENGINE = InnoDB";

/// Takes the lock under which one process at a time makes or changes the schema of this database. The time-out is one
/// that every server understands: some take a negative one for none at all.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('retentiond/', SHA1(DATABASE())), 30)";

/// Gives it back.
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('retentiond/', SHA1(DATABASE())))";

/// Opens for writing, and makes what is missing.
pub(super) async fn connect(url: &SecretString, key_file: &Path) -> Result<SqlLedger, LedgerError> {
    let pool = pool_of(url, Role::Write)?;
    let server = Server::new(Arc::clone(&pool));
    let known = match content_of(&mut server.look().await?).await? {
        Content::Ledger => meta_of(&mut server.look().await?, key_file).await?,
        Content::Nothing | Content::Older => None,
    };
    let (id, seal) = match known {
        Some(both) => both,
        None => make(&server, key_file).await?,
    };
    Ok(SqlLedger { id, seal, engine: Engine::Mysql(server) })
}

/// Opens for reading; `None` where there is no ledger. Makes and changes nothing.
pub(super) async fn connect_read_only(
    url: &SecretString,
    key_file: &Path,
) -> Result<Option<SqlLedger>, LedgerError> {
    let server = Server::new(pool_of(url, Role::Look)?);
    let mut session = server.look().await?;
    match content_of(&mut session).await? {
        Content::Nothing => return Ok(None),
        Content::Older => return Err(birth::older_schema()),
        Content::Ledger => {}
    }
    let known = meta_of(&mut session, key_file).await?;
    drop(session);
    Ok(known.map(|(id, seal)| SqlLedger { id, seal, engine: Engine::Mysql(server) }))
}

fn pool_of(url: &SecretString, role: Role) -> Result<Arc<Pool>, LedgerError> {
    match (server_options(url), server_place(url)) {
        (Some(options), Some(_)) => Ok(Pool::new(options, role)),
        _ => Err(LedgerError::Doubt(
            "the address of the ledger names no database; hint: write mysql://USER:PASSWORD@HOST/DATABASE"
                .to_owned(),
        )),
    }
}

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// No table.
    Nothing,
    /// A ledger with an older schema, or one whose making broke off.
    Older,
    /// A ledger.
    Ledger,
}

/// Looks before anything is changed, so that a data store that is configured as the ledger stays as it is.
async fn content_of(session: &mut Session) -> Result<Content, LedgerError> {
    let operation = "open the database";
    let tables = query(
        "SELECT CAST(count(*) AS SIGNED), CAST(coalesce(sum(table_name = 'retentiond_schema'), 0) AS SIGNED)
         FROM information_schema.tables WHERE table_schema = DATABASE()",
    );
    let row = tables.fetch_one(session).await.during(operation)?;
    let count: i64 = row.at(0).during(operation)?;
    let ours: i64 = row.at(1).during(operation)?;
    if count == 0 {
        return Ok(Content::Nothing);
    }
    if ours == 0 {
        return Err(LedgerError::Doubt(
            "the database holds tables, but no ledger of retentiond; hint: `[ledger] url` names a database of its own"
                .to_owned(),
        ));
    }
    let applied = query("SELECT version, sum FROM retentiond_schema ORDER BY version");
    let applied = applied.fetch_all(session).await.during(operation)?;
    for (place, row) in applied.iter().enumerate() {
        let fits = MIGRATIONS.get(place).is_some_and(|(version, _, text)| {
            get::<i64>(row, "version").is_ok_and(|theirs| theirs == *version)
                && get::<String>(row, "sum").is_ok_and(|sum| sum == sum_of(text))
        });
        if !fits {
            return Err(birth::other_version());
        }
    }
    Ok(if applied.len() < MIGRATIONS.len() { Content::Older } else { Content::Ledger })
}

/// The ledger's id and its key; `None` for one that is not made yet.
async fn meta_of(
    session: &mut Session,
    key_file: &Path,
) -> Result<Option<(String, crate::ledger::seal::Seal)>, LedgerError> {
    let rows = query("SELECT name, value FROM meta").fetch_all(session).await.during("open the database")?;
    let meta = rows.iter().map(|row| Ok((get(row, "name")?, get(row, "value")?)));
    birth::key_of(&meta.collect::<Result<Vec<(String, String)>, LedgerError>>()?, key_file)
}

/// Brings the schema up to date and settles id and key, one process at a time.
async fn make(server: &Server, key_file: &Path) -> Result<(String, crate::ledger::seal::Seal), LedgerError> {
    let operation = "make the database";
    // The lock belongs to this connection, and goes with it.
    let mut session = server.look().await?;
    let locked = query(LOCK).fetch_one(&mut session).await.during(operation)?;
    if locked.at::<Option<i64>>(0).during(operation)? != Some(1) {
        let message = "another process has been changing the schema for 30 seconds".to_owned();
        return Err(LedgerError::Unreachable { operation, message });
    }
    let made = make_alone(server, &mut session, key_file).await;
    query(UNLOCK).execute(&mut session).await.during(operation)?;
    made
}

async fn make_alone(
    server: &Server,
    session: &mut Session,
    key_file: &Path,
) -> Result<(String, crate::ledger::seal::Seal), LedgerError> {
    let operation = "make the database";
    content_of(session).await?;
    query(SCHEMA).execute(session).await.during(operation)?;
    for (version, what, text) in MIGRATIONS {
        let done = query("SELECT 1 FROM retentiond_schema WHERE version = ?").bind(version);
        if done.exists(session).await.during(operation)? {
            continue;
        }
        query(text).execute(session).await.during(operation)?;
        query("INSERT INTO retentiond_schema (version, what, sum) VALUES (?, ?, ?)")
            .bind(version)
            .bind(what)
            .bind(sum_of(text))
            .execute(session)
            .await
            .during(operation)?;
    }
    if let Some(both) = meta_of(session, key_file).await? {
        return Ok(both);
    }
    let born = birth::born(key_file)?;
    let mut wire = server.pool.take().await.during(operation)?;
    wire.begin().await.during(operation)?;
    let mut work = Session::Mysql(wire);
    let own = [("fence", "0".to_owned()), ("turn", String::new())];
    for (name, value) in born.meta.into_iter().chain(own) {
        query("INSERT INTO meta (name, value) VALUES (?, ?)")
            .bind(name)
            .bind(value)
            .execute(&mut work)
            .await
            .during(operation)?;
    }
    if let Session::Mysql(wire) = &mut work {
        wire.commit().await.during(operation)?;
    }
    Ok((born.id, born.seal))
}

fn sum_of(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
