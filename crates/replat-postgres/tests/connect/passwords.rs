use replat_postgres::connect::Failure;

use crate::support::{PASSWORD, Strict, replication, replication_verdict, session, verdict};

#[tokio::test]
async fn every_way_to_prove_who_one_is_works_for_sessions_and_streams() {
    let strict = Strict::start(None).await;
    let rows = [
        ("trusted", None, "ok"),
        ("scrammed", Some(PASSWORD), "ok"),
        ("scrammed", Some("wrong"), "28P01"),
        ("scrammed", None, "PasswordNeeded"),
        ("hashed", Some(PASSWORD), "ok"),
        ("hashed", Some("wrong"), "28P01"),
        ("hashed", None, "PasswordNeeded"),
        ("clear", Some(PASSWORD), "ok"),
        ("clear", Some("wrong"), "28P01"),
        ("stranger", None, "28000"),
    ];
    for (user, password, want) in rows {
        let password = password.map(|text| format!("password='{}'", text.replace('\'', "\\'")));
        let text = strict.pairs(user) + &password.unwrap_or_default();
        let got = session(&text).await.map_or_else(|error| verdict(&error), |_| "ok".to_owned());
        assert_eq!(got, want, "a session for {user}");
        let got = replication(&text).await.map_or_else(replication_verdict, |_| "ok".to_owned());
        assert_eq!(got, want, "a stream for {user}");
    }
}

#[tokio::test]
async fn a_refusal_says_who_where_why_and_what_to_do() {
    let strict = Strict::start(None).await;
    let port = strict.server.port();
    let rows = [
        (
            strict.pairs("scrammed") + "password=wrong",
            format!(
                "cannot connect to postgres://scrammed@127.0.0.1:{port}/postgres; 127.0.0.1:{port}: password \
                 authentication failed for user \"scrammed\" (SQLSTATE 28P01)"
            ),
            "Check the user's name and password",
        ),
        (
            strict.pairs("trusted") + "dbname=nowhere",
            format!("127.0.0.1:{port}: database \"nowhere\" does not exist (SQLSTATE 3D000)"),
            "Check the database's name, or create it.",
        ),
        (
            strict.pairs("trusted") + "sslmode=require",
            format!("127.0.0.1:{port}: the server does not offer TLS"),
            "Set ssl = on on the server, or choose sslmode=prefer.",
        ),
        (
            strict.pairs("scrammed"),
            format!("127.0.0.1:{port}: the server asks for a password, and none is known"),
            "Add a line for this host to ~/.pgpass",
        ),
    ];
    for (text, message, remedy) in rows {
        let error = session(&text).await.expect_err(&text);
        assert!(error.to_string().contains(&message), "{error}\nis not\n{message}");
        assert!(error.remedy().starts_with(remedy), "{}", error.remedy());
        assert!(!error.is_temporary(), "{error}");
    }
}

#[tokio::test]
async fn a_role_without_the_attribute_gets_no_stream() {
    let strict = Strict::start(None).await;
    let text = format!(
        "host={} port={} user=mortal dbname=postgres",
        strict.server.folder().join("socket").display(),
        strict.server.port()
    );
    session(&text).await.expect("a session");
    let error = replication(&text).await.expect_err("no stream");
    assert_eq!(replication_verdict(error), "42501");
}

#[tokio::test]
async fn a_session_has_its_name_its_process_and_its_options() {
    let strict = Strict::start(None).await;
    let ask = "select application_name, pid, current_setting('geqo') from pg_stat_activity \
               where pid = pg_backend_pid()";
    let rows = [("", "replat-tests", "on"), ("application_name=mine options='-c geqo=off'", "mine", "off")];
    for (more, name, geqo) in rows {
        let connected = session(&(strict.pairs("trusted") + more)).await.expect("a session");
        let row = connected.client.query_one(ask, &[]).await.expect("one session");
        let got: (String, i32, String) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(got, (name.to_owned(), connected.backend_pid, geqo.to_owned()));
    }
}

#[tokio::test]
async fn a_full_server_is_worth_another_try() {
    let strict = Strict::start(None).await;
    strict.server.execute("postgres", "alter role trusted connection limit 0").await.expect("a limit");
    let error = session(&strict.pairs("trusted")).await.expect_err("no room");
    assert_eq!(verdict(&error), "53300");
    assert!(error.is_temporary(), "{error}");
    assert!(matches!(error.attempts[..], [_]), "one attempt is enough to know: {error}");
    assert!(matches!(error.decisive().failure, Failure::Refused(_)));
}
