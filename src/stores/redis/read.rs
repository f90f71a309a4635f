//! Reads keys out, whole, whatever their type. It owns how a value becomes a field; which keys come next is `find`'s.

use ::redis::Value as Reply;

use super::find::find;
use super::link::{Link, Session};
use super::look::{list_of, selector};
use super::scan::fields_of;
use super::select::{Depth, bytes_of};
use super::wire::{cmd_on, parts, text};
use crate::stores::{Budget, ErrorKind, Field, Listed, Position, Query, Read, Record, Retry, StoreError};

/// Never more keys than this at once: a value may be large, and each is read whole, so that it is read at one moment.
const KEYS_MAX: u64 = 100;

/// The next keys.
pub(super) async fn read(
    link: &Link,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let operation = "read keys";
    let budget = Budget { records_max: budget.records_max.min(KEYS_MAX), ..budget };
    let Some(found) = find(link, query, after, budget).await? else { return Ok(None) };
    let selector = selector(link, query, operation, Depth::Belongs)?;
    let mut session = link.session(operation).await?;
    let mut records = Vec::new();
    for listed in list_of(link, &found.batch, operation)? {
        let Some(key) = bytes_of(&listed.key) else { continue };
        let primary = session.owner(key);
        let Some(fields) = value_of(&mut session, primary, key).await? else { continue };
        // Judged again after it was read: what changed meanwhile is another tenant's business, or nobody's.
        let now = fields_of(&mut session, primary, &[key], &selector).await?.pop().unwrap_or_default();
        let belongs = selector.layout.read(key).is_some_and(|fitting| {
            fitting.tenant.as_ref() == Some(&listed.tenant) && selector.matches(&fitting, &now)
        });
        if belongs {
            let Listed { tenant, key, .. } = listed.clone();
            records.push(Record { tenant, key, fields, has_body: false });
        }
    }
    Ok(Some(Read { records, position: found.position }))
}

/// The fields of a key; `None` where it is gone.
async fn value_of(
    session: &mut Session<'_>,
    primary: usize,
    key: &[u8],
) -> Result<Option<Vec<(String, Field)>>, StoreError> {
    let kind = session.ask_one(primary, cmd_on("TYPE", key, &[])).await?;
    let kind = text(&kind).unwrap_or_default().to_owned();
    let command = match kind.as_str() {
        "none" => return Ok(None),
        "string" => cmd_on("GET", key, &[]),
        "hash" => cmd_on("HGETALL", key, &[]),
        "list" => cmd_on("LRANGE", key, &["0", "-1"]),
        "set" => cmd_on("SMEMBERS", key, &[]),
        "zset" => cmd_on("ZRANGE", key, &["0", "-1", "WITHSCORES"]),
        "stream" => cmd_on("XRANGE", key, &["-", "+"]),
        other => {
            let other: String = other.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            let message = format!("a value of type {other} cannot be read out");
            return Err(session.error(ErrorKind::Refused, Retry::Never, &message));
        }
    };
    let reply = session.ask_one(primary, command).await?;
    if reply == Reply::Nil {
        return Ok(None);
    }
    let value = match kind.as_str() {
        "hash" | "zset" => pairs(reply),
        _ => field(reply),
    };
    let Some(value) = value else {
        return Err(session.error(ErrorKind::Unreachable, Retry::Later, "a value was not answered as one"));
    };
    Ok(Some(vec![
        ("key".to_owned(), Field::of_bytes(key.to_vec())),
        ("type".to_owned(), Field::Text(kind)),
        ("value".to_owned(), value),
    ]))
}

/// Names and values in turn, as pairs.
fn pairs(reply: Reply) -> Option<Field> {
    let flat = parts(reply).into_iter().map(field).collect::<Option<Vec<Field>>>()?;
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let Some(first) = flat.next() {
        // Some answers come as pairs already.
        pairs.push(match first {
            Field::List(pair) => Field::List(pair),
            first @ (Field::Null
            | Field::Int(_)
            | Field::Number(_)
            | Field::Text(_)
            | Field::Bytes(_)
            | Field::Json(_)) => Field::List(vec![first, flat.next()?]),
        });
    }
    Some(Field::List(pairs))
}

/// A value as it was answered; `None` for an error within an answer, and for what is no value.
fn field(reply: Reply) -> Option<Field> {
    if let Reply::Array(_) | Reply::Set(_) | Reply::Map(_) = reply {
        return parts(reply).into_iter().map(field).collect::<Option<Vec<Field>>>().map(Field::List);
    }
    if let Reply::BulkString(bytes) = reply {
        return Some(Field::of_bytes(bytes));
    }
    if let Reply::Int(number) = reply {
        return Some(Field::Int(number.into()));
    }
    if let Reply::Double(number) = reply {
        return Some(Field::Number(number.to_string()));
    }
    (reply == Reply::Nil).then_some(Field::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::BulkString(text.as_bytes().to_vec())
    }

    fn told(text: &str) -> Field {
        Field::Text(text.to_owned())
    }

    #[test]
    fn fields_of_a_hash_stay_with_their_values_in_both_versions_of_the_protocol() {
        let expected = Some(Field::List(vec![Field::List(vec![told("name"), told("Ann")])]));
        assert_eq!(pairs(Reply::Array(vec![bulk("name"), bulk("Ann")])), expected);
        assert_eq!(pairs(Reply::Map(vec![(bulk("name"), bulk("Ann"))])), expected);
        assert_eq!(pairs(Reply::Array(vec![bulk("name")])), None, "half a pair is none");
        let scored = Reply::Array(vec![Reply::Array(vec![bulk("a"), Reply::Double(0.5)])]);
        let half = Field::Number("0.5".to_owned());
        assert_eq!(pairs(scored), Some(Field::List(vec![Field::List(vec![told("a"), half])])));
    }

    #[test]
    fn bytes_that_are_no_text_stay_bytes() {
        let reply = Reply::Array(vec![Reply::BulkString(vec![0xff, 0]), bulk("x")]);
        assert_eq!(field(reply), Some(Field::List(vec![Field::Bytes(vec![0xff, 0]), told("x")])));
    }
}
