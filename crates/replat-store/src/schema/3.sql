-- What the runner of a deployment fails at, while it does. A hint for people; nothing relies on it.
CREATE TABLE trouble (
    deployment INTEGER PRIMARY KEY REFERENCES deployment (serial),
    body       TEXT NOT NULL CHECK (json_valid(body))
) STRICT;
