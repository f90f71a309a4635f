//! The changing half of the store in memory. It owns erasing, the marker and the log of mutations.

use super::*;
use crate::stores::through::look_through_reader;

look_through_reader!(MemoryStore);

#[async_trait]
impl Store for MemoryStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        let mut state = self.reader.lock();
        if state.marker.is_some() {
            return Err(self.reader.error("leave the marker", ErrorKind::Identity, "there is one already"));
        }
        state.marker = Some((ledger_id.to_owned(), store.as_str().to_owned()));
        state.mutations.push(Mutation::Marked);
        Ok(())
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        let operation = "erase records";
        let placement = &query.placement;
        let by_place = matches!(placement.records, Some(Records::FoundBy { .. }));
        let predicate = if by_place { None } else { Some(self.reader.predicate(query, operation)?) };
        let mut state = self.reader.lock();
        if let Some(kind) = state.fail_next_erase.take() {
            return Err(self.reader.error(operation, kind, "it was told to fail"));
        }
        let mut erased = Erased::default();
        let listed = match (batch, &predicate) {
            (Batch::List(listed), _) => listed.clone(),
            (Batch::Window { from, to, found, .. }, Some(predicate)) => {
                let mut listed = Vec::new();
                for (key, columns) in self.reader.records(&state, placement, operation)? {
                    if is_inside(&key, *from, *to)
                        && predicate.matches(&key, &columns)
                        && let Some(tenant) = predicate.tenant(&key, &columns)
                    {
                        let (names, stamp) = (BTreeMap::new(), String::new());
                        listed.push(Listed { tenant, key, names, stamp });
                    }
                }
                // A window cannot say which of the records found before went and which changed.
                for (tenant, before) in found {
                    let now = listed.iter().filter(|listed| listed.tenant == *tenant).count() as u64;
                    erased.counts.entry(tenant.clone()).or_default().already_absent +=
                        before.saturating_sub(now);
                }
                listed
            }
            (Batch::Window { .. }, None) => {
                return Err(self.reader.error(operation, ErrorKind::Unresolved, "named records are listed"));
            }
        };
        for (index, listed) in listed.into_iter().enumerate() {
            let counts = erased.counts.entry(listed.tenant.clone()).or_default();
            let path = match listed.key.0.as_slice() {
                [Value::Text(path)] => path.as_str(),
                _ => "",
            };
            if !predicate::is_in_place(placement, &listed.tenant, path) {
                counts.failed += 1;
                let why = Survival::Failed("it lies outside the prefix of its tenant".to_owned());
                erased.survivors.push(Survivor { index, why });
                continue;
            }
            let Some(columns) = MemoryReader::get(&state, placement, &listed.key) else {
                counts.already_absent += 1;
                continue;
            };
            let belongs = predicate.as_ref().is_none_or(|predicate| {
                predicate.matches(&listed.key, &columns)
                    && predicate.tenant(&listed.key, &columns).as_ref() == Some(&listed.tenant)
                    && still_names(&listed, &columns)
            });
            if !belongs {
                counts.changed += 1;
                erased.survivors.push(Survivor { index, why: Survival::Changed });
                continue;
            }
            counts.erased += 1;
            if !state.survive.contains(&listed.key) {
                remove(&mut state, placement, &listed.key);
            }
            state.mutations.push(Mutation::Erased(listed.key, method));
        }
        Ok(erased)
    }

    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        self.reader.lock().mutations.push(Mutation::Scrubbed);
        Ok(Scrubbed { level: Level::Scrubbed, residual: Vec::new() })
    }
}

/// True where a row still names what it named when it was found.
fn still_names(listed: &Listed, columns: &Columns) -> bool {
    let is_same = |(column, name): (&String, &String)| matches!(columns.get(column), Some(Some(Value::Text(now))) if now == name);
    listed.names.iter().all(is_same)
}

fn remove(state: &mut State, placement: &Placement, key: &Key) {
    match (&placement.records, key.0.as_slice()) {
        (Some(Records::Table { table, .. }), [Value::Int(number)]) => {
            if let Some(table) = state.tables.get_mut(table) {
                table.rows.remove(number);
            }
        }
        (Some(Records::Prefix(_) | Records::FoundBy { .. }), [Value::Text(path)]) => {
            state.files.remove(path);
        }
        _ => {}
    }
}
