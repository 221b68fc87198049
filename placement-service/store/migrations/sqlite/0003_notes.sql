-- What operators have said of things that the store does not know: engines that are drained.
CREATE TABLE notes (
    name        TEXT    NOT NULL PRIMARY KEY,
    text        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
