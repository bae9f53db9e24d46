//! Ways in which a deployment comes to a failpoint, dies there, and goes on.

use replat_testkit::server::connect;
use tokio_postgres::Client;

use crate::Failure;
use crate::leftovers;
use crate::live::Live;
use crate::program::{Program, Running};
use crate::world::{Servers, TENANT, World};

/// Which part of a deployment's life a failpoint lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the beginning to the soak.
    Forward,
    /// A switch that is given up, since a writer does not end.
    GivenUp,
    /// A switch that is given up after the fence was closed, since its runner died.
    GivenUpFenced,
    /// A comparison that finds a difference.
    Different,
    /// A query that a consumer relies on, and that green does not answer.
    Broken,
    /// A row that blue cannot take back, since another partition has its value.
    KeptBack,
    /// A write that reaches blue past its guard.
    Leak,
    /// The end of the soak.
    SoakOver,
    /// A finish that a person asks for.
    Finish,
    /// The end of what is kept after a finish.
    Drop,
    /// An abort that a person asks for.
    Abort,
}

/// Tells the story of one crash at `point`.
///
/// # Errors
///
/// If the failpoint was not reached, the deployment did not go on by itself, or a promise was broken.
pub async fn tell(servers: &Servers, name: &str, way: Way, point: &str) -> Result<(), Failure> {
    let policy = match way {
        Way::SoakOver => "soak = \"1s\"",
        Way::Drop => "soak = \"1h\"\nretain = \"0s\"",
        _ => "soak = \"1h\"",
    };
    let world = servers.world(name, policy).await?;
    let live = Live::start(&world).await?;
    let scene = Scene { world: &world, program: &world.program, live: &live, point };
    let told = match way {
        Way::Forward => scene.forward().await,
        Way::GivenUp => scene.given_up().await,
        Way::GivenUpFenced => scene.given_up_fenced().await,
        Way::Different => scene.different().await,
        Way::Broken => scene.broken().await,
        Way::KeptBack => scene.kept_back().await,
        Way::Leak => scene.leak().await,
        Way::SoakOver => scene.soak_over().await,
        Way::Finish => scene.finish_dies().await,
        Way::Drop => scene.drop_dies().await,
        Way::Abort => scene.abort_dies().await,
    };
    let told = match told {
        Ok(()) => scene.routers_know_it().await,
        failed => failed,
    };
    told.map_err(|failure| format!("{failure}\nwhat was said last:\n{}", world.program.said()))?;
    live.end().await
}

/// Moves the tenant to where a person says when it is switched.
pub const HELD: [&str; 6] = ["deploy", "-p", "tenant_id=1", "--yes", "--hold", "--quiet"];
/// Moves the tenant.
pub const DEPLOY: [&str; 4] = ["deploy", "-p", "tenant_id=1", "--yes"];

struct Scene<'a> {
    world: &'a World,
    program: &'a Program,
    live: &'a Live<'a>,
    point: &'a str,
}

