//! Passwords: looked for in everything that the program writes, wherever it got them from.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::connections::encoded;
use crate::program::{Program, Ran};
use crate::world::{PASSWORD, World};

/// A wrong password, which a refusal must not repeat either.
const WRONG: &str = "wr0ng-c4n@ry";

/// The passwords, or enough of them to be of use to somebody.
fn canaries() -> Vec<String> {
    let whole = [PASSWORD, WRONG];
    let parts = ["c4n@ry", "Gr3y:p4ss", "ry/Gr3y"].map(str::to_owned);
    whole.iter().flat_map(|p| [(*p).to_owned(), encoded(p)]).chain(parts).collect()
}

#[track_caller]
fn is_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for canary in canaries() {
        assert!(!text.contains(&canary), "{what} shows {canary}:\n{text}");
    }
}

/// What a run said, and what the processes of this machine are called, which everybody may read.
fn is_clean_run(ran: &Ran) {
    is_clean("a run", ran.told().as_bytes());
}

/// Every file of the project that the program made: plans, logs, the control store with its journal.
fn are_clean_files(folder: &Path, ours: &[&str]) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
        if entry.is_dir() {
            seen += are_clean_files(&entry, ours);
        } else if !ours.contains(&name.as_str()) {
            // A runner in the background may still be closing its journal, which takes the file away.
            match std::fs::read(&entry) {
                Ok(bytes) => is_clean(&name, &bytes),
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
                Err(other) => panic!("{name}: {other}"),
            }
            seen += 1;
        }
    }
    seen
}

fn are_clean_processes() {
    for entry in std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        // A process that ends meanwhile shows nothing.
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains("replat") {
            is_clean("a process", &words);
        }
    }
}

