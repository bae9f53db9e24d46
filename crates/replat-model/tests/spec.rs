//! What a spec may say, what it may not, and how that is told.

use std::collections::BTreeSet;

use proptest::prelude::*;
use replat_model::ids::Home;
use replat_model::map::Map;
use replat_model::spec::{
    ByteSize, DurationText, Policy, ReadsPolicy, RegistrySource, Reversible, Spec, SpecError, SwitchMode,
    TableMode, json_schema, parse, render_errors,
};
use serde_json::Value as Json;

/// A spec that says everything once.
const WHOLE: &str = r#"version = 1
project = "saas"

[databases.blue]
url = "postgres://app:hunter2@blue.example/saas"
max_connections = 12

[databases.green]
service = "green"
endpoint = "http://green.example:8080"

[contexts.saas]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
endpoints = { blue = "http://saas-blue.example" }
tree = { split = "tenant_id", hash = 4 }

[contexts.saas.tables.users]
key = ["tenant_id", "id"]
[contexts.saas.tables.order_old]
[contexts.saas.tables.currencies]
mode = "reference"
[contexts.saas.tables.report_cache]
mode = "rebuild"

[contexts.saas.rollout]
version = "v2"
to = { database = "green", schema = "saas" }
ddl = ["v2.sql"]
reversible = "accept-lossy"

[contexts.saas.rollout.map.users.amount_minor]
up = "round(amount * 100)::bigint"
down = { column = "amount", sql = "amount_minor / 100.0" }

[contexts.saas.rollout.tables.orders]
from = "order_old"

[policy]
lag_max = "2MiB"
switch = "manual"
soak = "36h"
hold_max = "20ms"
reads = "strict"

[registry]
url = "etcds://etcd.example:2379/shop"
key = { file = "secrets/project.key" }
"#;

/// The least that is a spec with a context; line 8 is free.
const LEAST: &str = r#"version = 1
project = "saas"
[databases.blue]
[databases.green]
[contexts.saas]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
# line 8
[contexts.saas.tables.users]
"#;

fn read(text: &str) -> Spec {
    parse(text).unwrap_or_else(|errors| panic!("{}", render_errors("spec", text, &errors)))
}

#[test]
fn a_spec_means_what_it_says() {
    let spec = read(WHOLE);
    assert_eq!((spec.version, spec.project.as_str()), (1, "saas"));

    let blue = &spec.databases["blue"];
    assert_eq!(blue.url.as_ref().map(|url| url.expose()), Some("postgres://app:hunter2@blue.example/saas"));
    assert_eq!((blue.service.as_deref(), blue.max_connections), (None, 12));
    let green = &spec.databases["green"];
    assert_eq!((&green.url, green.service.as_deref(), green.max_connections), (&None, Some("green"), 8));

    assert_eq!(green.endpoint.as_deref(), Some("http://green.example:8080"));
    let registry = spec.registry.as_ref().expect("the spec has a registry");
    assert!(matches!(registry.url.source(), Ok(RegistrySource::Url("etcds://etcd.example:2379/shop"))));
    assert_eq!(registry.key.as_ref().map(|key| key.file.as_str()), Some("secrets/project.key"));

    let saas = &spec.contexts["saas"];
    assert_eq!(saas.endpoints["blue"], "http://saas-blue.example");
    assert_eq!(saas.dimensions[0].column, "tenant_id");
    assert_eq!(saas.home, Home { database: "blue".into(), schema: "public".into() });
    assert_eq!(saas.tree.as_ref().and_then(|tree| tree.hash), Some(4));
    let modes: Vec<_> = saas.tables.iter().map(|(name, table)| (name.as_str(), table.mode)).collect();
    assert_eq!(
        modes,
        [
            ("currencies", TableMode::Reference),
            ("order_old", TableMode::Slice),
            ("report_cache", TableMode::Rebuild),
            ("users", TableMode::Slice),
        ]
    );
    assert_eq!(saas.tables["users"].key, Some(vec!["tenant_id".to_owned(), "id".to_owned()]));
    assert_eq!(saas.tables["order_old"].key, None);

    let rollout = saas.rollout.as_ref().expect("the spec has a rollout");
    assert_eq!((rollout.version.as_str(), rollout.reversible), ("v2", Reversible::AcceptLossy));
    assert_eq!(rollout.ddl, ["v2.sql"]);
    let amount = &rollout.map["users"]["amount_minor"];
    assert_eq!(amount.up, "round(amount * 100)::bigint");
    assert_eq!(amount.down.as_ref().map(|down| down.column.as_str()), Some("amount"));
    assert_eq!(rollout.old_tables("orders", saas), ["order_old"]);
    assert_eq!(rollout.old_tables("users", saas), ["users"]);
    assert_eq!(rollout.old_tables("order_old", saas), [""; 0]);

    let said = Policy {
        lag_max: "2MiB".parse().expect("a size"),
        switch: SwitchMode::Manual,
        soak: "36h".parse().expect("a duration"),
        hold_max: "20ms".parse().expect("a duration"),
        reads: ReadsPolicy::Strict,
        ..Policy::shipped()
    };
    assert_eq!(spec.policy, said);
}

