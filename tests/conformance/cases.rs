//! The cases. It owns what is asked and what must come of it; it knows no kind of store.

use std::collections::{BTreeMap, BTreeSet};

use retentiond::facts::{Survey, Tally};
use retentiond::id::{StoreId, TenantId};
use retentiond::plan::{Selection, TenantScope, Times};
use retentiond::policy::{Method, Records};
use retentiond::stores::{
    Batch, Budget, ErrorKind, Found, KINDS, NamedBy, NamingColumns, Position, Query, Reader, SeenTime,
    Survival,
};

use super::fixture::{
    Bench, Record, Shape, due, is_older, older, parked, query, receipt, records, scope, selection, subject,
    tenant,
};

const LARGE: Budget = Budget { records_max: 1000, window_keys: 10_000 };

/// What is asked, and of which records it is true.
struct Asked {
    title: &'static str,
    selection: Selection,
    belongs: fn(&Record) -> bool,
}

fn is_named(record: &Record) -> bool {
    record.tenant.is_some_and(|tenant| !tenant.trim().is_empty())
}

fn is_t1(record: &Record) -> bool {
    record.tenant == Some("t-1")
}

/// Every selection that is tried.
#[expect(clippy::too_many_lines, reason = "a table, one line a selection")]
fn asked() -> Vec<Asked> {
    let t1 = || TenantScope::One(tenant("t-1"));
    let others = || TenantScope::AllExcept(vec![tenant("t-1")]);
    let everybody = || TenantScope::AllExcept(Vec::new());
    let phone = || Some(vec![subject("phone")]);
    let agent = || Some(vec![subject("agent")]);
    let ask = |title, selection, belongs: fn(&Record) -> bool| Asked { title, selection, belongs };
    vec![
        ask("everything of a tenant", selection(t1(), vec![], vec![]), is_t1),
        ask("any time", selection(t1(), vec![scope(None, Times::Any)], vec![]), is_t1),
        ask("due of a tenant", selection(t1(), vec![scope(None, due())], vec![]), |r| is_t1(r) && r.is_due),
        ask("due of the others", selection(others(), vec![scope(None, due())], vec![]), |r| {
            is_named(r) && !is_t1(r) && r.is_due
        }),
        ask("due of everybody", selection(everybody(), vec![scope(None, due())], vec![]), |r| {
            is_named(r) && r.is_due
        }),
        ask("within both", selection(t1(), vec![scope(None, due()), scope(None, older())], vec![]), |r| {
            is_t1(r) && r.is_due && is_older(r)
        }),
        ask(
            "due but for the older",
            selection(everybody(), vec![scope(None, due())], vec![scope(None, older())]),
            |r| is_named(r) && r.is_due && !is_older(r),
        ),
        ask("parked", selection(t1(), vec![scope(None, Times::Unusable)], vec![]), |r| {
            is_t1(r) && r.is_parked
        }),
        ask("parked by now", selection(t1(), vec![scope(None, parked())], vec![]), |r| {
            is_t1(r) && r.is_parked
        }),
        ask("parked of all but one", selection(others(), vec![scope(None, parked())], vec![]), |r| {
            is_named(r) && !is_t1(r) && r.is_parked
        }),
        ask("everything but the parked by now", selection(t1(), vec![], vec![scope(None, parked())]), |r| {
            is_t1(r) && !r.is_parked
        }),
        ask("everything but the parked", selection(t1(), vec![], vec![scope(None, Times::Unusable)]), |r| {
            is_t1(r) && !r.is_parked
        }),
        ask("up to the receipt", selection(t1(), vec![scope(None, Times::UpTo(receipt()))], vec![]), |r| {
            is_t1(r) && r.is_before_receipt
        }),
        ask(
            "a phone up to the receipt",
            selection(t1(), vec![scope(phone(), Times::UpTo(receipt()))], vec![]),
            |r| is_t1(r) && r.names_phone && r.is_before_receipt,
        ),
        ask("an agent", selection(t1(), vec![scope(agent(), Times::Any)], vec![]), |r| {
            is_t1(r) && r.names_agent
        }),
        ask(
            "a phone or an agent",
            selection(t1(), vec![scope(Some(vec![subject("phone"), subject("agent")]), Times::Any)], vec![]),
            |r| is_t1(r) && (r.names_phone || r.names_agent),
        ),
        ask(
            "a phone and an agent",
            selection(t1(), vec![scope(phone(), Times::Any), scope(agent(), Times::Any)], vec![]),
            |r| is_t1(r) && r.names_phone && r.names_agent,
        ),
        ask(
            "due but for a held phone",
            selection(t1(), vec![scope(None, due())], vec![scope(phone(), Times::Any)]),
            |r| is_t1(r) && r.is_due && !r.names_phone,
        ),
        ask(
            "due of all but for an agent's older ones",
            selection(everybody(), vec![scope(None, due())], vec![scope(agent(), older())]),
            |r| is_named(r) && r.is_due && !(r.names_agent && is_older(r)),
        ),
        ask("one of no subjects", selection(t1(), vec![scope(Some(vec![]), Times::Any)], vec![]), |_| false),
        ask(
            "no subjects held",
            selection(t1(), vec![scope(None, due())], vec![scope(Some(vec![]), Times::Any)]),
            |r| is_t1(r) && r.is_due,
        ),
        ask("no time at all", selection(t1(), vec![scope(None, Times::Within(vec![]))], vec![]), |_| false),
        ask("a tenant that is unknown", selection(TenantScope::One(tenant("t-2")), vec![], vec![]), |_| {
            false
        }),
        ask("a tenant like a pattern", selection(TenantScope::One(tenant("t_1")), vec![], vec![]), |_| false),
        ask("a tenant like all", selection(TenantScope::One(tenant("%")), vec![], vec![]), |_| false),
        ask("a tenant like SQL", selection(TenantScope::One(tenant("x' OR '1'='1")), vec![], vec![]), |_| {
            false
        }),
        ask("a tenant like a path", selection(TenantScope::One(tenant("../t-1")), vec![], vec![]), |_| false),
        ask("a capital tenant", selection(TenantScope::One(tenant("T-1")), vec![], vec![]), |r| {
            r.tenant == Some("T-1")
        }),
    ]
}

