//! Rows of a table that has no key, as a call record of a telephone exchange has none. It owns how such rows are told
//! apart: by their event time and a digest of everything else in them. Rows that agree in all of it are the same to
//! everybody, so only how many there are is counted, and a limit takes so many of them and no more.

mod find;
mod moment;

use std::collections::{BTreeMap, BTreeSet};

use self::moment::{NO_TIME, bound, order, read_time, shown, sorting};
use super::catalogue::{Column, Table};
use super::erase::exactly;
use super::overwrite;
use super::predicate::Owner;
use super::session::Session;
use super::trouble::Trouble;
use super::values::equals;
use crate::policy::{EventTime, Method, Placement};
use crate::stores::sql::Sql;
use crate::stores::sql::outcome::list_outcome;
use crate::stores::{Erased, ErrorKind, Listed, StillThere, StoreError, Value};

/// Beyond so many rows nobody searches a whole table for what became of a record that is not where it was.
const SEARCH_ROWS_MAX: u64 = 200_000;

/// The rows of a table without key that a query selects.
pub(super) struct Rows<'a> {
    table: &'a Table,
    placement: &'a Placement,
    owner: Owner<'a>,
    predicate: Sql,
    time: Option<&'a Column>,
}

/// Rows that agree in everything.
type Alike = (String, Value);

/// How many rows there are of a kind.
struct Group {
    alike: Alike,
    matching: u64,
    rows: u64,
}

impl<'a> Rows<'a> {
    /// Rows of a table.
    ///
    /// # Errors
    /// Where the column of the event time is not there.
    pub(super) fn of(
        table: &'a Table,
        placement: &'a Placement,
        owner: Owner<'a>,
        predicate: Sql,
        trouble: Trouble<'_>,
    ) -> Result<Self, StoreError> {
        let time = match &placement.event_time {
            Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => {
                Some(table.column(column, trouble)?)
            }
            Some(EventTime::Key(_) | EventTime::Modified) | None => None,
        };
        Ok(Self { table, placement, owner, predicate, time })
    }

    /// What is still there of listed records.
    pub(super) async fn absent(
        &self,
        session: &mut Session<'_>,
        listed: &[Listed],
    ) -> Result<StillThere, StoreError> {
        let trouble = session.trouble;
        let wanted = wanted(listed, trouble)?;
        let groups = self.groups(session, &wanted, "").await?;
        let mut still = StillThere::default();
        let mut lacking = BTreeMap::new();
        for (alike, places) in &wanted {
            let (matching, rows) = groups
                .iter()
                .find(|group| group.alike == *alike)
                .map_or((0, 0), |group| (group.matching, group.rows));
            // As many as there were beside the listed ones are not ours.
            let others = places
                .first()
                .and_then(|index| listed.get(*index))
                .and_then(|record| record.stamp.parse::<u64>().ok())
                .unwrap_or(0)
                .saturating_sub(places.len() as u64);
            let there = |rows: u64| usize::try_from(rows.saturating_sub(others)).unwrap_or(usize::MAX);
            for (turn, index) in places.iter().enumerate() {
                if turn < there(rows) {
                    still.indexes.push(*index);
                } else {
                    lacking.entry(alike.clone()).or_insert_with(Vec::new).push(*index);
                }
                if turn < there(matching)
                    && let Some(record) = listed.get(*index)
                {
                    *still.tenants.entry(record.tenant.clone()).or_default() += 1;
                }
            }
        }
        still.indexes.extend(self.changed(session, listed, &lacking, &groups).await?);
        still.indexes.sort_unstable();
        Ok(still)
    }

