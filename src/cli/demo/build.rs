//! Builds the demo's contact center: three tenants, five categories, two SQLite files and a folder of objects.
//! It owns the seeded data; it erases nothing.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Asia::Singapore;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

/// The tenants, with how many calls each has.
const TENANTS: [(&str, u64); 3] = [("acme", 1_500), ("beta", 700), ("gamma", 900)];

/// The oldest call, in days before now: well over six months, so that age has something to do.
const OLDEST_DAYS: u64 = 260;

/// The phone number of the person who asks to be forgotten.
pub(super) const FORGOTTEN: &str = "+6591234567";

/// The phone number that a court wants kept.
pub(super) const HELD: &str = "+6587654321";

const POLICIES: [(&str, &str); 5] = [
    ("agent-info.toml", include_str!("policies/agent-info.toml")),
    ("call-data.toml", include_str!("policies/call-data.toml")),
    ("call-analytics.toml", include_str!("policies/call-analytics.toml")),
    ("configuration.toml", include_str!("policies/configuration.toml")),
    ("logs.toml", include_str!("policies/logs.toml")),
];

const CONFIG: &str = r#"# The demo's configuration: everything on SQLite and files.
[ledger]
url = "sqlite://retentiond.db"

[policies]
path = "policies"

[limits]
records = 100000
share   = "20%"

[stores.center]
kind = "sqlite"
url  = "sqlite://center.db"

[stores.logbook]
kind = "sqlite"
url  = "sqlite://logbook.db"

[stores.objects]
kind = "files"
path = "objects"

[stores.backups]
kind = "files"
path = "backups"
"#;

const CENTER: &str = "
CREATE TABLE agent (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, staff_id TEXT NOT NULL, name TEXT, email TEXT,
  phone TEXT, status TEXT);
CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, started_at TEXT, caller TEXT, callee TEXT,
  agent_id TEXT, provider TEXT, seconds INTEGER, ivr_input TEXT, recording_key TEXT);
CREATE INDEX call_record_started ON call_record (started_at);
CREATE INDEX call_record_recording ON call_record (recording_key);
CREATE TABLE service_record (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, processed_ms INTEGER, caller TEXT,
  agent_id TEXT, remarks TEXT, rating INTEGER, voicemail_key TEXT);
CREATE INDEX service_record_processed ON service_record (processed_ms);
CREATE INDEX service_record_voicemail ON service_record (voicemail_key);
CREATE TABLE blocked_number (tenant_id TEXT, phone TEXT, reason TEXT, PRIMARY KEY (tenant_id, phone)) WITHOUT ROWID;
CREATE TABLE quick_reply (id INTEGER PRIMARY KEY, tenant_id TEXT, text TEXT);
";

const LOGBOOK: &str = "
CREATE TABLE trajectory (tenant_id TEXT, at TEXT, phone TEXT, state TEXT);
CREATE INDEX trajectory_at ON trajectory (at);
";

/// A small seeded generator (`SplitMix64`), so that every demo looks alike.
struct Seed(u64);

impl Seed {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }
}

/// Builds everything below `dir`, which must be new or empty.
///
/// # Errors
/// Where a file or database cannot be written.
pub(super) async fn build(dir: &Path, now: DateTime<Utc>) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(dir.join("policies"))?;
    fs::create_dir_all(dir.join("objects"))?;
    fs::create_dir_all(dir.join("backups"))?;
    fs::write(dir.join("retentiond.toml"), CONFIG)?;
    for (name, text) in POLICIES {
        fs::write(dir.join("policies").join(name), text)?;
    }
    let mut center = open(&dir.join("center.db")).await?;
    let mut logbook = open(&dir.join("logbook.db")).await?;
    sqlx::raw_sql(CENTER).execute(&mut center).await?;
    sqlx::raw_sql(LOGBOOK).execute(&mut logbook).await?;
    let mut seed = Seed(2_026);
    let mut center_tx = center.begin().await?;
    let mut logbook_tx = logbook.begin().await?;
    for (tenant, calls) in TENANTS {
        people(&mut center_tx, tenant, &mut seed).await?;
        for call in 0..calls {
            let minutes = seed.next(OLDEST_DAYS * 24 * 60);
            let at = now - Duration::minutes(i64::try_from(minutes)?);
            one_call(&mut center_tx, &mut logbook_tx, dir, tenant, call, at, &mut seed).await?;
        }
    }
    center_tx.commit().await?;
    logbook_tx.commit().await?;
    center.close().await?;
    logbook.close().await?;
    Ok(())
}

