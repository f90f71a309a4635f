//! A way through all keys of a store, step by step.
//! It owns the order, what is seen twice and where a pass ends; which keys are meant is said by [`Selector`].
//!
//! `SCAN` gives every key that is there from the beginning of a pass to its end, some of them twice, and of the others
//! perhaps some. So one pass finds all that a plan has counted, and two empty ones are asked for before *nothing* is
//! said. In a cluster a pass counts only where no slot moved meanwhile.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use ::redis::{Cmd, Value as Reply};

use super::layout::Layout;
use super::link::Session;
use super::select::{Fields, Selector};
use super::wire::{bytes, cmd_on, parts, text};
use crate::clock::Stopwatch;
use crate::id::TenantId;
use crate::stores::{ErrorKind, Retry, StoreError};

/// Keys asked for in one step at first: 1,000 was measured best; 10,000 holds up others for 50 ms.
const COUNT_START: u32 = 1_000;

/// Fewer make too many round trips.
const COUNT_MIN: u32 = 100;

/// More hold up others.
const COUNT_MAX: u32 = 2_000;

/// A step should keep the server this long at most, its way included.
const STEP_TARGET: Duration = Duration::from_millis(5);

/// Keys remembered for [`Recent`], in each of its two halves: 4 MiB in all.
const RECENT: usize = 1 << 16;

/// How many keys a step asks for, steered by how long steps take.
#[derive(Debug)]
pub(super) struct Pace(u32);

impl Pace {
    pub(super) fn start() -> Self {
        Self(COUNT_START)
    }

    fn steer(&mut self, took: Duration) {
        let next = if took > STEP_TARGET * 2 {
            self.0 / 2
        } else if took < STEP_TARGET {
            self.0 + self.0 / 4
        } else {
            self.0
        };
        self.0 = next.clamp(COUNT_MIN, COUNT_MAX);
    }
}

/// One step: the cursor to go on from (`None` at the end of the primary) and the keys, which may be none.
pub(super) async fn step(
    session: &mut Session<'_>,
    primary: usize,
    cursor: &str,
    pattern: &[u8],
    pace: &mut Pace,
) -> Result<(Option<String>, Vec<Vec<u8>>), StoreError> {
    let mut command = Cmd::new();
    command.arg("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(pace.0);
    let watch = Stopwatch::start();
    let mut halves = parts(session.ask_one(primary, command).await?).into_iter();
    pace.steer(watch.elapsed());
    let (Some(next), Some(Reply::Array(keys))) = (halves.next(), halves.next()) else {
        return Err(session.error(ErrorKind::Unreachable, Retry::Later, "the server gave no keys to a scan"));
    };
    let Some(next) = text(&next).map(ToOwned::to_owned) else {
        return Err(session.error(ErrorKind::Unreachable, Retry::Later, "the server gave no cursor"));
    };
    Ok((Some(next).filter(|next| next != "0"), keys.into_iter().filter_map(bytes).collect()))
}

/// One pass over all primaries.
#[derive(Debug)]
pub(super) struct Pass {
    primary: usize,
    cursor: Option<String>,
    pattern: Vec<u8>,
    pace: Pace,
    recent: Recent,
}

impl Pass {
    /// Begins at the first primary.
    pub(super) async fn begin(session: &mut Session<'_>, pattern: Vec<u8>) -> Result<Self, StoreError> {
        session.settled().await?;
        let (pace, recent) = (Pace::start(), Recent::default());
        Ok(Self { primary: 0, cursor: Some("0".into()), pattern, pace, recent })
    }

    /// The keys of the next step that fit the layout and were not given a moment ago, with their primary; `None` at
    /// the end of the pass.
    pub(super) async fn next(
        &mut self,
        session: &mut Session<'_>,
        layout: &Layout,
    ) -> Result<Option<(usize, Vec<Vec<u8>>)>, StoreError> {
        let Some(cursor) = self.cursor.take() else {
            session.settled().await?;
            return Ok(None);
        };
        let primary = self.primary;
        let (next, mut keys) = step(session, primary, &cursor, &self.pattern, &mut self.pace).await?;
        self.cursor = match next {
            Some(next) => Some(next),
            None => {
                self.primary += 1;
                (self.primary < session.primaries()).then(|| "0".into())
            }
        };
        keys.retain(|key| layout.read(key).is_some() && self.recent.is_new(key));
        Ok(Some((primary, keys)))
    }
}

/// The keys seen a short while ago, by two hashes of 64 bits.
///
/// `SCAN` repeats a key only while a table shrinks, and then those of its last steps, so that a window is enough for
/// any table however large. What is repeated from farther back is counted again: a count may be too high then, which
/// makes a limit stricter and a step end early, and is never too low.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hashers: (RandomState, RandomState),
    young: HashSet<(u64, u64)>,
    old: HashSet<(u64, u64)>,
}

