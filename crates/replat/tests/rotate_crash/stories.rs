//! Databases in which one run has a certain kind of work to do.

/// A database, and the run.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Its name.
    pub name: &'static str,
    /// What is in the database; [`DAYS`] goes before it.
    pub schema: &'static str,
    /// What happened before the run.
    pub before: &'static [Before],
    /// Whether all rows are seen before and after it.
    pub keeps_rows: bool,
    /// The run.
    pub run: &'static [&'static str],
    /// Places that no script shows: within work that moves rows. `name:2` is the second time.
    pub places: &'static [&'static str],
    /// Places at which two processes die, one after the other.
    pub twice: &'static [(&'static str, &'static str)],
}

/// Something that happened before the run.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Another run.
    Run(&'static [&'static str]),
    /// Another run, which died.
    Died(&'static [&'static str], &'static str),
    /// Statements.
    Sql(&'static str),
    /// A detach of a partition of this table that was broken off, of the partition so many days ago.
    Pending(&'static str, i32),
}

/// Makes daily partitions: `days('set', -3, 1)` are those from three days ago to tomorrow.
pub const DAYS: &str = r"
    CREATE FUNCTION days(parent text, first int, last int) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE today timestamptz := date_trunc('day', now(), 'UTC'); d int; BEGIN
      FOR d IN first .. last LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
          parent || '_' || to_char((today + make_interval(days => d)) AT TIME ZONE 'UTC', 'YYYYMMDD'), parent,
          today + make_interval(days => d), today + make_interval(days => d + 1));
      END LOOP; END $$;
    CREATE FUNCTION day(n int) RETURNS timestamptz LANGUAGE sql AS
      $$ SELECT date_trunc('day', now(), 'UTC') + make_interval(days => n) $$;
    SET timezone = 'UTC';
";

const ADOPT: Before = Before::Run(&["--adopt", "--only=adopt"]);

