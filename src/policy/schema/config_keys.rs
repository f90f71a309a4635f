//! The keys of the configuration.
//! It owns names and meanings; it judges no value.

use crate::policy::tree::{Group, Key, Shape};

/// What `kind` of a store means.
pub const KIND_ABOUT: &str = "What kind of store it is.";

/// The kinds of store, as `kind` names them.
pub const KINDS: &[&str] = &["mysql", "sqlite", "redis", "s3", "elasticsearch", "files"];

const KIND: Key = required("kind", Shape::Words(KINDS), KIND_ABOUT);

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, required: true, about, shape }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, required: false, about, shape }
}

/// Every group of the configuration.
pub const CONFIG_GROUPS: &[&Group] = &[
    &CONFIG,
    &LEDGER,
    &POLICIES,
    &SCHEDULE,
    &AUDIT,
    &LIMITS,
    &HTTP,
    &OUTGOING,
    &TENANTS,
    &OPENDSR,
    &OPENDSR_IDENTITIES,
    &ALARMS,
    &TELEMETRY,
    &MYSQL,
    &SQLITE,
    &REDIS,
    &S3,
    &ELASTICSEARCH,
    &FILES,
    &ROLLOVER,
];

/// The groups of a store, by its `kind`.
pub const STORE_GROUPS: &[&Group] = &[&MYSQL, &SQLITE, &REDIS, &S3, &ELASTICSEARCH, &FILES];

/// The top level of the configuration.
pub static CONFIG: Group = Group {
    name: "the top level",
    keys: &[
        required("ledger", Shape::Section(&LEDGER), "The operational database."),
        required("policies", Shape::Section(&POLICIES), "Where the policies are."),
        optional("schedule", Shape::Section(&SCHEDULE), "When the daemon runs."),
        optional("audit", Shape::Section(&AUDIT), "Where the audit log is."),
        required("limits", Shape::Section(&LIMITS), "What one run may erase without approval."),
        optional("http", Shape::Section(&HTTP), "The HTTP interface."),
        optional("alarms", Shape::Section(&ALARMS), "Who is told of what is not as promised."),
        optional("telemetry", Shape::Section(&TELEMETRY), "Where traces go."),
        optional("stores", Shape::Named(STORE_GROUPS), "The systems that hold data, by name."),
        optional("tenants", Shape::Named(&[&TENANTS]), "How tenants are reached, by name."),
        optional("outgoing", Shape::Section(&OUTGOING), "Where messages may be sent."),
        optional("opendsr", Shape::Section(&OPENDSR), "Requests over OpenDSR."),
        optional(
            "rollovers",
            Shape::Named(&[&ROLLOVER]),
            "What is carried to tenants' own buckets, by name.",
        ),
    ],
};

/// `[rollovers.NAME]`.
pub static ROLLOVER: Group = Group {
    name: "a rollover",
    keys: &[
        required("tenant", Shape::Text, "Whose data is carried along."),
        optional("categories", Shape::Texts, "Only these categories. Default: every one."),
        required("to", Shape::Text, "STORE:PREFIX, with STORE a store of kind s3 that holds no other data."),
        required("cron", Shape::Text, "When: 5 fields as in crontab(5), or 6 with seconds first."),
    ],
};

/// `[ledger]`.
pub static LEDGER: Group = Group {
    name: "[ledger]",
    keys: &[
        required(
            "url",
            Shape::Text,
            "sqlite://retentiond.db, sqlite:///srv/retentiond.db for an absolute path, or \
             mysql://USER:PASSWORD@HOST/DATABASE for several daemons.",
        ),
        optional("key_file", Shape::Text, "Encrypts what a request names. Default: ledger.key."),
    ],
};

/// `[policies]`.
pub static POLICIES: Group = Group {
    name: "[policies]",
    keys: &[required("path", Shape::Text, "A folder; every *.toml in it is one category.")],
};

/// `[schedule]`.
pub static SCHEDULE: Group = Group {
    name: "[schedule]",
    keys: &[
        optional(
            "cron",
            Shape::Text,
            "5 fields as in crontab(5), or 6 with seconds first. Default: 30 2 * * *.",
        ),
        optional("time_zone", Shape::Text, "Zone of the cron expression. Default: Asia/Singapore."),
        optional(
            "request_delay",
            Shape::Pattern("^[0-9]{1,5} (minute|hour|day)s?$"),
            "What a request waits before the daemon acts on it. Default: 1 hour.",
        ),
    ],
};

/// `[audit]`.
pub static AUDIT: Group = Group {
    name: "[audit]",
    keys: &[optional(
        "path",
        Shape::Text,
        "A folder for checkpoint, tiles and key, and nothing else. Default: audit.",
    )],
};

/// `[limits]`.
pub static LIMITS: Group = Group {
    name: "[limits]",
    keys: &[
        required("records", Shape::Count, "Most records per run, category and store."),
        required("share", Shape::Pattern("^([1-9][0-9]?|100)%$"), "Most of a placement, 1% to 100%."),
    ],
};

/// `[http]`.
pub static HTTP: Group = Group {
    name: "[http]",
    keys: &[
        optional(
            "listen",
            Shape::Text,
            "Address and port; without a certificate only this machine's. Default: 127.0.0.1:8787.",
        ),
        optional("certificate", Shape::Text, "Certificate chain (PEM), for TLS."),
        optional("key", Shape::Text, "Its key (PEM)."),
        optional("metrics", Shape::Text, "Address and port of the metrics' own listener. Default: none."),
        optional("rate", Shape::Count, "Calls a second that one principal may make. Default: 100."),
    ],
};