impl Recent {
    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// True where the key was seen.
    pub(super) fn is_known(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.old.contains(&hash) || self.young.contains(&hash)
    }

    /// True where the key was not seen; it is now.
    pub(super) fn is_new(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        if self.old.contains(&hash) || !self.young.insert(hash) {
            return false;
        }
        if self.young.len() >= RECENT {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

/// Reads the fields of keys that one primary serves; in the order of the keys. A key that is no hash has none.
pub(super) async fn fields_of(
    session: &mut Session<'_>,
    primary: usize,
    keys: &[&[u8]],
    selector: &Selector<'_>,
) -> Result<Vec<Fields>, StoreError> {
    if selector.fields().is_empty() {
        return Ok(vec![Fields::default(); keys.len()]);
    }
    let commands: Vec<Cmd> = keys.iter().map(|key| cmd_on("HMGET", key, selector.fields())).collect();
    let replies = session.ask(primary, commands).await?;
    let mut fields = Vec::with_capacity(replies.len());
    for reply in replies {
        if let Reply::ServerError(answer) = &reply {
            if answer.code() != "WRONGTYPE" {
                return Err(session.refused(answer));
            }
            fields.push(Fields::of_no_hash());
        } else {
            fields.push(Fields::of(reply));
        }
    }
    Ok(fields)
}

/// A key that belongs to the selection.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Its bytes.
    pub(super) key: Vec<u8>,
    /// Whose it is.
    pub(super) tenant: Option<TenantId>,
    /// What was read of it.
    pub(super) fields: Fields,
}

/// Of the keys found by a step, those that belong to the selection.
pub(super) async fn chosen(
    session: &mut Session<'_>,
    primary: usize,
    keys: Vec<Vec<u8>>,
    selector: &Selector<'_>,
) -> Result<Vec<Chosen>, StoreError> {
    let is_told = selector.fields().is_empty();
    let mut chosen = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(fitting) = selector.layout.read(&key) else { continue };
        let belongs = if is_told {
            selector.matches(&fitting, &Fields::default())
        } else {
            selector.tenant_matches(fitting.tenant.as_ref())
        };
        if belongs {
            let tenant = fitting.tenant;
            chosen.push(Chosen { key, tenant, fields: Fields::default() });
        }
    }
    if is_told {
        return Ok(chosen);
    }
    let read: Vec<&[u8]> = chosen.iter().map(|one| one.key.as_slice()).collect();
    let fields = fields_of(session, primary, &read, selector).await?;
    for (one, fields) in chosen.iter_mut().zip(fields) {
        one.fields = fields;
    }
    chosen.retain(|one| {
        selector.layout.read(&one.key).is_some_and(|fitting| selector.matches(&fitting, &one.fields))
    });
    // A key without any of the fields may have gone since the step: it is no record without a time then, but none.
    let doubtful: Vec<Cmd> = chosen
        .iter()
        .filter(|one| one.fields.is_empty())
        .map(|one| cmd_on("EXISTS", &one.key, &[]))
        .collect();
    let mut there = Vec::with_capacity(doubtful.len());
    for reply in session.ask(primary, doubtful).await? {
        if let Reply::ServerError(answer) = &reply {
            return Err(session.refused(answer));
        }
        there.push(reply == Reply::Int(1));
    }
    let mut there = there.into_iter();
    chosen.retain(|one| !one.fields.is_empty() || there.next().unwrap_or(true));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_steered_within_their_bounds() {
        let mut pace = Pace::start();
        for _ in 0..20 {
            pace.steer(Duration::from_millis(1));
        }
        assert_eq!(pace.0, COUNT_MAX);
        for _ in 0..20 {
            pace.steer(Duration::from_millis(50));
        }
        assert_eq!(pace.0, COUNT_MIN);
        pace.steer(STEP_TARGET);
        assert_eq!(pace.0, COUNT_MIN);
    }

    #[test]
    fn a_key_given_again_soon_is_known_and_the_memory_stays_small() {
        let mut recent = Recent::default();
        for number in 0..RECENT * 5 {
            let key = number.to_le_bytes();
            assert!(recent.is_new(&key));
            assert!(!recent.is_new(&key));
            if number >= RECENT {
                assert!(!recent.is_new(&(number - RECENT / 2).to_le_bytes()), "half a window ago");
            }
            assert!(recent.young.len() <= RECENT && recent.old.len() <= RECENT);
        }
    }
}
