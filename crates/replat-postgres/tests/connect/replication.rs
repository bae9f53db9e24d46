use std::time::Duration;

use replat_model::ids::Lsn;
use replat_postgres::replication::{ReplicationError, ReplicationStream};
use replat_testkit::Server;
use replat_wire::pgoutput::{self, Message, OldRow, ReplicaIdentity, Tuple, TupleValue};
use replat_wire::stream::Frame;

use crate::support::replication;

const SCHEMA: &str = r#"
create table items (id int primary key, note text, big text);
alter table items alter column big set storage external;
create table whole (id int, day date, span interval, at timestamptz, ratio float8, raw bytea);
alter table whole replica identity full;
create publication "odd ""pub's" for table items, whole;
"#;

const PUBLICATION: &str = "odd \"pub's";

/// Marks the end of what a test wrote; it stands by itself, so it comes even if nothing else does.
const END: &str = "select pg_logical_emit_message(false, 'end', '')";

async fn server_with_slot(schema: &str) -> Server {
    let server = Server::start().await.expect("a server");
    server.execute("postgres", schema).await.expect("a schema");
    server
        .execute("postgres", "select pg_create_logical_replication_slot('feed', 'pgoutput')")
        .await
        .expect("a slot");
    server
}

async fn stream(server: &Server, from: Lsn) -> ReplicationStream {
    let connection = replication(&server.url("postgres")).await.expect("a connection");
    connection.start("feed", from, PUBLICATION).await.expect("a stream")
}

/// Everything up to the mark, keepalives left out.
async fn until_end(stream: &mut ReplicationStream) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let Frame::XLogData(log) = stream.next().await.expect("a frame") else { continue };
        match pgoutput::decode(log.data).expect("a message") {
            Message::Message(message) if message.prefix == "end" => return messages,
            message => messages.push(message),
        }
    }
}

/// Messages in short, one line each.
fn story(messages: &[Message]) -> Vec<String> {
    messages.iter().map(line).collect()
}

fn line(message: &Message) -> String {
    match message {
        Message::Begin(_) => "begin".to_owned(),
        Message::Commit(_) => "commit".to_owned(),
        Message::Relation(table) => format!("table {}.{}", table.namespace, table.name),
        Message::Insert(insert) => format!("insert {}", values(&insert.new)),
        Message::Update(update) => match &update.old {
            None => format!("update {}", values(&update.new)),
            Some(old) => format!("update {} -> {}", old_values(old), values(&update.new)),
        },
        Message::Delete(delete) => format!("delete {}", old_values(&delete.old)),
        Message::Truncate(truncate) => {
            format!(
                "truncate {} cascade={} restart={}",
                truncate.relations.len(),
                truncate.cascade,
                truncate.restart_identity
            )
        }
        Message::Message(message) => {
            let content = String::from_utf8_lossy(&message.content);
            format!("message {} {content} transactional={}", message.prefix, message.transactional)
        }
        other => format!("{other:?}"),
    }
}

fn old_values(old: &OldRow) -> String {
    match old {
        OldRow::Key(tuple) => format!("key{}", values(tuple)),
        OldRow::Full(tuple) => format!("full{}", values(tuple)),
    }
}

