//! What a message asks for.

use std::fmt;
use std::str::FromStr;

use replat_model::lifecycle::policy::More;
use replat_model::spec::DurationText;
use serde::{Deserialize, Serialize};

/// The longest message that is read, in bytes. A notification has at most 8,000.
const LONGEST: usize = 16 * 1024;

/// For how many days ahead, and for how many partitions, a message may ask: whoever may connect may send one.
const DAYS_MAX: u32 = 3_660;
const AHEAD_MAX: u32 = 1_000;

/// What a message asks for: a run, perhaps of some tables only, perhaps further ahead than the policy.
///
/// Written as a JSON object whose keys are those of the command line, all of them optional; an empty message asks for an
/// ordinary run. It can only ask for more partitions than the policy wants, never for fewer, and quotas still hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// The database, by its name in the spec; without it, the one that the notification came from, or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table, as `schema.table`; `*` for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Several tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// For how many days there should be partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_days: Option<u32>,
    /// How many partitions there should be after the one in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u32>,
    /// Until which day there should be partitions, as `2027-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Ask {
    /// What it wants beyond the policy, as of `now`; `None` if it only wants a run.
    pub fn more(&self, now: jiff::Timestamp) -> Option<More> {
        let until = self.until.as_ref().and_then(|day| day.parse::<jiff::civil::Date>().ok());
        let days = until.map(|day| {
            let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
            // To the end of that day, and midnight comes later in some zones than in UTC.
            let days = today.until(day).map_or(0, |span| span.get_days()).saturating_add(2);
            u32::try_from(days).unwrap_or(0).min(DAYS_MAX)
        });
        let days = self.buffer_days.max(days);
        if days.is_none() && self.ahead.is_none() {
            return None;
        }
        let ahead = days.map(DurationText::days);
        Some(More { tables: self.all_tables(), ahead, ahead_count: self.ahead })
    }

    /// The tables it is about; empty for all.
    pub fn all_tables(&self) -> Vec<String> {
        self.table.iter().chain(&self.tables).cloned().collect()
    }
}

/// Why a message was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// It is too long.
    #[error("a message of {0} bytes; at most {LONGEST} are read")]
    Long(usize),
    /// It is not the JSON object that was expected.
    #[error("{0}; expected nothing, or an object such as {{\"table\":\"public.events\",\"buffer_days\":60}}")]
    Json(String),
    /// A value makes no sense.
    #[error("`{key}` is {value:?}: {why}")]
    Value {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// Why not.
        why: &'static str,
    },
}

impl FromStr for Ask {
    type Err = BadAsk;

    fn from_str(text: &str) -> Result<Ask, BadAsk> {
        if text.len() > LONGEST {
            return Err(BadAsk::Long(text.len()));
        }
        if text.trim().is_empty() {
            return Ok(Ask::default());
        }
        let ask: Ask = serde_json::from_str(text).map_err(|e| BadAsk::Json(e.to_string()))?;
        let bounds = [
            ("buffer_days", ask.buffer_days, DAYS_MAX, "at most 3660"),
            ("ahead", ask.ahead, AHEAD_MAX, "at most 1000"),
        ];
        if let Some((key, value, _, why)) =
            bounds.into_iter().find(|(_, value, most, _)| *value > Some(*most))
        {
            return Err(BadAsk::Value { key, value: value.unwrap_or(0).to_string(), why });
        }
        if let Some(until) = &ask.until
            && until.parse::<jiff::civil::Date>().is_err()
        {
            return Err(BadAsk::Value {
                key: "until",
                value: until.clone(),
                why: "not a day such as 2027-01-31",
            });
        }
        let empty = |name: &String| name.trim().is_empty();
        if ask.table.as_ref().is_some_and(empty) || ask.tables.iter().any(empty) {
            return Err(BadAsk::Value { key: "table", value: String::new(), why: "a table has a name" });
        }
        Ok(ask)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.all_tables();
        if let Some(database) = &self.database {
            write!(f, "{database}: ")?;
        }
        match tables.is_empty() {
            true => f.write_str("all tables")?,
            false => f.write_str(&tables.join(", "))?,
        }
        if let Some(days) = self.buffer_days {
            write!(f, ", {days} days")?;
        }
        if let Some(count) = self.ahead {
            write!(f, ", {count} partitions")?;
        }
        if let Some(until) = &self.until {
            write!(f, ", until {until}")?;
        }
        Ok(())
    }
}
