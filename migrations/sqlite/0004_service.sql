-- What the service keeps beside promises: who may ask, what was proposed, answered, told and exported.

CREATE TABLE token (
    number     INTEGER PRIMARY KEY,
    token_id   TEXT NOT NULL UNIQUE,
    principal  TEXT NOT NULL,
    role       TEXT NOT NULL,           -- requester, operator, approver, auditor
    tenant     TEXT,                    -- of a requester
    digest     TEXT NOT NULL UNIQUE,    -- SHA-256 of the token, hex; the token itself is kept nowhere
    made_at    INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE TABLE proposal (
    number      INTEGER PRIMARY KEY,
    proposal_id TEXT NOT NULL UNIQUE,
    action      TEXT NOT NULL,          -- JSON
    proposed_by TEXT NOT NULL,
    proposed_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    approved_by TEXT,
    approved_at INTEGER
) STRICT;

-- Answers that were given under an idempotency key.
CREATE TABLE answer (
    principal  TEXT NOT NULL,
    idempotency TEXT NOT NULL,          -- keyed digest of the idempotency key
    content    TEXT NOT NULL,           -- keyed digest of what was asked
    claimed_at INTEGER NOT NULL,
    status     INTEGER,                 -- null while it is being answered
    body       TEXT,
    PRIMARY KEY (principal, idempotency)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_age ON answer (claimed_at);

-- Messages to somebody outside.
CREATE TABLE delivery (
    number       INTEGER PRIMARY KEY,
    idempotency  TEXT NOT NULL UNIQUE,  -- what makes it the same message
    kind         TEXT NOT NULL,
    tenant       TEXT,                  -- whom it is about, where it is about one
    url          TEXT NOT NULL,
    body         TEXT NOT NULL,
    enqueued_at  INTEGER NOT NULL,
    next_at      INTEGER,               -- when it is tried next; null once it is settled
    tries        INTEGER NOT NULL,
    delivered_at INTEGER,
    given_up_at  INTEGER,
    failure      TEXT
) STRICT;
CREATE INDEX delivery_next ON delivery (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE alarm (
    number     INTEGER PRIMARY KEY,
    alarm      TEXT NOT NULL,           -- what makes it the same alarm while it stands
    kind       TEXT NOT NULL,
    message    TEXT NOT NULL,
    fields     TEXT NOT NULL,           -- JSON
    raised_at  INTEGER NOT NULL,
    cleared_at INTEGER
) STRICT;
CREATE UNIQUE INDEX alarm_standing ON alarm (alarm) WHERE cleared_at IS NULL;

CREATE TABLE export (
    number     INTEGER PRIMARY KEY,
    export_id  TEXT NOT NULL UNIQUE,
    tenant     TEXT NOT NULL,
    categories TEXT NOT NULL,           -- JSON
    target     TEXT NOT NULL,
    after_at   INTEGER,                 -- a rollover: only records after this and up to the other
    up_to      INTEGER,
    state      TEXT NOT NULL,
    asked_at   INTEGER NOT NULL,
    settled_at INTEGER,
    records    INTEGER NOT NULL,
    manifest   TEXT,
    failure    TEXT
) STRICT;

-- The instants of schedules that somebody attends to already.
CREATE TABLE tick (
    name       TEXT NOT NULL PRIMARY KEY,
    due_at     INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests that came over OpenDSR, beside what they became in `request`. No subject is in here.
CREATE TABLE opendsr_request (
    number             INTEGER PRIMARY KEY,
    tenant             TEXT NOT NULL,
    subject_request_id TEXT NOT NULL,   -- the controller's own id
    request_id         TEXT NOT NULL,
    content            TEXT NOT NULL,   -- keyed digest of the body
    callbacks          TEXT NOT NULL,   -- JSON
    received_at        INTEGER NOT NULL,
    told               TEXT NOT NULL,   -- the status that was told last
    UNIQUE (tenant, subject_request_id)
) STRICT;
CREATE INDEX opendsr_id ON opendsr_request (subject_request_id);
CREATE INDEX opendsr_untold ON opendsr_request (number) WHERE told NOT IN ('completed', 'cancelled');