fn values(tuple: &Tuple) -> String {
    let one = |value: &TupleValue| match value {
        TupleValue::Null => "null".to_owned(),
        TupleValue::Unchanged => "unchanged".to_owned(),
        TupleValue::Text(text) if text.len() > 100 => format!("{} bytes", text.len()),
        TupleValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
        TupleValue::Binary(_) => panic!("nobody asked for binary"),
    };
    format!("({})", tuple.0.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn changes_are_decoded_in_the_order_in_which_they_were_made() {
    let server = server_with_slot(SCHEMA).await;
    let changes = [
        "insert into items values (1, 'one', repeat('x', 100000)), (2, null, '')",
        "begin; update items set note = 'uno' where id = 1; \
         select pg_logical_emit_message(true, 'replat', 'within'); update items set id = 3 where id = 2; commit",
        "begin; insert into items values (9); rollback",
        "select pg_logical_emit_message(false, 'replat', 'alone')",
        "delete from items where id = 3",
        "truncate items restart identity",
        END,
    ];
    for change in changes {
        server.execute("postgres", change).await.expect(change);
    }
    let mut stream = stream(&server, Lsn(0)).await;
    let messages = until_end(&mut stream).await;
    let want = [
        "begin",
        "table public.items",
        "insert (1, one, 100000 bytes)",
        "insert (2, null, )",
        "commit",
        "begin",
        "update (1, uno, unchanged)",
        "message replat within transactional=true",
        "update key(2, null, null) -> (3, null, )",
        "commit",
        "message replat alone transactional=false",
        "begin",
        "delete key(3, null, null)",
        "commit",
        "begin",
        // The truncation changed the table's file, so it is described again.
        "table public.items",
        "truncate 1 cascade=false restart=true",
        "commit",
    ];
    assert_eq!(story(&messages), want);
    stream.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn a_table_is_described_with_its_identity_and_columns() {
    let server = server_with_slot(SCHEMA).await;
    server
        .execute("postgres", "insert into items values (1); insert into whole values (1)")
        .await
        .expect("rows");
    server.execute("postgres", END).await.expect("a mark");
    let mut stream = stream(&server, Lsn(0)).await;
    let mut shapes = Vec::new();
    for message in until_end(&mut stream).await {
        if let Message::Relation(table) = message {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| format!("{} {} {} {}", column.name, column.key, column.type_oid, column.typmod))
                .collect();
            shapes.push((table.name, table.replica_identity, columns));
        }
    }
    let items = ["id true 23 -1", "note false 25 -1", "big false 25 -1"];
    assert_eq!(shapes[0], ("items".to_owned(), ReplicaIdentity::Default, items.map(str::to_owned).to_vec()));
    assert_eq!((shapes[1].0.as_str(), shapes[1].1), ("whole", ReplicaIdentity::Full));
    assert_eq!(shapes[1].2[1], "day true 1082 -1");
}

#[tokio::test]
async fn values_read_the_same_whatever_is_set_for_role_and_database() {
    let server = server_with_slot(SCHEMA).await;
    let settings = "alter role postgres set datestyle = 'SQL, DMY'; alter role postgres set timezone = 'Asia/Tokyo'; \
                    alter database postgres set intervalstyle = 'iso_8601'; \
                    alter role postgres set extra_float_digits = -3; alter role postgres set bytea_output = 'escape'";
    server.execute("postgres", settings).await.expect("settings");
    let insert = "insert into whole values (1, '2026-03-04', '1 day 2 hours', '2026-03-04 05:06:07+00', \
                  0.1::float8 + 0.2::float8, 'a'); update whole set id = 2";
    server.execute("postgres", insert).await.expect("a row");
    server.execute("postgres", END).await.expect("a mark");
    let mut stream = stream(&server, Lsn(0)).await;
    let story = story(&until_end(&mut stream).await);
    let row = "2026-03-04, 1 day 02:00:00, 2026-03-04 05:06:07+00, 0.30000000000000004, \\x61)";
    assert!(story.contains(&format!("insert (1, {row}")), "{story:?}");
    assert!(story.contains(&format!("update full(1, {row} -> (2, {row}")), "{story:?}");
}

#[tokio::test]
async fn what_was_confirmed_does_not_come_again_and_the_rest_does() {
    let server = server_with_slot(SCHEMA).await;
    for id in 1..=3 {
        server.execute("postgres", &format!("insert into items values ({id})")).await.expect("a row");
    }
    server.execute("postgres", END).await.expect("a mark");

    let mut first = stream(&server, Lsn(0)).await;
    let messages = until_end(&mut first).await;
    let commits: Vec<Lsn> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Commit(commit) => Some(commit.end_lsn),
            _ => None,
        })
        .collect();
    assert_eq!(commits.len(), 3);
    first.status(commits[0]).await.expect("the server listens");
    first.stop().await.expect("an orderly end");

    let client = server.client("postgres").await.expect("a session");
    let ask = "select confirmed_flush_lsn::text, active from pg_replication_slots";
    let slot = client.query_one(ask, &[]).await.expect("the slot");
    assert_eq!(slot.get::<_, String>(0).parse(), Ok(commits[0]));
    assert!(!slot.get::<_, bool>(1), "the slot is free once stop has returned");

    let mut second = stream(&server, Lsn(0)).await;
    let want = [
        "begin",
        "table public.items",
        "insert (2, null, null)",
        "commit",
        "begin",
        "insert (3, null, null)",
        "commit",
    ];
    assert_eq!(story(&until_end(&mut second).await), want);
    second.stop().await.expect("an orderly end");

    // A position of one's own, ahead of what was confirmed, is respected too.
    let mut third = stream(&server, commits[1]).await;
    assert_eq!(
        story(&until_end(&mut third).await),
        ["begin", "table public.items", "insert (3, null, null)", "commit"]
    );
}

