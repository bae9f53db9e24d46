//! The log, and the progress that is shown: each in its form, and each in its place.

use serde_json::Value;

use crate::program::Ran;
use crate::world::World;

#[track_caller]
fn objects(text: &str, ran: &Ran) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{}", ran.told()));
    text.lines().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_a_line_with_the_phase_and_every_step_of_the_switch() {
    let world = World::example().await;
    let line = "deploy -p tenant_id=3 -y -v --log-format json --log-file replat.log --progress none";
    let ran = world.replat(line).await.succeeds();
    let log = std::fs::read_to_string(world.path("replat.log")).expect("a log");
    let entries = objects(&log, &ran);
    let mut phases: Vec<&str> = Vec::new();
    for entry in &entries {
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{entry:#}");
        if entry["span"]["name"] == "replat" {
            assert_eq!(
                (&entry["span"]["deployment"], &entry["span"]["partition"]),
                (&"d1".into(), &"tenant_id_3".into())
            );
            let phase = entry["span"]["phase"].as_str().expect("a phase");
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
        }
    }
    assert_eq!(phases, ["prepare", "copy", "catch-up", "verify", "ready", "switch", "soak"], "{log}");
    let told: Vec<&Value> = entries.iter().map(|e| &e["fields"]).filter(|f| f["step"].is_string()).collect();
    let steps: Vec<&str> = told.iter().filter_map(|f| f["step"].as_str()).collect();
    assert_eq!(steps, ["fence", "drain", "proof", "decision", "open", "seal"], "{log}");
    let mut refused = 0;
    for step in told {
        assert!(step["took_ms"].is_u64(), "{step:#}");
        if step["step"] != "seal" {
            let now = step["refused_ms"].as_u64().expect("how long writers have been refused");
            assert!(now >= refused, "the pause only grows: {step:#}");
            refused = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_to_standard_error_and_says_more_when_asked() {
    let world = World::example().await;
    let quiet = world.replat("plan deploy -p tenant_id=3").await.succeeds();
    assert!(quiet.err.is_empty(), "{}", quiet.told());
    let ran = world.replat("deploy -p tenant_id=3 -y --hold -v --progress none").await.succeeds();
    assert!(
        ran.err.contains(" INFO ") && !ran.err.contains(" DEBUG ") && !ran.err.contains('\x1b'),
        "{}",
        ran.told()
    );
    let ran = world.replat("deploy switch -vv --log-format json --progress none").await.succeeds();
    assert!(objects(&ran.err, &ran).iter().any(|e| e["level"] == "DEBUG"), "{}", ran.told());
    world
        .replat("deploy list --log-file /nowhere/log")
        .await
        .exits(2)
        .remarks("/nowhere/log cannot be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_comes_as_it_was_asked_for_and_never_among_results() {
    let world = World::example_with(|spec| spec).await;
    for (number, mode) in
        ["--progress json", "--progress plain", "--progress none", "--quiet", ""].iter().enumerate()
    {
        let line = format!("deploy -p tenant_id={} -y --hold --json {mode}", number + 1);
        let ran = world.replat(&line).await.succeeds();
        assert_eq!(ran.json()["phase"], "ready", "{}", ran.told());
        let id = format!(" d{} ", number + 1);
        let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains(&id)).collect();
        match *mode {
            "--progress none" | "--quiet" => assert!(lines.is_empty(), "{}", ran.told()),
            "--progress json" => {
                let told = objects(&ran.err, &ran);
                let events: Vec<&str> =
                    told.iter().filter_map(|v| v["entry"]["event"]["event"].as_str()).collect();
                assert!(
                    events.starts_with(&["prepared", "slot_opened", "copy_planned", "copied"]),
                    "{events:?}"
                );
            }
            _ => {
                assert!(lines.len() >= 6, "{}", ran.told());
                for line in lines {
                    let (at, rest) = line.split_once(' ').expect("a time");
                    assert!(at.ends_with('Z') && rest.starts_with('d'), "{line}");
                }
            }
        }
    }
}