impl Scene<'_> {
    async fn forward(&self) -> Result<(), Failure> {
        self.program.start(&DEPLOY, Some(self.point))?.die().await?;
        self.go_on_to_the_end().await
    }

    /// The same command again, without the failpoint: it takes over and reaches the soak.
    async fn go_on_to_the_end(&self) -> Result<(), Failure> {
        let id = self.program.deployment()?;
        let watching = self.program.start(&["deploy", "watch", &id], None)?;
        self.program.reach(&id, "soak").await?;
        self.live.both_sides_are_alike().await?;
        self.finish(&id).await?;
        watching.end().await
    }

    async fn finish(&self, id: &str) -> Result<(), Failure> {
        self.program.run(&["deploy", "finish", id]).await?;
        leftovers::after_finish(self.world).await
    }

    /// Whatever died: the registry has the newest routes, and nobody is asked to wait any more.
    async fn routers_know_it(&self) -> Result<(), Failure> {
        let shown = self.program.run(&["deploy", "get", "--json"]).await?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let seen = &shown["registry"];
        let is_known = seen["published"].as_u64().is_some_and(|version| seen["version"] == version);
        if seen["trouble"].is_null() && is_known {
            Ok(())
        } else {
            Err(format!("the registry: {seen}").into())
        }
    }

    /// Rows are on both sides, and nobody runs the deployment.
    async fn held(&self) -> Result<String, Failure> {
        self.program.run(&HELD).await?;
        self.program.deployment()
    }

    async fn given_up(&self) -> Result<(), Failure> {
        let id = self.held().await?;
        let blocker = connect(&self.program.blue_url).await?;
        blocker.batch_execute(&format!("begin; {}", event("never ends"))).await?;
        self.program.start(&["deploy", "switch", &id], Some(self.point))?.die().await?;
        blocker.batch_execute("commit").await?;
        self.go_on_to_the_end().await
    }

    async fn given_up_fenced(&self) -> Result<(), Failure> {
        self.program.start(&DEPLOY, Some("append.after.fenced"))?.die().await?;
        let id = self.program.deployment()?;
        self.program.start(&["deploy", "watch", &id], Some(self.point))?.die().await?;
        self.go_on_to_the_end().await
    }

    async fn different(&self) -> Result<(), Failure> {
        let id = self.held().await?;
        let green = connect(&self.program.green_url).await?;
        let note = note_nobody_writes(&green).await?;
        meddle(&green, &id, Some("meddled with")).await?;
        self.program.start(&["deploy", "watch", &id], Some(self.point))?.die().await?;
        meddle(&green, &id, note.as_deref()).await?;
        self.program.run(&["deploy", "resume", &id]).await?;
        self.program.run(&["deploy", "switch", &id]).await?;
        self.go_on_to_the_end().await
    }

    /// A consumer's query reads a table that green lacks until a person makes it.
    async fn broken(&self) -> Result<(), Failure> {
        let spec = self.program.folder.join("replat.toml");
        let promised = "[contexts.saas.contracts.promise]\nquery = \"promise.sql\"\n";
        std::fs::write(&spec, format!("{}{promised}", std::fs::read_to_string(&spec)?))?;
        std::fs::write(self.program.folder.join("promise.sql"), "select count(*) from promised")?;
        connect(&self.program.blue_url).await?.batch_execute("create table promised ()").await?;
        self.program.start(&DEPLOY, Some(self.point))?.die().await?;
        connect(&self.program.green_url).await?.batch_execute("create table saas.promised ()").await?;
        self.program.run(&["deploy", "resume", &self.program.deployment()?]).await?;
        self.go_on_to_the_end().await
    }

    async fn kept_back(&self) -> Result<(), Failure> {
        let dying = self.program.start(&DEPLOY, Some(self.point))?;
        self.soaks().await?;
        let blue = connect(&self.program.blue_url).await?;
        blue.batch_execute(
            "insert into events (tenant_id, op_id, kind) values (2, gen_random_uuid(), 'taken');
             create unique index on events (kind) where kind = 'taken'",
        )
        .await?;
        let green = connect(&self.program.green_url).await?;
        green.batch_execute(&format!("set search_path = saas; {}", event("taken"))).await?;
        dying.die().await?;
        green
            .batch_execute(&format!("delete from events where tenant_id = {TENANT} and kind = 'taken'"))
            .await?;
        self.go_on_to_the_end().await
    }

    async fn leak(&self) -> Result<(), Failure> {
        let dying = self.program.start(&DEPLOY, Some(self.point))?;
        self.soaks().await?;
        let blue = connect(&self.program.blue_url).await?;
        blue.batch_execute(&format!(
            "{TAKE_PASS}; {}; delete from events where tenant_id = {TENANT} and kind = 'past the guard'",
            event("past the guard")
        ))
        .await?;
        dying.die().await?;
        self.go_on_to_the_end().await
    }

    async fn soak_over(&self) -> Result<(), Failure> {
        self.program.start(&DEPLOY, Some(self.point))?.die().await?;
        self.program.run(&["deploy", "watch", &self.program.deployment()?]).await?;
        leftovers::after_finish(self.world).await
    }

    /// The runner dies of the finish; the command that asked for it takes over.
    async fn finish_dies(&self) -> Result<(), Failure> {
        let dying = self.program.start(&DEPLOY, Some(self.point))?;
        let id = self.soaks().await?;
        self.live.both_sides_are_alike().await?;
        self.finish(&id).await?;
        dying.die().await
    }

    async fn drop_dies(&self) -> Result<(), Failure> {
        let dying = self.program.start(&DEPLOY, Some(self.point))?;
        let id = self.soaks().await?;
        self.live.both_sides_are_alike().await?;
        self.program.run(&["deploy", "finish", &id]).await?;
        dying.die().await?;
        self.program.run(&["deploy", "watch", &id]).await?;
        leftovers::after_finish(self.world).await?;
        leftovers::after_drop(self.world).await
    }

    async fn abort_dies(&self) -> Result<(), Failure> {
        let id = self.held().await?;
        self.program.start(&["deploy", "abort", &id], Some(self.point))?.die().await?;
        self.live.write_on().await?;
        self.program.run(&["deploy", "abort", &id]).await?;
        leftovers::after_abort(self.world).await
    }

    /// Waits for the soak of a deployment that another process has just been told to begin.
    async fn soaks(&self) -> Result<String, Failure> {
        soaks(self.program).await
    }
}

