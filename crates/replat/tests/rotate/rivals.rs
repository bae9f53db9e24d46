//! Several runs, several databases, and those who follow the map.

use crate::world::{World, daily, spec};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_one_works_and_the_other_says_so() {
    let world = World::with(&daily("events", -2, 1)).await;
    // Somebody's lock keeps the first run at work.
    let other = world.client().await;
    other.batch_execute("begin; lock table events in access exclusive mode").await.expect("a lock");
    let line = format!(
        "rotate --db-url={} --buffer-days=5 --patience=60s --max-transaction=1ms --json",
        world.url("app")
    );
    let mut first = world.program.start(&line.split(' ').collect::<Vec<_>>());
    first.remarks("waits:").await;
    let ran = world.rotate("--buffer-days=5").await.exits(21);
    assert!(ran.err.contains("another run is at work"), "{}", ran.told());
    assert_eq!(world.rotate("--buffer-days=5 --json").await.exits(21).json()["exit"], 21);
    // Who only looks is kept out by nobody.
    world.verb("runway", "").await;
    other.batch_execute("commit").await.expect("the end");
    assert_eq!(first.end().await.succeeds().json()["summary"]["created"], 4);
    assert_eq!(world.parts("events").await.len(), 8);

    // Many at once: each works or says that another one does, and all is there once.
    let many: Vec<_> = (0..4).map(|_| world.rotate("--buffer-days=9")).collect();
    let mut codes = Vec::new();
    for ran in futures(many).await {
        assert!(matches!(ran.code, Some(0 | 21)), "{}", ran.told());
        codes.push(ran.code);
    }
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(world.parts("events").await.len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_run_and_a_plan_and_the_next_run_goes_on() {
    for (plan, signal) in [(false, "TERM"), (true, "TERM"), (true, "INT")] {
        let world = World::with(&daily("events", -2, 1)).await;
        world.verb("plan rotate", "--buffer-days=5 --out p.json").await.succeeds();
        let other = world.client().await;
        other.batch_execute("begin; lock table events in access exclusive mode").await.expect("a lock");
        let verb = if plan { "apply p.json" } else { "rotate --buffer-days=5" };
        let line =
            format!("{verb} --db-url={} --patience=60s --max-transaction=1ms --json", world.url("app"));
        let mut run = world.program.start(&line.split(' ').collect::<Vec<_>>());
        run.remarks("waits:").await;
        run.signal(signal).await;
        run.end().await.fails("RP9002", 130).remarks("SAFE");
        other.batch_execute("commit").await.expect("the end");
        // The server hears of a client's end in its own time, and until then the run is at work for it.
        let sessions = "select count(*) from pg_stat_activity \
                        where datname = current_database() and application_name like 'replat%'";
        let gone = async {
            while other.query_one(sessions, &[]).await.expect("a count").get::<_, i64>(0) > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("the server hears of it");
        world.verb("apply p.json", "").await.succeeds().prints("created=4");
    }
}

/// All of them, at the same time.
async fn futures<F: Future<Output = crate::program::Ran>>(all: Vec<F>) -> Vec<crate::program::Ran> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        let mut left = Vec::new();
        for mut one in all.drain(..) {
            match one.as_mut().poll(context) {
                std::task::Poll::Ready(ran) => done.push(ran),
                std::task::Poll::Pending => left.push(one),
            }
        }
        all = left;
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_about_several_databases_and_one_that_fails_stops_no_other() {
    let world = World::with(&format!("{}{}", daily("events", -2, 1), daily("ignored", -2, 1))).await;
    let other = World::with(&daily("clicks", -2, 1)).await;
    let wanted = |gone: &str| {
        spec(&format!(
            "[databases.one]\nurl = \"{}\"\n[databases.two]\nurl = \"{}\"\n{gone}\
             [lifecycles.events]\ndatabase = \"one\"\ntables = [\"public.events\"]\nahead = \"4d\"\n\
             [lifecycles.clicks]\ndatabase = \"two\"\ntables = [\"clicks\"]\nahead_count = 2\n",
            world.url("app"),
            other.url("app")
        ))
    };
    std::fs::write(world.path("replat.toml"), wanted("")).expect("a spec");
    let ran = world.program.line("rotate").await.succeeds();
    assert!(
        ran.out.contains("create public.events +3") && ran.out.contains("create public.clicks +1"),
        "{}",
        ran.told()
    );
    assert_eq!(world.parts("ignored").await.len(), 4, "nothing was wanted of it");
    // Each is named, so that lines can be told apart.
    for place in ["one", "two"] {
        let lines = ran.out.lines().filter(|line| line.ends_with(&format!(" at={place}"))).count();
        assert_eq!(lines, 3, "{place}: {}", ran.told());
    }
    world.program.line("rotate --database two --ahead=5").await.succeeds().prints("create public.clicks +3");

    let gone = "[databases.gone]\nurl = \"postgres://app@127.0.0.1:1/x\"\n\
                [lifecycles.x]\ndatabase = \"gone\"\ntables = [\"x\"]\n";
    std::fs::write(world.path("replat.toml"), wanted(gone)).expect("a spec");
    let ran = world.program.line("rotate --buffer-days=9 --json").await.exits(20);
    let report = ran.json();
    assert_eq!(report["summary"]["created"], 5 + 4, "{}", ran.told());
    assert_eq!(report["summary"]["databases_failed"], 1, "{}", ran.told());
    let failed = report["databases"].as_array().expect("databases").iter().find(|d| d["place"] == "gone");
    assert_eq!(failed.map(|d| &d["error"]["exit"]), Some(&20.into()), "{}", ran.told());
    // Of several that fail none is passed over, and the worst decides.
    other.app("create table nobody_knows (d date) partition by range (d)").await;
    let all = wanted(gone).replace("tables = [\"clicks\"]", "tables = [\"clicks\", \"nobody_knows\"]");
    std::fs::write(world.path("replat.toml"), all).expect("a spec");
    let ran = world.program.line("rotate").await.exits(4);
    assert!(
        ran.err.contains("error[RP1001]") && ran.err.contains("RP3003 public.nobody_knows"),
        "{}",
        ran.told()
    );
    assert!(ran.out.contains("rotate failed code=RP1001"), "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_map_reads_every_change_once_and_in_order() {
    let world = World::with(&format!("{}{}", daily("events", -5, 1), daily("clicks", -2, 1))).await;
    world.rotate("--buffer-days=3").await.succeeds();
    world.rotate("--buffer-days=5 --adopt --keep=1d --max-retire=2").await.succeeds();
    world.rotate("--buffer-days=5 --keep=1d --max-retire=1 --jobs=4").await.succeeds();
    let versions =
        world.column("select version::text from replat.lifecycle_outbox order by at, version").await;
    let wanted: Vec<String> = (1..=versions.len()).map(|n| n.to_string()).collect();
    assert_eq!(versions, wanted);
    // What comes and goes by the outbox is what came and went in the catalogue.
    let names =
        "select jsonb_path_query(change, '$.**.name')::text from replat.lifecycle_outbox order by version";
    let told = world.column(names).await;
    for table in ["events", "clicks"] {
        for part in world.parts(table).await {
            let name = part.split(' ').next().unwrap_or_default();
            let made = world
                .number(&format!("select count(*) from replat.lifecycle_part where table_name = '{name}' and origin = 'made'"))
                .await;
            let mentioned = told.iter().filter(|n| n.trim_matches('"') == name).count();
            assert_eq!(mentioned as i64, made, "{name}: {told:#?}");
        }
    }
}
