//! What statements do to their session and their transaction.

use replat_statement::{Effects, Hint, Plan, Scope, SessionChange, SettingValue, Transaction, Verb};

use crate::schema::tables;

fn effects(sql: &str) -> Vec<Effects> {
    Plan::of(sql, &tables()).statements().iter().map(|statement| statement.effects().clone()).collect()
}

#[test]
fn each_statement_is_of_a_kind() {
    use Transaction::*;
    let begin = |read_only| Verb::Transaction(Begin { read_only });
    let cases = [
        ("select 1", Verb::Read),
        ("(select 1)", Verb::Read),
        ("values (1)", Verb::Read),
        ("with a as (select 1) select * from a", Verb::Read),
        ("select * from orders where tenant_id = 1", Verb::Read),
        ("select * from orders", Verb::Read),
        ("select count(*), lower(x) from orders where tenant_id = 1", Verb::Read),
        ("select * from orders where tenant_id = 1 for update", Verb::MayWrite),
        ("select * from orders where tenant_id = 1 for no key update", Verb::MayWrite),
        ("select pay(1)", Verb::MayWrite),
        ("select nextval('s')", Verb::MayWrite),
        ("select * from orders where pay(id) and tenant_id = 1", Verb::MayWrite),
        ("select * from nowhere", Verb::MayWrite),
        ("select something odd from here", Verb::MayWrite),
        ("insert into orders (tenant_id) values (1)", Verb::Write),
        ("insert into orders what is that", Verb::Write),
        ("update orders set x = 1 where tenant_id = 1", Verb::Write),
        ("delete from orders where tenant_id = 1", Verb::Write),
        ("with d as (delete from orders where tenant_id = 1 returning *) select * from d", Verb::Write),
        ("with d as (select 1) insert into orders (tenant_id) select * from d", Verb::Write),
        ("merge into orders using x on true when matched then delete", Verb::Write),
        ("truncate orders", Verb::Write),
        ("copy orders from stdin", Verb::Write),
        ("copy orders to stdout", Verb::MayWrite),
        ("copy (select 1 from orders) to stdout", Verb::MayWrite),
        ("explain analyze delete from orders", Verb::MayWrite),
        ("call f()", Verb::MayWrite),
        ("do $$begin end$$", Verb::MayWrite),
        ("execute p", Verb::MayWrite),
        ("create table t (a int)", Verb::Ddl),
        ("drop table t", Verb::Ddl),
        ("alter table t add a int", Verb::Ddl),
        ("begin", begin(None)),
        ("begin work", begin(None)),
        ("begin transaction isolation level serializable read only", begin(Some(true))),
        ("start transaction read write", begin(Some(false))),
        ("set transaction isolation level repeatable read", Verb::Transaction(Set)),
        ("set constraints all deferred", Verb::Transaction(Set)),
        ("commit", Verb::Transaction(Commit)),
        ("end", Verb::Transaction(Commit)),
        ("commit and chain", Verb::Transaction(Commit)),
        ("rollback", Verb::Transaction(Rollback)),
        ("abort", Verb::Transaction(Rollback)),
        ("savepoint a", Verb::Transaction(Savepoint)),
        ("rollback to a", Verb::Transaction(RollbackTo)),
        ("rollback work to savepoint a", Verb::Transaction(RollbackTo)),
        ("release savepoint a", Verb::Transaction(Release)),
        ("prepare transaction 'x'", Verb::Transaction(Prepare)),
        ("commit prepared 'x'", Verb::Transaction(CommitPrepared)),
        ("rollback prepared 'x'", Verb::Transaction(RollbackPrepared)),
        ("show search_path", Verb::Session),
        ("fetch 1 from c", Verb::Session),
        ("vacuum", Verb::Upkeep),
        ("checkpoint", Verb::Upkeep),
        ("whatever this is", Verb::Opaque),
        ("select 'open", Verb::Opaque),
    ];
    for (sql, verb) in cases {
        assert_eq!(effects(sql).iter().map(|effects| effects.verb).collect::<Vec<_>>(), [verb], "{sql}");
    }
}