/// Waits for the soak of a deployment that another process has just been told to begin.
pub async fn soaks(program: &Program) -> Result<String, Failure> {
    let id = begun(program).await;
    program.reach(&id, "soak").await?;
    Ok(id)
}

/// Waits until a deployment that another process has just been told to begin is listed.
pub async fn begun(program: &Program) -> String {
    loop {
        // The store may not be there yet, so a refusal means no more than "not yet".
        if program.folder.join(".replat/control.db").exists()
            && let Ok(id) = program.deployment()
        {
            return id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Starts a deployment that has planned its copy and died.
pub async fn begin_and_die_before_the_copy(program: &Program) -> Result<String, Failure> {
    program.start(&DEPLOY, Some("append.after.copy_planned"))?.die().await?;
    program.deployment()
}

/// Two runners at once, of the deployment that is named.
pub fn two_runners(program: &Program, id: &str) -> Result<[Running; 2], Failure> {
    let watch = || program.start(&["deploy", "watch", id], None);
    Ok([watch()?, watch()?])
}

const TAKE_PASS: &str = "select set_config('replat.pass', pass, false) from replat.fence";

fn event(kind: &str) -> String {
    format!("insert into events (tenant_id, op_id, kind) values ({TENANT}, gen_random_uuid(), '{kind}')")
}

/// The order that no writer has taken over: they take the first ones.
const LAST_FILLED: &str = "select note from saas.orders where tenant_id = 1 and id =
    (select max(id) from saas.orders where tenant_id = 1 and placed_at < '2025-01-01')";

async fn note_nobody_writes(green: &Client) -> Result<Option<String>, Failure> {
    Ok(green.query_one(LAST_FILLED, &[]).await?.get(0))
}

/// Changes a row of green's behind everybody's back: as replat's own work, which no stream looks at.
async fn meddle(green: &Client, id: &str, note: Option<&str>) -> Result<(), Failure> {
    green.batch_execute(&format!("begin; {TAKE_PASS}")).await?;
    green
        .execute(
            "select pg_logical_emit_message(true, 'replat.own', mark || ' ' || $1::text)::text from replat.fence",
            &[&id],
        )
        .await?;
    let changed = green
        .execute(
            "update saas.orders set note = $1 where tenant_id = 1 and id = (select max(id) from saas.orders
               where tenant_id = 1 and placed_at < '2025-01-01')",
            &[&note],
        )
        .await?;
    green.batch_execute("commit").await?;
    if changed == 1 { Ok(()) } else { Err("there is no order that nobody writes".into()) }
}
