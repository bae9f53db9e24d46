//! Shares of a partition's reads that another home answers, or is asked as well.

use std::time::Duration;

use replat_model::map::Leaf;

use crate::Intent;
use crate::enter::Target;
use crate::refused::Refused;
use crate::router::{Ask, Destination, Router};

/// Where one read goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRoute {
    /// Who answers.
    pub answers: Destination,
    /// If another home than the partition's own one answers: how far it may be behind. If it is further behind, ask the
    /// own one, by [`Router::find`]. Whoever connects can tell; the router cannot.
    pub stale_max: Option<Duration>,
    /// Who is asked as well, for comparison alone, and how far it may be behind for that.
    pub shadow: Option<(Destination, Duration)>,
}

impl Router {
    /// Where a read goes, by the share that the routes describe: of every hundred consecutive samples, that many go
    /// to the other home. The same sample always goes the same way, in every process and language.
    ///
    /// # Errors
    ///
    /// As [`Router::find`], for a read.
    pub fn read_route<'a>(&self, target: impl Into<Target<'a>>, sample: u64) -> Result<ReadRoute, Refused> {
        let own = self.destination(target.into(), Intent::Read)?;
        let reads = own.traffic.as_ref().and_then(|traffic| traffic.reads.clone());
        // After a switch, the share may still be described for what is the home by now.
        let reads = reads.filter(|reads| reads.home != *own.home && sample % 100 < u64::from(reads.percent));
        let Some(reads) = reads else {
            return Ok(ReadRoute { answers: own, stale_max: None, shadow: None });
        };
        let stale_max = Duration::from_millis(reads.stale_max_ms);
        let routes = self.serving(Intent::Read)?;
        let leaf = Leaf { partition: own.partition.clone(), home: reads.home.into(), epoch: own.epoch };
        // Newer routes may have come meanwhile, without that database.
        let Some(other) = routes.reachable(&leaf) else {
            return Ok(ReadRoute { answers: own, stale_max: None, shadow: None });
        };
        Ok(match reads.shadow {
            true => ReadRoute { answers: own, stale_max: None, shadow: Some((other, stale_max)) },
            false => ReadRoute { answers: other, stale_max: Some(stale_max), shadow: None },
        })
    }
}
