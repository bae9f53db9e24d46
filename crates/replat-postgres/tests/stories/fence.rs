//! Writers at the fence: whoever wrote before it is waited for, whoever comes after it is refused, however old the
//! snapshot.

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::{Epoch, Side};
use replat_postgres::guard::{self, Closing};
use replat_testkit::Server;

use crate::harness::{Scene, Story, TENANT, refused, run, value};

const WRITE: &str = "insert into accounts values (2, 9001, 'late@t2', 1, 'late', 'x')";

/// Every way in which a transaction can be older than the fence and write after it.
#[tokio::test]
async fn a_snapshot_that_is_older_than_the_fence_does_not_get_past_it() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let levels = [("read committed", "25006"), ("repeatable read", "40001"), ("serializable", "40001")];
    let mut writers = Vec::new();
    for (level, code) in levels {
        let writer = story.session(Side::Blue).await;
        run(&writer, &format!("begin isolation level {level}; select count(*) from accounts")).await;
        writers.push((writer, level, code));
    }
    story.switch_to(Side::Green).await;
    for (writer, level, code) in &writers {
        let (sqlstate, detail) = refused(writer, WRITE).await;
        assert_eq!(sqlstate, *code, "{level}");
        run(writer, "rollback").await;
        if *code == "25006" {
            let partition = story.plan.partition.as_str();
            for part in [partition, r#""epoch" : 2"#, "green", "moved"] {
                assert!(detail.contains(part), "{detail} says {part}");
            }
        }
    }
    assert_eq!(value(&story.green, "select count(*) from accounts where id = 9001").await, "0");
    story.assert_equal().await;
}

/// Between the fence and the decision nobody is told a home, since there is none yet.
#[tokio::test]
async fn a_writer_inside_the_pause_is_told_that_it_is_a_pause() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let old = story.session(Side::Blue).await;
    run(&old, "begin isolation level repeatable read; select count(*) from accounts").await;
    close(&story, 1_000).await;
    assert_eq!(refused(&old, WRITE).await.0, "40001");
    let (code, detail) = refused(&story.blue, WRITE).await;
    assert_eq!(code, "25006");
    assert!(detail.contains("switching") && detail.contains(r#""epoch" : 1"#), "{detail}");
    run(&story.blue, "insert into accounts values (1, 9001, 'other@t1', 1, 'other', 'x')").await;
    // Nobody intended this fence, so the runner opens it again.
    story.settle().await;
    run(&story.blue, WRITE).await;
    story.settle().await;
    story.assert_equal().await;
}

async fn close(story: &Story, timeout_ms: u64) {
    let mut client = story.session(Side::Blue).await;
    let closing =
        guard::close(&mut client, &story.plan, Side::Blue, story.token(), Epoch::FIRST, 1, timeout_ms).await;
    assert!(matches!(closing, Ok(Closing::Stands(_))), "{closing:?}");
}

/// Runs until an attempt was given up and the home is open again. Why it was given up.
async fn until_stood_down(story: &Story) -> String {
    let mut why = String::new();
    story
        .run_until("a given-up attempt", |_, pulse| match pulse {
            Pulse::Moved(Event::FenceGivenUp { why: said, .. }) => {
                why = said.clone();
                false
            }
            Pulse::Moved(Event::Unfenced { .. }) => true,
            _ => false,
        })
        .await;
    why
}

#[tokio::test]
async fn a_long_writer_makes_the_attempt_stand_down_and_delays_nobody_else() {
    let policy = "fence_timeout = '400ms'\npause_max = '2s'";
    let story = Scene { policy, ..Scene::default() }.begin().await;
    story.until_phase(Phase::Ready).await;
    let long = story.session(Side::Blue).await;
    run(&long, &format!("begin; {WRITE}")).await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });

    let neighbour = story.session(Side::Blue).await;
    // Far below the fence's patience: a neighbour that queued behind the fence would not get its lock in time.
    run(&neighbour, "set lock_timeout = '50ms'").await;
    let stop = tokio::sync::watch::Sender::new(false);
    let writing = async {
        let mut written = 0;
        while !*stop.borrow() {
            let sql = format!("insert into accounts values (1, {}, null, 1, 'n', 'x')", 10_000 + written);
            run(&neighbour, &sql).await;
            written += 1;
        }
        written
    };
    let attempting = async {
        let why = until_stood_down(&story).await;
        stop.send_replace(true);
        why
    };
    let (why, written) = tokio::join!(attempting, writing);
    assert!(why.contains("did not end in time"), "{why}");
    assert!(written > 0);
    // The partition's own writers go on as well.
    run(&story.blue, "update accounts set note = 'meanwhile' where tenant_id = 2 and id = 7").await;
    run(&long, "commit").await;

    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    assert_eq!(
        value(&story.green, "select note from accounts where tenant_id = 2 and id = 9001").await,
        "late"
    );
    assert_eq!(
        value(&story.green, "select note from accounts where tenant_id = 2 and id = 7").await,
        "meanwhile"
    );
    story.assert_equal().await;
}

