//! Opening a ledger: the file, its schema and its key.
//! It owns what is made on first use and what is refused; it reads no row but those of `meta`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection};

use super::Files;
use super::locks::{Lock, Locks};
use crate::ledger::LedgerError;
use crate::ledger::seal::Seal;
use crate::ledger::sql::write::During;
use crate::ledger::sql::{Engine, SqlLedger, birth};

/// `PRAGMA application_id` of a ledger; the first migration sets it.
const APPLICATION_ID: i64 = 1_380_275_268;

/// The migrations in order: number, what it is for, text. Forward only; a number once shipped never changes.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
    (2, "recovery", include_str!("../../../migrations/sqlite/0002_recovery.sql")),
    (3, "fingerprint", include_str!("../../../migrations/sqlite/0003_fingerprint.sql")),
    (4, "service", include_str!("../../../migrations/sqlite/0004_service.sql")),
];

/// Readers at once: what the planner, the HTTP handlers and the audit writer need, each for milliseconds.
const READERS_MAX: u32 = 4;

/// How long a writer waits for another process's transaction, which takes milliseconds unless a disk hangs.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Opens for writing, and makes what is missing.
pub(super) async fn open(path: &Path, key_file: &Path) -> Result<SqlLedger, LedgerError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        return Err(unreachable(format!("the folder {} does not exist", folder.display())));
    }
    let locks = Locks::beside(path);
    // Only one process makes a ledger; afterwards nobody waits for anybody here.
    let _making = if content_of(path).await? == Content::Ledger {
        None
    } else {
        Some(locks.exclusive(Lock::Make).await?)
    };
    if content_of(path).await? == Content::Nothing {
        // Made by us and not by the database, for the sake of the mode. The log beside it takes the same mode.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| unreachable(format!("{}: {error}", path.display())))?;
    }
    let options = options_for(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON");
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .during("open the database")?;
    let (id, seal) = prepare(&writer, key_file).await?;
    let readers = readers_of(path).await?;
    // A process that died may have left bytes of a destroyed key in the log.
    let files = Files { writer: Some(writer), readers, locks, remains: AtomicBool::new(true) };
    files.truncate_log().await;
    Ok(SqlLedger { id, seal, engine: Engine::Sqlite(files) })
}

/// Opens for reading; `None` where there is no ledger. Makes and changes nothing.
pub(super) async fn open_read_only(path: &Path, key_file: &Path) -> Result<Option<SqlLedger>, LedgerError> {
    if content_of(path).await? != Content::Ledger {
        return Ok(None);
    }
    let readers = readers_of(path).await?;
    let mut connection = readers.acquire().await.during("open the database")?;
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await
            .during("read the schema of the database")?;
    let known = migrator();
    if applied.len() < known.iter().count() {
        return Err(birth::older_schema());
    }
    let fits = applied.len() == known.iter().count()
        && known
            .iter()
            .zip(&applied)
            .all(|(ours, (version, sum))| ours.version == *version && *ours.checksum == sum[..]);
    if !fits {
        return Err(birth::other_version());
    }
    let (id, seal) = match key_of(&mut connection, key_file).await? {
        Some(both) => both,
        None => return Ok(None),
    };
    drop(connection);
    let locks = Locks::beside(path);
    let files = Files { writer: None, readers, locks, remains: AtomicBool::new(false) };
    Ok(Some(SqlLedger { id, seal, engine: Engine::Sqlite(files) }))
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// No file, an empty one, or a database without any table.
    Nothing,
    /// A ledger.
    Ledger,
}

/// Looks before anything is changed, so that a data store that is configured as the ledger stays as it is.
async fn content_of(path: &Path) -> Result<Content, LedgerError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Content::Nothing),
        Err(error) => return Err(unreachable(format!("{}: {error}", path.display()))),
        Ok(about) if about.len() == 0 => return Ok(Content::Nothing),
        Ok(_) => {}
    }
    let mut connection = options_for(path).read_only(true).connect().await.during("open the database")?;
    let found = async {
        let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection).await?;
        let tables: i64 =
            sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await?;
        Ok::<_, sqlx::Error>((id, tables))
    }
    .await
    .during("open the database");
    connection.close().await.during("open the database")?;
    match found? {
        (APPLICATION_ID, _) => Ok(Content::Ledger),
        (0, 0) => Ok(Content::Nothing),
        _ => Err(LedgerError::Doubt(format!(
            "{} is a database, but not a ledger of retentiond; hint: `[ledger] url` names a file of its own",
            path.display()
        ))),
    }
}

/// Brings the schema up to date and settles id and key, all in one transaction.
async fn prepare(writer: &SqlitePool, key_file: &Path) -> Result<(String, Seal), LedgerError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.during("open the database")?;
    migrate(&mut *transaction).await?;
    let both = match key_of(&mut transaction, key_file).await? {
        Some(both) => both,
        None => {
            let born = birth::born(key_file)?;
            let epoch = [("batch_epoch", "0".to_owned())];
            for (name, value) in born.meta.into_iter().chain(epoch) {
                sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?)")
                    .bind(name)
                    .bind(value)
                    .execute(&mut *transaction)
                    .await
                    .during("make the database")?;
            }
            (born.id, born.seal)
        }
    };
    transaction.commit().await.during("make the database")?;
    Ok(both)
}

async fn migrate<C: Migrate>(connection: &mut C) -> Result<(), LedgerError> {
    use sqlx::migrate::MigrateError;
    match migrator().run_direct(None, connection, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => {
            Err(birth::other_version())
        }
        Err(error) => Err(LedgerError::Unreachable {
            operation: "bring the schema up to date",
            message: error.to_string(),
        }),
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.into_iter().map(|(version, what, sql)| {
        Migration::new(version, what.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The ledger's id, and the key in the file, which must be the one that the ledger was made with. `None` for a
/// ledger that is not made yet.
async fn key_of(
    connection: &mut SqliteConnection,
    key_file: &Path,
) -> Result<Option<(String, Seal)>, LedgerError> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, value FROM meta")
        .fetch_all(connection)
        .await
        .during("open the database")?;
    birth::key_of(&rows, key_file)
}

async fn readers_of(path: &Path) -> Result<SqlitePool, LedgerError> {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .connect_with(options_for(path).read_only(true))
        .await
        .during("open the database")
}

fn options_for(path: &Path) -> SqliteConnectOptions {
    // Statements are not logged: what they bind is nobody's business.
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_WAIT)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging()
}

fn unreachable(message: String) -> LedgerError {
    LedgerError::Unreachable { operation: "open the database", message }
}
