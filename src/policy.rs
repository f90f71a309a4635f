//! What was promised, as plain data: a policy per category, its rules and its placements.
//! It owns the types; `parse` makes them from TOML, `validate` looks across files. It reads no file and no clock.

pub mod parse;
pub mod schema;
pub mod template;
pub mod tree;
pub mod validate;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::id::{Category, PlacementId, StoreId, TenantId};

/// A calendar span: months and days are added to a local date, never converted into each other.
/// "6 months" is `{ months: 6, days: 0 }`, "1 year" is 12 months, "2 weeks" are 14 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// Calendar months.
    pub months: u32,
    /// Calendar days.
    pub days: u32,
}

/// How a record is erased (`contract.md`, methods and evidence levels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The store's own delete.
    Delete,
    /// Values replaced by zeros of the same length, re-read as zeros, then deleted.
    OverwriteThenDelete,
    /// Erased so that no byte stays in what the store keeps.
    Zero,
}

/// How far an erasure reached. Ordered; never rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// No read on the path of a restore finds it.
    Deleted,
    /// The values were re-read as zeros before the delete.
    Overwritten,
    /// The store was rebuilt so that none of its files should hold a byte of it.
    Scrubbed,
    /// A raw scan of the store's files found nothing.
    Verified,
    /// Nor did a scan of the raw device.
    MediaCleared,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 5] =
        [Self::Deleted, Self::Overwritten, Self::Scrubbed, Self::Verified, Self::MediaCleared];

    /// The word in policies, JSON and the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Overwritten => "overwritten",
            Self::Scrubbed => "scrubbed",
            Self::Verified => "verified",
            Self::MediaCleared => "media-cleared",
        }
    }
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Delete, Self::OverwriteThenDelete, Self::Zero];

    /// The word in policies, JSON and the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::OverwriteThenDelete => "overwrite-then-delete",
            Self::Zero => "zero",
        }
    }

    /// The level that this method must reach.
    pub fn level(self) -> Level {
        match self {
            Self::Delete => Level::Deleted,
            Self::OverwriteThenDelete => Level::Overwritten,
            Self::Zero => Level::Scrubbed,
        }
    }
}

/// What starts a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Each record's own event time.
    Age,
    /// The receipt of an erasure request.
    Request,
    /// The termination of the tenant.
    Termination,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 3] = [Self::Age, Self::Request, Self::Termination];

    /// The word in policies.
    pub fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Request => "request",
            Self::Termination => "termination",
        }
    }
}

/// One promise: what starts it, how long it waits, by when the last placement is gone, which text it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What starts the period.
    pub trigger: Trigger,
    /// Age rules only: how long a record is kept.
    pub period: Option<Period>,
    /// Termination rules only: how long nothing is touched.
    pub grace: Option<Period>,
    /// Counted from due (age), receipt (request) or termination.
    pub deadline: Period,
    /// The rule's own method, or the policy's.
    pub method: Method,
    /// A level beyond what the method must reach.
    pub level: Option<Level>,
    /// The text that this rule keeps.
    pub clause: String,
    /// Age rules only: a running entitlement of this name suspends the rule.
    pub entitlement: Option<String>,
}

/// What a placement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Where the application reads and writes.
    Primary,
    /// A cache of the primary.
    Cache,
    /// A search index.
    Index,
    /// A backup.
    Backup,
}

/// Where in its store a placement's records are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Records {
    /// Rows of a table; `key` names the columns that name a row and may be empty.
    Table {
        /// The table's name, exactly as the catalogue has it.
        table: String,
        /// Columns that name a row.
        key: Vec<String>,
    },
    /// Files or objects that rows of another placement name.
    FoundBy {
        /// The placement whose rows name them.
        placement: PlacementId,
        /// The column that holds the name.
        column: String,
        /// Template such as `rec/{tenant}/` that every name must start with: it proves the tenant.
        prefix: String,
    },
    /// Files or objects below a prefix template such as `ivr/{tenant}/`, which ends in a separator.
    Prefix(String),
    /// Redis keys by template.
    Keys(String),
    /// An Elasticsearch index pattern.
    Index(String),
}

/// Where a record says which tenant it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantSource {
    /// A column of the row, or a field of the document.
    Column(String),
    /// The store serves this tenant only.
    Constant(TenantId),
    /// The `{tenant}` in the prefix or key template.
    Template,
}

/// Where a record says when it happened. Zones are needed where the stored value has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventTime {
    /// A column that holds text, in the zone that the text itself names or else in `time_zone`.
    Text {
        /// The column. For objects, `metadata:NAME` or `tag:NAME`.
        column: String,
        /// chrono format; ISO 8601 is read beside it when it is the default `%Y-%m-%d %H:%M:%S`.
        format: String,
        /// Zone of values that name none.
        time_zone: Tz,
    },
    /// A column (or field) that counts from the Unix epoch.
    Epoch {
        /// The column. For objects, `metadata:NAME` or `tag:NAME`.
        column: String,
        /// What it counts.
        unit: EpochUnit,
    },
    /// A date in the key, by a template such as `ivr/{tenant}/%Y/%m/%d/`, in the policy's zone.
    Key(String),
    /// The time of last modification. Shown as such in plans.
    Modified,
}

