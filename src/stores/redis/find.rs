//! The search for the next batch of keys. It owns where a search goes on and when it begins anew; the steps are
//! `scan`'s.

use std::collections::BTreeMap;

use super::link::{Link, Session};
use super::look::selector;
use super::scan::{Pace, Recent, chosen, step};
use super::select::{Depth, Selector, key_of};
use crate::stores::{
    Batch, Budget, ErrorKind, Found, Key, Listed, Position, Query, Retry, StoreError, Value,
};

/// How often a search begins anew within one call because slots moved, before it is left for later.
const RESTARTS_MAX: usize = 3;

/// Where a search goes on: at a cursor of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The connections that gave the cursor.
    number: String,
    primary: usize,
    /// `None` when all primaries were searched.
    cursor: Option<String>,
    /// The keys that this cursor gave and that were handed out already, where a batch was full within a step. The step
    /// is made again then, and may reach further than before, for there are fewer keys: so each is named, and no order
    /// among them is relied on. Guarded by `a_budget_that_ends_within_a_step_passes_over_no_key`.
    given: Vec<Vec<u8>>,
}

impl Place {
    fn beginning(session: &Session<'_>) -> Self {
        Self { number: session.number().to_string(), primary: 0, cursor: Some("0".into()), given: Vec::new() }
    }

    fn of(position: &Position) -> Option<Self> {
        let (number, primary, rest) = match position.0.0.as_slice() {
            [Value::Text(number), Value::Int(primary), rest @ ..] => (number, primary, rest),
            _ => return None,
        };
        let primary = usize::try_from(*primary).ok()?;
        let (cursor, given) = match rest {
            [] => (None, Vec::new()),
            [Value::Text(cursor), given @ ..] => {
                let bytes = |value: &Value| match value {
                    Value::Bytes(bytes) => Some(bytes.clone()),
                    Value::Int(_) | Value::Text(_) => None,
                };
                (Some(cursor.clone()), given.iter().map(bytes).collect::<Option<Vec<_>>>()?)
            }
            [Value::Int(_) | Value::Bytes(_), ..] => return None,
        };
        Some(Self { number: number.clone(), primary, cursor, given })
    }

    fn position(self) -> Position {
        let primary = i64::try_from(self.primary).unwrap_or(i64::MAX);
        let mut values = vec![Value::Text(self.number), Value::Int(primary)];
        values.extend(self.cursor.map(Value::Text));
        values.extend(self.given.into_iter().map(Value::Bytes));
        Position(Key(values))
    }
}

/// The next batch.
pub(super) async fn find(
    link: &Link,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Found>, StoreError> {
    let operation = "find keys";
    let selector = selector(link, query, operation, Depth::Belongs)?;
    let mut session = link.session(operation).await?;
    let mut place = match after {
        None => {
            session.settled().await?;
            Place::beginning(&session)
        }
        Some(position) => {
            let message = "the position is none of a scan";
            Place::of(position).ok_or_else(|| session.error(ErrorKind::Unresolved, Retry::Never, message))?
        }
    };
    let most = budget.records_max.max(1);
    let mut search = Search { selector: &selector, most, listed: Vec::new(), recent: Recent::default() };
    let mut ended = search.run(&mut session, &mut place).await?;
    for _ in 0..RESTARTS_MAX {
        match ended {
            Ended::Full => break,
            // The server is another one, or slots moved: all is searched again from the beginning.
            Ended::Lost => {
                session.refresh().await?;
                session.settled().await?;
                place = Place::beginning(&session);
                ended = search.run(&mut session, &mut place).await?;
            }
        }
    }
    match ended {
        Ended::Lost => Err(link.moving(operation)),
        Ended::Full if search.listed.is_empty() => Ok(None),
        Ended::Full => Ok(Some(Found { batch: Batch::List(search.listed), position: place.position() })),
    }
}

/// How a search over the primaries ended.
enum Ended {
    /// The batch is full, or there is no more.
    Full,
    /// The servers are not those that the search began in.
    Lost,
}

struct Search<'s> {
    selector: &'s Selector<'s>,
    most: u64,
    listed: Vec<Listed>,
    recent: Recent,
}

impl Search<'_> {
    async fn run(&mut self, session: &mut Session<'_>, place: &mut Place) -> Result<Ended, StoreError> {
        let pattern = self.selector.pattern();
        let mut pace = Pace::start();
        for given in &place.given {
            self.recent.is_new(given);
        }
        while let Some(cursor) = place.cursor.clone() {
            if place.number != session.number().to_string() {
                return Ok(Ended::Lost);
            }
            let (next, keys) = step(session, place.primary, &cursor, &pattern, &mut pace).await?;
            if !self.take(session, keys, place).await? {
                return Ok(Ended::Full);
            }
            place.given.clear();
            place.cursor = next;
            if place.cursor.is_none() {
                if place.primary + 1 < session.primaries() {
                    place.primary += 1;
                    place.cursor = Some("0".into());
                } else if session.settled().await.is_err() {
                    return Ok(Ended::Lost);
                }
            }
            if self.listed.len() as u64 >= self.most {
                return Ok(Ended::Full);
            }
        }
        Ok(Ended::Full)
    }

    /// Takes the keys of a step that belong. False where the batch was full before the last of them.
    async fn take(
        &mut self,
        session: &mut Session<'_>,
        keys: Vec<Vec<u8>>,
        place: &mut Place,
    ) -> Result<bool, StoreError> {
        for one in chosen(session, place.primary, keys, self.selector).await? {
            // Records without a tenant are only ever counted.
            let Some(tenant) = one.tenant else { continue };
            let is_full = self.listed.len() as u64 >= self.most;
            if is_full && !self.recent.is_known(&one.key) {
                return Ok(false);
            }
            if is_full || !self.recent.is_new(&one.key) {
                continue;
            }
            place.given.push(one.key.clone());
            let (names, stamp) = (BTreeMap::new(), String::new());
            self.listed.push(Listed { tenant, key: key_of(one.key), names, stamp });
        }
        Ok(true)
    }
}
