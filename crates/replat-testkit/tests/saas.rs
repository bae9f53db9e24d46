//! The example database is what it says: skewed, the same for the same seed, and lossless under up and down.

use replat_testkit::Server;
use replat_testkit::saas::{self, Fill};
use tokio_postgres::Client;

const FILL: Fill = Fill { tenants: 10, rows: 20_000, seed: 7 };

async fn filled(server: &Server, database: &str, fill: Fill) -> Client {
    server.create_database(database).await.expect("a database");
    let client = server.client(database).await.expect("a session");
    saas::create_v1(&client).await.expect("the v1 schema");
    saas::fill_v1(&client, fill).await.expect("rows");
    client
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect(query).get(0)
}

#[tokio::test]
async fn a_fill_is_skewed_about_as_large_as_asked_and_has_values_out_of_line() {
    let server = Server::start().await.expect("a server");
    let client = filled(&server, "blue", FILL).await;
    let mut rows = 0;
    for table in saas::TABLES {
        rows += number(&client, &format!("select count(*) from {table}")).await;
    }
    assert!((18_000..22_000).contains(&rows), "{rows}");
    let first = number(&client, "select count(*) from orders where tenant_id = 1").await;
    let tenth = number(&client, "select count(*) from orders where tenant_id = 10").await;
    assert!(first > 5 * tenth, "{first} against {tenth}");
    let toasted = "select pg_relation_size(reltoastrelid) from pg_class where relname = 'users'";
    assert!(number(&client, toasted).await > 0);
}

#[tokio::test]
async fn the_same_seed_fills_in_the_same_rows_and_another_one_others() {
    let server = Server::start().await.expect("a server");
    let digest = "select sum(hash_record_extended(o, 0))::text || (select sum(hash_record_extended(u, 0)) from users u)
                    from orders o";
    let mut digests: Vec<String> = Vec::new();
    for (database, seed) in [("a", 7), ("b", 7), ("c", u64::MAX)] {
        let client = filled(&server, database, Fill { seed, ..FILL }).await;
        digests.push(client.query_one(digest, &[]).await.expect("a digest").get(0));
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

#[tokio::test]
async fn nothing_is_lost_by_going_up_and_down_again() {
    let server = Server::start().await.expect("a server");
    let client = filled(&server, "blue", FILL).await;
    saas::create_v2(&client, "saas").await.expect("the v2 schema");
    client.batch_execute("set search_path = public").await.expect("the old schema");
    let changed = [
        "select count(*) from payments
          where (round(amount * 100)::bigint)::numeric / 100 is distinct from amount",
        "select count(*) from users
          where split_part(full_name, ' ', 1) || ' ' || split_part(full_name, ' ', 2) is distinct from full_name",
        "select count(*) from orders where status::saas.order_status::text is distinct from status",
    ];
    for query in changed {
        assert_eq!(number(&client, query).await, 0, "{query}");
    }
}
