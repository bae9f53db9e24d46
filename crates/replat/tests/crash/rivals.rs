//! Two runners of one deployment: both awake all the time, and one that stands still and wakes up too late.

use std::sync::Arc;
use std::time::Duration;

use replat_control::{Pulse, Runner};
use replat_engine::gate::NoGate;
use replat_engine::{Engine, Listed, LogError, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase};
use replat_model::ids::Side;
use replat_postgres::conninfo::{ConnInfo, Environment};
use replat_postgres::engine::{PostgresEngine, now};
use replat_store::Store;
use replat_testkit::random::Random;
use serde_json::Value;

use crate::Failure;
use crate::audit::Auditor;
use crate::leftovers;
use crate::live::Live;
use crate::program::{Program, Running};
use crate::story::{begin_and_die_before_the_copy, two_runners};
use crate::world::{Servers, World};

/// The longest rest of a runner in this process whose last look led to nothing; it doubles with every switch that it
/// undid. So the one without the streams undoes some switches that the other begins, but not all of them.
const REST_MAX_MS: u64 = 400;
/// How often it doubles.
const DOUBLINGS_MAX: u32 = 5;
/// Two rivals may spoil each other's attempts; a person need not be asked for that.
const POLICY: &str = "soak = \"1h\"\nattempts = 1000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_that_are_awake_do_no_harm() {
    awake().await.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn awake() -> Result<(), Failure> {
    let servers = Servers::start().await?;
    let world = servers.world("rivals", POLICY).await?;
    let live = Live::start(&world).await?;
    let id = begin_and_die_before_the_copy(&world.program).await?;
    let auditor = Auditor::start(&world);
    let rivals = [Rival::start(&world, "one")?, Rival::start(&world, "two")?];
    world.program.reach(&id, "soak").await?;
    live.both_sides_are_alike().await?;
    for (to, phase) in [(Side::Blue, "rolled-back"), (Side::Green, "soak")] {
        say(&world.program, &Event::SwitchAsked { to, why: "the story says so".into() })?;
        world.program.reach(&id, phase).await?;
        live.both_sides_are_alike().await?;
    }
    each_switch_was_made_once(&world.program, &id, 3).await?;
    auditor.took_turns(3).await?;
    say(&world.program, &Event::FinishAsked { why: "the story says so".into() })?;
    world.program.reach(&id, "finished").await?;
    for rival in rivals {
        rival.end().await?;
    }
    leftovers::after_finish(&world).await?;
    live.end().await
}

/// A runner in this process, which asks nobody whether there is another.
struct Rival(tokio::task::JoinHandle<Result<(), Failure>>);

impl Rival {
    fn start(world: &World, name: &str) -> Result<Rival, Failure> {
        let store = world.program.store()?;
        let listed = the_only(&store)?;
        let d = state(&store, &listed)?;
        let reach = |url: &str| ConnInfo::resolve(Some(url), &Environment::of_process());
        let (blue, green) = (reach(&world.program.blue_url)?, reach(&world.program.green_url)?);
        let engine = PostgresEngine::new(Arc::new(d.plan), listed.id.clone(), blue, green);
        Ok(Rival(tokio::spawn(run(store, listed, engine, name.to_owned()))))
    }

    /// Waits until it finds nothing more to do before the retired copy is due.
    async fn end(self) -> Result<(), Failure> {
        self.0.await?
    }
}

async fn run(store: Store, listed: Listed, engine: PostgresEngine, name: String) -> Result<(), Failure> {
    let runner =
        Runner { listed, log: &store, engine: &engine, gate: &NoGate, clock: now, name, turns: None };
    let mut random = Random::new(7);
    let mut undone = 0;
    loop {
        let (d, pulse) = runner.tick().await?;
        if d.phase() == Phase::Finished {
            return Ok(());
        }
        if matches!(pulse, Pulse::Moved(Event::FenceGivenUp { .. })) {
            undone = DOUBLINGS_MAX.min(undone + 1);
        }
        let rest = tokio::time::sleep(Duration::from_millis(random.below(REST_MAX_MS << undone)));
        match pulse {
            Pulse::Moved(_) | Pulse::Acted(_) => {}
            Pulse::Waiting(_) => tokio::select! {
                () = engine.changed() => {}
                () = rest => {}
            },
            _ => rest.await,
        }
    }
}

fn the_only(store: &Store) -> Result<Listed, Failure> {
    Ok(store.list()?.into_iter().next().ok_or("no deployment was begun")?)
}

fn state(store: &Store, listed: &Listed) -> Result<Deployment, Failure> {
    let history = store.read(&listed.id)?;
    Ok(Deployment::fold(history.iter().map(|recorded| &recorded.event))?)
}

/// Writes a person's word into the log, again if a runner was faster.
fn say(program: &Program, word: &Event) -> Result<(), Failure> {
    let store = program.store()?;
    let listed = the_only(&store)?;
    loop {
        let length = store.read(&listed.id)?.len() as u64;
        match store.append(&listed.id, length, word, now()) {
            Err(LogError::Conflict { .. }) => {}
            // With an attempt under way, a finish has to wait.
            Err(LogError::OutOfPlace { .. }) => {}
            said => return Ok(said?),
        }
    }
}

