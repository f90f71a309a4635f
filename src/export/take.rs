//! Takes the records of one tenant out of the stores and writes them down, placement by placement, with the bytes of what
//! their rows name. It owns which placements are meant and what is counted; how things look in the target is `lines`',
//! `names`' and `target`'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Watcher;
use super::lines::{Taken, csv_header, csv_row, json_line};
use super::manifest::Manifest;
use super::names::{by_digest, name_of};
use super::target::{Sheet, Target, broken};
use crate::facts::LedgerFacts;
use crate::gather::{self, Readers, Trouble, World};
use crate::id::{PlacementId, TenantId};
use crate::ledger::ExportRow;
use crate::plan::decide::named_by;
use crate::plan::{Interval, Scope, Selection, TenantScope, Times};
use crate::policy::{Placement, Policies, Policy, Records, Role};
use crate::stores::{Budget, Field, Key, Position, Query, Reader, Record, Value};

/// Records in memory at once.
const RECORDS_MAX: u64 = 500;

/// How far what was written of a placement agrees with a fresh count of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenPlacement {
    /// Which.
    pub placement: PlacementId,
    /// Under which policy.
    pub category: String,
    /// Records written down.
    pub records: u64,
    /// Records that were read and are not there any more after everything was read: gone by age meanwhile, for example.
    pub gone_since: u64,
    /// Records that are named, or that a listing shows, and have no bytes any more.
    pub without_bytes: u64,
    /// Names in rows that do not prove the tenant: what they name may be somebody else's, and is left where it is.
    pub not_proven: u64,
}

/// The placements that hold a category for good: the primary ones, the tables whose rows name these, and others only where
/// there is no primary.
pub(super) fn placements<'p>(policies: &'p Policies, row: &ExportRow) -> Vec<(&'p Policy, &'p Placement)> {
    let meant = |policy: &&Policy| row.categories.is_empty() || row.categories.contains(&policy.category);
    policies
        .iter()
        .filter(meant)
        .flat_map(|policy| {
            let held = || policy.placements.iter().filter(|placement| placement.records.is_some());
            let has_primary = held().any(|placement| placement.role == Role::Primary);
            let is_meant = move |placement: &Placement| placement.role == Role::Primary || !has_primary;
            // What rows name is reached through them alone, whatever role their table has.
            let names = move |placement: &Placement| {
                named_by(policy, &placement.name).iter().any(|(named, _)| is_meant(named))
            };
            held()
                .filter(move |placement| is_meant(placement) || names(placement))
                .map(move |placement| (policy, placement))
        })
        .collect()
}

/// One export being written.
pub(super) struct Taking<'a> {
    pub(super) world: &'a World,
    pub(super) readers: &'a Readers,
    pub(super) target: &'a Target,
    pub(super) row: &'a ExportRow,
    /// Records that happened later came while it was read.
    pub(super) started_at: DateTime<Utc>,
}

/// The two files of a placement, and what was written into them.
struct Pages {
    json: Sheet,
    csv: Sheet,
    header: Option<Vec<String>>,
    done: TakenPlacement,
    /// Digests of names that were taken already: several rows may name one object.
    named: BTreeSet<[u8; 16]>,
}