#[test]
fn what_a_spec_leaves_out_has_its_default() {
    let spec = read(LEAST);
    assert_eq!(spec.policy, Policy::shipped());
    assert_eq!(spec.contexts["saas"].tables["users"].mode, TableMode::Slice);
    assert!(spec.databases["blue"].url.is_none());
}

/// What is wrong, where (line, column, the bytes meant), and the suggestion.
struct Complaint {
    at: (usize, usize, &'static str),
    path: &'static str,
    message: &'static str,
    suggestion: Option<&'static str>,
}

fn check_complaints(case: &str, text: &str, want: &[Complaint]) {
    let errors = parse(text).expect_err(case);
    let page = render_errors("spec", text, &errors);
    assert_eq!(errors.len(), want.len(), "{case}:\n{page}");
    for (error, want) in errors.iter().zip(want) {
        let at = error.at.as_ref().map(|at| (at.line, at.column, &text[at.span.clone()]));
        assert_eq!(at, Some(want.at), "{case}:\n{page}");
        assert_eq!(error.path, want.path, "{case}:\n{page}");
        assert!(error.message.contains(want.message), "{case}: wanted {:?}\n{page}", want.message);
        assert_eq!(error.suggestion.as_deref(), want.suggestion, "{case}:\n{page}");
    }
}

#[test]
fn one_mistake_is_one_error_at_its_place() {
    let table = |body: &'static str| LEAST.replace("# line 8", body);
    let users = |body: &str| format!("{LEAST}{body}\n");
    let policy = |body: &str| format!("{LEAST}[policy]\n{body}\n");
    let rollout = |body: &str| {
        format!(
            "{LEAST}[contexts.saas.rollout]\nversion = \"v2\"\nto = {{ database = \"green\", schema = \"s\" }}\n{body}\n"
        )
    };
    #[rustfmt::skip]
    let rows = [
        // Shape.
        ("an unknown key", table("hmoe = 1"),
         (8, 1, "hmoe"), "contexts.saas.hmoe", "unknown key `hmoe`; allowed here: contracts, dimensions, endpoints, home, rollout, tables, tree, versions",
         Some("did you mean `home`?")),
        ("a key that is like no other", table("colour = 1"),
         (8, 1, "colour"), "contexts.saas.colour", "unknown key", None),
        ("a key of another table", table("pause_max = \"2s\""),
         (8, 1, "pause_max"), "contexts.saas.pause_max", "unknown key", Some("`pause_max` belongs to [policy]")),
        ("a key of the top", policy("project = \"x\""),
         (11, 1, "project"), "policy.project", "unknown key",
         Some("`project` belongs to the top of the file, before the first [table]")),
        ("an unknown word", LEAST.replace("bigint", "bigit"),
         (6, 46, "\"bigit\""), "contexts.saas.dimensions[0].type", "unknown value `bigit`; allowed here: smallint, integer, bigint",
         Some("did you mean `bigint`?")),
        ("a word of the wrong kind", policy("switch = true"),
         (11, 10, "true"), "policy.switch", "this must be one of auto, manual, not true or false", None),
        ("another version of the format", LEAST.replace("version = 1", "version = 2"),
         (1, 11, "2"), "version", "this must be 1", None),
        ("a missing key", LEAST.replace(", schema = \"public\"", ""),
         (7, 8, "{ database = \"blue\" }"), "contexts.saas.home", "`schema` is missing", None),
        ("no list", LEAST.replace("[{ column = \"tenant_id\", type = \"bigint\" }]", "\"tenant_id\""),
         (6, 14, "\"tenant_id\""), "contexts.saas.dimensions", "this must be a list, not text", None),
        ("an empty list", LEAST.replace("[{ column = \"tenant_id\", type = \"bigint\" }]", "[]"),
         (6, 14, "[]"), "contexts.saas.dimensions", "this list must not be empty", None),
        ("a fraction among key values", table("tree = { split = \"tenant_id\", cuts = [1, 2.5] }"),
         (8, 42, "2.5"), "contexts.saas.tree.cuts[1]", "this must be a whole number or text in quotes, not a fraction", None),
        ("a bare duration", policy("soak = 7"),
         (11, 8, "7"), "policy.soak", "this must be a duration in quotes", None),
        ("a duration without a unit", policy("soak = \"7\""),
         (11, 8, "\"7\""), "policy.soak", "its unit is missing or unknown; use one of ms, s, m, h, d", None),
        ("a fraction of a size", policy("lag_max = \"1.5MiB\""),
         (11, 11, "\"1.5MiB\""), "policy.lag_max", "fractions are not read", None),
        ("more than a number can be", policy("attempts = 99999999999999999999"),
         (11, 12, "99999999999999999999"), "policy.attempts", "allowed here: 1 to 4294967295", None),
        ("no attempts", policy("attempts = 0"),
         (11, 12, "0"), "policy.attempts", "0 is out of range", None),
        ("tiny chunks", policy("chunk_rows = 99"),
         (11, 14, "99"), "policy.chunk_rows", "allowed here: 100 to 1000000", None),
        ("too many copies", policy("copy_parallel = 33"),
         (11, 17, "33"), "policy.copy_parallel", "allowed here: 1 to 32", None),
        ("no connections", LEAST.replace("[databases.green]", "[databases.green]\nmax_connections = 0"),
         (5, 19, "0"), "databases.green.max_connections", "allowed here: 1 to", None),
        ("no way to connect", LEAST.replace("[databases.green]", "[databases.green]\nurl = \"hunter2\""),
         (5, 7, "\"hunter2\""), "databases.green.url", "this does not say how to connect", None),
        ("a variable without a name", LEAST.replace("[databases.green]", "[databases.green]\nurl = \"env:\""),
         (5, 7, "\"env:\""), "databases.green.url", "nothing follows the colon", None),
        ("no registry", format!("{LEAST}[registry]\nurl = \"http://a\"\n"),
         (11, 7, "\"http://a\""), "registry.url", "this names no registry: it is none of file:PATH", None),
        ("a registry without a place", format!("{LEAST}[registry]\nkey = {{ file = \"k\" }}\n"),
         (10, 1, "[registry]"), "registry", "`url` is missing", None),
        ("a key that is in the spec", format!("{LEAST}[registry]\nurl = \"file:r\"\nkey = \"k\"\n"),
         (12, 7, "\"k\""), "registry.key", "this must be a table, not text", None),
        ("a service with a login", LEAST.replace("[databases.green]", "[databases.green]\nendpoint = \"http://me:pw@g\""),
         (5, 12, "\"http://me:pw@g\""), "databases.green.endpoint", "a login does not belong here", None),
        ("a service for no database", table("endpoints = { gren = \"http://g\" }"),
         (8, 15, "gren"), "contexts.saas.endpoints.gren", "there is no database `gren`", Some("did you mean `green`?")),
        ("a service nowhere", table("endpoints = { green = \" \" }"),
         (8, 23, "\" \""), "contexts.saas.endpoints.green", "this must not be empty", None),
        ("a name that is none", format!("{LEAST}[databases.\"\"]\n"),
         (10, 12, "\"\""), "databases.\"\"", "a name must not be empty", None),
        ("an empty expression", rollout("map.users.x = { up = \" \" }"),
         (13, 22, "\" \""), "contexts.saas.rollout.map.users.x.up", "this must not be empty", None),
        ("an empty path", rollout("ddl = [\"a.sql\", \"\"]"),
         (13, 17, "\"\""), "contexts.saas.rollout.ddl[1]", "this must not be empty", None),
        ("a way back to nowhere", rollout("map.users.x = { up = \"1\", down = { sql = \"2\" } }"),
         (13, 34, "{ sql = \"2\" }"), "contexts.saas.rollout.map.users.x.down", "`column` is missing", None),
        // Meaning.
        ("two ways to connect", LEAST.replace("[databases.green]", "[databases.green]\nurl = \"env:A\"\nservice = \"b\""),
         (6, 11, "\"b\""), "databases.green.service", "keep one of them", None),
        ("a home in no database", LEAST.replace("database = \"blue\"", "database = \"bleu\""),
         (7, 21, "\"bleu\""), "contexts.saas.home.database", "there is no database `bleu`; declared: blue, green",
         Some("did you mean `blue`?")),
        ("a home without a schema", LEAST.replace("\"public\"", "\"\""),
         (7, 38, "\"\""), "contexts.saas.home.schema", "a schema's name must not be empty", None),
        ("a dimension twice", LEAST.replace("}]", "}, { column = \"tenant_id\", type = \"text\" }]"),
         (6, 69, "\"tenant_id\""), "contexts.saas.dimensions[1].column", "`tenant_id` is listed twice", None),
        ("a key column twice", format!("{LEAST}key = [\"id\", \"id\"]\n"),
         (10, 14, "\"id\""), "contexts.saas.tables.users.key[1]", "`id` is listed twice", None),
        ("nothing to move", format!("{LEAST}mode = \"rebuild\"\n"),
         (9, 16, "tables"), "contexts.saas.tables", "at least one table must be of mode slice", None),
        ("a split by no dimension", table("tree = { split = \"tenantid\", hash = 4 }"),
         (8, 18, "\"tenantid\""), "contexts.saas.tree.split", "is not a dimension of this context",
         Some("did you mean `tenant_id`?")),
        ("cuts that do not ascend", table("tree = { split = \"tenant_id\", cuts = [2, 1] }"),
         (8, 38, "[2, 1]"), "contexts.saas.tree.cuts", "cuts must ascend", None),
        ("a name that no partition can have", LEAST.replace("contexts.saas", "contexts.Saas"),
         (5, 1, "[contexts.Saas]"), "contexts.Saas", "a-z, 0-9 and _", None),
        ("a name of a component that there is not", users("dimensions = { tenantid = \"org_id\" }"),
         (10, 16, "tenantid"), "contexts.saas.tables.users.dimensions.tenantid",
         "there is no dimension `tenantid`; declared: tenant_id", Some("did you mean `tenant_id`?")),
        ("a component without a column", users("dimensions = { tenant_id = \" \" }"),
         (10, 28, "\" \""), "contexts.saas.tables.users.dimensions.tenant_id", "must not be empty", None),
        ("a table that is not cut and has the key", users("mode = \"reference\"\ndimensions = { tenant_id = \"t\" }\n[contexts.saas.tables.b]"),
         (11, 14, "{ tenant_id = \"t\" }"), "contexts.saas.tables.users.dimensions",
         "a table that is not cut carries no partition key", None),
        ("a version twice", table("versions = [\"v1\", \"v1\"]"),
         (8, 19, "\"v1\""), "contexts.saas.versions[1]", "`v1` is listed twice", None),
        ("a version without a name", table("versions = [\"v1\", \" \"]"),
         (8, 19, "\" \""), "contexts.saas.versions[1]", "this must not be empty", None),
        ("a version out of the order", rollout("").replace("# line 8", "versions = [\"v1\"]"),
         (11, 11, "\"v2\""), "contexts.saas.rollout.version", "there is no version `v2`; declared: v1",
         Some("did you mean `v1`?")),
        ("a version after itself", rollout("after = \"v2\""),
         (13, 9, "\"v2\""), "contexts.saas.rollout.after", "a version does not come after itself", None),
        ("a version after the next", rollout("after = \"v3\"").replace("# line 8", "versions = [\"v2\", \"v3\"]"),
         (13, 9, "\"v3\""), "contexts.saas.rollout.after", "`v3` comes after `v2` in `versions`", None),
        ("a version after none", rollout("after = \"first\"").replace("# line 8", "versions = [\"v1\", \"v2\"]"),
         (13, 9, "\"first\""), "contexts.saas.rollout.after", "there is no version `first`; declared: v1, v2", None),
        ("a rollout to no database", rollout("").replace("database = \"green\"", "database = \"gren\""),
         (12, 19, "\"gren\""), "contexts.saas.rollout.to.database", "there is no database `gren`",
         Some("did you mean `green`?")),
        ("a map of no table", rollout("map = { user = { x = { up = \"1\" } } }"),
         (13, 9, "user"), "contexts.saas.rollout.map.user", "there is no table in the new version `user`; declared: users",
         Some("did you mean `users`?")),
        ("a map by the old name", rollout("tables.people.from = \"users\"\nmap.users.x.up = \"1\""),
         (14, 5, "users"), "contexts.saas.rollout.map.users", "there is no table in the new version `users`; declared: people", None),
        ("a map of a table that is not copied",
         rollout("map.cache.x.up = \"1\"\n[contexts.saas.tables.cache]\nmode = \"rebuild\""),
         (13, 5, "cache"), "contexts.saas.rollout.map.cache", "no row of it is transformed", None),
        ("two ways back to one column",
         rollout("map.users.x = { up = \"1\", down = { column = \"o\", sql = \"x\" } }\nmap.users.y = { up = \"1\", down = { column = \"o\", sql = \"y\" } }"),
         (14, 45, "\"o\""), "contexts.saas.rollout.map.users.y.down.column", "`x` already gives `o` back", None),
        ("a new name for no table", rollout("tables.people.from = \"user\""),
         (13, 22, "\"user\""), "contexts.saas.rollout.tables.people.from", "there is no table in this context `user`",
         Some("did you mean `users`?")),
        ("two new names for one table", rollout("tables.a.from = \"users\"\ntables.b.from = \"users\""),
         (14, 17, "\"users\""), "contexts.saas.rollout.tables.b.from", "`users` already becomes `a`", None),
        ("a new name that is taken", rollout("tables.users.from = \"orders\"\n[contexts.saas.tables.orders]"),
         (13, 8, "users"), "contexts.saas.rollout.tables.users", "is another table of this context", None),
        ("two places that rows come from",
         rollout("tables.users.from = \"users\"\ntables.users.sources.users = {}"),
         (13, 21, "\"users\""), "contexts.saas.rollout.tables.users.from", "keep one of them", None),
        ("a source that is not there", rollout("tables.people.sources.user.rows.down = \"true\""),
         (13, 23, "user"), "contexts.saas.rollout.tables.people.sources.user", "there is no table in this context `user`",
         Some("did you mean `users`?")),
        ("sources that cannot be told apart",
         rollout("tables.all.sources.users = {}\ntables.all.sources.orders.rows.down = \"x\"\n[contexts.saas.tables.orders]"),
         (13, 28, "{}"), "contexts.saas.rollout.tables.all.sources.users", "`rows.down` must say", None),
        ("rows of which nothing is said", rollout("tables.users.rows = {}"),
         (13, 21, "{}"), "contexts.saas.rollout.tables.users.rows", "nothing says which rows take part", None),
        ("rows of all sources",
         rollout("tables.all.sources.users.rows.down = \"x\"\ntables.all.rows.up = \"y\""),
         (14, 12, "rows"), "contexts.saas.rollout.tables.all.rows", "each of the `sources` has its own `rows`", None),
        ("a way back of all sources",
         rollout("tables.all.sources.users.rows.down = \"x\"\ntables.all.back.name = \"y\""),
         (14, 12, "back"), "contexts.saas.rollout.tables.all.back", "each of the `sources` has its own `back`", None),
        ("no time for writers", policy("fence_timeout = \"0s\""),
         (11, 17, "\"0s\""), "policy.fence_timeout", "allow some ms", None),
        ("a pause that is over too soon", policy("pause_max = \"200ms\""),
         (11, 13, "\"200ms\""), "policy.pause_max", "`pause_max` (200ms) must be at least `fence_timeout` (300ms)", None),
        ("strict reads and no time for them", policy("hold_max = \"0ms\"\nreads = \"strict\""),
         (11, 12, "\"0ms\""), "policy.hold_max", "longer than zero", None),
        ("a lock timeout that means for ever", policy("lock_timeout = \"0ms\""),
         (11, 16, "\"0ms\""), "policy.lock_timeout", "longer than zero", None),
        ("a lock timeout that does not fit", policy("lock_timeout = \"25d\""),
         (11, 16, "\"25d\""), "policy.lock_timeout", "at most 24d", None),
    ];
    for (case, text, at, path, message, suggestion) in rows {
        check_complaints(case, &text, &[Complaint { at, path, message, suggestion }]);
    }
}

#[test]
fn what_is_missing_at_the_top_has_no_place() {
    let errors = parse("version = 1\n").expect_err("no project");
    let [SpecError { at: None, path, message, .. }] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(
        (path.as_str(), message.as_str()),
        ("", "`project` is missing: the project's name, for people")
    );
}

#[test]
fn columns_are_counted_in_characters() {
    let text = LEAST.replace("project = \"saas\"", "project = \"sääs\" # ñ\nö = 1");
    let errors = parse(&text).expect_err("a bare key is ASCII");
    assert_eq!(errors[0].at.as_ref().map(|at| (at.line, at.column)), Some((3, 1)));
    let text = LEAST
        .replace("{ database = \"blue\", schema", "{ \"dätabase\" = \"blue\", database = \"blue\", schema");
    let at = parse(&text).expect_err("an unknown key")[0].at.clone().expect("a place");
    assert_eq!((at.line, at.column, &text[at.span]), (7, 10, "\"dätabase\""));
}

#[test]
fn errors_are_shown_with_their_lines() {
    let text = WHOLE
        .replace("max_connections = 12", "max_conections = 12")
        .replace("\"reference\"", "\"referense\"")
        .replace("lag_max", "\tlag_max")
        .replace("2MiB", "2 apples")
        .replace("project = \"saas\"\n", "");
    let page = render_errors("replat.toml", &text, &parse(&text).expect_err("four mistakes"));
    let want = r#"error: `project` is missing: the project's name, for people
 --> replat.toml

error: unknown key `max_conections`; allowed here: endpoint, max_connections, service, url
 --> replat.toml:5:1
  |
5 | max_conections = 12
  | ^^^^^^^^^^^^^^
  = at: databases.blue.max_conections
  = help: did you mean `max_connections`?

error: unknown value `referense`; allowed here: slice, reference, rebuild
  --> replat.toml:21:8
   |
21 | mode = "referense"
   |        ^^^^^^^^^^^
   = at: contexts.saas.tables.currencies.mode
   = help: did you mean `reference`?

error: `2 apples` is not a size: its unit is missing or unknown; use one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB
  --> replat.toml:39:12
   |
39 |  lag_max = "2 apples"
   |            ^^^^^^^^^^
   = at: policy.lag_max

4 errors in replat.toml
"#;
    assert_eq!(page, want);
}

#[test]
fn text_that_is_not_toml_is_shown_where_it_breaks() {
    let text = "version = 1\nproject = \"saas\n[databases]\n";
    let page = render_errors("replat.toml", text, &parse(text).expect_err("an open quote"));
    let want = "error: this is not TOML: invalid basic string, expected `\"`
 --> replat.toml:2:16
  |
2 | project = \"saas
  |                ^

1 error in replat.toml
";
    assert_eq!(page, want);
}

#[test]
fn a_line_with_a_password_is_shown_without_it() {
    let rows = [
        (
            "beside a mistake",
            "[databases]\nblue = { url = \"postgres://app:hunter2@h/d\", max = 1 }",
            "{ url = \"***\", max",
        ),
        ("unknown form", "[databases.blue]\nurl = \"hunter2\"", "url = \"***\""),
        (
            "of a registry, beside a mistake",
            "[registry]\nurl = \"redis://:hunter2@h\" # here\nurls = 1",
            "unknown key `urls`",
        ),
        (
            "of a registry, on the line of a mistake",
            "registry = { url = \"redis://:hunter2@h\", max = 1 }",
            "{ url = \"***\", max",
        ),
        ("no registry", "[registry]\nurl = \"http://me:hunter2@h\"", "url = \"***\""),
        ("as its own key", "[databases.blue]\npassword = \"hunter2\"", "password = "),
        ("as a name", "[databases]\n\"postgres://app:hunter2@h/d\" = 1", "\"***\" = 1"),
        ("as another value", "[policy]\nsoak = \"postgres://app:hunter2@h/d\"", "soak = \"***\""),
        ("an open quote", "[databases.blue]\nurl = \"postgres://app:hunter2@h/d", "url = \"***\n"),
    ];
    for (case, body, shown) in rows {
        let text = format!("version = 1\nproject = \"p\"\n{body}\n");
        let errors = parse(&text).expect_err(case);
        let page = render_errors("spec", &text, &errors);
        assert!(page.contains(shown), "{case}:\n{page}");
        assert!(!page.contains("hunter2"), "{case}:\n{page}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{case}: {errors:?}");
    }
}

/// A slip of the finger anywhere around a password must not show it.
#[test]
fn no_single_stray_character_brings_a_password_to_light() {
    let secret = WHOLE.find("hunter2").expect("the spec has a password");
    let outside = (0..=WHOLE.len()).filter(|at| !(secret + 1..secret + 7).contains(at));
    for at in outside.filter(|at| WHOLE.is_char_boundary(*at)) {
        for stray in ["\"", "'", "\n", "[", "]", "{", "}", "=", "#", "\\", ",", ".", "\u{1b}"] {
            let text = format!("{}{stray}{}", &WHOLE[..at], &WHOLE[at..]);
            let Err(errors) = parse(&text) else { continue };
            let page = render_errors("spec", &text, &errors);
            assert!(!page.contains("hunter2"), "{stray:?} at {at}:\n{page}");
            assert!(!page.contains('\u{1b}'), "a control character at {at} reaches the terminal: {page:?}");
        }
    }
}

#[test]
fn a_spec_is_printed_and_stored_without_its_passwords() {
    let spec = read(WHOLE);
    for shown in [format!("{spec:?}"), serde_json::to_string(&spec).expect("a spec is JSON")] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("postgres://app:***@blue.example/saas"), "{shown}");
    }
}