    /// Erases listed records, inside a transaction.
    pub(super) async fn erase(
        &self,
        session: &mut Session<'_>,
        listed: &[Listed],
        method: Method,
    ) -> Result<Erased, StoreError> {
        let trouble = session.trouble;
        let wanted = wanted(listed, trouble)?;
        let groups = self.groups(session, &wanted, " FOR UPDATE").await?;
        let mut doomed: BTreeMap<Alike, u64> = BTreeMap::new();
        let (mut gone, mut lacking) = (BTreeSet::new(), BTreeMap::new());
        for (alike, places) in &wanted {
            let matching =
                groups.iter().find(|group| group.alike == *alike).map_or(0, |group| group.matching);
            let take = usize::try_from(matching).unwrap_or(usize::MAX).min(places.len());
            let (taken, left) = places.split_at(take);
            gone.extend(taken.iter().copied());
            if !taken.is_empty() {
                doomed.insert(alike.clone(), take as u64);
            }
            if !left.is_empty() {
                lacking.insert(alike.clone(), left.to_vec());
            }
        }
        let changed: BTreeSet<usize> =
            self.changed(session, listed, &lacking, &groups).await?.into_iter().collect();
        if !doomed.is_empty() {
            match method {
                Method::Delete | Method::Zero => {
                    self.take(session, &doomed, &groups, &self.predicate, Taking::Delete).await?;
                }
                Method::OverwriteThenDelete => self.overwrite(session, &doomed, &groups).await?,
            }
        }
        let missing =
            (0..listed.len()).filter(|index| !gone.contains(index) && !changed.contains(index)).collect();
        Ok(list_outcome(listed, &gone, &changed, &missing))
    }

    /// How many rows there are of each kind, matching or not; also of kinds that only share a digest.
    async fn groups(
        &self,
        session: &mut Session<'_>,
        wanted: &BTreeMap<Alike, Vec<usize>>,
        lock: &str,
    ) -> Result<Vec<Group>, StoreError> {
        let trouble = session.trouble;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let digests: BTreeSet<&str> = wanted.keys().map(|(digest, _)| digest.as_str()).collect();
        let these = Sql::all(&[self.span(wanted.keys().map(|(_, moment)| moment)), self.one_of(&digests)]);
        let sql = Sql::new(&format!("SELECT {}, {}, ", self.digest(), self.shown_time()))
            .push("CASE WHEN ")
            .append(&self.predicate)
            .push(&format!(" THEN 1 ELSE 0 END, COUNT(*) FROM {} WHERE ", self.table.source))
            .append(&these)
            .push(" GROUP BY 1, 2, 3")
            .push(lock);
        let mut found: BTreeMap<Alike, (u64, u64)> = BTreeMap::new();
        for row in &session.rows(&sql).await? {
            let entry = found.entry((trouble.text(row, 0)?, read_time(row, 1, trouble)?)).or_default();
            let count = trouble.count(row, 3)?;
            entry.1 += count;
            if trouble.get::<i64>(row, 2)? != 0 {
                entry.0 += count;
            }
        }
        Ok(found.into_iter().map(|(alike, (matching, rows))| Group { alike, matching, rows }).collect())
    }

    /// Which of the records that are not where they were stand elsewhere in time: they have changed.
    async fn changed(
        &self,
        session: &mut Session<'_>,
        listed: &[Listed],
        lacking: &BTreeMap<Alike, Vec<usize>>,
        groups: &[Group],
    ) -> Result<Vec<usize>, StoreError> {
        let trouble = session.trouble;
        if lacking.is_empty() || self.time.is_none() {
            return Ok(Vec::new());
        }
        let digests: BTreeSet<&str> = lacking.keys().map(|(digest, _)| digest.as_str()).collect();
        let mut conditions = vec![self.one_of(&digests)];
        let mut tenants = listed.iter().map(|record| &record.tenant);
        if let (Owner::Column(column), Some(first)) = (&self.owner, tenants.next())
            && tenants.all(|tenant| tenant == first)
        {
            conditions.push(equals(column, first.as_str()));
        }
        let sql = Sql::new(&format!("SELECT {}, COUNT(*) FROM {} WHERE ", self.digest(), self.table.source))
            .append(&Sql::all(&conditions))
            .push(" GROUP BY 1");
        if session.plan(&sql).await?.iter().any(|step| step.rows > SEARCH_ROWS_MAX) {
            return Ok(Vec::new());
        }
        let mut elsewhere: BTreeMap<String, u64> = BTreeMap::new();
        for row in &session.rows(&sql).await? {
            elsewhere.insert(trouble.text(row, 0)?, trouble.count(row, 1)?);
        }
        for group in groups {
            if let Some(rows) = elsewhere.get_mut(&group.alike.0) {
                *rows = rows.saturating_sub(group.rows);
            }
        }
        let mut changed = Vec::new();
        for ((digest, _), places) in lacking {
            let rows = elsewhere.get(digest).copied().unwrap_or(0);
            changed.extend(places.iter().copied().take(usize::try_from(rows).unwrap_or(usize::MAX)));
        }
        Ok(changed)
    }

