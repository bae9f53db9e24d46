//! The locks that statements take are those that they are said to take: no table more, no mode stronger, none weaker.
//!
//! Each recipe is run statement by statement in one session, and after each another one reads what the first holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use replat_model::lifecycle::facts::{Bound, Edge, TableName};
use replat_model::lifecycle::plan::{EdgeMove, NewPart, Unit, Work};
use replat_postgres::lifecycle::ledger;
use replat_postgres::lifecycle::script::{self, Kitchen, Manner, Mode, Recipe, Step, Then, Txn, bound};
use replat_postgres::sql::quote_literal;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::world::{EVENTS, World, ask, at, create, day, range, table};

/// Locks by table: the strongest, and others beside it that it does not cover.
type Held = BTreeMap<String, BTreeSet<Mode>>;

fn strongest(locks: impl IntoIterator<Item = (String, Mode)>) -> Held {
    let mut all = Held::new();
    for (table, mode) in locks {
        all.entry(table).or_default().insert(mode);
    }
    for modes in all.values_mut() {
        let every = modes.clone();
        modes.retain(|mode| every.iter().all(|other| other == mode || !other.covers(*mode)));
    }
    all
}

/// A session that works on a unit, and one that reads its locks.
struct Study {
    world: World,
    works: Client,
    pid: String,
    /// Tables that were there before the unit, by identity: those that are in use.
    in_use: String,
    wrong: Arc<Wrong>,
}

/// What was not as it was said to be, over all cases of a test, which fails when they are over.
#[derive(Default)]
struct Wrong(Mutex<Vec<String>>);

impl Drop for Wrong {
    fn drop(&mut self) {
        let wrong = self.0.get_mut().expect("nobody panics with it");
        assert!(wrong.is_empty() || std::thread::panicking(), "locks are not as said:\n{}", wrong.join("\n"));
    }
}

impl Study {
    async fn of(wrong: &Arc<Wrong>, schema: &str) -> Study {
        let world = World::with(schema).await;
        ledger::ensure(&world.client, "public").await.expect("records");
        // What stands alone holds its locks at its end only, where nobody can look from outside.
        world
            .run(
                "CREATE SCHEMA spy; CREATE TABLE spy.seen (relation oid, mode text);
                 CREATE FUNCTION spy.look() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                   INSERT INTO spy.seen SELECT relation, mode FROM pg_catalog.pg_locks
                   WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted; END $$;
                 CREATE EVENT TRIGGER spy ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION spy.look();
                 ALTER EVENT TRIGGER spy DISABLE",
            )
            .await;
        let works = world.session().await;
        let pid = ask(&works, "SELECT pg_backend_pid()").await;
        Study { world, works, pid, in_use: String::new(), wrong: Arc::clone(wrong) }
    }

