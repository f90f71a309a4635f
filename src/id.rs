//! Names of things, one type each, so that a tenant is never passed where a store is wanted.
//! It owns what a valid name is; it does not know what the named things do.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::is_nfc;

/// Longest name accepted, in bytes: fits every column and path component of the stores we know.
const NAME_BYTES_MAX: usize = 255;

/// Why a text is not a valid name; a lower-case fragment that fits after "failed to …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} is not valid: {why}")]
pub struct InvalidName {
    /// What was being named, for example `tenant`.
    pub kind: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Takes a text that the program made or has read back; it is not checked.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// A data category: the kind of data with one set of promises, `call-data` for example.
    Category
}
name! {
    /// A configured store: the name after `[stores.` in the configuration.
    StoreId
}
name! {
    /// A placement: a category in a store, by the name that its policy gives it.
    PlacementId
}
name! {
    /// A plan: the hash of its content (32 lower-case hex digits).
    PlanId
}
name! {
    /// A step of a plan: the hash of what it says (16 lower-case hex digits).
    StepId
}
name! {
    /// One execution of a plan: `run-` and a `UUIDv7`.
    RunId
}
name! {
    /// An erasure request: `req-` and a `UUIDv7`.
    RequestId
}
name! {
    /// A hold: `hold-` and a `UUIDv7`.
    HoldId
}
name! {
    /// An entitlement: `ent-` and a `UUIDv7`.
    EntitlementId
}
name! {
    /// A token's id: `tok-` and a `UUIDv7`. It is not the token and opens nothing.
    TokenId
}
name! {
    /// What one person proposed and another has to approve: `prop-` and a `UUIDv7`.
    ProposalId
}
name! {
    /// An export: `exp-` and a `UUIDv7`.
    ExportId
}
name! {
    /// A keyed fingerprint of a subject's value: 32 lower-case hex digits. Says nothing without the key.
    Fingerprint
}

/// A tenant: the unit of isolation. Compared byte by byte, never folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// Reads a tenant that a person, a file or a caller named.
    ///
    /// # Errors
    /// Refuses what could be taken for a pattern, a path, several tenants or none at all: empty, white space,
    /// control and invisible characters, wildcards, quotes, separators, `.` and `..`, text that is not
    /// in Unicode normal form C, and more than 255 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(InvalidName { kind: "tenant", why });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > NAME_BYTES_MAX {
            return refuse("it is longer than 255 bytes");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c)) {
            return refuse("it holds white space, a control character or an invisible one");
        }
        if text.chars().any(|c| "*?[]{}\\/%'\"`<>|;,()$&#!=".contains(c)) {
            return refuse("it holds a wildcard, a quote or a separator");
        }
        if text == "." || text == ".." || text.starts_with('~') || text.starts_with('-') && text.len() == 1 {
            return refuse("it would be read as a path");
        }
        if text.ends_with(':') || is_device(text) {
            return refuse("it is a device name");
        }
        if !is_nfc(text) {
            return refuse("it is not in Unicode normal form C");
        }
        if !Self::is_name(text) {
            return refuse("it holds a character that stands for unreadable bytes");
        }
        Ok(Self(text.to_owned()))
    }

    /// Takes a tenant as a store holds it. `None` for what names nobody, see [`TenantId::is_name`]: such a record is
    /// parked. Anything else is kept as it is, for it is only ever compared as bytes.
    pub fn observed(text: &str) -> Option<Self> {
        Self::is_name(text).then(|| Self(text.to_owned()))
    }

    /// True for a text that names somebody: not only white space, and without the character that stands for bytes that
    /// could not be read, under which two names look alike.
    pub fn is_name(text: &str) -> bool {
        !text.trim().is_empty() && !text.contains(char::REPLACEMENT_CHARACTER)
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True where the name mixes ASCII letters with look-alikes of another script, as `аcme` with a Cyrillic
    /// `а` does. Such a name is accepted exactly, with a warning.
    pub fn looks_mixed(&self) -> bool {
        self.0.chars().any(|c| c.is_ascii_alphabetic())
            && self.0.chars().any(|c| c.is_alphabetic() && ('\u{370}'..='\u{52f}').contains(&c))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_device(text: &str) -> bool {
    ["con", "prn", "aux", "nul"].iter().any(|name| text.eq_ignore_ascii_case(name))
}

/// One key by which a person is known: a kind (`phone`, `agent`) and a value. It prints its keyed fingerprint
/// and never its value; the value leaves only through [`SubjectKey::expose`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey {
    kind: String,
    value: String,
    fingerprint: Fingerprint,
}

impl SubjectKey {
    /// Joins a kind and a value to the fingerprint that the ledger's key makes of them.
    pub fn new(kind: impl Into<String>, value: impl Into<String>, fingerprint: Fingerprint) -> Self {
        Self { kind: kind.into(), value: value.into(), fingerprint }
    }

    /// The kind of key, `phone` for example.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The keyed fingerprint, which may be printed.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The value itself, for binding into a store's query and for nothing else.
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({} {})", self.kind, self.fingerprint)
    }
}

