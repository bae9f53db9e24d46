//! How long a look takes where there is much to see. Printed, not asserted: machines differ.

use std::time::{Duration, Instant};

use replat_engine::lifecycle::Look;
use replat_postgres::lifecycle::look::{fingerprint, look, vitals};

use super::support::{database, set};

/// A hundred tables of 36 partitions each, with two indexes and a default.
const MANY: &str = "
    do $$ begin
      for t in 1..100 loop
        execute format('create table t%s (id bigint, ts timestamptz not null, dev int, payload text,
                        primary key (id, ts)) partition by range (ts)', t);
        execute format('create index on t%s (dev)', t);
        for p in 0..34 loop
          execute format('create table t%1$s_%2$s partition of t%1$s for values from (%3$L) to (%4$L)', t, p,
                         timestamptz '2026-01-01 00:00Z' + p * interval '1 day',
                         timestamptz '2026-01-01 00:00Z' + (p + 1) * interval '1 day');
        end loop;
        execute format('create table t%1$s_default partition of t%1$s default', t);
        commit;
      end loop;
    end $$";

#[tokio::test]
async fn a_hundred_tables_of_36_partitions() {
    let (_, client) = database(MANY).await;
    client
        .batch_execute("vacuum analyze pg_class, pg_inherits, pg_attribute, pg_index")
        .await
        .expect("analyse");
    let plain = Look::default();
    let full = Look { sizes: true, indexes: true, ..Look::default() };
    let mut best = [Duration::MAX; 4];
    for _ in 0..3 {
        let begun = Instant::now();
        let facts = look(&client, "test", &plain).await.expect("a look");
        best[0] = best[0].min(begun.elapsed());
        assert_eq!(facts.sets.len(), 100);
        assert_eq!(set(&facts, "t77").level.parts.len(), 36);
        assert_eq!(set(&facts, "t77").relations_each, 5);

        let begun = Instant::now();
        let facts = look(&client, "test", &full).await.expect("a look");
        best[1] = best[1].min(begun.elapsed());
        assert!(facts.sets.iter().all(|set| set.indexes.iter().all(|index| index.missing_on.is_empty())));

        let begun = Instant::now();
        assert_eq!(fingerprint(&client, "test").await.expect("a fingerprint"), facts.fingerprint);
        best[2] = best[2].min(begun.elapsed());

        let begun = Instant::now();
        vitals(&client, "test", false).await.expect("vital signs");
        best[3] = best[3].min(begun.elapsed());
    }
    let [plain, full, digest, vital] = best;
    println!("look {plain:?}, with sizes and indexes {full:?}, fingerprint {digest:?}, vitals {vital:?}");
}
