-- Which engine serves all requests of one key, or the sockets of one browser tab. Times are milliseconds since the
-- Unix epoch by the clock of this database, durations milliseconds.
CREATE TABLE affinity (
    -- A keyed hash of the pool, the affinity and the key; the key itself is never stored.
    id              BYTEA   NOT NULL PRIMARY KEY,
    -- key or tab.
    kind            TEXT    NOT NULL,
    -- A keyed hash of the account or the login session; NULL if no limit applies.
    owner           BYTEA,
    pool            TEXT    COLLATE "C" NOT NULL,
    -- Grows with each claim.
    epoch           BIGINT  NOT NULL,
    -- preparing, held or released.
    state           TEXT    NOT NULL,
    -- The replica that prepares an engine; NULL in other states.
    claimer         TEXT,
    -- Why the record was released; NULL in other states.
    reason          TEXT,
    -- The engine and its addresses; NULL unless held.
    engine          TEXT    COLLATE "C",
    api             TEXT,
    -- NULL if streams use the address of the API.
    stream          TEXT,
    -- The discovery's name of this life of the engine, if it has one.
    incarnation     TEXT,
    -- JSON object of the headers of the engine session, if the driver prepared one.
    headers         TEXT,
    created_at      BIGINT  NOT NULL,
    last_active_at  BIGINT  NOT NULL,
    idle_timeout    BIGINT  NOT NULL,
    -- The deadline of the claim while preparing; then the end without further activity.
    expires_at      BIGINT  NOT NULL
);

CREATE INDEX affinity_by_owner ON affinity (owner) WHERE owner IS NOT NULL;
CREATE INDEX affinity_by_engine ON affinity (kind, pool, engine, id) WHERE engine IS NOT NULL;
CREATE INDEX affinity_by_expiry ON affinity (expires_at);