impl fmt::Display for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_several_tenants_a_path_or_none_is_refused() {
        for text in [
            "",
            " ",
            "\t",
            "\u{a0}",
            "\u{200b}",
            "\u{3000}",
            "*",
            "acme*",
            "ac?e",
            "acm[e]",
            "acm\\e",
            "{a,b}",
            "t-1/",
            "t-1/../t-2",
            "cafe\u{301}",
            "acme ",
            " acme",
            "acme\0x",
            "%",
            "acme%",
            "' OR '1'='1",
            "x'; DROP TABLE t;--",
            "`",
            "\"",
            "\n",
            "a\r",
            "..",
            ".",
            "a/b",
            "a\\b",
            "C:",
            "con",
            "NUL",
            "~",
            "~ann",
            "a\u{202e}b",
            "a\u{feff}",
            "-",
        ] {
            let refused = TenantId::parse(text).map(|tenant| tenant.as_str().to_owned());
            assert!(refused.is_err(), "{text:?} is accepted");
        }
    }

    #[test]
    fn the_longest_name_is_255_bytes() {
        assert!(TenantId::parse(&"t".repeat(255)).is_ok());
        assert!(TenantId::parse(&"t".repeat(256)).is_err());
        assert!(TenantId::parse(&"é".repeat(128)).is_err());
        assert!(TenantId::parse(&"t".repeat(16 * 1024 * 1024)).is_err());
    }

    #[test]
    fn neighbours_are_different_tenants_and_words_are_only_names() {
        for pair in [
            ["t-1", "t-10"],
            ["t-1", "T-1"],
            ["t-1", "t-1x"],
            ["stra\u{df}e", "strasse"],
            ["\u{131}", "i"],
            ["acme", "\u{430}cme"],
            ["null", "NULL"],
            ["0", "-1"],
            ["None", "undefined"],
            ["true", "NaN"],
            ["a_c", "abc"],
        ] {
            let [first, second] = pair.map(|text| TenantId::parse(text).expect(text));
            assert_ne!(first, second);
            assert_eq!([first.as_str(), second.as_str()], pair);
        }
    }

    #[test]
    fn a_look_alike_is_accepted_and_told() {
        assert!(TenantId::parse("\u{430}cme").unwrap().looks_mixed());
        assert!(!TenantId::parse("acme").unwrap().looks_mixed());
    }

    #[test]
    fn a_blank_tenant_in_a_store_names_nobody() {
        for text in ["", " ", "\t\n", "\u{3000}"] {
            assert_eq!(TenantId::observed(text), None, "{text:?}");
        }
        assert_eq!(
            TenantId::observed(" t-1").map(|tenant| tenant.as_str().to_owned()),
            Some(" t-1".to_owned())
        );
    }
}
