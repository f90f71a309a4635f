//! Everything else in a Redis store that only looks: identity, counting, reading back, one key. It sends no command that
//! changes anything.

use ::redis::{Cmd, Value as Reply};

use super::layout::Layout;
use super::link::{Link, Session};
use super::scan::{Pass, chosen, fields_of};
use super::select::{Depth, Fields, Selector, bytes_of};
use super::wire::{cmd_of, cmd_on, parts, text};
use super::{MARKER, refuse};
use crate::facts::{Survey, Tally};
use crate::policy::Placement;
use crate::stores::{
    Batch, ErrorKind, Identity, Listed, Query, Retry, Seen, SeenTime, StillThere, StoreError,
};

/// Keys asked about in one write.
pub(super) const CHUNK: usize = 1_000;

/// Who the store says it is.
pub(super) async fn identity(link: &Link) -> Result<Identity, StoreError> {
    let mut session = link.session("prove who it is").await?;
    session.require_primary()?;
    let primary = session.owner(MARKER);
    let values = parts(session.ask_one(primary, cmd_on("HMGET", MARKER, &["ledger_id", "store"])).await?);
    let value = |at: usize| values.get(at).and_then(text).map(ToOwned::to_owned);
    Ok(Identity { ledger_id: value(0), store: value(1), fingerprint: link.shown() })
}

/// Fails where the marker is not there: in another logical database everything would seem absent.
pub(super) async fn require_marker(session: &mut Session<'_>) -> Result<(), StoreError> {
    let primary = session.owner(MARKER);
    let reply = session.ask_one(primary, cmd_on("HEXISTS", MARKER, &["ledger_id"])).await?;
    if reply == Reply::Int(1) {
        return Ok(());
    }
    let message = "the marker is not there: this is another store or another logical database";
    Err(session.error(ErrorKind::Identity, Retry::Never, message))
}

/// Counts the selection.
pub(super) async fn survey(link: &Link, query: &Query) -> Result<Survey, StoreError> {
    let operation = "count keys";
    let selector = selector(link, query, operation, Depth::AndWhen)?;
    let mut session = link.session(operation).await?;
    let first = survey_once(&mut session, &selector).await?;
    if first.total().records > 0 {
        return Ok(first);
    }
    // Keys that came or moved during a pass may have been passed over: nothing is said to be there after two.
    survey_once(&mut session, &selector).await
}

async fn survey_once(session: &mut Session<'_>, selector: &Selector<'_>) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    let mut pass = Pass::begin(session, selector.pattern()).await?;
    while let Some((primary, keys)) = pass.next(session, &selector.layout).await? {
        for one in chosen(session, primary, keys, selector).await? {
            let at = match selector.time(&one.fields) {
                SeenTime::Usable(at) => Some(at),
                SeenTime::None | SeenTime::Unusable => None,
            };
            match one.tenant {
                Some(tenant) => {
                    let tally = Tally { records: 1, oldest: at, newest: at };
                    survey.tenants.entry(tenant).or_default().add(&tally);
                }
                None => survey.nameless += 1,
            }
        }
    }
    Ok(survey)
}

/// Counts everything, up to a number.
pub(super) async fn population(link: &Link, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
    let operation = "count keys";
    let layout = layout_of(link, placement, operation)?;
    let mut session = link.session(operation).await?;
    let mut pass = Pass::begin(&mut session, layout.pattern(None)).await?;
    let mut records = 0;
    while records < at_most {
        let Some((_, keys)) = pass.next(&mut session, &layout).await? else { break };
        records += keys.len() as u64;
    }
    Ok(records.min(at_most))
}

/// What is still there of a batch.
pub(super) async fn absent(link: &Link, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
    let operation = "read back keys";
    let selector = selector(link, query, operation, Depth::Belongs)?;
    let listed = list_of(link, batch, operation)?;
    let mut session = link.session(operation).await?;
    require_marker(&mut session).await?;
    let mut still = StillThere::default();
    let mut by_primary: Vec<Vec<(usize, &Listed)>> = vec![Vec::new(); session.primaries()];
    for (index, listed) in listed.iter().enumerate() {
        let owner = bytes_of(&listed.key).map_or(0, |key| session.owner(key));
        if let Some(own) = by_primary.get_mut(owner) {
            own.push((index, listed));
        }
    }
    for (primary, own) in by_primary.iter().enumerate() {
        for chunk in own.chunks(CHUNK) {
            absent_of(&mut session, primary, chunk, &selector, &mut still).await?;
        }
    }
    still.indexes.sort_unstable();
    Ok(still)
}

