//! Takes messages whose turn it is from the ledger, sends them and writes down what came of it.
//! It owns what an answer means and when a message is tried again; it enqueues nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use super::sign::Sign;
use super::{Message, Outgoing, Unsent};
use crate::ledger::{DeliveryFate, DeliveryRow, Ledger, LedgerError};

/// Most messages in one pass. At ten seconds for each, a pass ends before what it took is given to somebody else.
pub const DELIVERIES_MOST: u32 = 32;

/// Nobody else is given a message for so long after it was taken: longer than a pass can be.
const TAKEN_FOR: TimeDelta = TimeDelta::minutes(10);

/// How long a message is tried: three days outlast a weekend's outage. After that it is given up, and listed.
const TRIED_FOR: TimeDelta = TimeDelta::hours(72);

/// The first pause; each next one is twice as long.
const PAUSE_SECONDS_FIRST: i64 = 30;

/// The longest pause: an hour after a long outage ends, everything has arrived.
const PAUSE_SECONDS_MAX: i64 = 3_600;

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Messages that were taken.
    pub taken: usize,
    /// Messages that were received.
    pub received: usize,
    /// Messages that were given up.
    pub given_up: usize,
}

/// Sends what is due, once. A host that cannot be reached costs one try in a pass, whatever waits for it, and the other
/// hosts do not wait for it.
///
/// # Errors
/// Where the ledger cannot be read or written. What was sent and could not be written down is sent again.
pub async fn deliver_once(
    ledger: &dyn Ledger,
    outgoing: &Outgoing,
    sign: &dyn Sign,
    now: DateTime<Utc>,
) -> Result<Delivered, LedgerError> {
    let rows = ledger.take_deliveries(DELIVERIES_MOST, now + TAKEN_FOR, now).await?;
    let mut done = Delivered { taken: rows.len(), ..Delivered::default() };
    let mut hosts: BTreeMap<String, Vec<DeliveryRow>> = BTreeMap::new();
    for row in rows {
        let target = super::target::Target::parse(&row.url);
        let host = target.map(|target| format!("{}:{}", target.host, target.port)).unwrap_or_default();
        hosts.entry(host).or_default().push(row);
    }
    let passes = hosts.values().map(|rows| deliver_to_one(ledger, outgoing, sign, rows, now));
    for of_host in join_all(passes).await {
        let (received, given_up) = of_host?;
        done.received += received;
        done.given_up += given_up;
    }
    Ok(done)
}

/// Sends what waits for one host, one after the other.
async fn deliver_to_one(
    ledger: &dyn Ledger,
    outgoing: &Outgoing,
    sign: &dyn Sign,
    rows: &[DeliveryRow],
    now: DateTime<Utc>,
) -> Result<(usize, usize), LedgerError> {
    let (mut received, mut given_up) = (0, 0);
    let mut unreachable = None;
    for row in rows {
        let sent = match unreachable {
            Some(why) => Err(Unsent::Unreachable(why)),
            None => send(outgoing, sign, row, now).await,
        };
        if let Err(Unsent::Unreachable(why)) = sent {
            unreachable = Some(why);
        }
        let fate = fate_of(row, &sent, now, jitter());
        match &fate {
            DeliveryFate::Received => received += 1,
            DeliveryFate::GivenUp { failure } => {
                given_up += 1;
                tracing::warn!(delivery = row.number, kind = %row.kind, %failure, "a message was given up");
            }
            DeliveryFate::Later { failure, .. } => {
                tracing::info!(delivery = row.number, kind = %row.kind, %failure, "a message is tried again");
            }
        }
        ledger.settle_delivery(row.number, &fate, now).await?;
    }
    Ok((received, given_up))
}

async fn send(
    outgoing: &Outgoing,
    sign: &dyn Sign,
    row: &DeliveryRow,
    now: DateTime<Utc>,
) -> Result<u16, Unsent> {
    let mut headers =
        sign.headers(row, now).map_err(|why| Unsent::Refused(format!("is not called: {why}")))?;
    headers.push(("Retentiond-Delivery".to_owned(), row.number.to_string()));
    let message = Message { url: &row.url, tenant: row.tenant.as_ref(), body: &row.body, headers: &headers };
    outgoing.send(message).await
}

