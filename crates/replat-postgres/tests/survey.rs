//! Surveys, rehearsals and checks of expressions on real servers.

use std::path::PathBuf;

use replat_engine::EngineError;
use replat_model::draft::{Ask, Finding, SliceSize, ddl_digest, draft, schema_difference};
use replat_model::facts::{
    DatabaseFacts, Identity, ReplicaIdentity, TableFacts, TableKind, TriggerEnabled, TypeKind,
};
use replat_model::ids::{Epoch, Side};
use replat_model::key::KeyValue;
use replat_model::plan::{DdlFile, Plan, Reversibility};
use replat_model::prediction::Measured;
use replat_model::region::{Constraint, Region};
use replat_model::spec::{self, ColumnMap, Down, Spec};
use replat_postgres::survey::{
    Rehearsal, Target, check_expressions, rehearse, slice_is_occupied, slice_size, survey,
};
use replat_testkit::{Server, saas};
use tokio_postgres::Client;

const NASTY: &str = r#"
create schema "we""ird";
set search_path = "we""ird", public;
create type mood as enum ('sad', 'o''k', 'happy');
create domain cents as bigint check (value >= 0);
create domain more_cents as cents;
create type pair as (a int, b int);
create collation blind (provider = icu, locale = 'und', deterministic = false);

create table "T'a ""b;--" (
  "tenant id" bigint not null,
  "sélect"    bigint generated always as identity,
  mood        mood not null default 'sad',
  moods       mood[],
  price       cents,
  price2      more_cents,
  pair        pair,
  short       char(3),
  bits        bit(5),
  amount      numeric(14,2),
  any_amount  numeric,
  name        varchar(40) collate blind,
  doubled     numeric generated always as (amount * 2) stored,
  gone        int,
  body        text,
  stamp       timestamp(3) with time zone,
  primary key ("tenant id", "sélect")
);
alter table "T'a ""b;--" drop column gone;
alter table "T'a ""b;--" replica identity full;
create unique index partial on "T'a ""b;--" ("tenant id") where price > 0;
create unique index expr on "T'a ""b;--" ("tenant id", lower(body));
create index plain on "T'a ""b;--" (price desc) include (body);
alter table "T'a ""b;--" add constraint "check me" check (price < 100);

create table parent (id int primary key, late int unique deferrable initially deferred, code int not null);
create unique index parent_code on parent (code);
alter table parent replica identity using index parent_code;
create table child (
  id serial primary key, parent_id int references parent on delete cascade, other int references parent (code)
);
alter table child replica identity nothing;
create unlogged table quick (id int);
create view looks as select * from parent;
create materialized view kept as select * from parent;
create table old (id int);
create table older () inherits (old);
create table parts (id int, at date, primary key (id, at)) partition by range (at);
create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01');
create table parts_2 partition of parts for values from ('2026-02-01') to ('2026-03-01');

create function noop() returns trigger language plpgsql as 'begin return new; end';
create trigger speaks before insert on parent for each row execute function noop();
create trigger always after update on parent for each row execute function noop();
alter table parent enable always trigger always;
create schema replat;
create function replat.guard() returns trigger language plpgsql as 'begin return new; end';
create trigger replat_guard before insert on parent for each row execute function replat.guard();
"#;

async fn open(server: &Server, database: &str, statements: &str) -> Client {
    server.create_database(database).await.expect("a database");
    let client = server.client(database).await.expect("a session");
    client.batch_execute(statements).await.expect("the statements of the test");
    client
}

fn table<'a>(facts: &'a DatabaseFacts, name: &str) -> &'a TableFacts {
    facts.table(name).unwrap_or_else(|| panic!("{name} is surveyed"))
}

