//! Cohorts: many partitions that are planned, confirmed, run and told of together, each a deployment of its own.

mod board;
mod log;
mod plan;
mod run;
mod verbs;

use replat_engine::{Listed, WorkLog};
use replat_model::ids::CohortId;
use replat_model::plan::Plan;

pub use board::failure;
pub use plan::is_cohort_file;
pub use run::Goal;

use crate::failure::{Exit, Failure};

/// The members of a cohort, oldest first.
///
/// # Errors
///
/// That there is no such cohort.
pub fn members(store: &dyn WorkLog, cohort: &CohortId) -> Result<Vec<Listed>, Failure> {
    let members: Vec<Listed> =
        store.list()?.into_iter().filter(|listed| listed.cohort.as_ref() == Some(cohort)).collect();
    if members.is_empty() {
        return Err(Failure::new("RP2006", Exit::Invalid, format!("there is no cohort {cohort}"))
            .remedy("See: replat deploy list"));
    }
    Ok(members)
}

/// The cohort that somebody means: the one with this name, or, without a name, the only one that is under way while
/// nothing else is.
pub fn named(store: &dyn WorkLog, name: Option<&str>) -> Result<Option<CohortId>, Failure> {
    let all = store.list()?;
    let Some(name) = name else {
        let mut under_way = Vec::new();
        for listed in &all {
            let history = store.read(&listed.id)?;
            let over = history.iter().any(|entry| {
                use replat_model::deploy::Event;
                matches!(entry.event, Event::Finished { .. } | Event::Aborted)
            });
            if !over {
                under_way.push(listed.cohort.clone());
            }
        }
        under_way.dedup();
        return Ok(match under_way.pop() {
            Some(only) if under_way.is_empty() => only,
            _ => None,
        });
    };
    let name = name.strip_prefix("cohort/").unwrap_or(name);
    Ok(all.into_iter().find_map(|listed| listed.cohort.filter(|cohort| cohort.as_str() == name)))
}

/// What a cohort is called on both sides, by the plan of its oldest member. Slots are named once in a cluster, and each
/// control store counts its cohorts from c1.
pub fn label(cohort: &CohortId, oldest: &Plan) -> String {
    format!("{cohort}_{}", &oldest.digest()[..8])
}
