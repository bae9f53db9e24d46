//! How databases are reached, and what is said when they are not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::world::{PASSWORD, World};

/// The password as a URL writes it.
pub fn encoded(password: &str) -> String {
    password.replace('@', "%40").replace('/', "%2F").replace(':', "%3A")
}

/// A port on which nobody listens; it was free a moment ago.
fn silent_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

const PLAN: [&str; 4] = ["plan", "deploy", "-p", "tenant_id=3"];

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_say_where_and_as_whom_leads_there() {
    let world = World::example().await;
    let port = world.server.port();
    let (blue, secret) = (&world.blue, encoded(PASSWORD));
    let base = world.program.clone().without("BLUE_URL");
    let program = |url: String| base.clone().with("BLUE_URL", url);
    let at = format!("host=127.0.0.1 port={port} dbname={blue} user=locked");
    world.write(
        "services",
        &format!("[old]\nhost=127.0.0.1\nport={port}\nuser=locked\ndbname={blue}\npassword={PASSWORD}\n"),
    );
    world.write("pgpass", &format!("127.0.0.1:*:*:locked:{}\n", PASSWORD.replace(':', "\\:")));
    let pass_file = world.path("pgpass");
    std::fs::set_permissions(&pass_file, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let pass_file = pass_file.display().to_string();
    let services = world.path("services").display().to_string();
    for (how, program) in [
        ("a URL", program(format!("postgres://locked:{secret}@127.0.0.1:{port}/{blue}"))),
        (
            "a URL with a query",
            program(format!("postgresql:///{blue}?host=127.0.0.1&port={port}&user=locked&password={secret}")),
        ),
        ("pairs", program(format!("{at} password='{PASSWORD}'"))),
        ("PGPASSWORD", program(at.clone()).with("PGPASSWORD", PASSWORD)),
        ("a pass file", program(at.clone()).with("PGPASSFILE", &pass_file)),
        ("a service file", program("service=old".into()).with("PGSERVICEFILE", &services)),
    ] {
        let ran = program.run(&PLAN).await;
        assert_eq!(ran.code, Some(0), "{how}: {}", ran.told());
    }

    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    let described = |text: &str| spec.replacen("url = \"env:BLUE_URL\"", text, 1);
    world.write("replat.toml", &described("service = \"old\""));
    base.clone().with("PGSERVICEFILE", &services).run(&PLAN).await.succeeds();
    world.write("replat.toml", &described(""));
    let variables = base.clone().with("PGHOST", "127.0.0.1").with("PGPORT", port.to_string());
    let variables = variables.with("PGUSER", "locked").with("PGDATABASE", blue);
    variables.clone().with("PGPASSWORD", PASSWORD).run(&PLAN).await.succeeds();
    variables.run(&PLAN).await.fails("RP1001", 4).remarks("PGPASSWORD");
    world.write("blue.url", &format!("{}\n", world.server.url(blue)));
    world.write("replat.toml", &described("url = \"file:blue.url\""));
    base.run(&PLAN).await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_named_with_the_reason_and_what_to_do() {
    let world = World::example().await;
    let port = world.server.port();
    let blue = &world.blue;
    let secret = encoded(PASSWORD);
    let silent = silent_port();
    let base = world.program.clone().without("BLUE_URL");
    let cases = [
        ("", "RP1005", 3, "no variable BLUE_URL", "export BLUE_URL=postgres://"),
        (
            &format!("postgres://postgres@127.0.0.1:{silent}/{blue}"),
            "RP1001",
            20,
            "Connection refused",
            "Check that the server runs",
        ),
        (
            &format!("postgres://locked:{secret}x@127.0.0.1:{port}/{blue}"),
            "RP1001",
            4,
            "28P01",
            "user's name and password",
        ),
        (&format!("postgres://locked@127.0.0.1:{port}/{blue}"), "RP1001", 4, "password", "~/.pgpass"),
        (
            &format!("postgres://postgres@127.0.0.1:{port}/nothere"),
            "RP1001",
            4,
            "\"nothere\" does not exist",
            "database's name",
        ),
        (
            &format!("postgres://stranger@127.0.0.1:{port}/{blue}"),
            "RP1001",
            4,
            "role \"stranger\"",
            "check the user",
        ),
        ("postgres://postgres@nowhere.invalid/x", "RP1001", 20, "cannot be resolved", "spelling"),
        (
            &format!("postgres://locked:{secret}%zz@127.0.0.1:{port}/{blue}"),
            "RP1005",
            3,
            "%25",
            "[databases.blue]",
        ),
        (
            &format!("host=127.0.0.1 prot={port} password={secret}"),
            "RP1005",
            3,
            "did you mean port?",
            "[databases.blue]",
        ),
        ("service=nothere", "RP1005", 3, "\"nothere\" is not in", "[databases.blue]"),
        (
            &format!("postgres://postgres@127.0.0.1:{port}/{blue}?sslmode=require"),
            "RP1001",
            4,
            "TLS",
            "ssl = on",
        ),
    ];
    for (url, code, exit, reason, remedy) in cases {
        let program = if url.is_empty() { base.clone() } else { base.clone().with("BLUE_URL", url) };
        let ran = program
            .run(&PLAN)
            .await
            .fails(code, exit)
            .remarks("database blue")
            .remarks(reason)
            .remarks(remedy);
        assert_eq!(ran.err.matches(reason).count(), 1, "it is said once\n{}", ran.told());
        let json = program.run(&["plan", "deploy", "-p", "tenant_id=3", "--json"]).await.exits(exit).json();
        assert_eq!(json["error"]["code"], code);
        assert!(json["error"]["remedy"].as_array().is_some_and(|r| !r.is_empty()), "{json:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_has_lost_its_database_says_so_and_goes_on_afterwards() {
    let world = World::example_with(|spec| spec).await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    let port = world.server.port();
    let away =
        world.program.clone().with("GREEN_URL", format!("postgres://postgres@127.0.0.1:{}/x", silent_port()));
    away.line("deploy get --live").await.fails("RP1001", 20).remarks("green");
    away.line("verify -p tenant_id=3").await.fails("RP1001", 20).remarks("green");
    let wrong = world
        .program
        .clone()
        .with("GREEN_URL", format!("postgres://locked:x@127.0.0.1:{port}/{}", world.green));
    wrong.line("deploy get --live").await.exits(4).remarks("28P01");
    wrong
        .line("deploy switch")
        .await
        .exits(4)
        .remarks("28P01")
        .remarks("SAFE: blue.public (blue) owns the rows");
    let elsewhere = world.program.clone().with("GREEN_URL", world.server.url(&world.blue));
    elsewhere.line("verify -p tenant_id=3").await.fails("RP1003", 4).remarks("the plan is for");
    world.replat("deploy get").await.succeeds().prints("ready");
    world.replat("deploy switch").await.succeeds().prints("at epoch e2");
}