#[tokio::test]
async fn a_survey_says_what_the_catalogue_says() {
    let server = Server::start().await.expect("a server");
    let client = open(&server, "nasty", NASTY).await;
    let facts = survey(&client, "pg", "we\"ird", None).await.expect("a survey");

    assert_eq!((facts.database_name.as_str(), facts.schema.as_str()), ("nasty", "we\"ird"));
    assert_eq!((facts.wal_level.as_str(), facts.encoding.as_str()), ("logical", "UTF8"));
    assert_eq!(facts.major, facts.version_num / 10_000);
    assert!(facts.schema_exists && facts.is_superuser && facts.can_replicate);
    assert!(facts.can_create && facts.can_skip_triggers);
    assert!(facts.max_replication_slots > 0 && facts.max_wal_senders > 0);
    assert!(
        facts.relations.contains(&"looks".to_owned()) && !facts.relations.contains(&"parts_1".to_owned())
    );

    columns_are_read(table(&facts, "T'a \"b;--"));
    kinds_are_read(&facts);
    keys_are_read(&facts);
    let named = ["parent".to_owned(), "no such".to_owned()];
    let only = survey(&client, "pg", "we\"ird", Some(&named)).await.expect("a survey");
    assert_eq!(only.tables, [table(&facts, "parent").clone()]);
    let nothing = survey(&client, "pg", "nowhere", None).await.expect("a survey");
    assert!(!nothing.schema_exists && nothing.tables.is_empty());
}

fn columns_are_read(table: &TableFacts) {
    type Row<'a> = (&'a str, &'a str, Option<&'a str>, bool);
    let rows: [Row; 13] = [
        ("tenant id", "bigint", Some("bigint"), false),
        ("mood", "\"we\"\"ird\".mood", None, false),
        ("moods", "\"we\"\"ird\".mood[]", None, true),
        ("price", "\"we\"\"ird\".cents", Some("bigint"), false),
        ("price2", "\"we\"\"ird\".more_cents", Some("bigint"), false),
        ("pair", "\"we\"\"ird\".pair", None, true),
        ("short", "character(3)", Some("bpchar"), false),
        ("bits", "bit(5)", Some("\"bit\""), true),
        ("amount", "numeric(14,2)", Some("numeric"), false),
        ("any_amount", "numeric", Some("numeric"), true),
        ("name", "character varying(40)", Some("character varying"), true),
        ("body", "text", Some("text"), true),
        ("stamp", "timestamp(3) with time zone", Some("timestamp with time zone"), false),
    ];
    for (name, type_name, base, toastable) in rows {
        let column = table.column(name).unwrap_or_else(|| panic!("{name} is there"));
        let found = (column.type_name.as_str(), column.base_type.as_deref(), column.toastable);
        assert_eq!(found, (type_name, base, toastable), "{name}");
    }
    let of = |name: &str| table.column(name).expect("the column is there");
    assert_eq!(of("mood").type_kind, TypeKind::Enum(["sad", "o'k", "happy"].map(String::from).to_vec()));
    assert_eq!(of("mood").default.as_deref(), Some("'sad'::\"we\"\"ird\".mood"));
    assert_eq!(of("price2").type_kind, TypeKind::Domain);
    assert_eq!(of("pair").type_kind, TypeKind::Other);
    assert_eq!(of("doubled").generated.as_deref(), Some("(amount * (2)::numeric)"));
    assert_eq!(of("doubled").default, None);
    assert_eq!(of("sélect").identity, Some(Identity::Always));
    assert!(of("sélect").sequence.is_some() && of("body").sequence.is_none());
    assert!(of("body").collated && of("body").deterministic && !of("price").collated);
    assert!(!of("name").deterministic);
    assert!(table.column("gone").is_none());
    assert_eq!(of("body").number, 15, "a dropped column keeps its number");
}

fn kinds_are_read(facts: &DatabaseFacts) {
    let kinds = [
        ("parent", TableKind::Ordinary),
        ("looks", TableKind::View),
        ("kept", TableKind::MaterializedView),
        ("parts", TableKind::Partitioned),
        ("parts_1", TableKind::Ordinary),
    ];
    for (name, kind) in kinds {
        assert_eq!(table(facts, name).kind, kind, "{name}");
    }
    assert!(table(facts, "quick").unlogged && !table(facts, "parent").unlogged);
    assert!(
        table(facts, "old").inherits && table(facts, "older").inherits && !table(facts, "parts_1").inherits
    );
    assert_eq!(table(facts, "parts_1").partition_root.as_deref(), Some("parts"));
    assert_eq!(table(facts, "parts").partition_root, None);
    let triggers: Vec<_> =
        table(facts, "parent").triggers.iter().map(|t| (t.name.as_str(), t.enabled)).collect();
    assert_eq!(triggers, [("always", TriggerEnabled::Always), ("speaks", TriggerEnabled::Origin)]);
}