/// `[outgoing]`.
pub static OUTGOING: Group = Group {
    name: "[outgoing]",
    keys: &[
        optional("hosts", Shape::Texts, "Hosts that may be called, each with a port where it is not 443."),
        optional(
            "private_hosts",
            Shape::Texts,
            "Of the hosts that may be called, host:port of those that may be private and need no https.",
        ),
        optional("ca_file", Shape::Text, "Certificate authorities beside those of the machine, PEM."),
    ],
};

/// `[tenants.NAME]`.
pub static TENANTS: Group = Group {
    name: "[tenants.NAME]",
    keys: &[
        optional("notices", Shape::Text, "Address that notices before the destruction of its data go to."),
        optional("controller", Shape::Text, "How the tenant is called as a controller. Default: its name."),
        optional(
            "callback_hosts",
            Shape::Texts,
            "Hosts that may be called about this tenant, beside [outgoing] hosts.",
        ),
        optional("secret", Shape::Text, "Signs messages about this tenant; take it from the environment."),
    ],
};

/// `[opendsr]`.
pub static OPENDSR: Group = Group {
    name: "[opendsr]",
    keys: &[
        required(
            "domain",
            Shape::Text,
            "The domain that receives requests, and that the certificate is for.",
        ),
        required("certificate", Shape::Text, "PEM file: the certificate, then those behind it."),
        required("key", Shape::Text, "PEM file: the certificate's RSA key."),
        optional(
            "identities",
            Shape::Section(&OPENDSR_IDENTITIES),
            "Kinds of subject by identity type. Default: the kind of the same name.",
        ),
    ],
};

const fn identity(name: &'static str) -> Key {
    optional(name, Shape::Text, "The kind of subject that it is in policies.")
}

/// `[opendsr] identities`.
pub static OPENDSR_IDENTITIES: Group = Group {
    name: "[opendsr.identities]",
    keys: &[
        identity("controller_customer_id"),
        identity("android_advertising_id"),
        identity("android_id"),
        identity("email"),
        identity("fire_advertising_id"),
        identity("ios_advertising_id"),
        identity("ios_vendor_id"),
        identity("microsoft_advertising_id"),
        identity("microsoft_publisher_id"),
        identity("roku_publisher_id"),
        identity("roku_advertising_id"),
    ],
};

/// `[alarms]`.
pub static ALARMS: Group = Group {
    name: "[alarms]",
    keys: &[
        optional("webhooks", Shape::Texts, "Addresses that every alarm is sent to."),
        optional("secret", Shape::Text, "Signs what is sent; take it from the environment."),
        optional(
            "lead",
            Shape::Pattern("^[0-9]{1,5} (minute|hour|day)s?$"),
            "How long before its deadline a promise is at risk; at most a quarter of the time allowed. \
             Default: 72 hours.",
        ),
    ],
};

/// `[telemetry]`.
pub static TELEMETRY: Group = Group {
    name: "[telemetry]",
    keys: &[optional("otlp", Shape::Text, "Base address of a collector that takes OTLP over HTTP.")],
};

/// A store of kind `mysql`.
pub static MYSQL: Group = Group {
    name: "mysql",
    keys: &[KIND, required("url", Shape::Text, "mysql://user:password@host/database.")],
};

/// A store of kind `sqlite`.
pub static SQLITE: Group = Group {
    name: "sqlite",
    keys: &[KIND, required("url", Shape::Text, "sqlite://calls.db, or sqlite:///srv/calls.db.")],
};

/// A store of kind `redis`.
pub static REDIS: Group = Group {
    name: "redis",
    keys: &[
        KIND,
        optional("url", Shape::Text, "A single server; or nodes; or sentinel."),
        optional("nodes", Shape::Texts, "Nodes of a cluster."),
        optional("sentinel", Shape::Texts, "Sentinels; host:port, or host:port/name of the primary."),
        optional("user", Shape::Text, "User, beside nodes or sentinel."),
        optional("password", Shape::Text, "Password; take it from the environment."),
    ],
};

/// A store of kind `s3`.
pub static S3: Group = Group {
    name: "s3",
    keys: &[
        KIND,
        required("bucket", Shape::Text, "The bucket."),
        optional("endpoint", Shape::Text, "Own endpoint."),
        optional("region", Shape::Text, "The region."),
        optional(
            "path_style",
            Shape::Boolean,
            "Bucket in the path rather than in the host name. Default: false.",
        ),
        optional(
            "delete_integrity",
            Shape::Words(&["crc32", "md5"]),
            "Checksum of deletions. Default: crc32.",
        ),
        optional("access_key", Shape::Text, "Access key; take it from the environment."),
        optional("secret_key", Shape::Text, "Secret key; take it from the environment."),
    ],
};

/// A store of kind `elasticsearch`.
pub static ELASTICSEARCH: Group = Group {
    name: "elasticsearch",
    keys: &[
        KIND,
        required("url", Shape::Text, "Base URL, without a password in it."),
        optional("user", Shape::Text, "User."),
        optional("password", Shape::Text, "Password; take it from the environment."),
        optional("ca_file", Shape::Text, "Own certificate authority."),
    ],
};

/// A store of kind `files`.
pub static FILES: Group =
    Group { name: "files", keys: &[KIND, required("path", Shape::Text, "The folder.")] };
