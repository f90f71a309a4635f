//! The least that a server must let us do, as an `ACL` line. It owns which commands are ever sent, beside those that
//! `inspect` tries, and asks nobody.

use std::collections::BTreeSet;

use super::MARKER;
use super::inspect::NEEDED;
use super::layout::{Layout, escape};
use super::place::Place;
use crate::config::StoreConfig;
use crate::stores::grants::Need;

/// For the marker.
const MARKING: [&str; 2] = ["hexists", "hsetnx"];

/// For values that are overwritten, of every type.
const OVERWRITING: [&str; 22] = [
    "get", "hgetall", "hlen", "hset", "hvals", "llen", "lrange", "lset", "sadd", "scard", "setrange",
    "smembers", "srem", "strlen", "xadd", "xlen", "xrange", "xtrim", "zadd", "zcard", "zrange", "zrem",
];

/// For whoever takes data along: values of every type are read out.
const EXPORTING: [&str; 6] = ["get", "hgetall", "lrange", "smembers", "xrange", "zrange"];

/// The user where the configuration names none: narrowing down the default user would narrow down everybody.
const USER: &str = "retentiond";

/// The `ACL` line of the user.
pub fn grants(config: &StoreConfig, needs: &[Need<'_>]) -> String {
    let Ok(place) = Place::of(config) else { return String::new() };
    let user = place.user().filter(|user| *user != "default");
    let mut patterns: BTreeSet<Vec<u8>> = needs
        .iter()
        .filter_map(|need| Layout::of(need.placement).ok())
        .map(|layout| layout.pattern(None))
        .collect();
    let mut marker = Vec::new();
    escape(MARKER, &mut marker);
    patterns.insert(marker);
    let mut commands: BTreeSet<String> =
        NEEDED.iter().filter_map(|words| words.first()).map(|word| word.to_lowercase()).collect();
    commands.extend(MARKING.map(ToOwned::to_owned));
    commands.insert("info".to_owned());
    if needs.iter().any(Need::overwrites) {
        commands.extend(OVERWRITING.map(ToOwned::to_owned));
    }
    if place.has_database() {
        commands.insert("select".to_owned());
    }
    let is_cluster = matches!(place, Place::Cluster(_));
    if is_cluster {
        commands.insert("cluster|nodes".to_owned());
    }
    let mut line = format!("ACL SETUSER {} on resetkeys -@all", word(user.unwrap_or(USER).as_bytes()));
    for mut pattern in patterns {
        // No pattern of an ACL holds a blank; one letter of any kind stands for it.
        for byte in pattern.iter_mut().filter(|byte| byte.is_ascii_whitespace() || **byte == 0) {
            *byte = b'?';
        }
        line.push_str(&format!(" {}", word(&[b"~", pattern.as_slice()].concat())));
    }
    for command in commands {
        line.push_str(&format!(" +{command}"));
    }
    let name = word(user.unwrap_or(USER).as_bytes());
    let exporting = format!("# For `retentiond export` also: ACL SETUSER {name} +{}\n", EXPORTING.join(" +"));
    let each = if is_cluster { ", on every node" } else { "" };
    let named =
        if user.is_some() { String::new() } else { format!("# Then name {USER} in the configuration.\n") };
    format!(
        "# Give the user a password of its own (ACL SETUSER … >PASSWORD){each}. It takes version 6 or later.\n{named}{line}\n{exporting}"
    )
}

/// A word as `redis-cli` and files of users read it: quoted where it holds more than plain letters.
fn word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'');
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            byte if byte.is_ascii_graphic() || *byte == b' ' => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_blanks_and_quotes_are_quoted() {
        assert_eq!(word(b"~agent:*:*"), "~agent:*:*");
        assert_eq!(word(b"~a b\"\\\n\xff"), r#""~a b\"\\\x0a\xff""#);
        assert_eq!(word(b""), "\"\"");
    }
}