fn keys_are_read(facts: &DatabaseFacts) {
    let nasty = table(facts, "T'a \"b;--");
    assert_eq!(nasty.primary_key, ["tenant id", "sélect"]);
    assert_eq!(nasty.replica_identity, ReplicaIdentity::Full);
    assert!(nasty.is_unique_over(&["sélect", "tenant id"]));
    assert!(
        !nasty.is_unique_over(&["tenant id"]),
        "a partial index, and one with an expression, prove nothing"
    );
    let plain = nasty.indexes.iter().find(|index| index.name == "plain").expect("an index");
    assert_eq!((plain.columns.as_slice(), plain.unique), (&["price".to_owned()][..], false));
    assert_eq!(plain.definition, "btree (price DESC) INCLUDE (body)");
    let constraint = nasty.constraints.iter().find(|c| c.name == "check me").expect("a constraint");
    assert_eq!(constraint.definition, "CHECK (((price)::bigint < 100))");

    let parent = table(facts, "parent");
    assert_eq!(parent.replica_identity, ReplicaIdentity::Index(vec!["code".into()]));
    assert!(!parent.is_unique_over(&["late"]) && parent.is_unique_over(&["code"]));
    assert_eq!(parent.referenced_by.iter().map(|r| r.table.as_str()).collect::<Vec<_>>(), ["child", "child"]);
    let child = table(facts, "child");
    assert_eq!(child.replica_identity, ReplicaIdentity::Nothing);
    assert!(child.column("id").is_some_and(|id| id.sequence.is_some() && id.identity.is_none()));
    let key = child.foreign_keys.iter().find(|key| key.on_delete_cascade).expect("a foreign key");
    assert_eq!(
        (key.columns[0].as_str(), key.ref_table.as_str(), key.ref_columns[0].as_str()),
        ("parent_id", "parent", "id")
    );
}

#[tokio::test]
async fn foreign_keys_of_leaves_are_those_of_their_root_once() {
    let server = Server::start().await.expect("a server");
    let client = open(
        &server,
        "shop",
        "create table queue (name text primary key);
         create table job (name text not null, id bigint not null, primary key (name, id)) partition by list (name);
         create table job_a partition of job for values in ('a');
         create table job_b partition of job for values in ('b') partition by hash (id);
         create table job_b0 partition of job_b for values with (modulus 1, remainder 0);
         alter table job_a add constraint q_fkey foreign key (name) references queue;
         alter table job_b0 add constraint q_fkey foreign key (name) references queue;
         create table log (a text, b bigint, foreign key (a, b) references job_a)",
    )
    .await;
    let facts = survey(&client, "pg", "public", None).await.expect("a survey");
    let into = |name: &str| {
        let table = table(&facts, name);
        table.referenced_by.iter().map(|r| format!("{} {}", r.name, r.table)).collect::<Vec<_>>()
    };
    assert_eq!(into("queue"), ["q_fkey job"]);
    assert_eq!(into("job"), ["log_a_b_fkey log"]);
    let keys = &table(&facts, "job").foreign_keys;
    assert_eq!(
        keys.iter().map(|key| (key.name.as_str(), key.ref_table.as_str())).collect::<Vec<_>>(),
        [("q_fkey", "queue")]
    );
    let log = table(&facts, "log").foreign_keys.iter().map(|key| key.ref_table.as_str()).collect::<Vec<_>>();
    assert_eq!(log, ["job"]);
}

#[tokio::test]
async fn a_role_with_few_rights_is_told_so() {
    let server = Server::start().await.expect("a server");
    let owner = open(
        &server,
        "shop",
        "create table t (id int primary key); alter table t enable row level security; create role guest;
         grant usage on schema public to guest; grant select on t to guest;
         create table parts (id int primary key) partition by range (id);
         create table part partition of parts for values from (0) to (9);
         alter table part replica identity full",
    )
    .await;
    owner
        .batch_execute("begin; insert into t values (1); prepare transaction 'x'; set role guest")
        .await
        .expect("a role");
    let facts = survey(&owner, "pg", "public", None).await.expect("a survey");
    assert_eq!(facts.role, "guest");
    assert!(!facts.is_superuser && !facts.can_replicate && !facts.can_create && !facts.can_skip_triggers);
    assert_eq!(facts.prepared_transactions, 1);
    let t = table(&facts, "t");
    assert!(!t.owned && t.row_security && t.rows_hidden);
    assert_eq!(table(&facts, "parts").replica_identity, ReplicaIdentity::Full, "what all leaves have");
}

