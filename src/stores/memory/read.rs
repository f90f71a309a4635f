//! Reads records out of memory, whole. It owns how columns become fields; which records belong is the predicate's.

use super::{MemoryReader, predicate};
use crate::id::TenantId;
use crate::policy::{Placement, Records};
use crate::stores::{Body, Budget, ErrorKind, Field, Key, Position, Query, Read, Record, StoreError, Value};

/// The next records.
pub(super) fn read(
    reader: &MemoryReader,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let operation = "read records";
    let predicate = reader.predicate(query, operation)?;
    let has_body = !matches!(query.placement.records, Some(Records::Table { .. }));
    let records: Vec<Record> = reader
        .records(&reader.lock(), &query.placement, operation)?
        .into_iter()
        .filter(|(key, columns)| after.is_none_or(|after| *key > after.0) && predicate.matches(key, columns))
        .filter_map(|(key, columns)| {
            let tenant = predicate.tenant(&key, &columns)?;
            let fields = columns.into_iter().map(|(name, value)| (name, field(value))).collect();
            Some(Record { tenant, key, fields, has_body })
        })
        .take(usize::try_from(budget.records_max.max(1)).unwrap_or(usize::MAX))
        .collect();
    let position = records.last().map(|last| Position(last.key.clone()));
    Ok(position.map(|position| Read { records, position }))
}

/// What a file holds: memory keeps no bytes, so its path stands for them.
pub(super) fn body(
    reader: &MemoryReader,
    placement: &Placement,
    tenant: &TenantId,
    key: &Key,
) -> Result<Option<Body>, StoreError> {
    if matches!(placement.records, Some(Records::Table { .. })) {
        let message = "rows have no bytes beside their fields";
        return Err(reader.error("read a file", ErrorKind::Unresolved, message));
    }
    let [Value::Text(path)] = key.0.as_slice() else { return Ok(None) };
    if !predicate::is_in_place(placement, tenant, path) {
        let message = "it lies outside the prefix of its tenant";
        return Err(reader.error("read a file", ErrorKind::Unresolved, message));
    }
    let is_there = reader.lock().files.contains_key(path);
    Ok(is_there.then(|| Body::of(path.clone().into_bytes())))
}

fn field(value: Option<Value>) -> Field {
    match value {
        None => Field::Null,
        Some(Value::Int(number)) => Field::Int(number.into()),
        Some(Value::Text(text)) => Field::Text(text),
        Some(Value::Bytes(bytes)) => Field::Bytes(bytes),
    }
}
