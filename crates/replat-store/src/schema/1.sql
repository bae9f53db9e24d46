-- Moments are milliseconds since 1970-01-01 UTC.

CREATE TABLE deployment (
    -- The term of its tokens, so never used twice.
    serial    INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL GENERATED ALWAYS AS ('d' || serial) VIRTUAL,
    context   TEXT NOT NULL,
    partition TEXT NOT NULL,
    created   INTEGER NOT NULL CHECK (created >= 0),
    -- Whether it has finished or was aborted, and its partition is free for another one.
    over      INTEGER NOT NULL DEFAULT 0 CHECK (over IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX deployment_one_per_partition ON deployment (context, partition) WHERE over = 0;

CREATE TABLE event (
    deployment INTEGER NOT NULL REFERENCES deployment (serial),
    seq        INTEGER NOT NULL CHECK (seq >= 0),
    at         INTEGER NOT NULL CHECK (at >= 0),
    body       TEXT NOT NULL CHECK (json_valid(body)),
    -- SHA-256 over the sum before it and this row.
    sum        TEXT NOT NULL CHECK (length(sum) = 64),
    PRIMARY KEY (deployment, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_is_never_edited BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'an event is never edited');
END;

CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'an event is never removed');
END;

-- The map of each context as it was last written whole; what was switched since is in the next table.
CREATE TABLE map (
    context TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    body    TEXT NOT NULL CHECK (json_valid(body)),
    -- SHA-256 over this row, as below.
    sum     TEXT NOT NULL CHECK (length(sum) = 64)
) STRICT, WITHOUT ROWID;

-- One row for each switch: a map's next version. Not the whole map, so that what is written while clients wait
-- does not grow with the number of partitions.
CREATE TABLE switch (
    context   TEXT NOT NULL REFERENCES map (context),
    version   INTEGER NOT NULL CHECK (version >= 2),
    partition TEXT NOT NULL,
    home      TEXT NOT NULL CHECK (json_valid(home)),
    epoch     INTEGER NOT NULL CHECK (epoch >= 2),
    sum       TEXT NOT NULL CHECK (length(sum) = 64),
    PRIMARY KEY (context, version),
    UNIQUE (context, partition, epoch)
) STRICT, WITHOUT ROWID;

-- A hint for people; nothing relies on it.
CREATE TABLE runner (
    deployment INTEGER PRIMARY KEY REFERENCES deployment (serial),
    name       TEXT NOT NULL,
    until      INTEGER NOT NULL CHECK (until >= 0)
) STRICT;
