//! The keys of a policy.
//! It owns names and meanings; it judges no value.

use crate::policy::tree::{Group, Key, Shape};

const SPAN: Shape = Shape::Pattern("^[1-9][0-9]{0,4} (day|week|month|year)s?$");

const METHODS: &[&str] = &["delete", "overwrite-then-delete", "zero"];
const LEVELS: &[&str] = &["deleted", "overwritten", "scrubbed", "verified", "media-cleared"];

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, required: true, about, shape }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, required: false, about, shape }
}

/// Every group of a policy.
pub const POLICY_GROUPS: &[&Group] = &[&POLICY, &RULE, &PLACEMENT, &FOUND_BY, &TENANT, &EVENT_TIME, &SUBJECT];

/// The top level of a policy.
pub static POLICY: Group = Group {
    name: "the top level",
    keys: &[
        required("category", Shape::Text, "Name of the category; no two files have the same."),
        optional("title", Shape::Text, "For people. Left out, it is the category."),
        optional("time_zone", Shape::Text, "Zone of all calendar arithmetic. Default: Asia/Singapore."),
        required("method", Shape::Words(METHODS), "How records are erased by rules that name no method."),
        required("rules", Shape::Sections(&RULE), "What was promised; at most one rule for each trigger."),
        required(
            "placements",
            Shape::Sections(&PLACEMENT),
            "Every place that holds records of the category.",
        ),
    ],
};

/// One of `[[rules]]`.
pub static RULE: Group = Group {
    name: "[[rules]]",
    keys: &[
        required("trigger", Shape::Words(&["age", "request", "termination"]), "What starts the period."),
        optional("period", SPAN, "Age rules, and there required: how long a record is kept."),
        optional("grace", SPAN, "Termination rules, and there required: how long nothing is touched."),
        optional(
            "deadline",
            SPAN,
            "By when the last placement is gone: from due (age; default 2 days), receipt or termination.",
        ),
        optional("method", Shape::Words(METHODS), "How this rule erases. Left out, the policy's method."),
        optional("level", Shape::Words(LEVELS), "A level beyond what the method must reach."),
        required("clause", Shape::Text, "The text that this rule keeps."),
        optional(
            "entitlement",
            Shape::Text,
            "Age rules: a running entitlement of this name suspends the rule.",
        ),
    ],
};

/// One of `[[placements]]`.
pub static PLACEMENT: Group = Group {
    name: "[[placements]]",
    keys: &[
        required("name", Shape::Text, "Name of the placement; no two have the same, in whatever file."),
        required("store", Shape::Text, "The store, as the configuration names it."),
        optional("role", Shape::Words(&["primary", "cache", "index", "backup"]), "Default: primary."),
        optional("table", Shape::Text, "Rows of this table."),
        optional("key", Shape::Texts, "Columns that name a row; left out where the table has no key."),
        optional("prefix", Shape::Text, "Files or objects below this prefix, `ivr/{tenant}/` for example."),
        optional(
            "keys",
            Shape::Text,
            "Redis keys of this template, `agent:{tenant}:{staff_id}` for example.",
        ),
        optional("index", Shape::Text, "Documents of the indices of this pattern, `cc-logs-*` for example."),
        optional("found_by", Shape::Section(&FOUND_BY), "Files or objects that rows of a placement name."),
        optional("tenant", Shape::Section(&TENANT), "Where a record names its tenant."),
        optional("event_time", Shape::Section(&EVENT_TIME), "Where a record says when it happened."),
        optional("subjects", Shape::Subjects(&SUBJECT), "By kind, where a record names subjects; or `none`."),
        optional("plausible_from", Shape::Date, "Earlier event times are parked. Default: 2000-01-01."),
        optional("accept_level", Shape::Words(LEVELS), "Accepts that the store reaches this level only."),
        optional("rotation", SPAN, "A backup that forgets by itself after this span."),
    ],
};

/// `found_by` of a placement.
pub static FOUND_BY: Group = Group {
    name: "found_by",
    keys: &[
        required("placement", Shape::Text, "The placement whose rows name the records."),
        required("column", Shape::Text, "The column that holds the name."),
        required("prefix", Shape::Text, "What every name must start with; it proves the tenant."),
    ],
};

/// `tenant` of a placement.
pub static TENANT: Group = Group {
    name: "tenant",
    keys: &[
        optional("column", Shape::Text, "A column of the row."),
        optional("field", Shape::Text, "A field of the document or hash."),
        optional("constant", Shape::Text, "The one tenant that the store serves."),
    ],
};

/// `event_time` of a placement.
pub static EVENT_TIME: Group = Group {
    name: "event_time",
    keys: &[
        optional("column", Shape::Text, "A column of the row."),
        optional("field", Shape::Text, "A field of the document or hash."),
        optional("format", Shape::Text, "How a text is written. Default: %Y-%m-%d %H:%M:%S."),
        optional("time_zone", Shape::Text, "Zone of texts that name none. Default: the policy's."),
        optional("unit", Shape::Words(&["seconds", "milliseconds"]), "What a number counts since the epoch."),
        optional("key", Shape::Text, "A date in the key, `ivr/{tenant}/%Y/%m/%d/` for example."),
        optional("metadata", Shape::Text, "An entry of an object's own metadata; asked object by object."),
        optional("tag", Shape::Text, "A tag of an object; asked object by object."),
        optional("modified", Shape::Boolean, "The time of last modification, where nothing better is known."),
    ],
};

/// A kind of `subjects` of a placement, in its long form.
pub static SUBJECT: Group = Group {
    name: "a kind of subjects",
    keys: &[
        required("columns", Shape::Texts, "Columns, fields or names of the template."),
        optional("format", Shape::Words(&["as-is", "e164", "digits"]), "How the values are written there."),
    ],
};