const OURS: [&str; 4] = ["replat.toml", "services", "pgpass", "blue.url"];

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_ever_written_wherever_it_came_from() {
    let world = World::example_with(|spec| spec).await;
    let (port, blue, secret) = (world.server.port(), world.blue.clone(), encoded(PASSWORD));
    let at = format!("host=127.0.0.1 port={port} dbname={blue} user=locked");
    world.write("services", &format!("[old]\npassword={PASSWORD}\n"));
    world.write("pgpass", &format!("*:*:*:*:{}\n", PASSWORD.replace(':', "\\:")));
    let pass_file = world.path("pgpass");
    std::fs::set_permissions(&pass_file, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let base = world.program.clone().without("BLUE_URL");
    let url = format!("postgres://locked:{secret}@127.0.0.1:{port}/{blue}");
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    let places: Vec<(&str, Program, String)> = vec![
        ("url", base.clone(), format!("url = \"{url}\"")),
        ("variable", base.clone().with("BLUE_URL", &url), "url = \"env:BLUE_URL\"".into()),
        (
            "query",
            base.clone().with(
                "BLUE_URL",
                format!("postgres://127.0.0.1:{port}/{blue}?user=locked&password={secret}"),
            ),
            "url = \"env:BLUE_URL\"".into(),
        ),
        ("pairs", base.clone(), format!("url = \"{at} password='{PASSWORD}'\"")),
        ("PGPASSWORD", base.clone().with("PGPASSWORD", PASSWORD), format!("url = \"{at}\"")),
        (
            "pass file",
            base.clone().with("PGPASSFILE", pass_file.display().to_string()),
            format!("url = \"{at}\""),
        ),
        (
            "service",
            base.clone().with("PGSERVICEFILE", world.path("services").display().to_string()),
            format!("url = \"{at} service=old\""),
        ),
    ];
    for (number, (place, program, described)) in places.iter().enumerate() {
        world.write("replat.toml", &spec.replacen("url = \"env:BLUE_URL\"", described, 1));
        let mut lines = vec![
            "validate -vv --json".to_owned(),
            "plan deploy -p tenant_id=3 -n -vv --log-format json".into(),
            format!("plan deploy -p tenant_id=3 --out plan-{number}.json --json -vv --log-file log-{number}"),
            format!("show plan-{number}.json"),
        ];
        // From where a connection is resolved it is the same for whatever uses it, so that one of the texts that holds
        // the password itself, and one that does not, stand for all.
        if let Some(id) = ["url", "pass file"].iter().position(|full| full == place) {
            let id = format!("d{}", id + 1);
            lines.extend([
                format!("apply plan-{number}.json -y --hold -vv --log-format json --progress json"),
                format!("deploy get {id} --live -vv"),
                format!("deploy events {id} --json -vv"),
                format!("verify -p tenant_id=3 -vv --log-format json --log-file log-{number}"),
                format!("deploy abort {id} -vv"),
            ]);
        }
        for line in &lines {
            let ran = program.line(line).await;
            assert_eq!(ran.code, Some(0), "{place}: {}", ran.told());
            is_clean_run(&ran);
        }
        are_clean_processes();
    }
    assert!(are_clean_files(world.folder.path(), &OURS) >= 15, "plans, logs and the store were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_repeats_a_password() {
    let world = World::example_with(|spec| spec).await;
    let (port, blue, secret, wrong) = (world.server.port(), &world.blue, encoded(PASSWORD), encoded(WRONG));
    let texts = [
        format!("postgres://locked:{wrong}@127.0.0.1:{port}/{blue}"),
        format!("postgres://locked:{wrong}@127.0.0.1:1/{blue}"),
        format!("postgres://locked:{secret}@127.0.0.1:{port}/nothere"),
        format!("postgres://locked:{secret}@127.0.0.1:{port}port/{blue}"),
        format!("postgres://locked:{secret}%zz@127.0.0.1:{port}/{blue}"),
        format!("postgres://locked:{PASSWORD}@127.0.0.1:{port}/{blue}"),
        format!("postgres://locked@127.0.0.1:{port}/{blue}?pasword={secret}"),
        format!("postgres://locked@127.0.0.1:{port}/{blue}?password={secret}&sslmod=x"),
        format!("host=127.0.0.1 port={port} password='{PASSWORD}"),
        format!("host=127.0.0.1 port={port} password={PASSWORD} sslmode=never"),
        format!("host=127.0.0.1 pasword={PASSWORD}"),
        format!("password={PASSWORD} host"),
        PASSWORD.to_owned(),
        format!("postgres:/locked:{secret}@127.0.0.1/{blue}"),
    ];
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    for text in &texts {
        let program = world.program.clone().with("BLUE_URL", text);
        for line in
            ["plan deploy -p tenant_id=3 -vv", "deploy -p tenant_id=3 -n --json -vv --log-format json"]
        {
            let ran = program.line(line).await;
            assert!(matches!(ran.code, Some(3 | 4 | 20)), "{}", ran.told());
            is_clean_run(&ran);
        }
        // In the spec itself, beside other mistakes, which are shown with their line.
        let escaped = text.replace('\\', "\\\\");
        for described in [
            format!("url = \"{escaped}\""),
            format!("url = \"{escaped}\"\nurll = 1"),
            format!("url = \"{escaped}"),
            format!("url = [\"{escaped}\"]"),
            format!("urll = \"{escaped}\""),
            format!("password = \"{secret}\""),
        ] {
            world.write("bad.toml", &spec.replacen("url = \"env:BLUE_URL\"", &described, 1));
            for line in [
                "-c bad.toml validate -vv",
                "-c bad.toml validate --json",
                "-c bad.toml plan deploy -p tenant_id=3",
            ] {
                is_clean_run(&world.replat(line).await);
            }
        }
    }
    are_clean_files(world.folder.path(), &["replat.toml", "bad.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_runner_is_told_its_password_by_nobody() {
    let world = World::example_with(|spec| spec).await;
    let url =
        format!("postgres://locked:{}@127.0.0.1:{}/{}", encoded(PASSWORD), world.server.port(), world.blue);
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    world.write("replat.toml", &spec.replacen("env:BLUE_URL", &url, 1).replace("1h", "0s"));
    is_clean_run(&world.replat("deploy -p tenant_id=3 -y --detach -vv").await.succeeds());
    are_clean_processes();
    is_clean_run(&world.replat("deploy wait --for finished --timeout 80s").await.succeeds());
    assert!(are_clean_files(world.folder.path(), &OURS) >= 2, "the log and the store were looked at");
}