    async fn recipe(&self, unit: &Unit) -> Recipe {
        let ledger = ledger::ensure(&self.world.client, "public").await.expect("records");
        let kitchen =
            Kitchen { client: &self.works, database: "test", ledger: &ledger, run: "r1", shown: false };
        script::recipe(&kitchen, unit).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a unit and compares. What it was that took locks, to be sure that it was looked at.
    async fn judge(&mut self, what: &str, unit: &Unit) -> String {
        let recipe = self.recipe(unit).await;
        self.judge_recipe(what, &recipe).await
    }

    async fn judge_recipe(&mut self, what: &str, recipe: &Recipe) -> String {
        self.in_use = self
            .world
            .ask(
                "SELECT string_agg(c.oid::text, ',') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('replat', 'spy', 'pg_catalog', \
                   'information_schema', 'pg_toast') \
                   AND c.oid NOT IN (SELECT relation FROM replat.lifecycle_part WHERE state = 'staged')",
            )
            .await;
        let mut story = String::new();
        for txn in &recipe.transactions {
            if let Some(question) = &txn.only_if
                && ask(&self.works, question).await != "t"
            {
                continue;
            }
            if matches!(txn.manner, Manner::Alone { .. }) {
                self.alone(what, txn).await;
            } else {
                self.together(what, txn).await;
            }
            story.push_str(txn.name);
            story.push(' ');
        }
        story
    }

    async fn together(&self, what: &str, txn: &Txn) {
        self.works.batch_execute("BEGIN").await.expect("a transaction");
        let mut said: Vec<(String, Mode)> = Vec::new();
        let mut values: Vec<(&str, String)> = Vec::new();
        for step in &txn.steps {
            self.run(step, &mut values).await;
            said.extend(step.locks.iter().map(|(table, mode)| (table.to_string(), *mode)));
            let sees = format!("SELECT relation, mode FROM pg_locks WHERE pid = {} AND granted", self.pid);
            let seen = self.seen(&sees).await;
            let words = step.sql.chars().take(160).collect::<String>().replace('\0', ":");
            self.compare(what, txn.name, &words, strongest(said.clone()), seen);
        }
        self.works.batch_execute("COMMIT").await.expect("a commit");
    }

    async fn run<'s>(&self, step: &'s Step, values: &mut Vec<(&'s str, String)>) {
        if let Then::Archive(_) | Then::Archived { .. } = step.then {
            let rows = self.works.copy_out(&step.sql).await.expect("rows");
            rows.try_for_each(|_| async { Ok(()) }).await.expect("rows");
            values.push(("sha256", quote_literal("a digest")));
            return;
        }
        let sql = values.iter().fold(step.sql.clone(), |sql, (name, value)| sql.replace(&bound(name), value));
        let answer = self.works.simple_query(&sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        let first = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        match &step.then {
            Then::Must { why, .. } => assert_eq!(first.as_deref(), Some("t"), "{why}"),
            Then::Bind(name) => values.push((name, first.expect("a value"))),
            _ => {}
        }
    }

    async fn alone(&self, what: &str, txn: &Txn) {
        self.world.run("ALTER EVENT TRIGGER spy ENABLE; TRUNCATE spy.seen").await;
        for step in &txn.steps {
            self.works.batch_execute(&step.sql).await.unwrap_or_else(|e| panic!("{}\n{e:?}", step.sql));
            // What it reads it reads in its first transaction, which is over by then.
            let said = step.locks.iter().filter(|(_, mode)| *mode > Mode::AccessShare);
            let said = said.map(|(table, mode)| (table.to_string(), *mode));
            let seen = self.seen("SELECT relation, mode FROM spy.seen").await;
            self.compare(what, txn.name, &step.sql, strongest(said), seen);
        }
        self.world.run("ALTER EVENT TRIGGER spy DISABLE").await;
    }

    fn compare(&self, what: &str, txn: &str, step: &str, said: Held, seen: Held) {
        let locks = format!("said {said:?}\n    held {seen:?}");
        let mut wrong = self.wrong.0.lock().expect("nobody panics with it");
        // Locks last until the commit: what is wrong is said where it begins.
        if said != seen && wrong.last().is_none_or(|last| !last.ends_with(&locks)) {
            wrong.push(format!("{what}\n  `{txn}`, {step}\n    {locks}"));
        }
    }

    async fn seen(&self, from: &str) -> Held {
        let rows = self
            .world
            .ask(&format!(
                "SELECT n.nspname || '.' || c.relname, l.mode FROM ({from}) l JOIN pg_class c ON c.oid = l.relation \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN ({})",
                self.in_use
            ))
            .await;
        let lock = |line: &str| {
            let (table, mode) = line.rsplit_once('|').expect("two columns");
            (table.to_owned(), Mode::named(mode).expect("a mode"))
        };
        strongest(rows.lines().map(lock))
    }
}

const DEFAULT: &str = "CREATE TABLE events_rest PARTITION OF events DEFAULT;";
const FEW: &str = "INSERT INTO events VALUES (1, '2031-01-01', 'x');";
const MANY: &str =
    "INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, 30000) n;";
const CUT: &str = "CREATE TABLE events_rest PARTITION OF events DEFAULT PARTITION BY HASH (id);
    CREATE TABLE events_rest_0 PARTITION OF events_rest FOR VALUES WITH (modulus 2, remainder 0);
    CREATE TABLE events_rest_1 PARTITION OF events_rest FOR VALUES WITH (modulus 2, remainder 1);";
const OUT: &str = "CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
    ALTER TABLE events ADD r int REFERENCES ref;";
const IN: &str = "CREATE TABLE uses (id bigint, ts timestamptz, FOREIGN KEY (id, ts) REFERENCES events);";
const SELF: &str =
    "ALTER TABLE events ADD up bigint, ADD up_ts timestamptz, ADD FOREIGN KEY (up, up_ts) REFERENCES events;";
const OUT_CUT: &str = "CREATE TABLE ref (id int PRIMARY KEY) PARTITION BY LIST (id);
    CREATE TABLE ref_1 PARTITION OF ref FOR VALUES IN (1); CREATE TABLE ref_2 PARTITION OF ref FOR VALUES IN (2);
    ALTER TABLE events ADD r int REFERENCES ref;";
const IN_CUT: &str = "CREATE TABLE uses (id bigint, ts timestamptz, FOREIGN KEY (id, ts) REFERENCES events) PARTITION BY LIST (id);
    CREATE TABLE uses_1 PARTITION OF uses FOR VALUES IN (1); CREATE TABLE uses_2 PARTITION OF uses DEFAULT;";
const EDGE: &str =
    "CREATE TABLE events_after PARTITION OF events FOR VALUES FROM ('2030-01-02+00') TO (MAXVALUE);";

fn moves_edge() -> Work {
    let edge = EdgeMove {
        table: table("events_after"),
        from: vec![at("2030-01-02 00:00:00+00")],
        to: vec![at("2030-01-04 00:00:00+00")],
    };
    Work::Create { parent: table("events"), parts: vec![day(2), day(3)], default: None, edge: Some(edge) }
}

#[tokio::test]
async fn creating_locks_what_it_says() {
    let wrong = Arc::default();
    let days = || create(vec![day(2), day(3)]);
    for (more, work, story) in [
        (vec![], days(), "stage attach "),
        (vec![DEFAULT], days(), "stage attach "),
        (vec![DEFAULT, FEW], days(), "stage attach "),
        (vec![DEFAULT, MANY], days(), "stage check validate attach "),
        (vec![CUT], days(), "stage attach "),
        (vec![CUT, MANY], days(), "stage check validate attach "),
        (vec![OUT], days(), "stage attach "),
        (vec![OUT, DEFAULT], days(), "stage attach "),
        (vec![OUT_CUT], days(), "stage attach "),
        (vec![IN], days(), "stage attach "),
        (vec![IN_CUT], days(), "stage attach "),
        (vec![SELF], days(), "stage attach "),
        (vec![OUT, IN, DEFAULT], days(), "stage attach "),
        (vec![EDGE], moves_edge(), "stage attach "),
        (vec![EDGE, MANY], moves_edge(), "stage check validate attach "),
        (vec![OUT, IN, EDGE], moves_edge(), "stage attach "),
        (vec![OUT_CUT, IN_CUT, EDGE], moves_edge(), "stage attach "),
        (vec![SELF, EDGE], moves_edge(), "stage attach "),
    ] {
        let mut study = Study::of(&wrong, &[&[EVENTS], more.as_slice()].concat().concat()).await;
        let unit = study.world.unit(&table("events"), work).await;
        assert_eq!(study.judge(&more.concat(), &unit).await, story, "{more:?}");
    }
}

#[tokio::test]
async fn a_tree_locks_what_it_says() {
    let wrong = Arc::default();
    let mut study = Study::of(&wrong,
        "CREATE TABLE ref (id int PRIMARY KEY);
         CREATE TABLE events (tenant text, id bigint, ts timestamptz, r int REFERENCES ref, PRIMARY KEY (tenant, id, ts)) PARTITION BY LIST (tenant);
         CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (ts);
         CREATE TABLE events_a_1 PARTITION OF events_a FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00');
         CREATE TABLE events_a_rest PARTITION OF events_a DEFAULT;
         CREATE TABLE events_rest PARTITION OF events DEFAULT",
    )
    .await;
    let mut inner = day(2);
    inner.table = table("events_a_2");
    let work = Work::Create { parent: table("events_a"), parts: vec![inner], default: None, edge: None };
    let mut unit = study.world.unit(&table("events"), work).await;
    study.judge("below", &unit).await;

    let mut leaf = day(1);
    leaf.table = table("events_b_1");
    let below = replat_model::lifecycle::plan::NewLevel {
        method: replat_model::lifecycle::facts::Method::Range,
        keys: vec!["ts".into()],
        parts: vec![leaf],
    };
    let tenant = NewPart {
        table: table("events_b"),
        bound: Bound::List(vec![Some("b".into())]),
        like: Some(table("events_a")),
        below: Some(below),
    };
    unit.work = create(vec![tenant]);
    assert_eq!(study.judge("a tenant", &unit).await, "stage attach ");

    // What has partitions of its own, beside a default.
    let (old, bound) = (table("events_a"), Bound::List(vec![Some("a".into())]));
    let id = study.world.id(&old).await;
    unit.work = Work::Adopt { parts: vec![(old.clone(), id)] };
    assert_eq!(study.judge("adopt a tenant", &unit).await, "adopt ");
    unit.id = "u-retire".into();
    unit.work = Work::Retire {
        parent: table("events"),
        part: old.clone(),
        part_id: id,
        bound,
        default: Some(table("events_rest")),
        archive: Some("/nowhere".into()),
        drop_after: None,
        because: "gone".into(),
    };
    assert_eq!(study.judge("retire a tenant", &unit).await, "begin detach archive ");
    unit.id = "u-drop".into();
    unit.work = Work::Drop { table: old, table_id: id, because: "over".into() };
    assert_eq!(study.judge("drop a tenant", &unit).await, "begin release drop ");
}

#[tokio::test]
async fn another_policy_locks_what_it_says() {
    let wrong = Arc::default();
    for more in [vec![], vec![OUT], vec![IN], vec![OUT, IN], vec![OUT_CUT], vec![IN_CUT], vec![SELF]] {
        let schema = [&[EVENTS], more.as_slice(), &[DEFAULT]].concat().concat();
        let mut study = Study::of(&wrong, &schema).await;
        let open = |name: &str, from: Edge, to: Edge| NewPart {
            table: table(name),
            bound: Bound::Range { from: vec![from], to: vec![to] },
            like: None,
            below: None,
        };
        let edges = vec![
            open("events_before", Edge::Min, at("2030-01-01 00:00:00+00")),
            open("events_after", at("2030-01-02 00:00:00+00"), Edge::Max),
        ];
        let rest = (table("events_rest"), study.world.id(&table("events_rest")).await, Bound::Default);
        let work = Work::Overflow { parent: table("events"), old: vec![rest], new: edges.clone() };
        let mut unit = study.world.unit(&table("events"), work).await;
        assert_eq!(study.judge(&more.concat(), &unit).await, "stage attach ");
        let mut old = Vec::new();
        for edge in &edges {
            old.push((edge.table.clone(), study.world.id(&edge.table).await, edge.bound.clone()));
        }
        unit.work = Work::Overflow { parent: table("events"), old, new: Vec::new() };
        study.judge(&more.concat(), &unit).await;
    }
}

#[tokio::test]
async fn the_end_of_a_partition_locks_what_it_says() {
    let wrong = Arc::default();
    for (more, story) in [
        (vec![], "begin detach record archive "),
        (vec![DEFAULT], "begin detach archive "),
        (vec![CUT], "begin detach archive "),
        (vec![OUT], "begin detach record archive "),
        (vec![OUT, DEFAULT], "begin detach archive "),
        (vec![OUT_CUT], "begin detach record archive "),
        (vec![IN], "begin detach record archive "),
        (vec![IN, DEFAULT], "begin detach archive "),
        (vec![IN_CUT], "begin detach record archive "),
        (vec![IN_CUT, DEFAULT], "begin detach archive "),
        (vec![SELF, DEFAULT], "begin detach archive "),
        (vec![SELF], "begin detach record archive "),
    ] {
        let mut study = Study::of(&wrong, &[&[EVENTS], more.as_slice()].concat().concat()).await;
        let old = table("events_2030_01_01");
        let id = study.world.id(&old).await;
        let mut unit =
            study.world.unit(&table("events"), Work::Adopt { parts: vec![(old.clone(), id)] }).await;
        assert_eq!(study.judge(&more.concat(), &unit).await, "adopt ");
        unit.id = "u-retire".into();
        unit.work = Work::Retire {
            parent: table("events"),
            part: old.clone(),
            part_id: id,
            bound: day(1).bound,
            default: None,
            archive: Some("/nowhere".into()),
            drop_after: Some(1),
            because: "old".into(),
        };
        assert_eq!(study.judge(&more.concat(), &unit).await, story, "{more:?}");
        unit.id = "u-drop".into();
        unit.work = Work::Drop { table: old, table_id: id, because: "over".into() };
        let end = study.judge(&more.concat(), &unit).await;
        assert!(end.ends_with("drop "), "{end}");
    }
}

/// A tenant with partitions of its own that leaves beside readers.
#[tokio::test]
async fn a_tree_that_leaves_beside_readers_locks_what_it_says() {
    let wrong = Arc::default();
    for foreign in ["", ", FOREIGN KEY (r) REFERENCES ref"] {
        let mut study = Study::of(&wrong, &format!(
            "CREATE TABLE ref (id int PRIMARY KEY);
             CREATE TABLE events (tenant text, ts timestamptz, r int{foreign}) PARTITION BY LIST (tenant);
             CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (ts);
             CREATE TABLE events_a_1 PARTITION OF events_a FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00');
             CREATE TABLE events_a_rest PARTITION OF events_a DEFAULT"
        ))
        .await;
        let (old, bound) = (table("events_a"), Bound::List(vec![Some("a".into())]));
        let id = study.world.id(&old).await;
        let mut unit =
            study.world.unit(&table("events"), Work::Adopt { parts: vec![(old.clone(), id)] }).await;
        study.judge("adopt", &unit).await;
        unit.id = "u-retire".into();
        unit.work = Work::Retire {
            parent: table("events"),
            part: old,
            part_id: id,
            bound,
            default: None,
            archive: None,
            drop_after: None,
            because: "gone".into(),
        };
        assert_eq!(study.judge(foreign, &unit).await, "begin detach record ");
    }
}

#[tokio::test]
async fn finishing_a_detach_locks_what_it_says() {
    let wrong = Arc::default();
    for more in [vec![], vec![OUT], vec![IN], vec![OUT_CUT], vec![IN_CUT]] {
        let mut study = Study::of(&wrong, &[&[EVENTS], more.as_slice()].concat().concat()).await;
        let old = table("events_2030_01_01");
        crate::world::pend(&study.world, "events", "events_2030_01_01").await;
        let work = Work::Finalize { parent: table("events"), part: old, bound: range("a", "b") };
        let unit = study.world.unit(&table("events"), work).await;
        assert_eq!(study.judge(&more.concat(), &unit).await, "finalize ");
    }
}

#[tokio::test]
async fn taking_back_locks_what_it_says() {
    let wrong = Arc::default();
    let mut study = Study::of(&wrong, &[EVENTS, DEFAULT, MANY].concat()).await;
    let unit = study.world.unit(&table("events"), create(vec![day(2)])).await;
    let whole = study.recipe(&unit).await;
    let begun = Recipe { transactions: whole.transactions[..2].to_vec(), proofs: Vec::new() };
    assert_eq!(study.judge_recipe("begun", &begun).await, "stage check ");
    let work = Work::Reap { unit: unit.id.clone(), tables: vec![day(2).table] };
    let reap = study.world.unit(&table("events"), work).await;
    assert_eq!(study.judge("reap", &reap).await, "take-back ");
    study.world.has_no_orphan().await;
}

#[test]
fn modes_cover_what_waits_for_them() {
    for mode in Mode::ALL {
        assert_eq!(Mode::named(&mode.in_catalogue()), Some(mode));
        assert!(Mode::AccessExclusive.covers(mode), "{mode:?}");
    }
    assert!(
        !Mode::Share.covers(Mode::ShareUpdateExclusive) && !Mode::ShareUpdateExclusive.covers(Mode::Share)
    );
    let name = TableName::new("s", "t");
    assert_eq!(strongest([(name.to_string(), Mode::Share), (name.to_string(), Mode::AccessShare)]).len(), 1);
}