/// What becomes of a message. Only an answer that says "never" ends it early: whatever else is wrong, on the other side,
/// in between or in our own configuration, may be mended within three days.
fn fate_of(row: &DeliveryRow, sent: &Result<u16, Unsent>, now: DateTime<Utc>, jitter: u16) -> DeliveryFate {
    let failure = match sent {
        Ok(200..300) => return DeliveryFate::Received,
        Ok(status @ (408 | 429)) => format!("the answer was {status}"),
        Ok(status @ 400..500) => {
            return DeliveryFate::GivenUp { failure: format!("the answer was {status}") };
        }
        Ok(status @ 300..400) => format!("the answer was {status}, and no redirect is followed"),
        Ok(status) => format!("the answer was {status}"),
        Err(unsent) => unsent.to_string(),
    };
    let last_try_at = row.enqueued_at + TRIED_FOR;
    if now >= last_try_at {
        return DeliveryFate::GivenUp { failure: format!("{failure}; it was tried for 72 hours") };
    }
    let next_at = (now + pause_after(row.tries, jitter)).min(last_try_at);
    DeliveryFate::Later { failure, next_at }
}

/// The pause after so many tries: at least half of what is doubled each time, the rest by chance, so that what failed
/// together is not tried together again.
fn pause_after(tries: u32, jitter: u16) -> TimeDelta {
    let doublings = tries.saturating_sub(1).min(30);
    let full = PAUSE_SECONDS_FIRST.saturating_mul(1_i64 << doublings).min(PAUSE_SECONDS_MAX);
    let half_millis = full * 500;
    TimeDelta::milliseconds(half_millis + half_millis * i64::from(jitter) / i64::from(u16::MAX))
}

/// A number by chance. Without any, the longest pause.
fn jitter() -> u16 {
    let mut bytes = [0; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u16::from_le_bytes(bytes),
        Err(_) => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tries: u32) -> DeliveryRow {
        DeliveryRow {
            number: 1,
            key: "a".to_owned(),
            kind: "alarm".to_owned(),
            tenant: None,
            url: "https://hooks.example.com/".to_owned(),
            body: "{}".to_owned(),
            enqueued_at: DateTime::UNIX_EPOCH,
            tries,
            delivered_at: None,
            given_up_at: None,
            failure: None,
        }
    }

    #[test]
    fn an_answer_means_received_later_or_never() {
        let now = DateTime::UNIX_EPOCH;
        let fate = |sent: Result<u16, Unsent>| fate_of(&row(1), &sent, now, 0);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(fate(Ok(status)), DeliveryFate::Received, "{status}");
        }
        for status in [100, 301, 302, 307, 308, 408, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(fate(Ok(status)), DeliveryFate::Later { .. }), "{status}");
        }
        for status in [400, 401, 403, 404, 410, 422, 499] {
            assert!(matches!(fate(Ok(status)), DeliveryFate::GivenUp { .. }), "{status}");
        }
        assert!(matches!(fate(Err(Unsent::Unreachable("x"))), DeliveryFate::Later { .. }));
        assert!(matches!(fate(Err(Unsent::Refused("x".to_owned()))), DeliveryFate::Later { .. }));
    }

    #[test]
    fn a_message_is_tried_for_72_hours_to_the_tick_and_then_given_up() {
        let unreachable = Err(Unsent::Unreachable("x"));
        for jitter in [0, u16::MAX] {
            let (mut now, mut tries) = (DateTime::UNIX_EPOCH, 1);
            loop {
                match fate_of(&row(tries), &unreachable, now, jitter) {
                    DeliveryFate::Later { next_at, .. } => {
                        assert!(next_at > now && next_at - now <= TimeDelta::hours(1), "{now} {next_at}");
                        (now, tries) = (next_at, tries + 1);
                    }
                    DeliveryFate::GivenUp { .. } => break,
                    DeliveryFate::Received => panic!("nobody received it"),
                }
            }
            assert_eq!(now, DateTime::UNIX_EPOCH + TimeDelta::hours(72));
            assert!((70..200).contains(&tries), "{tries}");
        }
        let tick = TimeDelta::microseconds(1);
        let before = DateTime::UNIX_EPOCH + TRIED_FOR - tick;
        assert!(matches!(fate_of(&row(90), &unreachable, before, 0), DeliveryFate::Later { .. }));
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let seconds = |tries| pause_after(tries, u16::MAX).num_seconds();
        assert_eq!([1, 2, 3, 8, 9, 1_000].map(seconds), [30, 60, 120, 3_600, 3_600, 3_600]);
        assert_eq!(pause_after(1, 0), TimeDelta::seconds(15));
    }
}
