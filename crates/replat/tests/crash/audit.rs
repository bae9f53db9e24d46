//! An auditor: tries all the time, on both sides, whether a write of the moved tenant would be let through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replat_model::ids::Side;
use replat_testkit::server::connect;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::Failure;
use crate::world::{TENANT, World};

/// Between two tries on one side.
const TRY_EVERY: Duration = Duration::from_millis(4);

/// A try that was let through: a moment between these two, that side was open.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    side: Side,
    from: Instant,
    to: Instant,
}

/// Tries that go on until the auditor is asked.
pub struct Auditor {
    enough: Arc<AtomicBool>,
    sides: Vec<JoinHandle<Vec<Accepted>>>,
}

impl Auditor {
    /// Sets it going.
    pub fn start(world: &World) -> Auditor {
        let enough = Arc::new(AtomicBool::new(false));
        let sides = [(Side::Blue, world.blue_home(0)), (Side::Green, world.green_home(0))];
        let sides = sides.map(|(side, home)| {
            let insert = format!(
                "begin; insert into {}.events (tenant_id, op_id, kind) \
                 values ({TENANT}, gen_random_uuid(), 'audit')",
                home.schema
            );
            tokio::spawn(try_on(side, home.url, insert, Arc::clone(&enough)))
        });
        Auditor { enough, sides: sides.into() }
    }

    /// Ends the tries. Whoever accepts writes must do so in turn: once a try on one side was let through, the other
    /// may let one through only after another switch.
    ///
    /// # Errors
    ///
    /// If the sides took turns more often than there were `switches`, or a side never let anything through.
    pub async fn took_turns(self, switches: usize) -> Result<(), Failure> {
        self.enough.store(true, Ordering::Relaxed);
        let mut accepted = Vec::new();
        for side in self.sides {
            accepted.extend(side.await?);
        }
        let turns = turns(&accepted);
        if turns == switches { Ok(()) } else { Err(format!("{turns} turns in {switches} switches").into()) }
    }
}

/// How often the sides took turns for certain: the longest chain of acceptances, by turns on either side, of which
/// each began after the one before had ended.
fn turns(accepted: &[Accepted]) -> usize {
    let mut in_order = accepted.to_vec();
    in_order.sort_by_key(|one| one.to);
    let Some(mut last) = in_order.first().copied() else { return 0 };
    let mut turns = 0;
    for one in in_order {
        if one.side != last.side && one.from > last.to {
            turns += 1;
            last = one;
        }
    }
    turns
}

async fn try_on(side: Side, url: String, insert: String, enough: Arc<AtomicBool>) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    let mut session: Option<Client> = None;
    while !enough.load(Ordering::Relaxed) {
        tokio::time::sleep(TRY_EVERY).await;
        if session.as_ref().is_none_or(Client::is_closed) {
            session = connect(&url).await.ok();
        }
        let Some(client) = &session else { continue };
        let from = Instant::now();
        // A refusal, and a table that is not there yet, are both a side that does not let writers through.
        if client.batch_execute(&insert).await.is_ok() {
            accepted.push(Accepted { side, from, to: Instant::now() });
        }
        // If this fails the session is lost, and the transaction with it.
        drop(client.batch_execute("rollback").await);
    }
    accepted
}

#[test]
fn the_auditor_counts_certain_turns_only() {
    use Side::{Blue, Green};
    let origin = Instant::now();
    let at = |ms| origin + Duration::from_millis(ms);
    type Turns<'a> = &'a [(Side, u64, u64)];
    let rows: [(&str, Turns<'_>, usize); 5] = [
        ("nobody", &[], 0),
        ("one side", &[(Blue, 0, 1), (Blue, 2, 3)], 0),
        ("in turn", &[(Blue, 0, 1), (Green, 2, 3)], 1),
        ("at the same time, so nothing is certain", &[(Blue, 0, 3), (Green, 2, 4)], 0),
        ("blue after green", &[(Blue, 0, 1), (Green, 2, 3), (Blue, 4, 5), (Green, 6, 7)], 3),
    ];
    for (case, row, want) in rows {
        let accepted: Vec<Accepted> = row
            .iter()
            .map(|(side, from, to)| Accepted { side: *side, from: at(*from), to: at(*to) })
            .collect();
        assert_eq!(turns(&accepted), want, "{case}");
    }
}