    /// Takes so many rows of each kind: those whose kind is taken whole in one statement, the others by a limit.
    async fn take(
        &self,
        session: &mut Session<'_>,
        doomed: &BTreeMap<Alike, u64>,
        groups: &[Group],
        predicate: &Sql,
        taking: Taking<'_>,
    ) -> Result<(), StoreError> {
        let trouble = session.trouble;
        let is_whole = |digest: &str| {
            groups
                .iter()
                .filter(|group| group.alike.0 == digest && group.matching > 0)
                .all(|group| doomed.get(&group.alike) == Some(&group.matching))
        };
        let whole: BTreeSet<&str> =
            doomed.keys().map(|(digest, _)| digest.as_str()).filter(|digest| is_whole(digest)).collect();
        if !whole.is_empty() {
            let moments =
                doomed.keys().filter(|(digest, _)| whole.contains(digest.as_str())).map(|(_, at)| at);
            let these = Sql::all(&[self.span(moments), predicate.clone(), self.one_of(&whole)]);
            let counted = doomed
                .iter()
                .filter(|((digest, _), _)| whole.contains(digest.as_str()))
                .map(|(_, n)| n)
                .sum();
            exactly(session.execute(&taking.statement(self.table).append(&these)).await?, counted, trouble)?;
        }
        for ((digest, moment), take) in
            doomed.iter().filter(|((digest, _), _)| !whole.contains(digest.as_str()))
        {
            let one = BTreeSet::from([digest.as_str()]);
            let these = Sql::all(&[self.span(std::iter::once(moment)), predicate.clone(), self.one_of(&one)]);
            let sql = taking.statement(self.table).append(&these).push(&format!(" LIMIT {take}"));
            exactly(session.execute(&sql).await?, *take, trouble)?;
        }
        Ok(())
    }

    /// Zeros first. Afterwards rows are found again by the digest that zeros must have, which is the re-reading: a row
    /// that is not zeros has another one.
    async fn overwrite(
        &self,
        session: &mut Session<'_>,
        doomed: &BTreeMap<Alike, u64>,
        groups: &[Group],
    ) -> Result<(), StoreError> {
        let trouble = session.trouble;
        let values: Vec<&Column> = overwrite::values(session, self.table, self.placement).await?;
        if values.is_empty() {
            return self.take(session, doomed, groups, &self.predicate, Taking::Delete).await;
        }
        let zeroed = self.digest_with(&values);
        let digests: BTreeSet<&str> = doomed.keys().map(|(digest, _)| digest.as_str()).collect();
        let these = Sql::all(&[
            self.span(doomed.keys().map(|(_, moment)| moment)),
            self.one_of(&digests),
            self.predicate.clone(),
        ]);
        let sql = Sql::new(&format!(
            "SELECT {}, {}, {zeroed} FROM {} WHERE ",
            self.digest(),
            self.shown_time(),
            self.table.source
        ))
        .append(&these)
        .push(" GROUP BY 1, 2, 3");
        let mut zeros: BTreeMap<Alike, u64> = BTreeMap::new();
        for row in &session.rows(&sql).await? {
            let alike: Alike = (trouble.text(row, 0)?, read_time(row, 1, trouble)?);
            if let Some(take) = doomed.get(&alike) {
                *zeros.entry((trouble.text(row, 2)?, alike.1)).or_default() += take;
            }
        }
        self.take(session, doomed, groups, &self.predicate, Taking::Overwrite(&values)).await?;
        let places = zeros.keys().map(|alike| (alike.clone(), Vec::new())).collect();
        let found = self.groups(session, &places, " FOR UPDATE").await?;
        let there =
            |alike: &Alike| found.iter().find(|group| group.alike == *alike).map_or(0, |group| group.rows);
        if zeros.iter().any(|(alike, take)| there(alike) < *take) {
            return Err(overwrite::not_overwritten(trouble));
        }
        let found: Vec<Group> =
            found.into_iter().map(|group| Group { matching: group.rows, ..group }).collect();
        self.take(session, &zeros, &found, &Sql::always(), Taking::Delete).await
    }

