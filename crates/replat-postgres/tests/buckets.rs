//! A hash bucket, spelled with built-in functions, holds the very rows that PostgreSQL's own partitioning puts there.

use replat_model::key::KeyType;
use replat_model::map::Dimension;
use replat_model::region::{Constraint, Region};
use replat_postgres::slice::region_predicate;
use replat_testkit::server::Server;

const MODULUS: u32 = 7;

#[tokio::test]
async fn a_bucket_holds_the_rows_that_hash_partitioning_puts_there() {
    let server = Server::start().await.expect("a server");
    let client = server.client("postgres").await.expect("a connection");
    let kinds = [
        (KeyType::SmallInt, "(n * 31 - 16000)::smallint"),
        (KeyType::Integer, "(n * 7919 - 2000000)::integer"),
        (KeyType::BigInt, "(n - 500)::bigint * 922337203685477"),
        (KeyType::Text, "repeat(chr(65 + n % 60), n % 40) || 'é' || n"),
        (KeyType::Uuid, "md5(n::text)::uuid"),
        (KeyType::Date, "date '2000-01-01' + (n * 37 - 18000)"),
        (KeyType::Timestamp, "timestamp '1999-12-31 23:59:59.123456' + n * interval '7 hours 13 minutes'"),
        (KeyType::TimestampTz, "timestamptz '1970-01-01 00:00:00.5+05:30' + n * interval '17 days 1 second'"),
    ];
    client.batch_execute("SET TimeZone = 'America/New_York'").await.expect("a setting");
    for (key_type, value) in kinds {
        let name = key_type.postgres_name();
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS h; \
                 CREATE TABLE t AS SELECT ({value})::{name} AS \"the key\" FROM generate_series(1, 1000) n; \
                 CREATE TABLE h (k {name}) PARTITION BY HASH (k)"
            ))
            .await
            .expect(name);
        let dimensions = [Dimension { column: "the key".into(), key_type }];
        for remainder in 0..MODULUS {
            let region = Region::everything().and(0, Constraint::Bucket { modulus: MODULUS, remainder });
            let ours = region_predicate(&region, &dimensions, replat_postgres::sql::quote_ident);
            let row = client
                .query_one(
                    &format!(
                        "SELECT count(*) FILTER (WHERE {ours}), \
                         count(*) FILTER (WHERE ({ours}) IS DISTINCT FROM \
                           satisfies_hash_partition('h'::regclass, {MODULUS}, {remainder}, \"the key\")) FROM t"
                    ),
                    &[],
                )
                .await
                .expect(name);
            let (inside, astray): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(astray, 0, "{name}, remainder {remainder}");
            assert!(inside > 0, "{name}, remainder {remainder} holds nothing");
        }
    }
}
