//! Life without replat: what is printed runs with psql alone, and makes what `rotate` would have made.

use crate::world::{World, psql};

/// Sets of several shapes, with what siblings give to new partitions.
const SETS: &str = "
    -- Roles belong to all databases of the server, and tests run side by side.
    do $$ begin create role keeper_eject; exception when others then null; end $$;
    do $$ begin create role reader_eject; exception when others then null; end $$;
    create table \"Ta'g\" (\"a\\t\" timestamptz not null, id bigint not null, primary key (\"a\\t\", id))
      partition by range (\"a\\t\");
    do $$ begin
      for d in -2..1 loop
        execute format('create table %I partition of \"Ta''g\" for values from (%L) to (%L)',
          'Ta''g_' || to_char(current_date + d, 'YYYYMMDD'), (current_date + d)::timestamptz,
          (current_date + d + 1)::timestamptz);
        execute format('alter table %I owner to keeper_eject', 'Ta''g_' || to_char(current_date + d, 'YYYYMMDD'));
        execute format('grant select on %I to reader_eject', 'Ta''g_' || to_char(current_date + d, 'YYYYMMDD'));
        execute format('alter table %1$I replica identity using index %2$I', 'Ta''g_' || to_char(current_date + d,
          'YYYYMMDD'), 'Ta''g_' || to_char(current_date + d, 'YYYYMMDD') || '_pkey');
      end loop;
    end $$;
    create table nested (at date not null, n int not null) partition by range (at);
    do $$ declare m date; begin
      for i in -1..1 loop
        m := date_trunc('month', current_date) + make_interval(months => i);
        execute format('create table %I partition of nested for values from (%L) to (%L) partition by hash (n)',
          'nested_' || to_char(m, 'YYYYMM'), m, m + interval '1 month');
        for r in 0..1 loop
          execute format('create table %I partition of %I for values with (modulus 2, remainder %s)',
            'nested_' || to_char(m, 'YYYYMM') || '_' || r, 'nested_' || to_char(m, 'YYYYMM'), r);
        end loop;
      end loop;
    end $$;
    create table caught (at date not null, n int) partition by range (at);
    create table caught_default partition of caught default;
    insert into caught values ('1999-01-01', 1);
    do $$ begin
      for w in -1..1 loop
        execute format('create table %I partition of caught for values from (%L) to (%L)',
          'caught_' || to_char(date_trunc('week', current_date) + make_interval(days => 7 * w), 'IYYY_IW'),
          date_trunc('week', current_date)::date + 7 * w, date_trunc('week', current_date)::date + 7 * w + 7);
      end loop;
    end $$;";

const NAMES: [&str; 3] = ["\"Ta'g\"", "nested", "caught"];

/// What a person sees of all tables: bounds, owners, privileges, replica identities, indexes.
async fn seen(world: &World) -> String {
    world
        .text(
            "select string_agg(concat_ws(' ', c.relname, r.rolname, c.relkind, c.relreplident, c.relacl, \
               pg_get_expr(c.relpartbound, c.oid), \
               (select string_agg(pg_get_indexdef(i.indexrelid) || i.indisreplident, ';' order by i.indexrelid::regclass::text) \
                  from pg_index i where i.indrelid = c.oid)), E'\\n' order by c.relname) \
               from pg_class c join pg_roles r on r.oid = c.relowner \
              where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_runs_with_psql_and_leaves_nothing_of_replat() {
    let ours = World::with(SETS).await;
    // Records are there, with something retired and kept.
    ours.replat("adopt").await.succeeds();
    ours.replat("rotate --only retire --keep 1d --max-retire 1 -t public.Ta'g").await.succeeds();
    let theirs = ours.copy().await;
    let again = ours.copy().await;

    let shape = theirs.shape().await;
    let page = theirs.replat("eject --days 75").await.succeeds().out;
    assert_eq!(theirs.shape().await, shape, "it is printed only");
    assert!(page.contains("-- DROP TABLE \"public\".\"Ta'g_"), "{page}");
    std::fs::write(theirs.path("eject.sql"), &page).expect("a file");
    let (done, told) = psql(&theirs, &theirs.path("eject.sql")).await;
    assert!(done, "{told}\n{page}");

    ours.replat("rotate --buffer-days 75 --no-forecast --only create").await.succeeds();
    for name in NAMES {
        let (made, wanted) = (theirs.parts(name).await, ours.parts(name).await);
        assert_eq!(made, wanted, "{name}\n{page}");
        assert!(made.len() > again.parts(name).await.len(), "{name}: there was something to do");
    }
    assert_eq!(seen(&theirs).await, seen(&ours).await);
    let left = "select count(*)::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = 'replat' or c.relname ~ 'lifecycle' or obj_description(c.oid) ~ 'replat'";
    assert_eq!(theirs.text(left).await, "0");
    assert_eq!(theirs.text("select count(*)::text from pg_namespace where nspname = 'replat'").await, "0");

    // What ran once runs again, and does nothing.
    let shape = theirs.shape().await;
    let (done, told) = psql(&theirs, &theirs.path("eject.sql")).await;
    assert!(done, "{told}");
    assert_eq!(theirs.shape().await, shape);

    // And replat begins from scratch where it is wanted again.
    theirs.replat("rotate --buffer-days 99 --no-forecast --only create").await.succeeds();
    assert!(theirs.parts(NAMES[0]).await.len() > ours.parts(NAMES[0]).await.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_of_a_lock_is_run_again() {
    let world = World::with(SETS).await;
    let page = world.replat("eject --days 75").await.succeeds().out;
    std::fs::write(world.path("eject.sql"), &page).expect("a file");
    let mut client = world.client().await;
    let reader = client.transaction().await.expect("a transaction");
    reader.batch_execute("lock table nested in share mode").await.expect("a lock");
    let (done, told) = psql(&world, &world.path("eject.sql")).await;
    assert!(!done && told.contains("could not obtain lock"), "{told}");
    reader.rollback().await.expect("the lock is given back");
    drop(client);
    let (done, told) = psql(&world, &world.path("eject.sql")).await;
    assert!(done, "{told}\n{page}");
    let staged = "select count(*)::text from pg_class c where c.relnamespace = 'public'::regnamespace \
                  and c.relkind in ('r', 'p') and not c.relispartition \
                  and c.relname not in ('Ta''g', 'nested', 'caught')";
    assert_eq!(world.text(staged).await, "0", "nothing half done is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_printed_as_remarks() {
    let world = World::with(SETS).await;
    world.replat("adopt --out replat.toml").await.succeeds();
    let spec = world.read("replat.toml") + "\n[lifecycles.nested.retire]\nkeep = \"1d\"\n";
    std::fs::write(world.path("replat.toml"), spec).expect("a file");
    let page = world.replat("eject --days 3").await.succeeds().out;
    let due: Vec<&str> = page.lines().filter(|line| line.contains("DETACH PARTITION")).collect();
    assert!(!due.is_empty() && due.iter().all(|line| line.starts_with("-- ")), "{page}");
    let said = world.replat("eject --json").await.succeeds().json();
    assert!(said["databases"][0]["sql"].as_str().is_some_and(|sql| sql.contains("BEGIN;")), "{said:#}");
    world.replat("eject -t public.none").await;
}