#[tokio::test]
async fn a_read_that_is_cancelled_again_and_again_loses_nothing() {
    let server = server_with_slot(SCHEMA).await;
    // Rows that need many reads each.
    let rows = "insert into items select id, 'n', repeat('x', 3000000) from generate_series(1, 5) id";
    server.execute("postgres", rows).await.expect("rows");
    server.execute("postgres", END).await.expect("a mark");
    let mut stream = stream(&server, Lsn(0)).await;
    let (mut messages, mut cancelled) = (Vec::new(), 0);
    loop {
        // Polled once, and dropped if that was not enough.
        let Ok(frame) = tokio::time::timeout(Duration::ZERO, stream.next()).await else {
            cancelled += 1;
            continue;
        };
        let Frame::XLogData(log) = frame.expect("a frame") else { continue };
        match pgoutput::decode(log.data).expect("a message") {
            Message::Message(_) => break,
            message => messages.push(message),
        }
    }
    let want: Vec<String> = (1..=5).map(|id| format!("insert ({id}, n, 3000000 bytes)")).collect();
    assert_eq!(story(&messages)[2..7], want);
    assert!(cancelled > 0, "nothing was cancelled, so nothing was proved");
}

#[tokio::test]
async fn the_server_says_who_it_is() {
    let server = server_with_slot(SCHEMA).await;
    let mut connection = replication(&server.url("postgres")).await.expect("a connection");
    let identity = connection.identify_system().await.expect("an identity");
    let client = server.client("postgres").await.expect("a session");
    let ask = "select system_identifier::text, pg_current_wal_flush_lsn()::text from pg_control_system()";
    let row = client.query_one(ask, &[]).await.expect("a row");
    assert_eq!(identity.system_id, row.get::<_, String>(0));
    assert_eq!((identity.timeline, identity.dbname.as_deref()), (1, Some("postgres")));
    let flush: Lsn = row.get::<_, String>(1).parse().expect("a position");
    assert!(Lsn(0) < identity.flush && identity.flush <= flush, "{identity:?}, {flush}");
}

#[tokio::test]
async fn a_refused_query_leaves_the_connection_usable() {
    let server = server_with_slot(SCHEMA).await;
    let mut connection = replication(&server.url("postgres")).await.expect("a connection");
    let error = connection.simple_query("select 1/0").await.expect_err("division by zero");
    assert_eq!(error.sqlstate(), Some("22012"));
    assert_eq!(error.to_string(), "the server refused: division by zero (SQLSTATE 22012)");
    let rows = connection.simple_query("select 1, null, 'é'").await.expect("a row");
    assert_eq!(rows, [[Some("1".to_owned()), None, Some("é".to_owned())]]);
    assert_eq!(connection.simple_query("").await.expect("nothing"), [[]; 0] as [[Option<String>; 0]; 0]);
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_is_refused_with_the_reason() {
    let server = server_with_slot(SCHEMA).await;
    let reader = stream(&server, Lsn(0)).await;
    let rows = [("feed", "55006", true), ("nowhere", "42704", false), ("no such slot", "42704", false)];
    for (slot, sqlstate, temporary) in rows {
        let connection = replication(&server.url("postgres")).await.expect("a connection");
        let error = connection.start(slot, Lsn(0), PUBLICATION).await.expect_err(slot);
        assert_eq!((error.sqlstate(), error.is_temporary()), (Some(sqlstate), temporary), "{error}");
    }
    drop(reader);
}

#[tokio::test]
async fn an_error_in_mid_stream_has_its_sqlstate() {
    let server = server_with_slot(SCHEMA).await;
    let connection = replication(&server.url("postgres")).await.expect("a connection");
    let mut stream = connection.start("feed", Lsn(0), PUBLICATION).await.expect("a stream");
    let end = "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = 'feed'";
    server.execute("postgres", end).await.expect("a row");
    let error = loop {
        match stream.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate(), Some("57P01"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_is_noticed() {
    let mut server = server_with_slot(SCHEMA).await;
    let mut stream = stream(&server, Lsn(0)).await;
    server.kill().await.expect("the server dies");
    let error = loop {
        match stream.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReplicationError::Lost(_)), "{error:?}");
    assert!(error.is_temporary());
}

#[tokio::test]
async fn a_keepalive_comes_when_asked_for_by_silence() {
    let server =
        Server::builder().setting("wal_sender_timeout", "1s").start().await.expect("an impatient server");
    server.execute("postgres", SCHEMA).await.expect("a schema");
    let slot = "select pg_create_logical_replication_slot('feed', 'pgoutput')";
    server.execute("postgres", slot).await.expect("a slot");
    let mut stream = stream(&server, Lsn(0)).await;
    // An answer keeps the stream alive beyond the timeout: the server has to ask several times.
    let mut asked = 0;
    while asked < 4 {
        let Frame::Keepalive(keepalive) = stream.next().await.expect("a frame") else { continue };
        if keepalive.reply_requested {
            asked += 1;
            stream.status(keepalive.wal_end).await.expect("the server listens");
        }
    }
    stream.stop().await.expect("an orderly end");
}