impl Taking<'_> {
    /// Takes a placement that has records of its own, and everything that its rows name.
    pub(super) async fn placement(
        &self,
        policy: &Policy,
        placement: &Placement,
        manifest: &mut Manifest,
        watcher: Watcher<'_>,
    ) -> Result<(), Trouble> {
        let reader = Arc::clone(self.readers.get(&placement.store)?);
        let exported = placements(&self.world.policies, self.row);
        let is_exported = |named: &Placement| exported.iter().any(|(_, other)| other.name == named.name);
        let named: Vec<(&Placement, &str)> =
            named_by(policy, &placement.name).into_iter().filter(|(named, _)| is_exported(named)).collect();
        let mut pages = self.pages(policy, placement).await?;
        let mut of_named = Vec::new();
        for (other, column) in named {
            let of_other = (self.readers.get(&other.store)?, other, column, self.pages(policy, other).await?);
            of_named.push(of_other);
        }
        let queries = self.queries(placement)?;
        let mut counted = Vec::new();
        for query in &queries {
            let mut after: Option<Position> = None;
            let mut records = 0;
            let budget = Budget { records_max: RECORDS_MAX, window_keys: RECORDS_MAX };
            while let Some(read) = reader.read(query, after.as_ref(), budget).await? {
                for record in &read.records {
                    self.require_own(record)?;
                    for (reader, other, column, pages) in &mut of_named {
                        self.named(reader.as_ref(), other, column, record, pages, manifest, watcher).await?;
                    }
                    self.record(reader.as_ref(), placement, record, &mut pages, manifest, watcher).await?;
                    records += 1;
                }
                after = Some(read.position);
                watcher(&placement.name, pages.done.records);
            }
            counted.push(records);
        }
        // What was there before it was read must all have been read; what was read may have gone meanwhile.
        if let (Some(query), Some(read)) = (queries.first(), counted.first()) {
            let there = reader.survey(query).await?.total().records;
            if there > *read {
                return Err(Trouble::Unreachable(format!(
                    "failed to export: {} records came into `{}` while it was read",
                    there - read,
                    placement.name
                )));
            }
            pages.done.gone_since = read - there;
        }
        for (_, _, _, pages) in of_named {
            close(pages, manifest).await?;
        }
        close(pages, manifest).await
    }

    /// What is asked for: of a rollover its span, otherwise first what happened up to now and then the rest, which may
    /// grow while it is read.
    fn queries(&self, placement: &Placement) -> Result<Vec<Query>, Trouble> {
        let scope = |times| Scope { subjects: None, times };
        let tick = TimeDelta::nanoseconds(1);
        let selection = |within: Vec<Scope>, except: Vec<Scope>| Selection {
            placement: placement.name.clone(),
            tenants: TenantScope::One(self.row.tenant.clone()),
            within,
            except,
            parts: Vec::new(),
        };
        let selections = match self.row.between {
            Some((after, up_to)) => {
                let span = Interval { from: after + tick, to: up_to + tick };
                vec![selection(vec![scope(Times::Within(vec![span]))], vec![])]
            }
            None => {
                let by_now = scope(Times::UpTo(self.started_at));
                vec![
                    selection(vec![by_now.clone()], vec![]),
                    selection(vec![scope(Times::Any)], vec![by_now]),
                ]
            }
        };
        let now = self.world.clock.now();
        selections
            .iter()
            .map(|selection| gather::query_of(&self.world.policies, &LedgerFacts::default(), selection, now))
            .collect()
    }

    /// Whatever a store answers: no record of anybody else is written down.
    fn require_own(&self, record: &Record) -> Result<(), Trouble> {
        if record.tenant == self.row.tenant {
            return Ok(());
        }
        Err(Trouble::Doubt("failed to export: a store answered with a record of another tenant".to_owned()))
    }

    async fn record(
        &self,
        reader: &dyn Reader,
        placement: &Placement,
        record: &Record,
        pages: &mut Pages,
        manifest: &mut Manifest,
        watcher: Watcher<'_>,
    ) -> Result<(), Trouble> {
        let taken = if record.has_body {
            Some(self.bytes(reader, placement, &record.key, pages, manifest, watcher).await?)
        } else if matches!(placement.records, Some(Records::Prefix(_))) {
            Some(nothing())
        } else {
            None
        };
        self.write(&record.key, &record.fields, taken.as_ref(), pages).await
    }

    /// What a row names in another placement, once, and only where the name proves the tenant.
    #[expect(clippy::too_many_arguments, reason = "where it comes from, where it goes, and who is told")]
    async fn named(
        &self,
        reader: &dyn Reader,
        placement: &Placement,
        column: &str,
        row: &Record,
        pages: &mut Pages,
        manifest: &mut Manifest,
        watcher: Watcher<'_>,
    ) -> Result<(), Trouble> {
        let name = match row.fields.iter().find(|(name, _)| name == column).map(|(_, field)| field) {
            Some(Field::Text(name)) if !name.is_empty() => name.clone(),
            Some(Field::Int(number)) => number.to_string(),
            Some(Field::Bytes(bytes)) if !bytes.is_empty() => String::from_utf8_lossy(bytes).into_owned(),
            Some(_) | None => return Ok(()),
        };
        if !pages.named.insert(short_digest(&name)) {
            return Ok(());
        }
        if !proves(placement, &self.row.tenant, &name) {
            pages.done.not_proven += 1;
            return Ok(());
        }
        let key = Key(vec![Value::Text(name.clone())]);
        let taken = self.bytes(reader, placement, &key, pages, manifest, watcher).await?;
        let fields = vec![("name".to_owned(), Field::Text(name))];
        self.write(&key, &fields, Some(&taken), pages).await
    }

    async fn write(
        &self,
        key: &Key,
        fields: &[(String, Field)],
        taken: Option<&Taken>,
        pages: &mut Pages,
    ) -> Result<(), Trouble> {
        let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        match &pages.header {
            None => {
                pages.csv.write(csv_header(fields, taken.is_some()).as_bytes()).await?;
                pages.header = Some(names);
            }
            Some(header) if *header == names => {}
            Some(_) => {
                return Err(Trouble::Unreachable(format!(
                    "failed to export: the columns of `{}` changed while it was read",
                    pages.done.placement
                )));
            }
        }
        pages.json.write(json_line(key, fields, taken).as_bytes()).await?;
        pages.csv.write(csv_row(fields, taken).as_bytes()).await?;
        pages.done.records += 1;
        Ok(())
    }

    /// The bytes of an object, into a file of their own.
    async fn bytes(
        &self,
        reader: &dyn Reader,
        placement: &Placement,
        key: &Key,
        pages: &mut Pages,
        manifest: &mut Manifest,
        watcher: Watcher<'_>,
    ) -> Result<Taken, Trouble> {
        let Some(mut body) = reader.body(placement, &self.row.tenant, key).await? else {
            pages.done.without_bytes += 1;
            return Ok(nothing());
        };
        let own = match key.0.as_slice() {
            [Value::Text(name)] => name.as_bytes().to_vec(),
            [Value::Bytes(name)] => name.clone(),
            _ => return Err(Trouble::Doubt("failed to export: an object has no name".to_owned())),
        };
        let folder = format!("objects/{}", name_of(placement.name.as_str().as_bytes()));
        let mut sheet = self.target.create(&format!("{folder}/{}", name_of(&own))).await?;
        if sheet.is_none() {
            sheet = self.target.create(&format!("{folder}/{}", by_digest(&own))).await?;
        }
        let Some(mut sheet) = sheet else {
            return Err(Trouble::Doubt("failed to export: a file has been in its place already".to_owned()));
        };
        let about = std::mem::take(&mut body.about);
        while let Some(piece) = body.next(broken).await? {
            sheet.write(&piece).await?;
            watcher(&placement.name, pages.done.records);
        }
        let written = sheet.close().await?;
        manifest.file(&placement.name, 1, &written).await?;
        Ok(Taken { file: Some(written.name), bytes: written.bytes, sha256: written.sha256, about })
    }

    async fn pages(&self, policy: &Policy, placement: &Placement) -> Result<Pages, Trouble> {
        let name = name_of(placement.name.as_str().as_bytes());
        let sheet = async |ending: &str| {
            let sheet = self.target.create(&format!("records/{name}.{ending}")).await?;
            let why = || Trouble::Doubt("failed to export: a file has been in its place already".to_owned());
            sheet.ok_or_else(why)
        };
        Ok(Pages {
            json: sheet("jsonl").await?,
            csv: sheet("csv").await?,
            header: None,
            done: TakenPlacement {
                placement: placement.name.clone(),
                category: policy.category.to_string(),
                records: 0,
                gone_since: 0,
                without_bytes: 0,
                not_proven: 0,
            },
            named: BTreeSet::new(),
        })
    }
}

async fn close(pages: Pages, manifest: &mut Manifest) -> Result<(), Trouble> {
    let (name, records) = (pages.done.placement.clone(), pages.done.records);
    manifest.file(&name, records, &pages.json.close().await?).await?;
    manifest.file(&name, records, &pages.csv.close().await?).await?;
    manifest.placement(pages.done);
    Ok(())
}

fn nothing() -> Taken {
    Taken { file: None, bytes: 0, sha256: String::new(), about: Vec::new() }
}

fn short_digest(name: &str) -> [u8; 16] {
    let digest = Sha256::digest(name.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

fn proves(placement: &Placement, tenant: &TenantId, name: &str) -> bool {
    match &placement.records {
        Some(Records::FoundBy { prefix, .. }) => crate::policy::template::proves(prefix, tenant, name),
        Some(Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => {
            false
        }
    }
}
