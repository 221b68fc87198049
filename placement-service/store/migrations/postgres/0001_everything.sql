-- Old and new binaries run side by side on one database (S2): a migration may add columns that have a
-- default, and must leave what older binaries read and write as it is.

-- Times are milliseconds since the Unix epoch, durations milliseconds.
CREATE TABLE sessions (
    -- SHA-256 of the session id; the id itself is never stored.
    id_hash             BYTEA   NOT NULL PRIMARY KEY,
    -- A salted hash of the session: its name outside of the store.
    session_ref         TEXT    COLLATE "C" NOT NULL UNIQUE,
    -- What `claims` means: old and new binaries can run side by side.
    payload_version     BIGINT  NOT NULL,
    account             TEXT    COLLATE "C" NOT NULL,
    -- JSON array of role names.
    roles               TEXT    NOT NULL,
    created_at          BIGINT  NOT NULL,
    last_seen_at        BIGINT  NOT NULL,
    idle_timeout        BIGINT  NOT NULL,
    absolute_expiry     BIGINT  NOT NULL,
    -- The idle or the absolute end, whichever comes first.
    ends_at             BIGINT  NOT NULL GENERATED ALWAYS AS (least(last_seen_at + idle_timeout, absolute_expiry)) STORED,
    -- The id_hash of the session that started this one; NULL for a login.
    parent              BYTEA,
    -- The id_hashes of all ancestors, the parent first, 32 bytes each.
    ancestors           BYTEA   NOT NULL,
    -- Which runtime created the session.
    runtime             TEXT    NOT NULL,
    state               TEXT    NOT NULL,
    -- JSON object of further token claims.
    claims              TEXT    NOT NULL,
    -- The identity provider's names for the session, if it came from one.
    provider            TEXT    COLLATE "C",
    provider_subject    TEXT    COLLATE "C",
    provider_session    TEXT    COLLATE "C",
    -- Sealed.
    provider_hint       TEXT
);

CREATE INDEX sessions_by_account ON sessions (account);
CREATE INDEX sessions_by_end ON sessions (ends_at);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX sessions_by_provider_subject ON sessions (provider, provider_subject) WHERE provider IS NOT NULL;
CREATE INDEX sessions_by_provider_session ON sessions (provider, provider_session) WHERE provider_session IS NOT NULL;

CREATE TABLE accounts (
    name            TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    -- argon2id in the PHC string format.
    password_hash   TEXT    NOT NULL,
    -- JSON array of role names.
    roles           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    -- Locked by an operator.
    locked          BOOLEAN NOT NULL DEFAULT FALSE,
    -- Failed logins in a row, and until when nobody logs in because of them.
    failures        BIGINT  NOT NULL DEFAULT 0,
    locked_until    BIGINT  NOT NULL DEFAULT 0
);

-- Keys that every replica on this store shares, made by whichever came first.
CREATE TABLE server_keys (
    name    TEXT    NOT NULL PRIMARY KEY,
    key     BYTEA   NOT NULL
);

CREATE TABLE events (
    sequence    BIGINT  NOT NULL PRIMARY KEY,
    -- JSON.
    event       TEXT    NOT NULL
);

-- The newest sequence number. Whoever adds events locks this row until it commits: so the numbers appear in
-- their order and without holes. A sequence of PostgreSQL's own would do neither.
CREATE TABLE event_counter (
    newest      BIGINT  NOT NULL
);
INSERT INTO event_counter VALUES (0);

-- Up to where webhooks have read.
CREATE TABLE positions (
    reader      TEXT    NOT NULL PRIMARY KEY,
    sequence    BIGINT  NOT NULL
);

CREATE TABLE dead_letters (
    webhook     TEXT    NOT NULL,
    sequence    BIGINT  NOT NULL,
    -- JSON.
    letter      TEXT    NOT NULL,
    PRIMARY KEY (webhook, sequence)
);

CREATE TABLE leases (
    name        TEXT    NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    until       BIGINT  NOT NULL
);

-- Keys that may be used once, until then.
CREATE TABLE used (
    key         TEXT    NOT NULL PRIMARY KEY,
    until       BIGINT  NOT NULL
);

CREATE INDEX used_by_end ON used (until);