    /// Rows between the first and the last of these times.
    fn span<'v>(&self, moments: impl Iterator<Item = &'v Value>) -> Sql {
        let Some(time) = self.time else { return Sql::always() };
        let order = order(time);
        let (mut known, mut has_null) = (Vec::new(), false);
        for moment in moments {
            if *moment == NO_TIME { has_null = true } else { known.push(moment) }
        }
        known.sort_by(|a, b| sorting(time, a).cmp(&sorting(time, b)));
        let mut ranges = Vec::new();
        if let (Some(first), Some(last)) = (known.first(), known.last()) {
            ranges.push(
                Sql::new(&format!("{order} >= "))
                    .append(&bound(time, first))
                    .push(&format!(" AND {order} <= "))
                    .append(&bound(time, last)),
            );
        }
        if has_null {
            ranges.push(Sql::new(&order).push(" IS NULL"));
        }
        Sql::any(&ranges)
    }

    fn one_of(&self, digests: &BTreeSet<&str>) -> Sql {
        let mut sql = Sql::new(&self.digest()).push(" IN (");
        for (place, digest) in digests.iter().enumerate() {
            sql = if place > 0 { sql.push(", ") } else { sql }.bind_text(*digest);
        }
        sql.push(")")
    }

    fn shown_time(&self) -> String {
        self.time.map_or_else(|| "NULL".to_owned(), shown)
    }

    /// Everything but the event time, in one short text.
    fn digest(&self) -> String {
        self.digest_with(&[])
    }

    /// The same, as if these columns were zeros.
    fn digest_with(&self, zeros: &[&Column]) -> String {
        let is_time = |column: &&Column| self.time.is_none_or(|time| time.name != column.name);
        let parts: Vec<String> = self
            .table
            .columns
            .iter()
            .filter(is_time)
            .map(|column| {
                let is_zero = zeros.iter().any(|zero| zero.name == column.name);
                let sql = if is_zero { format!("({})", overwrite::zero(column)) } else { column.sql.clone() };
                let shown = overwrite::read_back(&Column { sql, ..column.clone() });
                format!("IFNULL(MD5({shown}), '-')")
            })
            .collect();
        format!("CONVERT(MD5(CONCAT_WS(',', {})) USING utf8mb4) COLLATE utf8mb4_bin", parts.join(", "))
    }
}

/// What is done to rows.
#[derive(Clone, Copy)]
enum Taking<'v> {
    Delete,
    Overwrite(&'v [&'v Column]),
}

impl Taking<'_> {
    fn statement(self, table: &Table) -> Sql {
        match self {
            Self::Delete => Sql::new(&format!("DELETE FROM {} WHERE ", table.source)),
            Self::Overwrite(values) => {
                Sql::new(&format!("UPDATE {} SET {} WHERE ", table.source, overwrite::zeros(values)))
            }
        }
    }
}

/// Places in a list, by kind of row.
fn wanted(listed: &[Listed], trouble: Trouble<'_>) -> Result<BTreeMap<Alike, Vec<usize>>, StoreError> {
    let mut wanted: BTreeMap<Alike, Vec<usize>> = BTreeMap::new();
    for (index, record) in listed.iter().enumerate() {
        let [Value::Text(digest), moment, Value::Int(_)] = record.key.0.as_slice() else {
            return Err(trouble.of(ErrorKind::Schema, "the table had a key when the batch was found"));
        };
        wanted.entry((digest.clone(), moment.clone())).or_default().push(index);
    }
    Ok(wanted)
}
