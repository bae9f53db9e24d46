//! What a message asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest message that is read, in bytes. A notification has at most 8,000.
const LONGEST: usize = 16 * 1024;

/// What a message asks for: a run, perhaps of some tables only, perhaps further ahead than the policy.
///
/// Written as a JSON object whose keys are those of the command line, all of them optional; an empty message asks for an
/// ordinary run. It can only ask for more partitions than the policy wants, never for fewer, and quotas still hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
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
