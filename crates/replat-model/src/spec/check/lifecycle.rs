//! Whether what a spec says of the life of partitions fits together.

use std::collections::BTreeMap;

use super::super::document::Path;
use super::super::nearest::quoted;
use super::Check;
use crate::lifecycle::grid::Interval;
use crate::lifecycle::policy::{Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Overflow, Retire, RetireHow};

/// How the values of a key may be read where its type does not say.
const ENCODINGS: [&str; 8] =
    ["number", "epoch-s", "epoch-ms", "epoch-us", "epoch-ns", "uuidv7", "ulid", "snowflake"];

impl Check<'_> {
    pub(super) fn lifecycles(&mut self, at: &Path) {
        let spec = self.spec;
        let mut spoken: BTreeMap<(Option<&str>, &str), &str> = BTreeMap::new();
        for (name, lifecycle) in &spec.lifecycles {
            let at = at.key(name);
            self.lifecycle(&at, lifecycle);
            for (index, pattern) in lifecycle.tables.iter().enumerate() {
                let place = (lifecycle.database.as_deref(), pattern.as_str());
                if let Some(other) = spoken.insert(place, name) {
                    let message = format!("{} already speaks of {}", quoted(other), quoted(pattern));
                    self.refuse(&at.key("tables").index(index), message);
                }
            }
        }
    }

    fn lifecycle(&mut self, at: &Path, lifecycle: &Lifecycle) {
        if let Some(database) =
            lifecycle.database.as_deref().filter(|name| !self.spec.databases.contains_key(*name))
        {
            let known = self.spec.databases.keys().map(String::as_str);
            self.refuse_reference(&at.key("database"), "database", database, known);
        }
        if lifecycle.tables.is_empty() {
            self.refuse(
                &at.key("tables"),
                "no table is named; list the partitioned tables, such as \"public.events\"",
            );
        }
        for (index, level) in lifecycle.levels.iter().enumerate() {
            self.level(&at.key("levels").index(index), level);
        }
        if let Some(until) = &lifecycle.until {
            let day = until.trim().parse::<jiff::civil::Date>().is_ok();
            if !day && until.trim().parse::<i128>().is_err() {
                self.refuse(
                    &at.key("until"),
                    "this must be a day, such as \"2027-01-01\", or a key that is a number",
                );
            }
        }
        let outermost = lifecycle.levels.first().map(|level| level.by);
        if lifecycle.overflow == Some(Overflow::Edge) && outermost == Some(Cut::Hash) {
            self.refuse(&at.key("overflow"), "a hash has no edges: every row has a partition");
        }
        if lifecycle.drain == Some(true) && lifecycle.overflow == Some(Overflow::Reject) {
            self.refuse(
                &at.key("drain"),
                "with `overflow = \"reject\"` there is no default partition to drain",
            );
        }
        if let Some(retire) = &lifecycle.retire {
            self.retire(&at.key("retire"), retire);
        }
    }

    fn level(&mut self, at: &Path, level: &LevelPolicy) {
        let names = level.column.split(',').map(str::trim);
        if names.clone().any(str::is_empty) {
            self.refuse(&at.key("column"), "columns are separated by one comma each");
        }
        let said = [
            ("interval", level.interval.is_some(), Cut::Range),
            ("origin", level.origin.is_some(), Cut::Range),
            ("zone", level.zone.is_some(), Cut::Range),
            ("encoding", level.encoding.is_some(), Cut::Range),
            ("snowflake", level.snowflake.is_some(), Cut::Range),
            ("modulus", level.modulus.is_some(), Cut::Hash),
            ("values", !level.values.is_empty(), Cut::List),
            ("grow", level.grow.is_some(), Cut::List),
        ];
        for (key, said, of) in said {
            if said && level.by != of {
                let message =
                    format!("`{key}` is of {}, and this level is cut by {}", word(of), word(level.by));
                self.refuse(&at.key(key), message);
            }
        }
        if let Some(Err(bad)) = level.interval.as_deref().map(str::parse::<Interval>) {
            self.refuse(&at.key("interval"), bad.to_string());
        }
        if let Some(zone) = level.zone.as_deref().filter(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
            self.refuse(
                &at.key("zone"),
                format!("there is no time zone {}; zones are named like Europe/Berlin", quoted(zone)),
            );
        }
        if let Some(encoding) = level.encoding.as_deref().filter(|word| !ENCODINGS.contains(word)) {
            let message =
                format!("unknown encoding {}; allowed here: {}", quoted(encoding), ENCODINGS.join(", "));
            self.refuse(&at.key("encoding"), message);
        }
        if level.snowflake.is_some() && level.encoding.as_deref().is_some_and(|word| word != "snowflake") {
            self.refuse(&at.key("snowflake"), "only the encoding snowflake has a layout");
        }
        if level.snowflake.is_some_and(|layout| layout.shift > 62) {
            self.refuse(&at.key("snowflake").key("shift"), "at most 62 bits can lie below the time");
        }
        self.values(at, level);
        if let Some(grow) = level.grow {
            self.grow(&at.key("grow"), grow);
        }
    }

    fn values(&mut self, at: &Path, level: &LevelPolicy) {
        let mut seen = BTreeMap::new();
        for (index, values) in level.values.iter().enumerate() {
            let at = at.key("values").index(index);
            if values.is_empty() {
                self.refuse(&at, "a partition without values would take no rows");
            }
            for value in values {
                if seen.insert(value.as_str(), index).is_some() {
                    self.refuse(&at, format!("{} is listed twice", quoted(value)));
                }
            }
        }
    }

    fn grow(&mut self, at: &Path, grow: Grow) {
        let limits = grow.rows.is_some() || grow.age.is_some();
        match grow.on {
            GrowOn::Sliding if !limits => {
                self.refuse(at, "say when the next value comes: after so many `rows`, or at which `age`");
            }
            GrowOn::Appearance if limits => {
                self.refuse(
                    at,
                    "`rows` and `age` are of a sliding list; by appearance, values come by themselves",
                );
            }
            GrowOn::Sliding | GrowOn::Appearance => {}
        }
    }

    fn retire(&mut self, at: &Path, retire: &Retire) {
        let said = retire.keep.is_some()
            || retire.keep_keys.is_some()
            || retire.keep_bytes.is_some()
            || retire.keep_rows.is_some()
            || retire.when.is_some();
        if !said {
            self.refuse(at, "nothing says which partitions are old: give `keep`, `keep_keys`, `keep_bytes`, `keep_rows` or `when`");
        }
        match retire.how {
            RetireHow::Detach => {
                if retire.archive.is_some() {
                    self.refuse(&at.key("archive"), "nothing is archived unless `how` is archive or drop");
                }
                if retire.drop_after.is_some() {
                    self.refuse(&at.key("drop_after"), "nothing is dropped unless `how` is drop or archive");
                }
            }
            RetireHow::Archive if retire.archive.is_none() => {
                self.refuse(at, "`how = \"archive\"` needs a folder: `archive`");
            }
            RetireHow::Drop if retire.drop_after.is_none() => {
                self.refuse(
                    at,
                    "`how = \"drop\"` needs `drop_after`; \"0s\" drops as soon as it is detached",
                );
            }
            RetireHow::Archive | RetireHow::Drop => {}
        }
    }
}

fn word(cut: Cut) -> &'static str {
    match cut {
        Cut::Range => "range",
        Cut::List => "list",
        Cut::Hash => "hash",
    }
}