/// What an integer event time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpochUnit {
    /// Whole seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// How the stored values of a subject kind are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectFormat {
    /// Compared byte by byte with what the request gives.
    #[default]
    AsIs,
    /// `+` and digits.
    E164,
    /// Digits only.
    Digits,
}

impl SubjectFormat {
    /// How a value that a person gave is written where this format holds. `+65 9123-4567` is `+6591234567` in
    /// [`SubjectFormat::E164`] and `6591234567` in [`SubjectFormat::Digits`].
    ///
    /// A value without any digit (`anonymous`) has no number's form: it is compared as it is, so that a hold on it
    /// protects what is stored under that very word.
    pub fn write(self, value: &str) -> String {
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        match self {
            Self::E164 if !digits.is_empty() => format!("+{digits}"),
            Self::Digits if !digits.is_empty() => digits,
            Self::AsIs | Self::E164 | Self::Digits => value.to_owned(),
        }
    }
}

/// Where a record names subjects of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectSource {
    /// Columns, fields or template segments; any of them matching is a match.
    pub columns: Vec<String>,
    /// How the values are written there.
    pub format: SubjectFormat,
}

/// A category in a store, with a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Its name, unique over all policies.
    pub name: PlacementId,
    /// The store that holds it.
    pub store: StoreId,
    /// What it is for.
    pub role: Role,
    /// Where the records are. `None` for a backup that only rotates.
    pub records: Option<Records>,
    /// Where the tenant is named. A `found_by` placement takes it from the row that names its records.
    pub tenant: TenantSource,
    /// When the record happened; `None` where the store cannot tell.
    pub event_time: Option<EventTime>,
    /// By kind: where the subject is named. Empty for `subjects = "none"`.
    pub subjects: BTreeMap<String, SubjectSource>,
    /// Event times before this date are implausible and parked.
    pub plausible_from: NaiveDate,
    /// The operator accepts this lower level than the method must reach; certificates say so.
    pub accept_level: Option<Level>,
    /// A backup that forgets by itself after this span.
    pub rotation: Option<Period>,
}

/// Everything promised about one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The category.
    pub category: Category,
    /// For people.
    pub title: String,
    /// Zone of all calendar arithmetic of this policy.
    pub time_zone: Tz,
    /// Method of rules that name none.
    pub method: Method,
    /// At most one rule per trigger.
    pub rules: Vec<Rule>,
    /// Every place that holds records of this category.
    pub placements: Vec<Placement>,
    /// SHA-256 (hex) of the bytes of the file that were parsed.
    pub digest: String,
}

impl Policy {
    /// The rule for a trigger.
    pub fn rule(&self, trigger: Trigger) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.trigger == trigger)
    }
}

/// All policies in force, in order of category, and one digest over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    policies: Vec<Policy>,
    digest: String,
}

impl Policies {
    /// Puts policies in order of category; `digest` is the SHA-256 (hex) over the sorted `category=digest` lines.
    pub fn new(mut policies: Vec<Policy>) -> Self {
        use sha2::{Digest, Sha256};
        policies.sort_by(|a, b| a.category.cmp(&b.category));
        let mut hash = Sha256::new();
        for policy in &policies {
            hash.update(format!("{}={}\n", policy.category, policy.digest));
        }
        let digest = hex::encode(hash.finalize());
        Self { policies, digest }
    }

    /// The policies, by category.
    pub fn iter(&self) -> std::slice::Iter<'_, Policy> {
        self.policies.iter()
    }

    /// One digest over all of them.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The policy of a category.
    pub fn of(&self, category: &Category) -> Option<&Policy> {
        self.policies.iter().find(|policy| &policy.category == category)
    }

    /// A placement by name, with the policy it belongs to.
    pub fn placement(&self, name: &PlacementId) -> Option<(&Policy, &Placement)> {
        self.policies
            .iter()
            .find_map(|policy| policy.placements.iter().find(|p| &p.name == name).map(|p| (policy, p)))
    }
}

impl<'a> IntoIterator for &'a Policies {
    type Item = &'a Policy;
    type IntoIter = std::slice::Iter<'a, Policy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_digits_is_compared_as_it_is_so_that_a_hold_on_it_protects_something() {
        for format in [SubjectFormat::AsIs, SubjectFormat::E164, SubjectFormat::Digits] {
            assert_eq!(format.write("anonymous"), "anonymous");
        }
        assert_eq!(SubjectFormat::E164.write("+65 9123-4567"), "+6591234567");
        assert_eq!(SubjectFormat::Digits.write("+65 9123-4567"), "6591234567");
    }
}