/// Each epoch has one switch, and the sides took turns.
async fn each_switch_was_made_once(program: &Program, id: &str, switches: usize) -> Result<(), Failure> {
    let printed = program.events_printed(id).await?;
    let switched: Vec<(&Value, &Value)> = printed
        .iter()
        .map(|entry| &entry["event"])
        .filter(|event| event["event"] == "switched")
        .map(|event| (&event["epoch"], &event["to"]))
        .collect();
    let right = switched.iter().enumerate().all(|(n, (epoch, to))| {
        let side = if n % 2 == 0 { "green" } else { "blue" };
        epoch.as_u64() == Some(n as u64 + 2) && to.as_str() == Some(side)
    });
    if right && switched.len() == switches { Ok(()) } else { Err(format!("switches: {switched:?}").into()) }
}

/// Where a runner falls asleep.
#[derive(Clone, Copy, Debug)]
enum Asleep {
    /// As soon as the log says so.
    When(fn(&Event) -> bool),
    /// So long after the word was given; one of a thousand. Unit: milliseconds.
    Within(u64),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_slept_through_the_switch_does_no_harm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("REPLAT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("REPLAT_SEED={seed}");
    let servers = Servers::start().await.expect("two servers start");
    let intended = |event: &Event| matches!(event, Event::SwitchIntended { .. });
    let fenced = |event: &Event| matches!(event, Event::Fenced { .. });
    let switched = |event: &Event| matches!(event, Event::Switched { .. });
    let rows = [
        ("intended", Asleep::When(intended)),
        ("fenced", Asleep::When(fenced)),
        ("switched", Asleep::When(switched)),
        ("anywhere", Asleep::Within(400)),
    ];
    let stories = rows.map(|(name, asleep)| {
        let servers = &servers;
        async move {
            let world = servers.world(name, POLICY).await.expect("a world can be made");
            let told = zombie(&world, asleep, seed).await;
            let told =
                told.map_err(|failure| format!("{failure}\nwhat was said last:\n{}", world.program.said()));
            told.unwrap_or_else(|failure| panic!("asleep {name}, with REPLAT_SEED={seed}: {failure}"));
            println!("asleep {name}: passed");
        }
    });
    let [a, b, c, d] = stories;
    tokio::join!(a, b, c, d);
}

async fn zombie(world: &World, asleep: Asleep, seed: u64) -> Result<(), Failure> {
    let program = &world.program;
    let live = Live::start(world).await?;
    let mut random = Random::new(seed);
    let id = begin_and_die_before_the_copy(program).await?;
    let auditor = Auditor::start(world);
    let runners = two_runners(program, &id)?;
    // To green on their own account, to blue and to green again when a person says so.
    let mut slept = fall_asleep(program, &runners, asleep, 1, &mut random).await?;
    for (n, (verb, phase)) in
        [("", "soak"), ("rollback", "rolled-back"), ("switch", "soak")].into_iter().enumerate()
    {
        let asking = if verb.is_empty() { None } else { Some(program.start(&["deploy", verb, &id], None)?) };
        if asking.is_some() {
            slept = fall_asleep(program, &runners, asleep, n + 1, &mut random).await?;
        }
        program.reach(&id, phase).await?;
        live.write_on().await?;
        for sleeper in &slept {
            runners[*sleeper].wake().await?;
        }
        live.both_sides_are_alike().await?;
        if let Some(asking) = asking {
            asking.end().await?;
        }
    }
    each_switch_was_made_once(program, &id, 3).await?;
    auditor.took_turns(3).await?;
    program.run(&["deploy", "finish", &id]).await?;
    for runner in runners {
        runner.end().await?;
    }
    leftovers::after_finish(world).await?;
    live.end().await
}

/// Has whoever of the two runs the deployment stand still at that moment of its `n`th switch. Nobody, if neither
/// runs it then: a person's command may have taken over.
async fn fall_asleep(
    program: &Program,
    runners: &[Running; 2],
    asleep: Asleep,
    n: usize,
    random: &mut Random,
) -> Result<Vec<usize>, Failure> {
    match asleep {
        Asleep::When(logged) => program.until_logged(n, logged).await?,
        Asleep::Within(limit) => tokio::time::sleep(Duration::from_millis(random.below(limit))).await,
    }
    let store = program.store()?;
    let runner = program.runner()?;
    let slept: Vec<usize> = (0..runners.len()).filter(|n| Some(runners[*n].pid) == runner).collect();
    for sleeper in &slept {
        runners[*sleeper].stop().await?;
        while !is_free(&store)? {
            runners[*sleeper].wake().await?;
            runners[*sleeper].stop().await?;
        }
    }
    Ok(slept)
}

/// Whether nobody stands still in the middle of a write to the control store. SQLite lets nobody else write then, so
/// everybody waits for the sleeper, and there is nothing to be seen. Tried by an entry that is always refused.
fn is_free(store: &Store) -> Result<bool, Failure> {
    let listed = the_only(store)?;
    match store.append(&listed.id, u64::MAX, &Event::Resumed, now()) {
        Err(LogError::Conflict { .. }) => Ok(true),
        Err(LogError::Store { .. }) => Ok(false),
        other => Err(format!("an entry out of place came to {other:?}").into()),
    }
}
