//! Commands as they are put together and answers as they are taken apart. It owns no meaning.

use ::redis::{Cmd, Value as Reply};

/// A command of plain words.
pub(super) fn cmd(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

/// A command and its key, with more words behind it.
pub(super) fn cmd_on(name: &str, key: &[u8], more: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name).arg(key);
    for word in more {
        command.arg(*word);
    }
    command
}

/// A command and all of its keys, or other words that are bytes.
pub(super) fn cmd_of<'k>(name: &str, keys: impl Iterator<Item = &'k [u8]>) -> Cmd {
    let mut command = cmd(&[name]);
    for key in keys {
        command.arg(key);
    }
    command
}

/// The text of an answer that is one.
pub(super) fn text(reply: &Reply) -> Option<&str> {
    if let Reply::BulkString(bytes) = reply {
        return std::str::from_utf8(bytes).ok();
    }
    if let Reply::SimpleString(text) | Reply::VerbatimString { text, .. } = reply {
        return Some(text);
    }
    None
}

/// The bytes of an answer that has them.
pub(super) fn bytes(reply: Reply) -> Option<Vec<u8>> {
    if let Reply::BulkString(bytes) = reply { Some(bytes) } else { None }
}

/// The parts of an answer; a map as its keys and values in turn. None where it has no parts.
pub(super) fn parts(reply: Reply) -> Vec<Reply> {
    if let Reply::Array(parts) | Reply::Set(parts) = reply {
        parts
    } else if let Reply::Map(pairs) = reply {
        pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()
    } else {
        Vec::new()
    }
}

/// What stands behind a word in an answer of names and facts in turn.
pub(super) fn fact<'f>(facts: &'f [Reply], name: &str) -> Option<&'f str> {
    let at = facts.iter().position(|word| text(word) == Some(name))?;
    text(facts.get(at + 1)?)
}