async fn absent_of(
    session: &mut Session<'_>,
    primary: usize,
    chunk: &[(usize, &Listed)],
    selector: &Selector<'_>,
    still: &mut StillThere,
) -> Result<(), StoreError> {
    let keys: Vec<&[u8]> =
        chunk.iter().map(|(_, listed)| bytes_of(&listed.key).unwrap_or_default()).collect();
    if !session.link.is_cluster() {
        let all = cmd_of("EXISTS", keys.iter().copied());
        if session.ask_one(primary, all).await? == Reply::Int(0) {
            return Ok(());
        }
    }
    let commands: Vec<Cmd> = keys.iter().map(|key| cmd_on("EXISTS", key, &[])).collect();
    let mut there: Vec<(usize, &Listed, &[u8])> = Vec::new();
    for ((reply, (index, listed)), key) in
        session.ask(primary, commands).await?.into_iter().zip(chunk).zip(&keys)
    {
        if let Reply::ServerError(answer) = &reply {
            return Err(session.refused(answer));
        }
        if reply != Reply::Int(0) {
            there.push((*index, listed, key));
        }
    }
    let keys: Vec<&[u8]> = there.iter().map(|(_, _, key)| *key).collect();
    let fields = fields_of(session, primary, &keys, selector).await?;
    for ((index, listed, key), fields) in there.into_iter().zip(fields) {
        still.indexes.push(index);
        if belongs(selector, listed, key, &fields) {
            *still.tenants.entry(listed.tenant.clone()).or_default() += 1;
        }
    }
    Ok(())
}

/// True where a key still is the tenant's and of the selection. Where its tenant cannot be read any more, it counts as
/// still there.
fn belongs(selector: &Selector<'_>, listed: &Listed, key: &[u8], fields: &Fields) -> bool {
    selector.layout.read(key).is_none_or(|fitting| {
        fitting.tenant.as_ref() != Some(&listed.tenant) || selector.matches(&fitting, fields)
    })
}

/// One key.
pub(super) async fn look(link: &Link, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
    let operation = "look at a key";
    let selector = selector(link, query, operation, Depth::Whole)?;
    let [key] = key else {
        return Err(refuse(link, operation, ErrorKind::Schema, "a record is named by one key"));
    };
    let Some(fitting) = selector.layout.read(key.as_bytes()) else { return Ok(None) };
    let mut session = link.session(operation).await?;
    let primary = session.owner(key.as_bytes());
    if session.ask_one(primary, cmd_on("EXISTS", key.as_bytes(), &[])).await? != Reply::Int(1) {
        return Ok(None);
    }
    let fields =
        fields_of(&mut session, primary, &[key.as_bytes()], &selector).await?.pop().unwrap_or_default();
    Ok(Some(Seen {
        event_time: selector.time(&fields),
        subjects: selector.subjects(&fitting, &fields),
        tenant: fitting.tenant,
    }))
}

/// The layout of a placement.
pub(super) fn layout_of(
    link: &Link,
    placement: &Placement,
    operation: &'static str,
) -> Result<Layout, StoreError> {
    Layout::of(placement).map_err(|message| refuse(link, operation, ErrorKind::Schema, message))
}

/// A query made ready.
pub(super) fn selector<'q>(
    link: &Link,
    query: &'q Query,
    operation: &'static str,
    depth: Depth,
) -> Result<Selector<'q>, StoreError> {
    let layout = layout_of(link, &query.placement, operation)?;
    Selector::new(query, layout, depth)
        .map_err(|message| refuse(link, operation, ErrorKind::Unresolved, message))
}

/// The records of a batch.
pub(super) fn list_of<'b>(
    link: &Link,
    batch: &'b Batch,
    operation: &'static str,
) -> Result<&'b [Listed], StoreError> {
    match batch {
        Batch::List(listed) => Ok(listed),
        Batch::Window { .. } => {
            let message = "keys are erased by list, not by window";
            Err(refuse(link, operation, ErrorKind::Unresolved, message))
        }
    }
}
