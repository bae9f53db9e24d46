//! Beginning and ending: starts, schedules, signals.

use crate::daemon::{Daemon, replat, until};
use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_makes_partitions_and_a_signal_ends_it_well() {
    let place = Place::with_days().await;
    assert!(!place.takes("events", 4).await);
    let mut daemon = Daemon::start(&place.url, &["--buffer-days=5"]);
    let run = daemon.good_run("start").await;
    assert_eq!(run["databases"][0]["reason"]["by"], "start", "{run}");
    assert!(place.takes("events", 4).await && place.takes("logins", 4).await);
    assert!(!place.takes("events", 12).await, "no more than was asked for");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_again_and_again_and_metrics_count_its_runs() {
    let place = Place::with_days().await;
    let page = std::env::temp_dir().join(format!("replat-watch-{}.prom", std::process::id()));
    let file = format!("--metrics-file={}", page.display());
    let arguments = [
        "--buffer-days=5",
        "--schedule=TZ=Europe/Berlin */2 * * * * *",
        "--no-listen",
        "--velocity-every=0s",
        &file,
    ];
    let mut daemon = Daemon::start(&place.url, &arguments);
    daemon.good_run("start").await;
    // Somebody takes a partition away: the next run but one at the latest has it again.
    let sql = "select max(c.relname)::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
               where i.inhparent = 'events'::regclass";
    let last: String = place.client.query_one(sql, &[]).await.expect("a name").get(0);
    place.client.batch_execute(&format!("drop table {last}")).await.expect("it goes");
    assert!(!place.takes("events", 5).await);
    daemon.good_run("schedule").await;
    daemon.good_run("schedule").await;
    assert!(place.takes("events", 5).await, "{last} is missing still");
    let runs = until("a page that counts", async || {
        let text = std::fs::read_to_string(&page).ok()?;
        let line =
            text.lines().find(|l| l.starts_with("replat_rotate_runs_total{") && l.contains("\"success\""))?;
        line.rsplit(' ').next()?.parse::<u32>().ok().filter(|runs| *runs >= 3)
    });
    runs.await;
    daemon.stop().await;
    std::fs::remove_file(&page).expect("the page was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_is_finished_first_and_a_second_signal_does_not_wait() {
    for signals in [1, 2] {
        let place = Place::with_days().await;
        let lock = place.in_the_way("events").await;
        let mut daemon = Daemon::start(&place.url, &["--buffer-days=5", "--velocity-every=0s"]);
        place.at_work().await;
        daemon.signal("TERM").await;
        daemon.remarks("finished first").await;
        if signals == 1 {
            lock.batch_execute("rollback").await.expect("the way is free");
            daemon.good_run("start").await;
            daemon.ends_with(0).await;
            assert!(place.takes("events", 4).await, "the run went to its end");
        } else {
            daemon.signal("INT").await;
            daemon.ends_with(130).await;
            lock.batch_execute("rollback").await.expect("the way is free");
            let mut after = Daemon::start(&place.url, &["--buffer-days=5"]);
            after.good_run("start").await;
            assert!(place.takes("events", 4).await, "what was broken off is in nobody's way");
            after.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_do_each_other_no_harm() {
    let place = Place::with_days().await;
    let every = ["--buffer-days=5", "--schedule=* * * * * *"];
    let (mut one, mut other) = (Daemon::start(&place.url, &every), Daemon::start(&place.url, &every));
    one.good_run("start").await;
    other.good_run("start").await;
    place.client.batch_execute("notify replat_rotate, '{\"buffer_days\":20}'").await.expect("said");
    one.good_run("asked by notify").await;
    other.good_run("asked by notify").await;
    assert!(place.takes("events", 19).await);
    // Every day once: what one has made the other has not made again.
    assert!((21..=23).contains(&place.partitions("events").await), "{}", place.partitions("events").await);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_at_the_start() {
    let place = Place::with_days().await;
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--check"], 2, "--check"),
        (&["--dry-run"], 2, "--dry-run"),
        (&["--schedule=hourly"], 2, "--schedule"),
        (&["--schedule=TZ=Mars/Base * * * * *"], 2, "time zone"),
        (&["--surge=0.5"], 2, "more than 1"),
        (&["--retire=archive"], 2, "--archive"),
        (&["--nats=env:NOT_THERE"], 3, "NOT_THERE"),
        (&["--nats=nats://127.0.0.1:1", "--nats-durable=a.b"], 3, "a.b"),
    ];
    for (more, code, said) in cases {
        let arguments = [&["rotate", "--watch", "--db-url", place.url.as_str()], more].concat();
        let ran = replat(&arguments).output().await.expect("it runs");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{more:?}: {err}");
        assert!(err.contains(said), "{more:?}: {err}");
    }
    let alone = replat(&["rotate", "--surge=3", "--db-url", &place.url]).output().await.expect("it runs");
    assert_eq!(alone.status.code(), Some(2), "an option of the daemon without it");
}