#[test]
fn a_spec_without_secrets_survives_being_written() {
    let spec = read(&WHOLE.replace("postgres://app:hunter2@blue.example/saas", "env:BLUE_URL"));
    let text = toml::to_string(&spec).expect("a spec is TOML");
    assert_eq!(read(&text), spec);
    let json = serde_json::to_string(&spec).expect("a spec is JSON");
    assert_eq!(serde_json::from_str::<Spec>(&json).expect("and back"), spec);
}

#[test]
fn the_example_that_ships_parses() {
    read(include_str!("../../../examples/saas/replat.toml"));
}

/// The least that a validator must know to judge a spec by its schema: an independent reading of the same words.
fn allowed_by(root: &Json, schema: &Json, value: &Json) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return allowed_by(root, root.pointer(&reference[1..]).expect("a definition"), value);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(branches) = schema[choice].as_array() {
            return branches.iter().any(|branch| allowed_by(root, branch, value));
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return false;
    }
    match (schema["type"].as_str().expect("every schema has a type"), value) {
        ("string", Json::String(text)) => {
            schema["minLength"].as_u64().is_none_or(|min| text.len() as u64 >= min)
        }
        ("integer", Json::Number(number)) => {
            let number = number.as_i64().expect("a spec has no larger numbers");
            schema["minimum"].as_i64().is_none_or(|min| number >= min)
                && schema["maximum"].as_i64().is_none_or(|max| number <= max)
        }
        ("array", Json::Array(items)) => {
            schema["minItems"].as_u64().is_none_or(|min| items.len() as u64 >= min)
                && items.iter().all(|item| allowed_by(root, &schema["items"], item))
        }
        ("object", Json::Object(entries)) => {
            let known = |key: &str| schema["properties"].get(key).or(schema.get("additionalProperties"));
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            required.iter().all(|key| entries.contains_key(key.as_str().expect("a key")))
                && entries.iter().all(|(key, value)| match known(key) {
                    Some(Json::Bool(allowed)) => *allowed,
                    Some(schema) => allowed_by(root, schema, value),
                    None => true,
                })
        }
        _ => false,
    }
}