async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await
}

async fn people(db: &mut SqliteConnection, tenant: &str, seed: &mut Seed) -> Result<(), sqlx::Error> {
    for agent in 1..=8 {
        sqlx::query("INSERT INTO agent (tenant_id, staff_id, name, email, phone, status) VALUES (?, ?, ?, ?, ?, 'ready')")
            .bind(tenant)
            .bind(format!("A{agent:03}"))
            .bind(format!("Agent {agent} of {tenant}"))
            .bind(format!("agent{agent}@{tenant}.example"))
            .bind(format!("+659{:07}", seed.next(10_000_000)))
            .execute(&mut *db)
            .await?;
    }
    for block in 0..12 {
        let phone =
            if block == 0 { FORGOTTEN.to_owned() } else { format!("+658{:07}", seed.next(10_000_000)) };
        sqlx::query("INSERT OR IGNORE INTO blocked_number VALUES (?, ?, 'nuisance')")
            .bind(tenant)
            .bind(phone)
            .execute(&mut *db)
            .await?;
        sqlx::query("INSERT INTO quick_reply (tenant_id, text) VALUES (?, ?)")
            .bind(tenant)
            .bind(format!("Thank you for calling {tenant}, reply {block}."))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

async fn one_call(
    center: &mut SqliteConnection,
    logbook: &mut SqliteConnection,
    dir: &Path,
    tenant: &str,
    call: u64,
    at: DateTime<Utc>,
    seed: &mut Seed,
) -> Result<(), Box<dyn std::error::Error>> {
    let local = at.with_timezone(&Singapore);
    let caller = match seed.next(40) {
        0 => FORGOTTEN.to_owned(),
        1 => HELD.to_owned(),
        _ => format!("+656{:07}", seed.next(10_000_000)),
    };
    let agent = format!("A{:03}", 1 + seed.next(8));
    let recording = call.is_multiple_of(4).then(|| format!("rec/{tenant}/{:06}.wav", call));
    let voicemail = call.is_multiple_of(10).then(|| format!("vm/{tenant}/{:06}.wav", call));
    for key in recording.iter().chain(&voicemail) {
        object(dir, key, &caller, seed)?;
    }
    if call.is_multiple_of(25) {
        object(dir, &format!("ivr/{tenant}/{}/{call:06}.wav", local.format("%Y/%m/%d")), "ivr", seed)?;
    }
    sqlx::query(
        "INSERT INTO call_record (tenant_id, started_at, caller, callee, agent_id, provider, seconds, ivr_input, \
         recording_key) VALUES (?, ?, ?, '+6560000000', ?, 'StarTel', ?, ?, ?)",
    )
    .bind(tenant)
    .bind(local.format("%Y-%m-%d %H:%M:%S").to_string())
    .bind(&caller)
    .bind(&agent)
    .bind(i64::try_from(seed.next(900))?)
    .bind(format!("pressed {}", seed.next(10)))
    .bind(recording)
    .execute(&mut *center)
    .await?;
    sqlx::query(
        "INSERT INTO service_record (tenant_id, processed_ms, caller, agent_id, remarks, rating, voicemail_key) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(at.timestamp_millis())
    .bind(&caller)
    .bind(&agent)
    .bind(format!("called from {caller}"))
    .bind(i64::try_from(1 + seed.next(5))?)
    .bind(voicemail)
    .execute(center)
    .await?;
    sqlx::query("INSERT INTO trajectory VALUES (?, ?, ?, 'ended')")
        .bind(tenant)
        .bind(local.format("%Y-%m-%dT%H:%M:%S%:z").to_string())
        .bind(&caller)
        .execute(logbook)
        .await?;
    Ok(())
}

/// A recording of a few kilobytes that names its caller, so that a search for the number finds it.
fn object(dir: &Path, key: &str, caller: &str, seed: &mut Seed) -> Result<(), Box<dyn std::error::Error>> {
    let path = dir.join("objects").join(key);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut bytes = format!("RIFF demo recording of {caller}\n").into_bytes();
    for _ in 0..256 {
        bytes.extend(seed.next(u64::MAX).to_le_bytes());
    }
    fs::write(path, bytes)?;
    Ok(())
}
