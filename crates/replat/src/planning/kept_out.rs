//! A partition that may not go where its keys once left with others.

use replat_model::ids::{Home, PartitionId};
use replat_model::map::{Leaf, Map};
use replat_model::region::Region;
use replat_postgres::guard::Guarded;

use crate::failure::{Exit, Failure};

/// Why a partition may not go to a home that has an old guard.
pub struct KeptOut {
    partition: PartitionId,
    to: Home,
    why: Why,
}

enum Why {
    /// The guard there refuses rows of the partition: that of another one, with which its keys once left.
    ///
    /// What it guards cannot be made smaller as long as that partition lives elsewhere: its deployment may still delete its
    /// copy there, and giving the new one up would have to make it larger again.
    RefusesIt {
        by: PartitionId,
        /// Where the other one lives by now.
        home: Option<Home>,
    },
    /// The guard there is its own, and keeps writers away from keys that left with it and have a partition of their own
    /// elsewhere by now. It would become that of fewer keys, and those others could be written in two places.
    GuardsMore {
        other: PartitionId,
        /// Where that lives.
        home: Home,
    },
}

impl KeptOut {
    /// The first of the closed guards at `to` that is in the way of a partition; `map` says where others live.
    pub fn of(
        (id, region): (&PartitionId, &Region),
        map: &Map,
        closed: &[Guarded],
        to: &Home,
    ) -> Option<KeptOut> {
        let why = closed.iter().find_map(|old| {
            if old.keeps_out(id, region, map.dimensions()) {
                let home = map.leaf(&old.partition).map(|leaf| Home::clone(&leaf.home));
                return Some(Why::RefusesIt { by: old.partition.clone(), home });
            }
            if old.partition != *id || old.region == *region {
                return None;
            }
            let is_guarded = |other: &&Leaf| {
                let is_elsewhere = other.partition != *id && *other.home != *to;
                let region =
                    || map.region(&other.partition).is_some_and(|r| old.region.overlaps(&r) != Some(false));
                is_elsewhere && region()
            };
            let other = map.leaves().find(is_guarded)?;
            Some(Why::GuardsMore { other: other.partition.clone(), home: Home::clone(&other.home) })
        })?;
        Some(KeptOut { partition: id.clone(), to: to.clone(), why })
    }

    /// As an error of a command.
    pub fn failure(&self, context: &str) -> Failure {
        let KeptOut { partition, to, why } = self;
        let failure = |what: String| Failure::new("RP2009", Exit::Precondition, what);
        let elsewhere = "let it go to another database or schema: `to` of the rollout.";
        match why {
            Why::RefusesIt { by, home } => {
                let away = home.as_ref().filter(|home| *home != to);
                let where_now = away.map_or(String::new(), |home| format!(", which lives on {home}"));
                let failure =
                    failure(format!("{partition} cannot go to {to} by itself: the guard of {by} there refuses its rows"))
                        .because([format!("keys of {partition} left {to} as keys of {by}{where_now}")]);
                let first = match away {
                    Some(_) => format!("Take {by} back as a whole: replat plan deploy -C {context} -p {by}"),
                    None => format!("Let the deployment of {by} end first: replat deploy list"),
                };
                failure.remedy(first).remedy(format!("Or {elsewhere}"))
            }
            Why::GuardsMore { other, home } => failure(format!(
                "{partition} cannot go back to {to}: its guard there still keeps writers away from {other}"
            ))
            .because([format!(
                "keys of {other}, which lives on {home}, left {to} as keys of {partition}; without that guard they could be \
                 written in both places"
            )])
            .remedy(format!("L{}", &elsewhere[1..])),
        }
    }
}