/// The answer that a survey must give.
fn expected_survey<'r>(records: impl Iterator<Item = &'r Record>) -> Survey {
    let mut survey = Survey::default();
    for record in records {
        if is_named(record) {
            let tally = Tally { records: 1, oldest: record.at, newest: record.at };
            survey.tenants.entry(tenant(record.tenant.unwrap())).or_default().add(&tally);
        } else {
            survey.nameless += 1;
        }
    }
    survey
}

fn counts(survey: &Survey) -> BTreeMap<TenantId, u64> {
    survey.tenants.iter().map(|(tenant, tally)| (tenant.clone(), tally.records)).collect()
}

/// All batches of a query, checked on the way: forward, bounded, and each record once.
async fn walk(reader: &dyn Reader, query: &Query, budget: Budget, naming: NamingColumns<'_>) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut after: Option<Position> = None;
    let mut keys = BTreeSet::new();
    let mut last = None;
    while let Some(Found { batch, position }) =
        reader.find(query, after.as_ref(), budget, naming).await.unwrap()
    {
        assert!(batch.records() >= 1, "a batch holds a record");
        assert!(batch.records() <= budget.records_max, "a batch keeps to its budget");
        match &batch {
            Batch::Window { from, to, .. } => {
                assert!(from <= to);
                assert!(last.is_none_or(|last| last < *from), "windows go forward and do not overlap");
                last = Some(*to);
                assert!(naming.is_empty(), "what names records is listed");
            }
            Batch::List(listed) => {
                for listed in listed {
                    assert!(keys.insert(listed.key.clone()), "each record is found once");
                }
            }
        }
        assert_ne!(after.as_ref(), Some(&position), "the position moves on");
        after = Some(position);
        batches.push(batch);
        assert!(batches.len() < 10_000, "the walk ends");
    }
    batches
}