fn file(name: &str, text: &str) -> DdlFile {
    DdlFile { name: name.into(), text: text.into() }
}

/// Everything that DDL could have left, by oid.
async fn catalogue(client: &Client) -> Vec<String> {
    let everything = "select concat_ws(' ', 'class', oid, relname, relnamespace, relreplident) from pg_class
                      union all select concat_ws(' ', 'type', oid, typname) from pg_type
                      union all select concat_ws(' ', 'proc', oid, proname) from pg_proc
                      union all select concat_ws(' ', 'schema', oid, nspname) from pg_namespace
                      union all select concat_ws(' ', 'attribute', attrelid, attname, attnum) from pg_attribute
                      order by 1";
    let rows = client.query(everything, &[]).await.expect("the catalogue");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_rehearsal_sees_the_new_schema_and_leaves_nothing_behind() {
    let server = Server::start().await.expect("a server");
    let client = open(&server, "green", "").await;
    let before = catalogue(&client).await;
    let ddl = [
        file("1.sql", "create type kind as enum ('a'); create table t (id int primary key, kind kind);"),
        file(
            "2.sql",
            "alter table t replica identity full; create function f() returns int begin atomic select 1; end",
        ),
    ];
    let target = Target { database: "pg_b", schema: "new \"one\"", version: "v2", ddl: &ddl };
    let tables = ["t".to_owned()];
    let found = rehearse(&client, target, &tables).await.expect("a rehearsal");

    assert_eq!(found.ddl, ddl);
    assert!(table(&found.facts, "t").identity_full());
    assert_eq!(
        table(&found.facts, "t").column("kind").expect("a column").type_name,
        "\"new \"\"one\"\"\".kind"
    );
    assert_eq!(catalogue(&client).await, before);

    let rows: [(&str, &str); 7] = [
        ("create table t (id int); commit;", "x.sql has COMMIT"),
        ("create index concurrently i on t (id)", "x.sql cannot run in a transaction"),
        ("vacuum", "x.sql cannot run in a transaction"),
        (
            "create table t (\n  id int,\n  id2 intt\n);",
            "pg_b refused x.sql, line 3: type \"intt\" does not exist",
        ),
        ("\\i other.sql", "x.sql has a command for psql"),
        ("copy t from stdin", "x.sql has COPY FROM STDIN"),
        ("do $$ begin execute 'commit'; end $$", "pg_b refused x.sql"),
    ];
    for (text, want) in rows {
        let ddl = [ddl[0].clone(), file("x.sql", text)];
        let error = rehearse(&client, Target { ddl: &ddl, ..target }, &tables).await.expect_err(text);
        assert!(error.to_string().starts_with(want), "{text}: {error}");
        assert_eq!(catalogue(&client).await, before, "{text}");
    }
}

#[tokio::test]
async fn a_schema_that_is_there_is_taken_as_it_is_only_if_it_is_the_wanted_one() {
    let server = Server::start().await.expect("a server");
    let client = open(&server, "green", "create schema shop; create table shop.t (id int primary key)").await;
    let ddl = [file("v2.sql", "create table t (id int primary key)")];
    let target = Target { database: "pg_b", schema: "shop", version: "v2", ddl: &ddl };
    let tables = ["t".to_owned()];
    let refusal = |answer: Result<Rehearsal, EngineError>| match answer {
        Err(EngineError::Precondition { what, .. }) => what,
        other => panic!("refused, and not {other:?}"),
    };

    let taken = rehearse(&client, target, &tables).await;
    assert_eq!(refusal(taken), "pg_b.shop has t already, and nothing says that they are of version v2");
    let adopted =
        rehearse(&client, Target { ddl: &[], ..target }, &tables).await.expect("no DDL is asked for");
    assert!(adopted.ddl.is_empty() && adopted.facts.table("t").is_some());

    let note = "create schema replat;
                create table replat.schema_version (schema_name text primary key, version text, digest text)";
    client.batch_execute(note).await.expect("a table");
    let insert = "insert into replat.schema_version values ('shop', 'v2', $1)";
    client.execute(insert, &[&ddl_digest(&ddl)]).await.expect("a row");
    let again = rehearse(&client, target, &tables).await.expect("an earlier deployment made it");
    assert!(again.ddl.is_empty() && again.facts.table("t").is_some());

    let other = [file("v2.sql", "create table t (id bigint primary key)")];
    let changed = rehearse(&client, Target { ddl: &other, ..target }, &tables).await;
    assert_eq!(refusal(changed), "pg_b.shop has version v2, made by other DDL than the spec has now");
    let newer = rehearse(&client, Target { version: "v3", ..target }, &tables).await;
    assert_eq!(refusal(newer), "pg_b.shop has version v2");
}

fn saas_spec() -> Spec {
    let text =
        std::fs::read_to_string(saas::example_directory().join("replat.toml")).expect("the example's spec");
    spec::parse(&text).expect("the example's spec is sound")
}

fn saas_ddl(spec: &Spec) -> Vec<DdlFile> {
    let files = &rollout(spec).ddl;
    let read = |name: &String| {
        let path: PathBuf = saas::example_directory().join(name);
        file(name, &std::fs::read_to_string(path).expect("the example's DDL"))
    };
    files.iter().map(read).collect()
}

fn rollout(spec: &Spec) -> &spec::Rollout {
    spec.contexts["saas"].rollout.as_ref().expect("the example has a rollout")
}

fn saas_tables(spec: &Spec) -> Vec<String> {
    spec.contexts["saas"].tables.keys().cloned().collect()
}

/// The example on two databases, blue filled.
struct Example {
    blue: Client,
    green: Client,
    spec: Spec,
    ddl: Vec<DdlFile>,
}

impl Example {
    async fn start(server: &Server) -> Example {
        let blue = open(server, "blue", "").await;
        saas::create_v1(&blue).await.expect("the v1 schema");
        saas::fill_v1(&blue, saas::Fill { tenants: 3, rows: 3_000, seed: 1 }).await.expect("rows");
        let spec = saas_spec();
        Example { blue, green: open(server, "green", "").await, ddl: saas_ddl(&spec), spec }
    }

    async fn facts(&self) -> (DatabaseFacts, Rehearsal) {
        let tables = saas_tables(&self.spec);
        let to = &rollout(&self.spec).to;
        let target = Target { database: &to.database, schema: &to.schema, version: "v2", ddl: &self.ddl };
        let blue = survey(&self.blue, "blue", "public", Some(&tables)).await.expect("a survey");
        (blue, rehearse(&self.green, target, &tables).await.expect("a rehearsal"))
    }

    async fn draft(&self) -> Result<Plan, Vec<Finding>> {
        let (blue, rehearsal) = self.facts().await;
        let ask = Ask {
            context: "saas".into(),
            partition: "saas_1".parse().expect("a legal name"),
            region: Region::everything().and(0, Constraint::OneOf([KeyValue::Int(1)].into())),
            epoch: Epoch::FIRST,
            version: Some("v1".into()),
            home: self.spec.contexts["saas"].home.clone(),
            ddl: rehearsal.ddl,
            sizes: [].into(),
            occupied: Vec::new(),
            contracts: Vec::new(),
            crossings: Vec::new(),
            beside: None,
            measured: Measured::default(),
            unsettled_keys: Vec::new(),
            misfits: Vec::new(),
        };
        draft(&self.spec, &ask, &blue, &rehearsal.facts)
    }

    async fn checked(&self, plan: &Plan) -> Vec<Finding> {
        let mut findings = check_expressions(&self.blue, Side::Blue, plan).await.expect("an answer of blue");
        findings.extend(check_expressions(&self.green, Side::Green, plan).await.expect("an answer of green"));
        findings
    }

    fn map(&mut self, table: &str, column: &str, up: &str, down: Option<(&str, &str)>) {
        let down = down.map(|(column, sql)| Down { column: column.into(), sql: sql.into() });
        let rollout = self.spec.contexts.get_mut("saas").and_then(|context| context.rollout.as_mut());
        let map = &mut rollout.expect("the example has a rollout").map;
        map.entry(table.into()).or_default().insert(column.into(), ColumnMap { up: up.into(), down });
    }
}

#[tokio::test]
async fn the_example_is_drafted_and_both_servers_understand_it() {
    let server = Server::start().await.expect("a server");
    let mut example = Example::start(&server).await;
    // full_name is made of two columns that can lie out of line.
    example.ddl.push(file("identity.sql", "alter table users replica identity full"));
    let before = catalogue(&example.green).await;
    let plan = example.draft().await.expect("nothing in the way");

    let lost = "blue.users.legacy_note is not kept up to date while green is home; its old value stays";
    assert_eq!(plan.reversible, Reversibility::Lossy(vec![lost.into()]));
    assert_eq!((plan.tables.len(), plan.references.len(), plan.sequences.len()), (6, 1, 5));
    assert_eq!(example.checked(&plan).await, []);
    assert_eq!(catalogue(&example.green).await, before);

    let (blue, rehearsal) = example.facts().await;
    let difference = schema_difference(&blue, &rehearsal.facts, &plan);
    for line in [
        "+ payments.amount_minor bigint not null",
        "- payments.amount numeric(14,2) not null",
        "- users.legacy_note text",
        "~ orders.status text not null default 'new'::text -> order_status not null default 'new'::order_status",
        "+ orders index orders_open btree (tenant_id, status, placed_at)",
    ] {
        assert!(difference.contains(&line.to_owned()), "{line} in {difference:#?}");
    }
}

#[tokio::test]
async fn an_expression_that_a_server_does_not_understand_is_found_by_name() {
    let server = Server::start().await.expect("a server");
    let mut example = Example::start(&server).await;
    example.ddl.push(file("identity.sql", "alter table users replica identity full"));
    example.ddl.push(file("function.sql", "create function only_green(text) returns text return $1"));
    let rows: [(&str, &str, &str, &[&str]); 5] = [
        ("users", "email_domain", "lower(email) + 1", &["operator does not exist: text + integer"; 2]),
        ("users", "email_domain", "only_green(email)", &["function only_green(text) does not exist"]),
        ("users", "email_domain", "nope || email", &["column \"nope\" does not exist"; 2]),
        (
            "users",
            "email_domain",
            "json_object_keys(to_json(email))",
            &["set-returning functions are not allowed in WHERE"; 2],
        ),
        ("orders", "status", "status::order_status", &["type \"order_status\" does not exist"]),
    ];
    for (table, column, up, want) in rows {
        let kept = example.spec.clone();
        let down = (column == "status").then_some(("status", "status::text"));
        example.map(table, column, up, down);
        let plan = example.draft().await.expect("only the servers can tell");
        let found = example.checked(&plan).await;
        let words = |finding: &Finding| {
            let said = want.iter().find(|words| finding.what.ends_with(*words));
            said.map_or_else(|| finding.what.clone(), |words| (*words).to_owned())
        };
        assert_eq!(found.iter().map(words).collect::<Vec<_>>(), want, "{up}");
        assert!(
            found.iter().all(|f| f.table.as_deref() == Some(table) && f.column.as_deref() == Some(column))
        );
        example.spec = kept;
    }
}

#[tokio::test]
async fn a_partition_has_its_share_of_a_table() {
    let server = Server::start().await.expect("a server");
    let fill = "create table t (tenant_id int, id int, primary key (tenant_id, id));
                insert into t select n % 4, n from generate_series(1, 4000) n; analyze t;
                create table empty (like t)";
    let client = open(&server, "blue", fill).await;
    let facts = survey(&client, "pg", "public", None).await.expect("a survey");
    let t = table(&facts, "t");
    assert_eq!(t.rows_estimate, 4000);

    let size = slice_size(&client, "pg", t, "tenant_id = 1").await.expect("an estimate");
    assert!((900..1100).contains(&size.rows), "about a quarter: {size:?}");
    assert_eq!(size.bytes, t.bytes * size.rows / 4000);
    let whole = slice_size(&client, "pg", t, "true").await.expect("an estimate");
    assert_eq!(whole, SliceSize { rows: 4000, bytes: t.bytes });
    assert!(slice_is_occupied(&client, "pg", t, "tenant_id = 1").await.expect("an answer"));
    assert!(!slice_is_occupied(&client, "pg", t, "tenant_id = 9").await.expect("an answer"));
    assert!(!slice_is_occupied(&client, "pg", table(&facts, "empty"), "true").await.expect("an answer"));
    assert!(slice_size(&client, "pg", t, "nope = 1").await.is_err());
}
