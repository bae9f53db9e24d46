//! Databases that go away, and come back.

use crate::daemon::{Daemon, until};
use crate::place::{Place, takes};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_is_heard_again_and_its_absence_is_told_once() {
    let (mut server, url) = Place::alone().await;
    let mut daemon =
        Daemon::start(&url, &["--buffer-days=5", "--schedule=* * * * * *", "--velocity-every=1s"]);
    daemon.good_run("start").await;
    server.stop().await.expect("stopped");
    daemon.remarks("error[RP1001]").await;
    daemon.remarks("cannot be heard now").await;
    server.restart().await.expect("started");
    daemon.good_run("connected again").await;
    daemon.remarks("all is well again").await;
    for said in ["error[RP1001]", "cannot be heard now", "all is well again"] {
        assert_eq!(daemon.remarked(said), 1, "{said}");
    }
    let client = server.client("app").await.expect("a session");
    until("an answer to a notification", async || {
        client.batch_execute("notify replat_rotate, '{\"buffer_days\":20}'").await.expect("said");
        takes(&client, "events", 19).await.then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_may_be_started_before_its_database() {
    let (mut server, url) = Place::alone().await;
    server.stop().await.expect("stopped");
    let mut daemon = Daemon::start(&url, &["--buffer-days=5", "--no-listen"]);
    daemon.remarks("error[RP1001]").await;
    server.restart().await.expect("started");
    daemon.good_run("start").await;
    let client = server.client("app").await.expect("a session");
    assert!(takes(&client, "events", 4).await);
    daemon.stop().await;
}
