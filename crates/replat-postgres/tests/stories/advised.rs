//! What advice asks to be run before a deployment does what it says, on a real server.

use replat_advise::derived::{NewColumn, Step};
use replat_postgres::advised::new_column;
use replat_testkit::Server;

use crate::harness::{run, value};

#[tokio::test]
async fn a_column_that_is_taken_from_a_parent_is_filled_kept_and_follows_it() {
    let server = Server::builder().start().await.expect("a server");
    let client = server.client("postgres").await.expect("a session");
    run(
        &client,
        "create table \"Pro$$jects\" (id bigint primary key, \"tenant id\" int not null);
         create table \"ta\nsks\" (id bigint primary key, project bigint not null references \"Pro$$jects\");
         insert into \"Pro$$jects\" select n, n % 3 from generate_series(1, 9) n;
         insert into \"ta\nsks\" select n, 1 + n % 9 from generate_series(1, 100) n",
    )
    .await;
    // The names would end a comment and a body between two signs of dollars.
    let text = str::to_owned;
    let (by, parent, parent_key, value_of) =
        (text("project"), text("Pro$$jects"), text("id"), text("tenant id"));
    let new = NewColumn {
        table: text("ta\nsks"),
        column: text("tenant id"),
        data_type: Some(text("int")),
        steps: vec![
            Step::Add,
            Step::Keep {
                by: by.clone(),
                parent: parent.clone(),
                parent_key: parent_key.clone(),
                value: value_of.clone(),
            },
            Step::BackFill {
                ranges_of: vec![text("id")],
                by: by.clone(),
                parent: parent.clone(),
                parent_key: parent_key.clone(),
                value: value_of.clone(),
            },
            Step::Verify { by, parent, parent_key, value: value_of },
            Step::NotNull,
        ],
    };
    let sql = new_column(&new).replace(":from", "1").replace(":to", "1000");
    // Each step can be done again.
    for _ in 0..2 {
        run(&client, &sql).await;
    }
    let astray = "select count(*) from \"ta\nsks\" t join \"Pro$$jects\" p on p.id = t.project \
                  where t.\"tenant id\" is distinct from p.\"tenant id\"";
    assert_eq!(value(&client, &format!("select ({astray})::text")).await, "0");
    run(&client, "insert into \"ta\nsks\" values (101, 5); update \"ta\nsks\" set project = 6 where id = 1")
        .await;
    run(&client, "update \"Pro$$jects\" set \"tenant id\" = 77 where id = 5").await;
    assert_eq!(value(&client, &format!("select ({astray})::text")).await, "0");
    assert_eq!(
        value(&client, "select count(*)::text from \"ta\nsks\" where \"tenant id\" = 77").await,
        value(&client, "select count(*)::text from \"ta\nsks\" where project = 5").await
    );
}