#[test]
fn what_a_statement_leaves_in_its_session_is_known() {
    use SessionChange::*;
    let set = |name: &str, values: &[&str], scope| Set {
        name: name.into(),
        value: SettingValue::Values(values.iter().map(|value| Box::from(*value)).collect()),
        scope,
    };
    let cases: Vec<(&str, Vec<SessionChange>)> = vec![
        ("set replat.partition = 'acme'", vec![set("replat.partition", &["acme"], Scope::Session)]),
        ("SET REPLAT.PARTITION TO acme", vec![set("replat.partition", &["acme"], Scope::Session)]),
        ("set session replat.partition = 'Acme'", vec![set("replat.partition", &["Acme"], Scope::Session)]),
        ("set local replat.partition = 'acme'", vec![set("replat.partition", &["acme"], Scope::Local)]),
        (
            "set local replat.partition to default",
            vec![Set { name: "replat.partition".into(), value: SettingValue::Default, scope: Scope::Local }],
        ),
        ("reset replat.partition", vec![Reset("replat.partition".into())]),
        ("reset all", vec![ResetAll]),
        (
            "select set_config('replat.partition', 'acme', false)",
            vec![set("replat.partition", &["acme"], Scope::Session)],
        ),
        ("select pg_catalog.set_config('X.y', 'acme', true)", vec![set("x.y", &["acme"], Scope::Local)]),
        ("select set_config('replat.partition', $1, false)", vec![Untracked]),
        ("select set_config('a', 'b', x) from t", vec![Untracked]),
        ("set search_path = a, \"B\", 'c'", vec![set("search_path", &["a", "B", "c"], Scope::Session)]),
        ("set schema 'x'", vec![set("search_path", &["x"], Scope::Session)]),
        ("set time zone 'UTC'", vec![set("timezone", &["UTC"], Scope::Session)]),
        ("set time zone -7", vec![set("timezone", &["-7"], Scope::Session)]),
        ("set local time zone utc", vec![set("timezone", &["utc"], Scope::Local)]),
        ("set time zone interval '1' hour", vec![Untracked]),
        ("set names 'utf8'", vec![set("client_encoding", &["utf8"], Scope::Session)]),
        ("set role admin", vec![set("role", &["admin"], Scope::Session)]),
        ("set local role none", vec![set("role", &["none"], Scope::Local)]),
        ("set session authorization bob", vec![set("session_authorization", &["bob"], Scope::Session)]),
        ("reset session authorization", vec![Reset("session_authorization".into())]),
        ("set session characteristics as transaction read only", vec![Untracked]),
        ("set work_mem = '64MB'", vec![set("work_mem", &["64MB"], Scope::Session)]),
        ("set jit to off", vec![set("jit", &["off"], Scope::Session)]),
        ("set x.y = $$ a $$", vec![set("x.y", &[" a "], Scope::Session)]),
        ("set", vec![Untracked]),
        ("set a = ", vec![Untracked]),
        ("set a = 1 + 1", vec![Untracked]),
        ("discard all", vec![DiscardAll]),
        ("discard temp", vec![DiscardTemporary]),
        ("discard plans", vec![]),
        ("listen Jobs", vec![Listen("jobs".into())]),
        ("unlisten jobs", vec![Unlisten(Some("jobs".into()))]),
        ("unlisten *", vec![Unlisten(None)]),
        ("notify jobs, 'x'", vec![]),
        ("create temp table t (a int)", vec![Temporary]),
        ("create temporary table t as select 1", vec![Temporary]),
        ("create local temporary sequence s", vec![Temporary]),
        ("create or replace temp view v as select 1", vec![Temporary]),
        ("create table pg_temp.t (a int)", vec![Temporary]),
        ("create table temp (a int)", vec![]),
        ("select * into temp t from orders", vec![Temporary]),
        ("create temp nonsense", vec![Temporary]),
        ("select pg_advisory_lock(1)", vec![AdvisoryLock]),
        ("select pg_catalog.pg_try_advisory_lock(1) from orders where tenant_id = 1", vec![AdvisoryLock]),
        ("select pg_advisory_xact_lock(1)", vec![]),
        ("select pg_advisory_unlock_all()", vec![AdvisoryUnlock]),
        ("select 'pg_advisory_lock(1)'", vec![]),
        ("declare c cursor with hold for select 1", vec![HeldCursor("c".into())]),
        ("declare c cursor without hold for select 1", vec![]),
        ("declare c cursor for select 1", vec![]),
        ("close c", vec![CloseCursor(Some("c".into()))]),
        ("close all", vec![CloseCursor(None)]),
        ("prepare p (int) as select $1", vec![Prepare("p".into())]),
        ("deallocate p", vec![Deallocate(Some("p".into()))]),
        ("deallocate prepare p", vec![Deallocate(Some("p".into()))]),
        ("deallocate all", vec![Deallocate(None)]),
        ("load 'x'", vec![Library]),
        ("select 1", vec![]),
        ("update orders set x = 1", vec![]),
        ("whatever this is", vec![Untracked]),
        ("select 'open", vec![Untracked]),
    ];
    for (sql, changes) in cases {
        let found: Vec<SessionChange> = Plan::of(sql, &tables()).session_changes().cloned().collect();
        assert_eq!(found, changes, "{sql}");
    }
}

