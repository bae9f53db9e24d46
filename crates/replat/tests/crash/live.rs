//! Writers on the moved tenant and on others, from before a story until after it.

use std::time::{Duration, Instant};

use replat_testkit::check::{check_journal, compare_tenant};
use replat_testkit::load::{Load, LoadOptions, Outcome};
use replat_testkit::routes::{self, Routes};

use crate::Failure;
use crate::follow::{Following, follow};
use crate::world::{TENANT, TENANTS, World};

/// How long writers may take to be let through, or a stream to catch up. Nothing is measured by it: it ends a test
/// that would hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often we look again.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Acknowledged writes of the moved tenant between two scenes.
const SCENE: usize = 12;

/// Writers at work in one world.
pub struct Live<'w> {
    world: &'w World,
    load: Load,
    routes: Routes,
    _following: Following,
}

impl<'w> Live<'w> {
    /// Sets them going, and waits until the first writes are acknowledged.
    pub async fn start(world: &'w World) -> Result<Live<'w>, Failure> {
        let (publisher, routes) = routes::channel(world.first_homes());
        let options = LoadOptions {
            writers: 4,
            moved: TENANT,
            tenants: TENANTS,
            rate: 25,
            seed: 7,
            journal: None,
            door: None,
        };
        let load = Load::start(&options, routes.clone()).await?;
        let live = Live { world, load, routes, _following: follow(world, publisher) };
        live.write_on().await?;
        Ok(live)
    }

    /// Waits until the moved tenant's writers got more acknowledgements.
    ///
    /// # Errors
    ///
    /// If they are not let through.
    pub async fn write_on(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let before = self.acknowledged();
        while self.acknowledged() < before + SCENE {
            if begun.elapsed() > PATIENCE {
                return Err("the moved tenant's writers are not let through".into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn acknowledged(&self) -> usize {
        let notes = self.load.journal().notes();
        let mine = |entry: &&replat_testkit::load::Entry| {
            entry.tenant == TENANT && entry.outcome == Outcome::Acknowledged
        };
        notes.entries.iter().filter(mine).count()
    }

    /// Writes on, then has the moved tenant's writers stand still until both sides are alike.
    ///
    /// # Errors
    ///
    /// If they do not come to be.
    pub async fn both_sides_are_alike(&self) -> Result<(), Failure> {
        self.write_on().await?;
        let stillness = self.load.still_moved().await;
        let (blue, green) = (self.world.blue_home(0), self.world.green_home(0));
        let begun = Instant::now();
        loop {
            let compared = compare_tenant(&blue, &green, TENANT).await?;
            if compared.rows == 0 {
                return Err("the moved tenant has no rows".into());
            }
            if compared.different == 0 {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("both sides differ: {compared:?}").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(stillness);
        Ok(())
    }

    /// Writes on at the last home, then stops and holds it to the journal.
    ///
    /// # Errors
    ///
    /// If any acknowledged write is lost, done twice or changed.
    pub async fn end(self) -> Result<(), Failure> {
        self.write_on().await?;
        let journal = self.load.stop().await?;
        let found = check_journal(&journal.notes(), &self.routes.all()).await?;
        if found.holds() && found.unknown == 0 { Ok(()) } else { Err(format!("{found:#?}").into()) }
    }
}