#[test]
fn the_schema_accepts_and_refuses_what_the_parser_does() {
    let schema = json_schema();
    let by_schema = |text: &str| {
        let value: toml::Value = toml::from_str(text).expect("TOML");
        allowed_by(&schema, &schema, &serde_json::to_value(value).expect("JSON"))
    };
    let example = include_str!("../../../examples/saas/replat.toml");
    for good in [example, WHOLE, LEAST] {
        assert!(by_schema(good) && parse(good).is_ok());
    }
    for (good, bad) in [
        ("version = 1", "version = 2"),
        ("project = \"saas\"\n", ""),
        ("max_connections", "max_conections"),
        ("hash = 4", "hash = \"4\""),
        ("\"reference\"", "\"referense\""),
        ("up = \"round(amount * 100)::bigint\"", "up = \"\""),
        ("from = \"order_old\"", "from = \"\""),
    ] {
        let text = WHOLE.replace(good, bad);
        assert!(!by_schema(&text) && parse(&text).is_err(), "{bad}");
    }
}

#[test]
fn the_schema_is_titled_and_says_what_every_key_means() {
    let schema = json_schema();
    assert_eq!(schema["title"], "replat spec");
    for (owner, key, property) in properties(&schema) {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{owner}.{key} has no description");
        assert!(!description.contains("[`"), "{owner}.{key} links to code: {description}");
        assert!(
            property["default"] != Json::Null || property.get("default").is_none(),
            "{owner}.{key}: null"
        );
    }
}

