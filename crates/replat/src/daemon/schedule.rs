//! When a run is due.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

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
    /// missing hour comes after it; at the change back it comes once. A sixth field before the others is the second.
    ///
    /// # Errors
    ///
    /// [`BadSchedule`].
    pub fn new(cron: &str, zone: &str) -> Result<Schedule, BadSchedule> {
        let zone = TimeZone::get(zone).map_err(|_| BadSchedule::Zone(zone.to_owned()))?;
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser
            .parse(cron)
            .map_err(|e| BadSchedule::Cron { text: cron.to_owned(), why: e.to_string() })?;
        Ok(Schedule { cron, zone })
    }

    /// The first time after `now` at which a run is due; `None` if there is none.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        self.cron.find_next_occurrence(&now.with_time_zone(self.zone.clone()), false).ok()
    }

    /// The same as a moment.
    pub fn after(&self, now: Timestamp) -> Option<Timestamp> {
        self.next(&now.to_zoned(TimeZone::UTC)).map(|due| due.timestamp())
    }
}

/// As crontab files have it: `TZ=Europe/Berlin 0 3 * * *`; without a zone UTC.
impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Schedule, BadSchedule> {
        let text = text.trim();
        let named = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
        match named.map(|rest| rest.split_once(char::is_whitespace).unwrap_or((rest, ""))) {
            Some((zone, cron)) => Schedule::new(cron.trim(), zone),
            None => Schedule::new(text, "UTC"),
        }
    }
}