/// All of them.
pub const STORIES: &[Story] = &[
    Story {
        name: "create",
        schema: "
            CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
            CREATE TABLE plain (id bigint, ts timestamptz NOT NULL, r int REFERENCES ref, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            CREATE INDEX ON plain (r);
            SELECT days('plain', -1, 0);
            INSERT INTO plain SELECT n, day(-1) + n * '1 minute'::interval, 1 FROM generate_series(1, 1500) n;
            CREATE TABLE \"Wide \"\"x\" (id bigint, ts timestamptz NOT NULL, note text) PARTITION BY RANGE (ts);
            SELECT days('Wide \"x', -1, 0);
            CREATE TABLE \"Rest 'y\" PARTITION OF \"Wide \"\"x\" DEFAULT;
            INSERT INTO \"Wide \"\"x\" SELECT n, '2001-01-01', repeat('x', 900) FROM generate_series(1, 4000) n;
            CREATE TABLE tree (tenant text, ts timestamptz, PRIMARY KEY (tenant, ts)) PARTITION BY LIST (tenant);
            CREATE TABLE tree_a PARTITION OF tree FOR VALUES IN ('a') PARTITION BY RANGE (ts);
            SELECT days('tree_a', -1, 0);
            INSERT INTO tree SELECT 'a', day(0) + n * '1 minute'::interval FROM generate_series(1, 50) n;",
        before: &[],
        keeps_rows: true,
        run: &["--ahead=2", "--no-forecast", "--only=create"],
        places: &[],
        twice: &[
            ("rotate.attach.0", "rotate.take-back.3"),
            ("rotate.attach.0", "rotate.take-back.committed"),
            ("rotate.check.committed", "rotate.take-back.2"),
        ],
    },
    Story {
        name: "edge",
        schema: "
            CREATE TABLE events (id bigint, ts timestamptz NOT NULL, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            SELECT days('events', -1, 0);
            DO $$ BEGIN
              EXECUTE format('CREATE TABLE events_lo PARTITION OF events FOR VALUES FROM (MINVALUE) TO (%L)', day(-1));
              EXECUTE format('CREATE TABLE events_hi PARTITION OF events FOR VALUES FROM (%L) TO (MAXVALUE)', day(1));
            END $$;
            INSERT INTO events SELECT n, day(n % 2 - 1) FROM generate_series(1, 100) n;
            INSERT INTO events VALUES (501, '1900-01-01');",
        before: &[],
        keeps_rows: true,
        run: &["--ahead=2", "--no-forecast", "--only=create", "--overflow=edge"],
        places: &[],
        twice: &[],
    },
    Story {
        name: "overflow",
        schema: "
            CREATE TABLE events (id bigint, ts timestamptz NOT NULL, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            SELECT days('events', -1, 3);
            CREATE TABLE events_rest PARTITION OF events DEFAULT;
            INSERT INTO events SELECT n, day(n % 2 - 1) FROM generate_series(1, 100) n;",
        before: &[],
        keeps_rows: true,
        run: &["--ahead=2", "--no-forecast", "--only=create", "--overflow=edge"],
        places: &[],
        twice: &[],
    },
    Story {
        name: "drain",
        schema: "
            CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
            CREATE TABLE events (id bigint, ts timestamptz NOT NULL, note text, r int DEFAULT 1 REFERENCES ref,
              PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            CREATE INDEX ON events (note);
            SELECT days('events', -1, 3);
            CREATE TABLE events_rest PARTITION OF events DEFAULT;
            INSERT INTO events SELECT n, day(n % 2 - 1), 'kept' FROM generate_series(1, 100) n;
            INSERT INTO events SELECT n, day(-2) + n * '1 second'::interval, repeat('late', 20) FROM generate_series(1, 9000) n;",
        before: &[],
        keeps_rows: true,
        run: &["--ahead=2", "--no-forecast", "--only=drain"],
        places: &[
            "mirror.staged",
            "mirror.watch.before",
            "mirror.watch.after",
            "mirror.watched",
            "mirror.batch",
            "mirror.batch:2",
            "mirror.copied",
            "mirror.refer.before",
            "mirror.refer.after",
            "mirror.referred",
            "mirror.proved",
            "mirror.waited",
            "mirror.swap.before",
            "mirror.swap.after",
            "mirror.swapped",
        ],
        twice: &[],
    },
    Story {
        name: "retire",
        schema: "
            CREATE TABLE plain (id bigint, ts timestamptz NOT NULL, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            SELECT days('plain', -4, 3);
            INSERT INTO plain SELECT n, day(n % 5 - 4) FROM generate_series(1, 500) n;
            CREATE TABLE rested (id bigint, ts timestamptz NOT NULL) PARTITION BY RANGE (ts);
            SELECT days('rested', -4, 3);
            CREATE TABLE rested_rest PARTITION OF rested DEFAULT;
            INSERT INTO rested SELECT n, day(n % 5 - 4) FROM generate_series(1, 500) n;",
        before: &[ADOPT],
        keeps_rows: true,
        run: &["--only=retire", "--keep=3d", "--retire=archive", "--archive={folder}", "--drop-after=30d"],
        places: &[],
        twice: &[
            ("rotate.detach.committed", "rotate.settle.0"),
            ("rotate.detach.committed", "rotate.settle.1"),
            ("rotate.detach.committed", "rotate.settle.2"),
            ("rotate.detach.committed", "rotate.settle.3"),
            ("rotate.detach.committed", "rotate.settle.4"),
            ("rotate.detach.committed", "rotate.settle.5"),
            ("rotate.detach.committed", "rotate.settle.committed"),
            ("rotate.detach.committed", "rotate.archive.1"),
            ("rotate.detach.committed", "rotate.archive.3"),
        ],
    },
    Story {
        name: "drop",
        schema: "
            CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
            CREATE TABLE events (id bigint, ts timestamptz NOT NULL, r int REFERENCES ref) PARTITION BY RANGE (ts);
            SELECT days('events', -4, 3);
            INSERT INTO events SELECT n, day(n % 5 - 4), 1 FROM generate_series(1, 500) n;",
        before: &[
            ADOPT,
            Before::Run(&["--only=retire", "--keep=3d", "--retire=drop", "--archive={folder}", "--drop-after=1d"]),
            Before::Sql("UPDATE replat.lifecycle_part SET drop_after = now() - interval '1 hour' WHERE drop_after IS NOT NULL"),
        ],
        keeps_rows: false,
        run: &["--only=drop"],
        places: &[],
        twice: &[],
    },
    Story {
        name: "adopt",
        schema: "
            CREATE TABLE tree (tenant text, ts timestamptz) PARTITION BY LIST (tenant);
            CREATE TABLE tree_a PARTITION OF tree FOR VALUES IN ('a') PARTITION BY RANGE (ts);
            SELECT days('tree_a', -1, 0);",
        before: &[],
        keeps_rows: true,
        run: &["--adopt", "--only=adopt"],
        places: &[],
        twice: &[],
    },
    Story {
        name: "repair",
        schema: "
            CREATE TABLE gone (id bigint, ts timestamptz NOT NULL, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
            SELECT days('gone', -4, 0);
            INSERT INTO gone SELECT n, day(n % 5 - 4) FROM generate_series(1, 500) n;
            CREATE TABLE wide (id bigint, ts timestamptz NOT NULL, note text) PARTITION BY RANGE (ts);
            SELECT days('wide', -1, 0);
            CREATE TABLE wide_rest PARTITION OF wide DEFAULT;
            INSERT INTO wide SELECT n, '2001-01-01', repeat('x', 900) FROM generate_series(1, 4000) n;",
        before: &[
            ADOPT,
            Before::Died(&["--ahead=2", "--no-forecast", "--only=create", "--table=public.wide"], "rotate.validate.0"),
            Before::Pending("gone", 4),
        ],
        // Nothing but what is always done.
        keeps_rows: false,
        run: &["--only=adopt"],
        places: &[],
        twice: &[],
    },
];
