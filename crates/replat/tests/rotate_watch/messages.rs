//! Runs that somebody asks for.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, stream};
use replat_testkit::Nats;

use crate::daemon::{Daemon, replat, until};
use crate::place::{Place, day};

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_gets_its_partitions_before_the_first_row_comes() {
    let place = Place::with_days().await;
    let mut daemon = Daemon::start(&place.url, &["--buffer-days=5", "--velocity-every=0s"]);
    daemon.good_run("start").await;
    let (events, logins) = (place.partitions("events").await, place.partitions("logins").await);
    let until = day(&place.client, 40).await;
    let say = async |payload: &str| {
        place.client.execute("select pg_notify('replat_rotate', $1)", &[&payload]).await.expect("said");
    };
    // The listener may have come after the first run.
    crate::daemon::until("a listener", async || {
        let sql = "select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()";
        let heard: i64 = place.client.query_one(sql, &[]).await.expect("sessions").get(0);
        (heard > 0).then_some(())
    })
    .await;
    say("what is this?").await;
    say(&format!(r#"{{"table":"public.events","until":"{until}"}}"#)).await;
    let run = daemon.good_run("asked by notify").await;
    assert_eq!(run["databases"][0]["sets"], 1, "the other table is left alone: {run}");
    assert!(place.takes("events", 40).await);
    assert!(place.partitions("events").await >= events + 34);
    assert_eq!(place.partitions("logins").await, logins);
    daemon.remarks("was not understood").await;
    // It asks for more, never for less.
    say(r#"{"table":"public.events","buffer_days":1}"#).await;
    daemon.good_run("1 days").await;
    assert!(place.partitions("events").await >= events + 34);
    // Whoever asks for what is not there is not told that all is well.
    say(r#"{"table":"public.evnts","buffer_days":50}"#).await;
    daemon.run("evnts").await;
    daemon.remarks("nothing is wanted of any such table").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_ours_is_not_rotated_because_somebody_asks() {
    let place = Place::with_days().await;
    let mut daemon = Daemon::start(&place.url, &["--buffer-days=5", "--table=public.events"]);
    daemon.good_run("start").await;
    let before = place.partitions("logins").await;
    until("an answer", async || {
        let say = "notify replat_rotate, '{\"table\":\"public.logins\",\"buffer_days\":50}'";
        place.client.batch_execute(say).await.expect("said");
        daemon.remarked("nothing is wanted of any such table").checked_sub(1)
    })
    .await;
    assert_eq!(place.partitions("logins").await, before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_daemon_serves_several_databases_and_hears_each_of_them() {
    let (east, west) = (Place::with_days().await, Place::with_days().await);
    let spec = std::env::temp_dir().join(format!("replat-watch-{}.toml", std::process::id()));
    let mut text = "version = 1\nproject = \"watch\"\n".to_owned();
    for (name, place) in [("east", &east), ("west", &west)] {
        text += &format!("[databases.{name}]\nurl = \"{}\"\n", place.url);
        text += &format!(
            "[lifecycles.{name}]\ndatabase = \"{name}\"\ntables = [\"public.events\"]\nahead = \"5d\"\n"
        );
    }
    std::fs::write(&spec, text).expect("a spec");
    let mut daemon = Daemon::with(&["-c", &spec.display().to_string(), "--velocity-every=1s"]);
    let run = daemon.good_run("start").await;
    assert_eq!(run["databases"].as_array().map(Vec::len), Some(2), "{run}");
    assert!(east.takes("events", 4).await && west.takes("events", 4).await);
    // Who speaks in one is not heard in the other, and words that name a database are about that one.
    let say = async |payload: &str| {
        west.client.execute("select pg_notify('replat_rotate', $1)", &[&payload]).await.expect("said");
    };
    crate::daemon::until("an answer in the west", async || {
        say("{\"buffer_days\":20}").await;
        west.takes("events", 19).await.then_some(())
    })
    .await;
    say("{\"database\":\"east\",\"buffer_days\":30}").await;
    daemon.remarks("no such database is looked after here").await;
    assert!(!east.takes("events", 12).await && !west.takes("events", 29).await);
    let run = daemon.good_run("asked by notify").await;
    assert_eq!(run["databases"].as_array().map(Vec::len), Some(1), "{run}");
    daemon.stop().await;
    std::fs::remove_file(&spec).expect("the spec was there");
}

/// A stream, and the consumer of a daemon.
struct Stream {
    nats: Nats,
    context: jetstream::Context,
}

impl Stream {
    async fn new() -> Stream {
        let nats = Nats::start().await.expect("a NATS server; see ./x test");
        let client = async_nats::connect(nats.url()).await.expect("a session");
        let context = jetstream::new(client);
        let config = stream::Config {
            name: "replat".into(),
            subjects: vec!["ask.>".into()],
            ..stream::Config::default()
        };
        context.create_stream(config).await.expect("a stream");
        Stream { nats, context }
    }

    async fn say(&self, text: &str) {
        let sent = self.context.publish("ask.rotate", text.to_owned().into()).await.expect("sent");
        sent.await.expect("kept");
    }

    /// Delivered so often, acknowledged up to this message, and waiting for an acknowledgement.
    async fn state(&self) -> Option<(u64, u64, usize)> {
        let mut consumer: PullConsumer =
            self.context.get_consumer_from_stream("replat-rotate", "replat").await.ok()?;
        let info = consumer.info().await.ok()?;
        Some((info.delivered.consumer_sequence, info.ack_floor.stream_sequence, info.num_ack_pending))
    }

    async fn acknowledged(&self, message: u64) {
        let what = format!("message {message} acknowledged");
        until(&what, async || self.state().await.filter(|(_, floor, _)| *floor >= message)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_acknowledged_when_its_partitions_are_there_and_not_before() {
    let (place, stream) = (Place::with_days().await, Stream::new().await);
    let nats = format!("--nats={}", stream.nats.url());
    let arguments = [
        nats.as_str(),
        "--nats-subject=ask.rotate",
        "--buffer-days=5",
        "--patience=1s",
        "--velocity-every=0s",
    ];
    let mut daemon = Daemon::start(&place.url, &arguments);
    daemon.good_run("start").await;
    // A message whose run succeeds.
    stream.say(r#"{"table":"public.events","buffer_days":20}"#).await;
    stream.acknowledged(1).await;
    assert!(place.takes("events", 19).await);
    // One whose run fails comes again, for as long as it takes.
    let lock = place.in_the_way("events").await;
    stream.say(r#"{"table":"public.events","buffer_days":40}"#).await;
    let (_, floor, _) =
        until("another delivery", async || stream.state().await.filter(|(sent, ..)| *sent >= 3)).await;
    assert_eq!(floor, 1, "nothing is acknowledged that was not done");
    assert!(!place.takes("events", 39).await);
    // A message about another table is not kept waiting by it.
    stream.say(r#"{"table":"public.logins","buffer_days":30}"#).await;
    until("the other table's partitions", async || place.takes("logins", 29).await.then_some(())).await;
    lock.batch_execute("rollback").await.expect("the way is free");
    stream.acknowledged(3).await;
    assert!(place.takes("events", 39).await);
    // The same once more, and nonsense: nothing happens, and nothing is left behind.
    let before = place.partitions("events").await;
    for text in [r#"{"table":"public.events","buffer_days":40}"#; 3].into_iter().chain(["{"]) {
        stream.say(text).await;
    }
    stream.acknowledged(7).await;
    assert_eq!(place.partitions("events").await, before);
    assert_eq!(stream.state().await.map(|(.., waiting)| waiting), Some(0));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_came_while_nobody_was_there_are_found_at_the_next_start() {
    let (place, stream) = (Place::with_days().await, Stream::new().await);
    let nats = format!("--nats={}", stream.nats.url());
    let mut daemon = Daemon::start(&place.url, &[&nats, "--buffer-days=5"]);
    daemon.good_run("start").await;
    daemon.stop().await;
    stream.say(r#"{"buffer_days":20}"#).await;
    let daemon = Daemon::start(&place.url, &[&nats, "--buffer-days=5"]);
    stream.acknowledged(1).await;
    assert!(place.takes("events", 19).await && place.takes("logins", 19).await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_server_that_cannot_be_used_is_told_of_at_the_start() {
    let (place, stream) = (Place::with_days().await, Stream::new().await);
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let away = format!("nats://user:c4n4ry@127.0.0.1:{free}");
    let here = stream.nats.url();
    let cases: [(&str, &[&str], i32, &str); 3] = [
        (&away, &[], 20, "connecting to NATS failed"),
        (&here, &["--nats-stream=other"], 4, "finding the stream other"),
        (&here, &["--nats-creds=/not/there"], 3, "--nats-creds"),
    ];
    for (url, more, code, said) in cases {
        let arguments =
            [&["rotate", "--watch", "--db-url", place.url.as_str(), "--nats=env:AT"], more].concat();
        let ran = replat(&arguments).env("AT", url).output().await.expect("it runs");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{url}: {err}");
        assert!(err.contains(said) && !err.contains("c4n4ry"), "{url}: {err}");
    }
    assert_eq!(place.partitions("events").await, 1, "nothing was begun");
    // A consumer that hears something else is not taken for ours.
    let mut daemon = Daemon::start(&place.url, &[&format!("--nats={here}")]);
    daemon.good_run("start").await;
    daemon.stop().await;
    let nats = format!("--nats={here}");
    let other = replat(&["rotate", "--watch", "--db-url", &place.url, &nats, "--nats-subject=ask.other"]);
    let ran = { other }.output().await.expect("it runs");
    assert_eq!(ran.status.code(), Some(4), "{}", String::from_utf8_lossy(&ran.stderr));
}