#[tokio::test]
async fn a_prepared_transaction_is_waited_for_like_any_writer() {
    let story = Scene { policy: "fence_timeout = '100ms'", ..Scene::default() }.begin().await;
    story.until_phase(Phase::Ready).await;
    let name = story.database();
    run(&story.blue, &format!("begin; {WRITE}; prepare transaction '{name}'")).await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    let why = until_stood_down(&story).await;
    assert!(why.contains("a prepared transaction"), "{why}");
    run(&story.blue, &format!("commit prepared '{name}'")).await;
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    assert_eq!(value(&story.green, "select note from accounts where id = 9001").await, "late");
    story.assert_equal().await;
}

#[tokio::test]
async fn a_commit_that_was_not_waited_for_is_on_green_after_the_switch() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    run(&story.blue, "set synchronous_commit = off").await;
    for n in 0..50 {
        run(
            &story.blue,
            &format!("insert into accounts values ({TENANT}, {}, null, 1, 'a', 'x')", 9_100 + n),
        )
        .await;
    }
    story.say(&Event::SwitchAsked { to: Side::Green, why: "now".into() });
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.settle().await;
    assert_eq!(value(&story.green, "select count(*) from accounts where id >= 9100").await, "50");
    story.assert_equal().await;
}

/// A server whose sessions do not wait for the log, and whose log is written seldom, dies right after the fence.
#[tokio::test]
async fn the_fence_is_on_disk_when_it_stands_and_so_is_every_commit_before_it() {
    let story = Scene::default().begin().await;
    let plan = &story.plan;
    let mut server = Server::builder()
        .setting("synchronous_commit", "off")
        .setting("wal_writer_delay", "10s")
        .start()
        .await
        .expect("a server");
    server.execute("postgres", crate::harness::SHOP).await.expect("tables");
    let mut client = server.client("postgres").await.expect("a session");
    guard::install(
        &mut client,
        &[guard::Fenced { plan, deployment: "d_1", token: story.token() }],
        None,
        Side::Blue,
    )
    .await
    .expect("a fence row");
    for table in &plan.tables {
        guard::arm(&mut client, &[(plan, "d_1")], table, Side::Blue, 1_000).await.expect("armed");
    }
    let writer = server.client("postgres").await.expect("a session");
    run(&writer, WRITE).await;
    let closing = guard::close(&mut client, plan, Side::Blue, story.token(), Epoch::FIRST, 1, 1_000)
        .await
        .expect("closed");
    assert!(matches!(closing, Closing::Stands(_)), "{closing:?}");
    server.kill().await.expect("killed");
    server.restart().await.expect("restarted");

    let client = server.client("postgres").await.expect("a session");
    let seen = guard::read(&client, plan, Side::Blue).await.expect("a look").expect("a fence row");
    assert!(!seen.open, "the fence was forgotten");
    assert_eq!(value(&client, "select count(*) from accounts where id = 9001").await, "1");
    assert_eq!(refused(&client, "delete from accounts where tenant_id = 2").await.0, "25006");
}
