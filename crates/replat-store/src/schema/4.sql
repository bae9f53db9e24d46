-- Deployments that were begun together.
CREATE TABLE cohort (
    -- Part of the names of its slots, so never used twice.
    serial  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL GENERATED ALWAYS AS ('c' || serial) VIRTUAL,
    created INTEGER NOT NULL CHECK (created >= 0)
) STRICT;

ALTER TABLE deployment ADD COLUMN cohort INTEGER REFERENCES cohort (serial);

CREATE INDEX deployment_of_cohort ON deployment (cohort) WHERE cohort IS NOT NULL;
