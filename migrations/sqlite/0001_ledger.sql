-- The ledger: what was asked, ordered, decided and done.
-- Instants are integers, UTC microseconds since 1970. Names compare as bytes (BINARY, the default). JSON is text.
-- No column holds a subject's value in plain text: only keyed fingerprints, and blobs sealed under a key of their own.

-- 'RETD': tells a ledger from any other database that a configuration may name by mistake.
PRAGMA application_id = 1380275268;

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,   -- ledger_id, key_check, generation, batch_epoch
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys of requests, holds and runs, each wrapped by the master key. A row is deleted when its owner is done;
-- `secure_delete` zeroes its bytes.
CREATE TABLE row_key (
    owner   TEXT NOT NULL PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT;

CREATE TABLE tenant_generation (
    tenant     TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
    number           INTEGER PRIMARY KEY,
    request_id       TEXT NOT NULL UNIQUE,
    tenant           TEXT NOT NULL,
    known            INTEGER NOT NULL,
    state            TEXT NOT NULL,
    received_at      INTEGER NOT NULL,
    recorded_at      INTEGER NOT NULL,
    deadline         INTEGER NOT NULL,
    completed_at     INTEGER,
    scope            TEXT NOT NULL,     -- everything, categories, subjects
    scope_categories TEXT NOT NULL,     -- JSON: the categories that it names
    covers           TEXT NOT NULL,     -- JSON: the categories that it covers
    subjects         TEXT NOT NULL,     -- JSON: kind and fingerprint
    placements       TEXT NOT NULL,     -- JSON: how far it got
    sealed           BLOB,              -- kinds and values, under the request's own key
    idempotency      TEXT UNIQUE,       -- keyed digest of the idempotency key
    content          TEXT NOT NULL      -- keyed digest of what was asked
) STRICT;
CREATE INDEX request_open ON request (received_at, request_id) WHERE state NOT IN ('completed', 'cancelled');

CREATE TABLE tenant (
    tenant        TEXT NOT NULL PRIMARY KEY,
    state         TEXT NOT NULL,
    terminated_at INTEGER,
    recorded_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
    number      INTEGER PRIMARY KEY,
    hold_id     TEXT NOT NULL UNIQUE,
    tenant      TEXT NOT NULL,
    subjects    TEXT NOT NULL,          -- JSON: kind and fingerprint
    categories  TEXT NOT NULL,          -- JSON
    authority   TEXT NOT NULL,
    placed_at   INTEGER NOT NULL,
    released_at INTEGER,
    sealed      BLOB                    -- kinds and values, under the hold's own key
) STRICT;

CREATE TABLE entitlement (
    number         INTEGER PRIMARY KEY,
    entitlement_id TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    tenant         TEXT NOT NULL,
    categories     TEXT NOT NULL,       -- JSON
    granted_at     INTEGER NOT NULL,
    until          INTEGER,
    ended_at       INTEGER
) STRICT;

CREATE TABLE stop (
    number     INTEGER PRIMARY KEY,
    stopped_at INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    lifted_at  INTEGER
) STRICT;

CREATE TABLE plan (
    plan_id TEXT NOT NULL PRIMARY KEY,
    body    TEXT NOT NULL               -- JSON
) STRICT;

CREATE TABLE refused_plan (
    plan_id     TEXT NOT NULL PRIMARY KEY REFERENCES plan (plan_id),
    body        TEXT NOT NULL,          -- JSON, with its refusals
    steps       TEXT NOT NULL,          -- JSON: the refused steps
    refused_at  INTEGER NOT NULL,
    approved_at INTEGER
) STRICT;

-- The policies in force, as of the run that began last.
CREATE TABLE policy (
    category TEXT NOT NULL PRIMARY KEY,
    digest   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    number     INTEGER PRIMARY KEY,
    run_id     TEXT NOT NULL UNIQUE,
    plan_id    TEXT NOT NULL REFERENCES plan (plan_id),
    at         INTEGER NOT NULL,
    status     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;

CREATE TABLE intent (
    number    INTEGER PRIMARY KEY,
    run_id    TEXT NOT NULL REFERENCES run (run_id),
    step_id   TEXT NOT NULL,
    placement TEXT NOT NULL,
    begun_at  INTEGER NOT NULL,
    ended_at  INTEGER,
    counts    TEXT,                     -- JSON: by tenant
    sealed    BLOB                      -- the batch, under the run's own key
) STRICT;
CREATE INDEX intent_open ON intent (run_id) WHERE ended_at IS NULL;

CREATE TABLE outcome (
    number      INTEGER PRIMARY KEY,
    run_id      TEXT NOT NULL REFERENCES run (run_id),
    step_id     TEXT NOT NULL,
    request_id  TEXT,
    recorded_at INTEGER NOT NULL,
    body        TEXT NOT NULL,          -- JSON
    UNIQUE (run_id, step_id)
) STRICT;
CREATE INDEX outcome_request ON outcome (request_id) WHERE request_id IS NOT NULL;

CREATE TABLE erased_scope (
    number    INTEGER PRIMARY KEY,
    tenant    TEXT NOT NULL,
    subjects  TEXT,                     -- JSON: fingerprints; null means every record in time
    category  TEXT NOT NULL,
    placement TEXT NOT NULL,
    up_to     INTEGER,
    run_id    TEXT NOT NULL,
    step_id   TEXT NOT NULL,
    erased_at INTEGER NOT NULL
) STRICT;
CREATE INDEX erased_scope_placement ON erased_scope (placement, erased_at);

CREATE TABLE marked_store (
    store     TEXT NOT NULL PRIMARY KEY,
    marked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    idx  INTEGER PRIMARY KEY,           -- contiguous from 0
    body TEXT NOT NULL                  -- canonical JSON
) STRICT;

CREATE TABLE head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    root TEXT NOT NULL
) STRICT;