/// All keys of the spec, each with the type it belongs to and its schema.
fn properties(schema: &Json) -> Vec<(String, String, Json)> {
    let definitions = schema["$defs"].as_object().expect("definitions");
    let types = definitions.iter().map(|(name, schema)| (name.as_str(), schema)).chain([("Spec", schema)]);
    let keys = |(owner, schema): (&str, &Json)| {
        let owned = schema["properties"].as_object().cloned().unwrap_or_default();
        owned.into_iter().map(|(key, property)| (owner.to_owned(), key, property)).collect::<Vec<_>>()
    };
    types.flat_map(keys).collect()
}

const PAGE: &str = include_str!("../../../docs/spec.md");

/// The row of the table in the section about `owner` that explains `key`.
fn row_of(owner: &str, key: &str) -> Option<&'static str> {
    let mark = format!("<!-- {owner} -->");
    let section = PAGE.split_once(&mark)?.1;
    let section = section.split("<!-- ").next()?;
    section.lines().find(|line| line.starts_with(&format!("| `{key}` |")))
}

#[test]
fn the_reference_page_explains_every_key_and_its_default() {
    let schema = json_schema();
    for (owner, key, property) in properties(&schema) {
        let row =
            row_of(&owner, &key).unwrap_or_else(|| panic!("docs/spec.md does not explain {owner}.{key}"));
        let default = match &property["default"] {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            _ => continue,
        };
        assert!(
            row.contains(&format!("| `{default}` |")),
            "the default of {owner}.{key} is {default}: {row}"
        );
    }
}