#[test]
fn what_cannot_be_had_elsewhere_pins() {
    for (sql, pins) in [
        ("set role admin", false),
        ("create temp table t (a int)", true),
        ("listen x", true),
        ("unlisten *", false),
        ("select pg_advisory_lock(1)", true),
        ("prepare p as select 1", true),
        ("deallocate all", false),
        ("declare c cursor with hold for select 1", true),
        ("select * from orders", false),
        ("whatever this is", true),
        ("begin; create temp table t (a int); commit", true),
    ] {
        assert_eq!(Plan::of(sql, &tables()).session_changes().any(SessionChange::pins), pins, "{sql}");
    }
}

#[test]
fn hints_stand_before_or_behind_and_are_taken_exactly() {
    let partition = |name: &str| Some(Hint::Partition(name.parse().expect("a name")));
    let key = |text: &str| Some(Hint::Key(text.into()));
    for (sql, hint) in [
        ("/* replat:partition=acme */ select 1", partition("acme")),
        ("/*replat:partition=acme*/ select 1", partition("acme")),
        ("select 1 /* replat:partition=acme */", partition("acme")),
        ("select 1; /* replat:partition=acme */", partition("acme")),
        ("-- x\n/* a */ /* replat:key=42 */ select 1", key("42")),
        ("select 1 /* replat:key=a b,2026-01-31 */ -- end", key("a b,2026-01-31")),
        ("/* replat:key=42 */ select 1 /* replat:key=42 */", key("42")),
        ("/* replat:key=42 */ select 1 /* replat:key=43 */", Some(Hint::Bad)),
        ("/* replat:partition=acme */ select 1 /* replat:key=43 */", Some(Hint::Bad)),
        ("/* replat:partition=A c */ select 1", Some(Hint::Bad)),
        ("/* replat:partition= */ select 1", Some(Hint::Bad)),
        ("/* replat:key= */ select 1", Some(Hint::Bad)),
        ("/* replat:key */ select 1", Some(Hint::Bad)),
        ("/* replat:keys=42 */ select 1", Some(Hint::Bad)),
        ("/* replat:key =42 */ select 1", Some(Hint::Bad)),
        ("select /* replat:key=42 */ 1", None),
        ("select '/* replat:key=42 */'", None),
        ("-- replat:key=42\nselect 1", None),
        ("/* see replat:key=42 */ select 1", None),
        ("/* Replat:key=42 */ select 1", None),
        ("select 1", None),
        ("/* replat:partition=acme */", partition("acme")),
        ("/* replat:partition=acme */ not sql", partition("acme")),
    ] {
        assert_eq!(Plan::of(sql, &tables()).hint(), hint.as_ref(), "{sql}");
    }
}

#[test]
fn a_hint_is_read_by_the_dimensions_of_its_context() {
    use crate::schema::dimension;
    use replat_model::key::KeyType::{BigInt, Date, Text};
    let key = |text: &str, dimensions: &[_]| {
        let key = Hint::Key(text.into()).key(dimensions)?;
        Some(key.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
    };
    let (tenant, name, day) = (dimension("t", BigInt), dimension("n", Text), dimension("d", Date));
    assert_eq!(key("42", std::slice::from_ref(&tenant)).as_deref(), Some("42"));
    assert_eq!(key("a,b", std::slice::from_ref(&name)).as_deref(), Some("a,b"));
    assert_eq!(key("a,2026-01-31", &[name.clone(), day]).as_deref(), Some("a|2026-01-31"));
    assert_eq!(key("x", std::slice::from_ref(&tenant)), None);
    assert_eq!(key("42", &[tenant.clone(), name]), None);
    assert_eq!(Hint::Bad.key(&[tenant]), None);
}
