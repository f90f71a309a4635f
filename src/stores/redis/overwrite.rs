//! How a value of each type is overwritten before its key goes. It owns the commands and the reading back as zeros;
//! they happen in one transaction with the deletion, so that no key is ever left overwritten and alive.
//!
//! What cannot be changed in place (members of sets, entries of streams) is replaced by zeros of the same length.
//! Names of fields stay until the key goes, as column names do; no claim is made about bytes on a disk.

use std::collections::BTreeSet;

use ::redis::{Cmd, Value as Reply};

use super::erase::answered;
use super::link::Session;
use super::trouble::Wrong;
use super::wire::{cmd, cmd_of, cmd_on, parts, text};

/// The longest string that is overwritten: it passes through our memory, and twice through the server's.
const STRING_BYTES_MAX: i64 = 16 << 20;

/// Most elements of a collection that is overwritten, for the same reason.
const ELEMENTS_MAX: i64 = 100_000;

/// What is sent for one key within the transaction, before its `UNLINK`.
#[derive(Debug)]
pub(super) struct Overwrite {
    /// The last one reads the whole value. They are taken out to be sent.
    pub(super) commands: Vec<Cmd>,
    /// How many they are.
    sent: usize,
    kind: Kind,
    /// How many bytes the values had.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string, or a list of strings that are all values.
    Values,
    /// Members, of which equal ones are one.
    Members,
    /// Entries with field names between their values.
    Entries,
}

impl Overwrite {
    fn new(commands: Vec<Cmd>, kind: Kind, bytes: usize) -> Self {
        Self { sent: commands.len(), commands, kind, bytes }
    }

    /// Takes the answers to the commands, and says whether the last of them holds zeros only, as many as there were.
    pub(super) fn read_back_as_zeros(&self, replies: &mut impl Iterator<Item = Reply>) -> bool {
        let Some(read) = replies.by_ref().take(self.sent).last() else { return false };
        let values: Vec<Vec<u8>> = match self.kind {
            Kind::Values | Kind::Members => strings(read),
            Kind::Entries => entries(read).into_iter().flat_map(values_of).collect(),
        };
        let bytes: usize = values.iter().map(Vec::len).sum();
        let is_zero = values.iter().flatten().all(|byte| *byte == 0);
        is_zero && (bytes == self.bytes || self.kind == Kind::Members && bytes <= self.bytes)
    }
}

/// Reads a value and says how it is overwritten; the inner error says why it cannot be. The key is watched already.
pub(super) async fn prepare(
    session: &mut Session<'_>,
    primary: usize,
    key: &[u8],
) -> Result<Result<Overwrite, String>, Wrong> {
    let kind = ask(session, primary, cmd_on("TYPE", key, &[])).await?;
    let kind = text(&kind).unwrap_or_default().to_owned();
    let (length, most) = match kind.as_str() {
        "string" => ("STRLEN", STRING_BYTES_MAX),
        "hash" => ("HLEN", ELEMENTS_MAX),
        "list" => ("LLEN", ELEMENTS_MAX),
        "set" => ("SCARD", ELEMENTS_MAX),
        "zset" => ("ZCARD", ELEMENTS_MAX),
        "stream" => ("XLEN", ELEMENTS_MAX),
        other => {
            let other: String = other.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            return Ok(Err(format!(
                "a value of type {other} cannot be overwritten; use the method `delete`"
            )));
        }
    };
    let length = ask(session, primary, cmd_on(length, key, &[])).await?;
    if !matches!(length, Reply::Int(length) if length <= most) {
        return Ok(Err(format!(
            "a {kind} of that size is not overwritten in one transaction; use the method `delete`"
        )));
    }
    Ok(Ok(match kind.as_str() {
        "string" => {
            let values = strings(ask(session, primary, cmd_on("GET", key, &[])).await?);
            let bytes: usize = values.iter().map(Vec::len).sum();
            let mut set = cmd_on("SETRANGE", key, &["0"]);
            set.arg(vec![0_u8; bytes]);
            let commands = vec![set, cmd_on("GET", key, &[])];
            Overwrite::new(commands, Kind::Values, bytes)
        }
        "hash" => hash(key, &strings(ask(session, primary, cmd_on("HGETALL", key, &[])).await?)),
        "list" => list(key, &strings(ask(session, primary, cmd_on("LRANGE", key, &["0", "-1"])).await?)),
        "set" => members(key, strings(ask(session, primary, cmd_on("SMEMBERS", key, &[])).await?), false),
        "zset" => {
            members(key, strings(ask(session, primary, cmd_on("ZRANGE", key, &["0", "-1"])).await?), true)
        }
        _ => stream(key, entries(ask(session, primary, cmd_on("XRANGE", key, &["-", "+"])).await?)),
    }))
}

async fn ask(session: &mut Session<'_>, primary: usize, command: Cmd) -> Result<Reply, Wrong> {
    let mut replies = session.ask(primary, vec![command]).await?;
    answered(session, replies.pop().unwrap_or_default())
}

fn zeros(value: &[u8]) -> Vec<u8> {
    vec![0; value.len()]
}

