//! A partition that may not go where its keys once left with others.

use replat_model::ids::{Home, PartitionId};
use replat_model::map::Map;
use replat_model::region::Region;
use replat_postgres::guard::Guarded;

use crate::failure::{Exit, Failure};

/// A guard at the destination that refuses rows of a partition: that of another one, with which its keys once left.
///
/// What it guards cannot be made smaller as long as that partition lives elsewhere: its deployment may still delete its
/// copy there, and giving the new one up would have to make it larger again.
pub struct KeptOut {
    partition: PartitionId,
    by: PartitionId,
    /// Where the other one lives by now.
    by_home: Option<Home>,
    to: Home,
}

impl KeptOut {
    /// The first of the closed guards at `to` that is in the way of a partition; `map` says where its owner lives.
    pub fn of(
        (id, region): (&PartitionId, &Region),
        map: &Map,
        closed: &[Guarded],
        to: &Home,
    ) -> Option<KeptOut> {
        let old = closed.iter().find(|old| old.keeps_out(id, region, map.dimensions()))?;
        let by_home = map.leaf(&old.partition).map(|leaf| Home::clone(&leaf.home));
        Some(KeptOut { partition: id.clone(), by: old.partition.clone(), by_home, to: to.clone() })
    }

    /// As an error of a command.
    pub fn failure(&self, context: &str) -> Failure {
        let KeptOut { partition, by, by_home, to } = self;
        let away = by_home.as_ref().filter(|home| *home != to);
        let where_now = away.map_or(String::new(), |home| format!(", which lives on {home}"));
        let failure = Failure::new(
            "RP2009",
            Exit::Precondition,
            format!("{partition} cannot go to {to} by itself: the guard of {by} there refuses its rows"),
        )
        .because([format!("keys of {partition} left {to} as keys of {by}{where_now}")]);
        match away {
            Some(_) => failure
                .remedy(format!("Take {by} back as a whole: replat plan deploy -C {context} -p {by}"))
                .remedy("Or let it go to another database or schema: `to` of the rollout."),
            None => failure
                .remedy(format!("Let the deployment of {by} end first: replat deploy list"))
                .remedy("Or let it go to another database or schema: `to` of the rollout."),
        }
    }
}
