//! COPY in both directions, and rows that are larger than any buffer.

use futures_util::{SinkExt, StreamExt};

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn psql_copies_in_and_out() {
    let world = World::start().await;
    let file = std::env::temp_dir().join(format!("replat-copy-{}", std::process::id()));
    let script = format!(
        "create table t (a int, b text);\n\
         insert into t select i, repeat('x', i % 100) from generate_series(1, 20000) i;\n\
         \\copy t to '{0}'\n\
         create table u (like t);\n\
         \\copy u from '{0}'\n\
         select count(*) from (select * from t except all select * from u) d;\n\
         \\copy u from program 'echo broken'\n\
         select count(*) from u;\n",
        file.display()
    );
    let mut psql = world.program("psql");
    let mut child = psql
        .args(["-X", "-A", "-t"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut input = child.stdin.take().expect("a pipe");
    tokio::io::AsyncWriteExt::write_all(&mut input, script.as_bytes()).await.expect("psql reads");
    drop(input);
    let output = child.wait_with_output().await.expect("psql ends");
    drop(std::fs::remove_file(&file));
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    let want = ["CREATE TABLE", "INSERT 0 20000", "COPY 20000", "CREATE TABLE", "COPY 20000", "0", "20000"];
    assert_eq!(lines, want, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("invalid input syntax"), "the broken row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_follows_its_partition_right_after_a_copy() {
    let world = World::start().await;
    for server in [&world.blue, &world.green] {
        server.execute("app", "create table t (a int); grant all on t to app").await.expect("a table");
    }
    let client = world.client().await;
    for (server, rows) in [(&world.green, 3u64), (&world.blue, 5)] {
        let sink = client.copy_in("copy t from stdin").await.expect("COPY begins");
        let mut sink = Box::pin(sink);
        for _ in 0..rows {
            sink.send(bytes::Bytes::from_static(b"1\n")).await.expect("a row");
        }
        assert_eq!(sink.as_mut().finish().await.expect("COPY ends"), rows);
        world.switch(server).await;
    }
    let counts =
        [&world.blue, &world.green].map(|server| crate::support::number(server, "select count(*) from t"));
    let [blue, green] = counts;
    assert_eq!((blue.await, green.await), (3, 5));
    let rows =
        client.copy_out("copy (select generate_series(1, 100000)) to stdout").await.expect("COPY begins");
    assert_eq!(Box::pin(rows).count().await, 100_000);
}