fn hash(key: &[u8], pairs: &[Vec<u8>]) -> Overwrite {
    let mut set = cmd_on("HSET", key, &[]);
    let mut bytes = 0;
    for pair in pairs.chunks_exact(2) {
        if let [field, value] = pair {
            set.arg(field.as_slice()).arg(zeros(value));
            bytes += value.len();
        }
    }
    Overwrite::new(vec![set, cmd_on("HVALS", key, &[])], Kind::Values, bytes)
}

fn list(key: &[u8], values: &[Vec<u8>]) -> Overwrite {
    let set = |(at, value): (usize, &Vec<u8>)| {
        let mut set = cmd_on("LSET", key, &[&at.to_string()]);
        set.arg(zeros(value));
        set
    };
    let mut commands: Vec<Cmd> = values.iter().enumerate().map(set).collect();
    commands.push(cmd_on("LRANGE", key, &["0", "-1"]));
    Overwrite::new(commands, Kind::Values, values.iter().map(Vec::len).sum())
}

fn members(key: &[u8], members: Vec<Vec<u8>>, are_scored: bool) -> Overwrite {
    let (add, remove, read): (&str, &str, Cmd) = if are_scored {
        ("ZADD", "ZREM", cmd_on("ZRANGE", key, &["0", "-1"]))
    } else {
        ("SADD", "SREM", cmd_on("SMEMBERS", key, &[]))
    };
    let wanted: BTreeSet<Vec<u8>> = members.iter().map(|member| zeros(member)).collect();
    let mut commands = vec![cmd_on(add, key, &[])];
    for member in &wanted {
        if let Some(add) = commands.first_mut() {
            if are_scored {
                add.arg("0");
            }
            add.arg(member.as_slice());
        }
    }
    let others: Vec<&[u8]> =
        members.iter().filter(|member| !wanted.contains(*member)).map(Vec::as_slice).collect();
    if !others.is_empty() {
        commands.push(cmd_of(remove, std::iter::once(key).chain(others)));
    }
    commands.push(read);
    Overwrite::new(commands, Kind::Members, members.iter().map(Vec::len).sum())
}

/// Entries are written anew behind the old ones, and those trimmed away.
fn stream(key: &[u8], entries: Vec<Vec<Vec<u8>>>) -> Overwrite {
    let mut commands = Vec::with_capacity(entries.len() + 2);
    let mut bytes = 0;
    for entry in &entries {
        let mut add = cmd_on("XADD", key, &["*"]);
        for pair in entry.chunks_exact(2) {
            if let [field, value] = pair {
                add.arg(field.as_slice()).arg(zeros(value));
                bytes += value.len();
            }
        }
        commands.push(add);
    }
    commands.push(cmd(&["XTRIM"]));
    if let Some(trim) = commands.last_mut() {
        trim.arg(key).arg("MAXLEN").arg("=").arg(entries.len());
    }
    commands.push(cmd_on("XRANGE", key, &["-", "+"]));
    Overwrite::new(commands, Kind::Entries, bytes)
}

/// The strings of an answer, which may be a single one.
fn strings(reply: Reply) -> Vec<Vec<u8>> {
    if let Reply::BulkString(bytes) = reply {
        return vec![bytes];
    }
    parts(reply).into_iter().flat_map(strings).collect()
}

/// Field and value in turn, for each entry of a stream.
fn entries(reply: Reply) -> Vec<Vec<Vec<u8>>> {
    let pairs = |entry| parts(entry).pop().map(strings).unwrap_or_default();
    parts(reply).into_iter().map(pairs).collect()
}

fn values_of(pairs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    pairs.into_iter().skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn only_as_many_zeros_as_there_were_bytes_are_believed() {
        let list = list(b"k", &[b"abc".to_vec(), b"d".to_vec()]);
        assert_eq!(list.commands.len(), 3);
        let read = |values: &[&str]| {
            let values = values.iter().map(|value| bulk(value)).collect();
            list.read_back_as_zeros(&mut [Reply::Okay, Reply::Okay, Reply::Array(values)].into_iter())
        };
        assert!(read(&["\0\0\0", "\0"]));
        assert!(!read(&["\0\0\0", "d"]));
        assert!(!read(&["\0\0\0"]));
        assert!(!read(&[]));
        assert!(!list.read_back_as_zeros(&mut std::iter::empty()));
    }

    #[test]
    fn values_of_entries_count_and_their_field_names_do_not() {
        let stream = stream(b"k", vec![vec![b"field".to_vec(), b"ab".to_vec()]]);
        let entry = |value: &str| {
            let pairs = Reply::Array(vec![bulk("field"), bulk(value)]);
            Reply::Array(vec![Reply::Array(vec![bulk("1-0"), pairs])])
        };
        for (value, is_zero) in [("\0\0", true), ("ab", false), ("\0", false)] {
            let mut replies = [bulk("1-0"), Reply::Int(1), entry(value)].into_iter();
            assert_eq!(stream.read_back_as_zeros(&mut replies), is_zero);
        }
    }
}
