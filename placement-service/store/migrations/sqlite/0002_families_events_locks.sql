-- Sessions of the first version have no public name; they end with this migration.
DROP TABLE sessions;

-- Times are milliseconds since the Unix epoch, durations milliseconds.
CREATE TABLE sessions (
    -- SHA-256 of the session id; the id itself is never stored.
    id_hash             BLOB    NOT NULL PRIMARY KEY,
    -- A salted hash of the session: its name outside of the store.
    session_ref         TEXT    NOT NULL UNIQUE,
    -- What `claims` means: old and new binaries can run side by side.
    payload_version     INTEGER NOT NULL,
    account             TEXT    NOT NULL,
    -- JSON array of role names.
    roles               TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    idle_timeout        INTEGER NOT NULL,
    absolute_expiry     INTEGER NOT NULL,
    -- The idle or the absolute end, whichever comes first.
    ends_at             INTEGER NOT NULL GENERATED ALWAYS AS (min(last_seen_at + idle_timeout, absolute_expiry)) STORED,
    -- The id_hash of the session that started this one; NULL for a login.
    parent              BLOB,
    -- The id_hashes of all ancestors, the parent first, 32 bytes each.
    ancestors           BLOB    NOT NULL,
    -- Which runtime created the session.
    runtime             TEXT    NOT NULL,
    state               TEXT    NOT NULL,
    -- JSON object of further token claims.
    claims              TEXT    NOT NULL,
    -- The identity provider's names for the session, if it came from one.
    provider            TEXT,
    provider_subject    TEXT,
    provider_session    TEXT,
    -- Sealed.
    provider_hint       TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_account ON sessions (account);
CREATE INDEX sessions_by_end ON sessions (ends_at);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX sessions_by_provider_subject ON sessions (provider, provider_subject) WHERE provider IS NOT NULL;
CREATE INDEX sessions_by_provider_session ON sessions (provider, provider_session) WHERE provider_session IS NOT NULL;

-- Locked by an operator.
ALTER TABLE accounts ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
-- Failed logins in a row, and until when nobody logs in because of them.
ALTER TABLE accounts ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN locked_until INTEGER NOT NULL DEFAULT 0;

CREATE TABLE events (
    sequence    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- JSON.
    event       TEXT    NOT NULL
) STRICT;

-- Up to where webhooks have read.
CREATE TABLE positions (
    reader      TEXT    NOT NULL PRIMARY KEY,
    sequence    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    webhook     TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    -- JSON.
    letter      TEXT    NOT NULL,
    PRIMARY KEY (webhook, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    name        TEXT    NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that may be used once, until then.
CREATE TABLE used (
    key         TEXT    NOT NULL PRIMARY KEY,
    until       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX used_by_end ON used (until);
