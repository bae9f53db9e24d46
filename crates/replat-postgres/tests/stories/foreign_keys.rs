//! Foreign keys that are built on green while the stream writes to both of their tables.

use replat_engine::Engine;
use replat_model::deploy::Phase;
use replat_model::ids::Side;
use replat_model::next::Action;

use crate::harness::{Scene, Story, run, value};

/// Until a session of replat's, for this purpose, waits for a lock with another statement than this one.
async fn waits(story: &Story, purpose: &str, but: &str) {
    let watcher = story.session(Side::Green).await;
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = current_database() \
         and application_name like 'replat/{purpose}/%' and wait_event_type = 'Lock' and query not like '{but}%'"
    );
    for _ in 0..100_000 {
        if value(&watcher, &sql).await != "0" {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{purpose} never waits");
}

/// The stream has one table and wants the other; the foreign key, which locks both, comes in between.
#[tokio::test]
async fn a_foreign_key_and_the_stream_do_not_wait_for_each_other() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    let id = story.listed.id.as_str();
    let add = "ALTER TABLE shop.moves ADD CONSTRAINT \"moves_fk\" FOREIGN KEY (tenant_id, account_id) \
               REFERENCES shop.accounts (tenant_id, id) DEFERRABLE";
    run(
        &story.green,
        &format!(
            "alter table moves drop constraint moves_tenant_id_account_id_fkey; \
             insert into replat.deferred (deployment, ord, name, is_foreign, definition) \
             values ('{id}', 1000, 'moves_fk', true, '{add}')"
        ),
    )
    .await;
    let (gate, row) = (story.session(Side::Green).await, story.session(Side::Green).await);
    run(&gate, "begin; lock table replat.deferred in access exclusive mode").await;
    let d = story.state();
    let building = story.engine.act(&d, &Action::BuildIndexes, story.token());
    let meddling = async {
        waits(&story, "indexes", "no statement").await;
        run(&row, "begin; select 1 from accounts where tenant_id = 2 and id = 7 for update").await;
        run(
            &story.blue,
            "begin; update accounts set note = 'both' where tenant_id = 2 and id = 7; \
             update moves set amount = 4 where tenant_id = 2 and id = 7; commit",
        )
        .await;
        waits(&story, "apply", "no statement").await;
        run(&gate, "commit").await;
        waits(&story, "indexes", "SELECT ord, name").await;
        run(&row, "rollback").await;
    };
    let (built, ()) = tokio::join!(building, meddling);
    built.expect("the foreign key is built");
    let checked = "select convalidated and condeferrable from pg_constraint where conname = 'moves_fk'";
    assert_eq!(value(&story.green, checked).await, "true");
    assert_eq!(value(&story.green, "select count(*) from replat.deferred").await, "0");
    story.settle().await;
    story.assert_equal().await;
}

/// Before PostgreSQL 18 the key of a partitioned table cannot be added first and checked later.
#[tokio::test]
async fn the_foreign_key_of_a_partitioned_table_is_built_as_well() {
    let tables = "
        create table accounts (tenant_id bigint not null, id bigint not null, primary key (tenant_id, id));
        create table moves (tenant_id bigint not null, id bigint not null, account_id bigint,
          primary key (tenant_id, id), foreign key (tenant_id, account_id) references accounts
        ) partition by hash (tenant_id);
        create table moves_0 partition of moves for values with (modulus 1, remainder 0);
    ";
    let scene = Scene {
        blue: tables.into(),
        ddl: tables.into(),
        rows: "insert into accounts select 2, n from generate_series(1, 9) n; \
               insert into moves select 2, n, n from generate_series(1, 9) n"
            .into(),
        references: Vec::new(),
        ..Scene::default()
    };
    let story = scene.begin().await;
    story.until_phase(Phase::Ready).await;
    let checked = "select bool_and(convalidated) and count(*) = 2 from pg_constraint \
                   where contype = 'f' and conrelid in ('moves'::regclass, 'moves_0'::regclass)";
    assert_eq!(value(&story.green, checked).await, "true");
    assert_eq!(value(&story.green, "select count(*) from replat.deferred").await, "0");
    story.assert_equal().await;
}
