//! Who gets in, and what those are told who do not.

use std::sync::Arc;

use replat_proxy::{ClientAuth, UserList};
use replat_wire::scram::Verifier;
use tokio_postgres::error::SqlState;

use crate::support::{PASSWORD, World, session};

/// The SQLSTATE and the message of what a session could not be opened for.
async fn refusal(pairs: &str) -> (String, String) {
    let error = session(pairs).await.err().unwrap_or_else(|| panic!("{pairs} was let in"));
    let said = error.as_db_error().unwrap_or_else(|| panic!("{pairs}: {error:?}"));
    assert!(!format!("{error:?}").contains(PASSWORD), "a password was shown");
    (said.code().code().to_owned(), said.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_opens_and_a_stranger_learns_nothing() {
    let world = World::start().await;
    world
        .blue
        .execute(
            "postgres",
            "create role ended login password 'an open secret' valid until '2020-01-01';
             create role barred nologin password 'an open secret';
             set password_encryption = 'md5'; create role hashed login password 'an open secret'",
        )
        .await
        .expect("roles");
    for (user, password) in [
        ("app+acme", "wrong"),
        ("app+acme", "x"),
        ("nobody+acme", PASSWORD),
        ("ended+acme", PASSWORD),
        ("barred+acme", PASSWORD),
        ("hashed+acme", PASSWORD),
    ] {
        let role = user.trim_end_matches("+acme");
        let want = ("28P01".to_owned(), format!("password authentication failed for user \"{role}\""));
        assert_eq!(refusal(&world.pairs(user, password)).await, want, "{user} with {password}");
    }
    let client = world.client().await;
    let row = client
        .query_one("select session_user::text, current_database()::text", &[])
        .await
        .expect("an answer");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("app", "app"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_named_in_each_of_the_ways_or_the_client_is_told_how() {
    let world = World::start().await;
    let app = world.pairs("app", PASSWORD);
    for pairs in [
        world.pairs("app+acme", PASSWORD),
        format!("{app} options='-c replat.partition=acme'"),
        format!("{app} options='-c geqo=off --replat.partition=acme'"),
    ] {
        let client = session(&pairs).await.expect(&pairs);
        client.query_one("select 1", &[]).await.expect("an answer");
    }
    for (pairs, sqlstate) in [
        (app.clone(), "3D000"),
        (world.pairs("app+unknown", PASSWORD), "3D000"),
        (format!("{} replication=database", world.pairs("app+acme", PASSWORD)), "0A000"),
    ] {
        // tokio-postgres does not know the option of the last one.
        if pairs.contains("replication") {
            continue;
        }
        assert_eq!(refusal(&pairs).await.0, sqlstate, "{pairs}");
    }
    let wrong = refusal(&world.pairs("app+unknown", "wrong")).await;
    assert_eq!(wrong.0, "28P01", "which partitions there are is not told to strangers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_chooses_its_partition_by_set_and_is_refused_one_that_is_not_there() {
    let world = World::start().await;
    world.doors.put("zenith", crate::support::home(&world.green));
    let client = world.client().await;
    let port = async || -> i32 {
        let row = client.query_one("select current_setting('port')::int", &[]).await.expect("an answer");
        row.get(0)
    };
    let (blue, green) = (i32::from(world.blue.port()), i32::from(world.green.port()));
    assert_eq!(port().await, blue);
    client.batch_execute("set replat.partition = 'zenith'").await.expect("it is there");
    assert_eq!(port().await, green);
    let error = client.batch_execute("set replat.partition = 'nowhere'").await.expect_err("it is not there");
    assert_eq!(error.code(), Some(&SqlState::INVALID_CATALOG_NAME));
    assert_eq!(port().await, green, "the session goes on where it was");
    client.execute("set replat.partition to acme", &[]).await.expect("in the extended protocol, too");
    assert_eq!(port().await, blue);
    client.batch_execute("begin; set replat.partition = 'zenith'; rollback").await.expect("taken back");
    assert_eq!(port().await, blue);
    client.batch_execute("begin").await.expect("begun");
    client.batch_execute("set replat.partition = 'zenith'").await.expect("for the next transaction");
    assert_eq!(port().await, blue);
    client.batch_execute("commit").await.expect("committed");
    assert_eq!(port().await, green);
    client.batch_execute("discard all").await.expect("as at the start");
    assert_eq!(port().await, blue);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_verifiers_lets_in_and_another_verifier_is_explained() {
    let verifier = Verifier::of_password(PASSWORD, b"salt of its own", 4096);
    let list = format!("\"app\" \"{}\"", verifier.expose());
    let list = Arc::new(UserList::parse(&list).expect("a legal list"));
    let world = World::with(|settings| settings.auth = ClientAuth::Scram(list)).await;
    let (sqlstate, message) = refusal(&world.pairs("app+acme", PASSWORD)).await;
    assert_eq!(sqlstate, "28P01");
    assert!(message.contains("no session for role \"app\" in app on 127.0.0.1"), "{message}");
    let alter = format!("alter role app password '{}'", verifier.expose());
    world.blue.execute("postgres", &alter).await.expect("the same verifier");
    world.client().await.query_one("select 1", &[]).await.expect("an answer");
    assert_eq!(refusal(&world.pairs("app+acme", "wrong")).await.0, "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_says_so() {
    let world = World::with(|settings| settings.limits.clients_max = 2).await;
    let first = world.client().await;
    let second = world.client().await;
    assert_eq!(refusal(&world.pairs("app+acme", PASSWORD)).await.0, "53300");
    // Cancelling is not a session.
    let (sleep, cancelled) = tokio::join!(first.batch_execute("select pg_sleep(60)"), async {
        while crate::support::number(
            &world.blue,
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%'",
        )
        .await
            == 0
        {
            tokio::task::yield_now().await;
        }
        first.cancel_token().cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("asked");
    assert_eq!(sleep.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    drop(second);
}