#[test]
fn the_reference_page_explains_every_word_that_a_key_may_be() {
    let schema = json_schema();
    for (name, definition) in schema["$defs"].as_object().expect("definitions") {
        for word in
            definition["oneOf"].as_array().into_iter().flatten().filter_map(|word| word["const"].as_str())
        {
            assert!(PAGE.contains(&format!("`{word}`")), "docs/spec.md does not mention {word} of {name}");
        }
    }
}

/// The blocks of the page, one after the other, are one spec.
#[test]
fn the_reference_page_shows_what_parses() {
    let blocks: String =
        PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let spec = read(&blocks);
    let saas = &spec.contexts["saas"];
    assert!(saas.rollout.is_some());
    let map =
        Map::build("saas", saas.dimensions.clone(), saas.tree.as_ref(), saas.home.clone()).expect("a map");
    let partitions: BTreeSet<_> = map.leaves().map(|leaf| leaf.partition.as_str()).collect();
    let promised = ["acme", "initech", "others_b0", "others_b1", "others_b2", "others_b3"];
    assert_eq!(partitions, BTreeSet::from(promised));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*|[\\[\\]{}=\"',.#a-z0-9\n \\\\]{0,200}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.is_empty());
            render_errors("spec", &text, &errors);
        }
    }

    #[test]
    fn a_mutilated_spec_is_read_without_a_panic(
        at in 0..WHOLE.len(),
        gone in 0_usize..40,
        new in "\\PC{0,8}|[\\[\\]{}=\"',.#a-z0-9\n \\\\]{0,8}",
    ) {
        let end = (at + gone).min(WHOLE.len());
        prop_assume!(WHOLE.is_char_boundary(at) && WHOLE.is_char_boundary(end));
        let text = [&WHOLE[..at], &new, &WHOLE[end..]].concat();
        if let Err(errors) = parse(&text) {
            for error in &errors {
                let within = error.at.as_ref().is_none_or(|at| text.get(at.span.clone()).is_some());
                prop_assert!(within, "{error:?}");
            }
            render_errors("spec", &text, &errors);
        }
    }

    #[test]
    fn errors_are_shown_beside_any_text(text in "\\PC{0,40}", other in "(?s).{0,40}") {
        // An editor may have changed the file since it was parsed.
        if let Err(errors) = parse(&text) {
            render_errors("spec", &other, &errors);
        }
    }

    #[test]
    fn a_duration_survives_being_written(millis in 0_u64..=3_153_600_000_000) {
        let duration: DurationText = format!("{millis}ms").parse().expect("within a hundred years");
        prop_assert_eq!(duration.to_string().parse::<DurationText>(), Ok(duration));
    }

    #[test]
    fn a_size_survives_being_written(bytes in 0..=i64::MAX) {
        let size: ByteSize = format!("{bytes}B").parse().expect("within the largest whole number");
        prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }
}
