//! When a run is due.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSchedule {
    /// Not a cron expression.
    #[error("{text:?} is not a schedule such as \"0 3 * * *\": {why}")]
    Cron {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a zone.
    #[error("{0:?} is not a time zone such as Europe/Berlin")]
    Zone(String),
}

impl Schedule {
    /// The schedule that `cron` says, by the clocks of `zone`. At the change to summer time a run that would fall into the
    /// missing hour comes after it; at the change back it comes once.
    ///
    /// # Errors
    ///
    /// [`BadSchedule`].
    pub fn new(cron: &str, zone: &str) -> Result<Schedule, BadSchedule> {
        let zone = TimeZone::get(zone).map_err(|_| BadSchedule::Zone(zone.to_owned()))?;
        let cron = Cron::from_str(cron)
            .map_err(|e| BadSchedule::Cron { text: cron.to_owned(), why: e.to_string() })?;
        Ok(Schedule { cron, zone })
    }

    /// The first time after `now` at which a run is due; `None` if there is none.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        self.cron.find_next_occurrence(&now.with_time_zone(self.zone.clone()), false).ok()
    }

    /// How long it is until then.
    pub fn wait(&self) -> Option<Duration> {
        let now = Zoned::now();
        let due = self.next(&now)?;
        Some(Duration::try_from(due.timestamp().duration_since(now.timestamp())).unwrap_or(Duration::ZERO))
    }
}
