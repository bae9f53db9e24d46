-- What routers are told besides the map. A context's versions are one sequence over these tables, the map as it was
-- last written whole, and its switches: each number above the map's is a switch, or a row of one of these, or both.

-- Where the databases of a context can be reached, as a whole, and whose routes these are.
CREATE TABLE address (
    context TEXT NOT NULL REFERENCES map (context),
    version INTEGER NOT NULL CHECK (version >= 2),
    project TEXT NOT NULL,
    body    TEXT NOT NULL CHECK (json_valid(body)),
    -- SHA-256 over this row, as in all tables below.
    sum     TEXT NOT NULL CHECK (length(sum) = 64),
    PRIMARY KEY (context, version)
) STRICT, WITHOUT ROWID;

-- How requests for one partition are shared out from this version on; `null`: all go to its home.
CREATE TABLE traffic (
    context   TEXT NOT NULL REFERENCES map (context),
    version   INTEGER NOT NULL CHECK (version >= 2),
    partition TEXT NOT NULL,
    body      TEXT NOT NULL CHECK (json_valid(body)),
    sum       TEXT NOT NULL CHECK (length(sum) = 64),
    PRIMARY KEY (context, version, partition)
) STRICT, WITHOUT ROWID;

CREATE INDEX traffic_of_partition ON traffic (context, partition, version);

-- The map as it was written whole the time before: versions since then can still be told.
CREATE TABLE map_before (
    context TEXT PRIMARY KEY NOT NULL REFERENCES map (context),
    version INTEGER NOT NULL CHECK (version >= 1),
    body    TEXT NOT NULL CHECK (json_valid(body)),
    sum     TEXT NOT NULL CHECK (length(sum) = 64)
) STRICT, WITHOUT ROWID;
