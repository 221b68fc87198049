-- Times are milliseconds since the Unix epoch, durations milliseconds.
CREATE TABLE sessions (
    -- SHA-256 of the session id; the id itself is never stored.
    id_hash             BLOB    NOT NULL PRIMARY KEY,
    -- What `payload` means: old and new binaries can run side by side.
    payload_version     INTEGER NOT NULL,
    account             TEXT    NOT NULL,
    -- JSON array of role names.
    roles               TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    idle_timeout        INTEGER NOT NULL,
    absolute_expiry     INTEGER NOT NULL,
    -- id_hash of the parent session, if this is a child.
    parent              BLOB,
    -- Which runtime created the session.
    runtime             TEXT    NOT NULL,
    state               TEXT    NOT NULL,
    -- JSON object of further token claims.
    claims              TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_account ON sessions (account);
CREATE INDEX sessions_by_absolute_expiry ON sessions (absolute_expiry);

CREATE TABLE accounts (
    name            TEXT    NOT NULL PRIMARY KEY,
    -- argon2id in the PHC string format.
    password_hash   TEXT    NOT NULL,
    -- JSON array of role names.
    roles           TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that every replica on this store shares, made by whichever came first.
CREATE TABLE server_keys (
    name    TEXT    NOT NULL PRIMARY KEY,
    key     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
