//! How objects and files are called in an export: close to their own names, never outside of it, and no two alike.
//! It owns names only; it opens nothing.

use sha2::{Digest, Sha256};

/// A component longer than this is cut; file systems take 255 bytes.
const COMPONENT_BYTES_MAX: usize = 200;

/// A name longer than this is cut; servers take keys of 1,024 bytes, and a prefix stands before it.
const NAME_BYTES_MAX: usize = 700;

/// The name of an object below its placement's folder. Every byte that could mean something to a file system or a shell is
/// written as `%XX`, and so is `~`, which marks the names that are made here.
///
/// # Properties
/// Two different keys have different names. No component is empty, `.`, or `..`.
pub(super) fn name_of(key: &[u8]) -> String {
    let parts: Vec<String> = key.split(|byte| *byte == b'/').map(component).collect();
    let name = parts.join("/");
    let is_plain = parts.iter().all(|part| part.len() <= COMPONENT_BYTES_MAX) && name.len() <= NAME_BYTES_MAX;
    if is_plain { name } else { by_digest(key) }
}

/// Another name for the same object, where its own is taken by a folder: a bucket may hold both `a` and `a/b`.
pub(super) fn by_digest(key: &[u8]) -> String {
    format!("~{}", hex::encode(Sha256::digest(key)))
}

fn component(part: &[u8]) -> String {
    if part.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(part.len());
    let is_dots = part.iter().all(|byte| *byte == b'.');
    for byte in part {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_+=@,".contains(byte) || *byte == b'.' && !is_dots;
        if is_plain {
            name.push(char::from(*byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn plain_names_stay_and_no_name_leaves_its_folder() {
        assert_eq!(name_of(b"rec/t-1/2021/a.wav"), "rec/t-1/2021/a.wav");
        for key in [
            "../../etc/passwd",
            "/etc/passwd",
            "a/./b",
            "..",
            ".",
            "",
            "//",
            "a/",
            "~x",
            "-",
            "a\0b",
            "C:\\x",
        ] {
            let name = name_of(key.as_bytes());
            assert!(!name.is_empty() && !name.starts_with('/') && !name.contains('\\'), "{key} as {name}");
            assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")), "{key} as {name}");
            assert!(!name.contains('~'), "{key} as {name}");
        }
    }

    #[test]
    fn no_two_keys_share_a_name() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let deep = "ab/".repeat(400);
        let keys: Vec<Vec<u8>> = [
            "a/b", "a%2Fb", "a//b", "a/%/b", "a%b", "a%25b", "A", "a", ".", "%2E", "", "%", "~", "%7E", " ",
            "+", &long, &longer, &deep,
        ]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .chain([vec![0xff], vec![0xfe]])
        .collect();
        let names: BTreeSet<String> = keys.iter().map(|key| name_of(key)).collect();
        assert_eq!(names.len(), keys.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX));
    }
}