fn found_of(batches: &[Batch]) -> BTreeMap<TenantId, u64> {
    let mut found = BTreeMap::new();
    for batch in batches {
        match batch {
            Batch::Window { found: window, .. } => {
                for (tenant, records) in window {
                    *found.entry(tenant.clone()).or_default() += records;
                }
            }
            Batch::List(listed) => {
                for listed in listed {
                    *found.entry(listed.tenant.clone()).or_default() += 1;
                }
            }
        }
    }
    found.retain(|_, records| *records > 0);
    found
}

/// The suite over one kind in one shape.
pub(crate) struct Suite<'k> {
    pub(crate) kind: &'k str,
    pub(crate) shape: Shape,
}

impl Suite<'_> {
    pub(super) async fn filled(&self) -> (Box<dyn Bench>, Vec<Record>) {
        let mut bench = super::bench(self.kind, self.shape).await;
        let records = records(self.shape);
        bench.seed(&records).await;
        (bench, records)
    }

    /// What the kind says that it can do: at least to delete.
    fn methods(&self) -> Vec<Method> {
        let kind = KINDS.iter().find(|kind| kind.name == self.kind).unwrap();
        let levels = (kind.capability)().levels;
        assert!(levels.contains_key(&Method::Delete) && levels.contains_key(&Method::OverwriteThenDelete));
        levels.into_keys().collect()
    }

    fn due_of_t1(&self) -> Query {
        let due = if self.shape.time == super::fixture::Time::None { Times::Any } else { due() };
        let t1 = TenantScope::One(tenant("t-1"));
        query(self.shape.placement(), selection(t1, vec![scope(None, due)], vec![]))
    }

    fn is_due_of_t1(&self, record: &Record) -> bool {
        is_t1(record) && (record.is_due || self.shape.time == super::fixture::Time::None)
    }

    pub(crate) async fn every_selection_is_counted_found_erased_and_read_back_exactly(&self) {
        let methods = self.methods();
        for (turn, asked) in asked().into_iter().enumerate() {
            let (bench, records) = self.filled().await;
            let method = methods[turn % methods.len()];
            let context = format!("{} {:?}: {} by {method:?}", self.kind, self.shape, asked.title);
            let query = query(self.shape.placement(), asked.selection);
            let before = bench.dump().await;
            assert_eq!(before.len(), records.len(), "{context}: the store holds the fixture");
            // Opened before the erasing, on a connection of its own.
            let reader = bench.reader().await;
            let store = bench.store().await;
            store.mark("ledger-1", &StoreId::new("store")).await.unwrap();

            let meant: Vec<&Record> = records.iter().filter(|record| (asked.belongs)(record)).collect();
            let survey = reader.survey(&query).await.unwrap();
            let names = |records: &[&Record]| records.iter().map(|r| r.sentinel.clone()).collect::<Vec<_>>();
            assert_eq!(
                survey,
                expected_survey(meant.iter().copied()),
                "{context}: meant {:?}",
                names(&meant)
            );

            let batches = walk(&*reader, &query, LARGE, &[]).await;
            let found = found_of(&batches);
            assert_eq!(found, counts(&survey), "{context}: found is what was counted");
            assert_eq!(bench.dump().await, before, "{context}: looking changes nothing");

            for batch in &batches {
                let there = reader.absent(&query, batch).await.unwrap();
                assert_eq!(
                    there.tenants,
                    found_of(std::slice::from_ref(batch)),
                    "{context}: all is still there"
                );
                if let Batch::List(listed) = batch {
                    assert_eq!(there.indexes, (0..listed.len()).collect::<Vec<_>>(), "{context}");
                }
                let erased = store.erase(&query, batch, method).await.unwrap();
                assert_eq!(erased.survivors, [], "{context}");
                for (tenant, records) in found_of(std::slice::from_ref(batch)) {
                    let counts = erased.counts[&tenant];
                    assert_eq!((counts.erased, counts.already_absent), (records, 0), "{context}: {tenant}");
                    assert_eq!((counts.changed, counts.failed), (0, 0), "{context}: {tenant}");
                    assert_eq!(counts.verified_absent, 0, "{context}: only a read-back verifies");
                }
            }
            let mut left = before.clone();
            meant.iter().for_each(|record| drop(left.remove(&record.sentinel)));
            assert_eq!(bench.dump().await, left, "{context}: exactly the selection went");

            for batch in &batches {
                let there = reader.absent(&query, batch).await.unwrap();
                assert!(
                    there.tenants.values().all(|records| *records == 0),
                    "{context}: read back as absent"
                );
                assert_eq!(there.indexes, Vec::<usize>::new(), "{context}: read back as absent");
                let again = store.erase(&query, batch, method).await.unwrap();
                let total =
                    |pick: fn(&retentiond::plan::Counts) -> u64| again.counts.values().map(pick).sum::<u64>();
                assert_eq!(total(|counts| counts.erased), 0, "{context}: erased once only");
                assert_eq!(
                    total(|counts| counts.already_absent),
                    batch.records(),
                    "{context}: already absent"
                );
            }
            assert_eq!(reader.survey(&query).await.unwrap(), Survey::default(), "{context}: nothing is left");
        }
        self.records_without_a_tenant_are_counted_and_not_found().await;
    }

    async fn records_without_a_tenant_are_counted_and_not_found(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let nameless = query(self.shape.placement(), selection(TenantScope::Nameless, vec![], vec![]));
        let meant = records.iter().filter(|record| !is_named(record)).count() as u64;
        let survey = reader.survey(&nameless).await.unwrap();
        assert_eq!((survey.nameless, survey.tenants.len()), (meant, 0), "{} {:?}", self.kind, self.shape);
        assert!(meant > 0);
    }

    pub(crate) async fn small_budgets_cover_the_same_records_in_order(&self) {
        let (bench, _) = self.filled().await;
        let reader = bench.reader().await;
        let everybody = TenantScope::AllExcept(vec![tenant("t-10")]);
        let query = query(self.shape.placement(), selection(everybody, vec![], vec![scope(None, older())]));
        let counted = counts(&reader.survey(&query).await.unwrap());
        for (records_max, window_keys) in [(1, 1), (1, 1000), (2, 7), (3, 100), (1000, 5), (1000, 1)] {
            let batches = walk(&*reader, &query, Budget { records_max, window_keys }, &[]).await;
            assert_eq!(found_of(&batches), counted, "{} {:?}: {records_max}", self.kind, self.shape);
        }
    }

    pub(crate) async fn a_record_that_changed_in_between_survives(&self) {
        if self.shape.time == super::fixture::Time::None {
            return;
        }
        for method in self.methods() {
            let (mut bench, records) = self.filled().await;
            let context = format!("{} {:?} by {method:?}", self.kind, self.shape);
            let (store, reader) = (bench.store().await, bench.reader().await);
            store.mark("ledger-1", &StoreId::new("store")).await.unwrap();
            let query = self.due_of_t1();
            let batches = walk(&*reader, &query, LARGE, &[]).await;
            assert_eq!(batches.len(), 1, "{context}: it fits into one batch");
            let changing = records.iter().find(|record| is_t1(record) && record.name == "old").unwrap();
            bench.renew(changing).await;
            let before = bench.dump().await;

            let erased = store.erase(&query, &batches[0], method).await.unwrap();
            let counts = erased.counts[&tenant("t-1")];
            assert_eq!(counts.erased, batches[0].records() - 1, "{context}");
            assert_eq!(counts.already_absent + counts.changed, 1, "{context}");
            assert_eq!(counts.failed, 0, "{context}");
            if let Batch::List(listed) = &batches[0]
                && self.shape.time != super::fixture::Time::Key
            {
                assert_eq!(counts.changed, 1, "{context}");
                assert_eq!(erased.survivors.len(), 1, "{context}");
                assert_eq!(erased.survivors[0].why, Survival::Changed, "{context}");
                let there = reader.absent(&query, &batches[0]).await.unwrap();
                assert_eq!(there.indexes, [erased.survivors[0].index], "{context}: of {}", listed.len());
                assert!(there.tenants.values().all(|records| *records == 0), "{context}: it does not match");
            }
            let mut left = before;
            for record in records.iter().filter(|record| self.is_due_of_t1(record) && record.name != "old") {
                assert!(left.remove(&record.sentinel).is_some(), "{context}: {}", record.name);
            }
            assert_eq!(bench.dump().await, left, "{context}: the changed record is whole");
        }
    }

    pub(crate) async fn every_method_reaches_the_level_that_is_claimed(&self) {
        for method in self.methods() {
            let (mut bench, records) = self.filled().await;
            let context = format!("{} {:?} by {method:?}", self.kind, self.shape);
            let (store, reader) = (bench.store().await, bench.reader().await);
            let Some(level) = store.capability().levels.get(&method).copied() else {
                assert_eq!(method, Method::Zero, "{context}: only this one may be out of reach");
                continue;
            };
            assert!(level <= method.level(), "{context}: nothing beyond the method is claimed");
            store.mark("ledger-1", &StoreId::new("store")).await.unwrap();
            bench.watch().await;
            for record in &records {
                let seen = bench.holds_bytes(&record.sentinel).await;
                assert_ne!(seen, Some(false), "{context}: the scan sees {} before", record.sentinel);
            }
            let query = self.due_of_t1();
            for batch in walk(&*reader, &query, Budget { records_max: 2, window_keys: 50 }, &[]).await {
                let erased = store.erase(&query, &batch, method).await.unwrap();
                assert_eq!(erased.counts[&tenant("t-1")].erased, batch.records(), "{context}");
            }
            let left = bench.dump().await;
            if method == Method::Zero {
                let scrubbed = store.scrub(&self.shape.placement()).await.unwrap();
                assert_eq!(scrubbed.level, level, "{context}: as claimed");
            }
            assert_eq!(bench.dump().await, left, "{context}: live records are as they were");
            for record in &records {
                if self.is_due_of_t1(record) {
                    assert!(!left.contains_key(&record.sentinel), "{context}");
                    if level >= Method::Zero.level() {
                        let held = bench.holds_bytes(&record.sentinel).await;
                        assert_ne!(held, Some(true), "{context}: bytes of {}", record.sentinel);
                    }
                } else {
                    let held = bench.holds_bytes(&record.sentinel).await;
                    assert_ne!(held, Some(false), "{context}: the scan sees {} after", record.sentinel);
                }
            }
        }
    }

    pub(crate) async fn rows_carry_what_they_name(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let naming = ["recording_key".to_owned()];
        let t1 = selection(TenantScope::One(tenant("t-1")), vec![], vec![]);
        let everything = query(self.shape.placement(), t1);
        let context = format!("{} {:?}", self.kind, self.shape);
        if !self.shape.is_table {
            let error = reader.find(&everything, None, LARGE, &naming).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unresolved, "{context}");
            let rows = reader.naming_rows(&self.shape.placement(), "recording_key", &[], &[]).await;
            assert!(rows.is_err(), "{context}: files name nothing");
            return;
        }
        let named = |record: &&Record| record.recording.as_ref().is_some_and(|name| !name.is_empty());
        let mut expected: Vec<String> =
            records.iter().filter(|r| is_t1(r)).filter(named).filter_map(|r| r.recording.clone()).collect();
        assert_eq!(expected.len(), 3);
        let mut naming_query = everything.clone();
        naming_query.naming = Some("recording_key".into());
        for (query, total) in [(&everything, records.iter().filter(|r| is_t1(r)).count()), (&naming_query, 3)]
        {
            let survey = reader.survey(query).await.unwrap();
            assert_eq!(counts(&survey), BTreeMap::from([(tenant("t-1"), total as u64)]), "{context}");
            let mut seen = Vec::new();
            let mut listed_in_all = 0;
            for batch in walk(&*reader, query, Budget { records_max: 2, window_keys: 9 }, &naming).await {
                let Batch::List(listed) = batch else { panic!("{context}: what names records is listed") };
                listed_in_all += listed.len();
                for listed in listed {
                    assert!(listed.names.keys().all(|column| column == "recording_key"), "{context}");
                    seen.extend(listed.names.into_values());
                }
            }
            seen.sort();
            expected.sort();
            assert_eq!((seen, listed_in_all), (expected.clone(), total), "{context}");
        }
        let locators =
            ["rec/t-1/old.wav", "rec/T-1/old.wav", "rec/t-1/none.wav", "", "rec/t-1/old.WAV", "rec/t-1/%"];
        let locators: Vec<String> = locators.iter().map(|&locator| locator.to_owned()).collect();
        let rows =
            reader.naming_rows(&self.shape.placement(), "recording_key", &locators[..3], &[]).await.unwrap();
        let one = |name: &str| BTreeMap::from([(Some(tenant(name)), 1)]);
        let expected = NamedBy::from([(locators[0].clone(), one("t-1")), (locators[1].clone(), one("T-1"))]);
        assert_eq!(rows, expected, "{context}");
        let rows =
            reader.naming_rows(&self.shape.placement(), "recording_key", &locators[4..], &[]).await.unwrap();
        assert_eq!(rows, NamedBy::new(), "{context}: compared byte by byte");
        if self.shape.has_key {
            self.a_row_beside_is_known_by_its_key_and_not_by_what_it_named(&*reader, &everything).await;
        }
    }

    /// A row that is beside is left out; another row that names the same is not.
    async fn a_row_beside_is_known_by_its_key_and_not_by_what_it_named(
        &self,
        reader: &dyn Reader,
        everything: &Query,
    ) {
        let naming = ["recording_key".to_owned()];
        let mut listed = Vec::new();
        for batch in walk(reader, everything, LARGE, &naming).await {
            let Batch::List(more) = batch else { panic!("what names records is listed") };
            listed.extend(more);
        }
        let asked = ["rec/t-1/old.wav".to_owned(), "rec/t-1/edge.wav".to_owned()];
        let keys = |names_old: bool| -> Vec<retentiond::stores::Key> {
            let is_old =
                |row: &&retentiond::stores::Listed| row.names.get("recording_key") == Some(&asked[0]);
            listed.iter().filter(|row| is_old(row) == names_old).map(|row| row.key.clone()).collect()
        };
        assert_eq!(keys(true).len(), 1);
        for (beside, counted) in [(keys(true), &asked[1]), (keys(false), &asked[0])] {
            let placement = self.shape.placement();
            let rows = reader.naming_rows(&placement, "recording_key", &asked, &beside).await.unwrap();
            let only: Vec<&String> = rows.keys().collect();
            assert_eq!(only, [counted], "{} {:?}", self.kind, self.shape);
        }
    }

    pub(crate) async fn what_is_not_there_is_an_error_and_never_an_empty_answer(&self) {
        let (bench, _) = self.filled().await;
        let (store, reader) = (bench.store().await, bench.reader().await);
        for placement in bench.wrong_placements() {
            let context = format!("{} {:?}: {:?}", self.kind, self.shape, placement.records);
            // It asks for every column that a placement can name.
            let held = scope(Some(vec![subject("phone")]), Times::Any);
            let t1 = selection(TenantScope::One(tenant("t-1")), vec![scope(None, due())], vec![held]);
            let query = query(placement.clone(), t1);
            let looked = reader.look(&query, &["1".to_owned()]).await.map_err(|error| error.kind);
            assert_eq!(looked, Err(ErrorKind::Schema), "{context}");
            // The columns of the key matter to nothing but a look.
            let matters =
                !matches!(&placement.records, Some(Records::Table { key, .. }) if key == &["no_id"]);
            if matters {
                let surveyed = reader.survey(&query).await.map_err(|error| error.kind);
                assert_eq!(surveyed, Err(ErrorKind::Schema), "{context}");
                let found = reader.find(&query, None, LARGE, &[]).await.map_err(|error| error.kind);
                assert_eq!(found, Err(ErrorKind::Schema), "{context}");
                let batch = Batch::List(Vec::new());
                assert!(store.erase(&query, &batch, Method::Delete).await.is_err(), "{context}");
            }
            let findings = reader.inspect(&placement).await.unwrap();
            assert!(findings.iter().any(|finding| finding.fatal), "{context}: `check --online` says so");
        }
        let findings = reader.inspect(&self.shape.placement()).await.unwrap();
        assert!(
            !findings.iter().any(|finding| finding.fatal),
            "{} {:?}: {findings:?}",
            self.kind,
            self.shape
        );
    }

    pub(crate) async fn a_subject_without_its_value_is_an_error(&self) {
        let (bench, _) = self.filled().await;
        let (store, reader) = (bench.store().await, bench.reader().await);
        store.mark("ledger-1", &StoreId::new("store")).await.unwrap();
        let before = bench.dump().await;
        let all = query(
            self.shape.placement(),
            selection(TenantScope::One(tenant("t-1")), vec![scope(None, Times::Any)], vec![]),
        );
        let batches = walk(&*reader, &all, LARGE, &[]).await;
        // A hold whose subject is not known must never free its records.
        let mut query = all.clone();
        query.selection.except = vec![scope(Some(vec![subject("phone")]), Times::Any)];
        query.subjects.clear();
        let context = format!("{} {:?}", self.kind, self.shape);
        assert_eq!(reader.survey(&query).await.unwrap_err().kind, ErrorKind::Unresolved, "{context}");
        assert_eq!(
            reader.find(&query, None, LARGE, &[]).await.unwrap_err().kind,
            ErrorKind::Unresolved,
            "{context}"
        );
        for batch in &batches {
            let error = store.erase(&query, batch, Method::Delete).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unresolved, "{context}");
            assert_eq!(
                reader.absent(&query, batch).await.unwrap_err().kind,
                ErrorKind::Unresolved,
                "{context}"
            );
        }
        assert_eq!(bench.dump().await, before, "{context}: nothing was erased");
    }

    pub(crate) async fn the_marker_is_left_once_and_read_back(&self) {
        let (bench, _) = self.filled().await;
        let (store, reader) = (bench.store().await, bench.reader().await);
        let context = format!("{} {:?}", self.kind, self.shape);
        let before = reader.identity().await.unwrap();
        assert_eq!((before.ledger_id, before.store), (None, None), "{context}");
        store.mark("ledger-1", &StoreId::new("store")).await.unwrap();
        for identity in [reader.identity().await.unwrap(), bench.reader().await.identity().await.unwrap()] {
            assert_eq!(identity.ledger_id.as_deref(), Some("ledger-1"), "{context}");
            assert_eq!(identity.store.as_deref(), Some("store"), "{context}");
            assert_eq!(identity.fingerprint, before.fingerprint, "{context}");
        }
        assert!(
            store.mark("ledger-2", &StoreId::new("store")).await.is_err(),
            "{context}: it is not replaced"
        );
        assert_eq!(reader.identity().await.unwrap().ledger_id.as_deref(), Some("ledger-1"), "{context}");
    }

    pub(crate) async fn one_record_is_found_by_its_key(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let context = format!("{} {:?}", self.kind, self.shape);
        let query = self.due_of_t1();
        for record in records.iter().filter(|record| is_named(record)) {
            let key = bench.typed_key(record).await;
            let seen = reader.look(&query, &key).await.unwrap();
            let seen = seen.unwrap_or_else(|| panic!("{context}: {} is there", record.sentinel));
            assert_eq!(seen.tenant, record.tenant.map(tenant), "{context}: {}", record.sentinel);
            let time = match (record.at, record.is_parked) {
                (Some(at), _) => SeenTime::Usable(at),
                (None, true) => SeenTime::Unusable,
                (None, false) => SeenTime::None,
            };
            assert_eq!(seen.event_time, time, "{context}: {}", record.sentinel);
            let phone = ("phone".to_owned(), self.shape.phone(record.caller));
            assert_eq!(
                seen.subjects.contains(&phone),
                self.shape.names_subjects(),
                "{context}: {}",
                record.sentinel
            );
        }
        let mut key = bench.typed_key(&records[0]).await;
        key.iter_mut().for_each(|part| part.push_str("000000"));
        assert_eq!(reader.look(&query, &key).await.unwrap(), None, "{context}");
    }

    pub(crate) async fn population_stops_counting_where_it_may(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let placement = self.shape.placement();
        let all = records.len() as u64;
        for at_most in [1, all - 1, all, all + 1, 1_000_000] {
            let population = reader.population(&placement, at_most).await.unwrap();
            assert_eq!(population, all.min(at_most), "{} {:?}", self.kind, self.shape);
        }
    }
}
