//! Ways to write a wall clock's time in a name.

use std::sync::LazyLock;

use super::super::axis::{DAY, SECOND};
use super::super::grid::civil;
use crate::key::time::{Civil, EPOCH_DAYS};

const HOUR: i128 = 3_600 * SECOND;
const MINUTE: i128 = 60 * SECOND;

/// How finely a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Micros,
}

impl Level {
    /// Those that a name without a pattern has.
    pub(super) const PLAIN: [Level; 7] =
        [Level::Year, Level::Month, Level::Day, Level::Hour, Level::Minute, Level::Second, Level::Micros];

    /// Whether `wall` is written wholly.
    pub(super) fn holds(self, wall: i128) -> bool {
        let day = civil(wall);
        let of_day = |unit: i128| wall.rem_euclid(unit) == 0;
        match self {
            Level::Year => of_day(DAY) && (day.month, day.day) == (1, 1),
            Level::Quarter => of_day(DAY) && day.month % 3 == 1 && day.day == 1,
            Level::Month => of_day(DAY) && day.day == 1,
            Level::Week => of_day(DAY) && weekday(day) == 0,
            Level::Day => of_day(DAY),
            Level::Hour => of_day(HOUR),
            Level::Minute => of_day(MINUTE),
            Level::Second => of_day(SECOND),
            Level::Micros => true,
        }
    }
}

/// A part of a written time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    ShortYear,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    Micros,
    IsoYear,
    IsoWeek,
    Quarter,
    Text(&'static str),
}

/// A way to write a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeForm {
    fields: Vec<Field>,
    /// How finely.
    pub(super) level: Level,
    /// What stands between year, month and day, and what before the time of day and within it.
    marks: (&'static str, &'static str, &'static str),
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// All forms that are recognised, the likelier of two that cannot be told apart first.
pub(super) static FORMS: LazyLock<Vec<TimeForm>> = LazyLock::new(|| {
    use Field::*;
    let mut forms = Vec::new();
    let mut add = |level, fields: &[Field], mark| {
        forms.push(TimeForm { fields: fields.to_vec(), level, marks: (mark, "_", "") });
    };
    for mark in ["", "_", "-", "."] {
        let m = Text(mark);
        add(Level::Month, &[Year, m, Month], mark);
        add(Level::Month, &[ShortYear, m, Month], mark);
        add(Level::Day, &[ShortYear, m, Month, m, Day], mark);
        add(Level::Quarter, &[Year, m, Text("q"), Quarter], mark);
        add(Level::Quarter, &[Year, m, Text("Q"), Quarter], mark);
        add(Level::Week, &[IsoYear, m, Text("w"), IsoWeek], mark);
        add(Level::Week, &[IsoYear, m, Text("W"), IsoWeek], mark);
        add(Level::Week, &[IsoYear, m, IsoWeek], mark);
        add(Level::Month, &[Year, m, MonthName], mark);
        add(Level::Month, &[MonthName, m, Year], mark);
        add(Level::Month, &[Month, m, Year], mark);
        add(Level::Day, &[Day, m, Month, m, Year], mark);
    }
    add(Level::Year, &[Year], "");
    add(Level::Month, &[Year, Text("m"), Month], "");
    add(Level::Day, &[Year, Text("m"), Month, Text("d"), Day], "");
    for mark in ["", "_", "-", "."] {
        forms.push(TimeForm::plain(Level::Day, (mark, "_", "")));
        for before in ["_", "", "-", "t", "T", "h", "."] {
            for within in ["", "_", "-"] {
                for level in [Level::Hour, Level::Minute, Level::Second, Level::Micros] {
                    if level != Level::Hour || within.is_empty() {
                        forms.push(TimeForm::plain(level, (mark, before, within)));
                    }
                }
            }
        }
    }
    forms
});

impl TimeForm {
    /// Year, month, day and so on down to `level`, with such marks between them.
    pub(super) fn plain(level: Level, marks: (&'static str, &'static str, &'static str)) -> TimeForm {
        let (between, before, within) = (Field::Text(marks.0), Field::Text(marks.1), Field::Text(marks.2));
        let mut fields = vec![Field::Year];
        let steps = [
            (Level::Month, between, Field::Month),
            (Level::Day, between, Field::Day),
            (Level::Hour, before, Field::Hour),
            (Level::Minute, within, Field::Minute),
            (Level::Second, within, Field::Second),
            (Level::Micros, Field::Text("_"), Field::Micros),
        ];
        for (_, mark, field) in steps.into_iter().filter(|(step, ..)| *step <= level) {
            fields.extend([mark, field]);
        }
        TimeForm { fields, level, marks }
    }

    /// The same way of writing, down to `level`.
    pub(super) fn finer(&self, level: Level) -> TimeForm {
        TimeForm::plain(level, self.marks)
    }

    /// The time.
    pub(super) fn text(&self, wall: i128) -> String {
        let day = civil(wall);
        let (iso_year, iso_week) = iso_week(day);
        let in_day = wall.rem_euclid(DAY);
        let write = |field: &Field| match field {
            Field::Year => year_text(day.year),
            Field::ShortYear => format!("{:02}", day.year.rem_euclid(100)),
            Field::Month => format!("{:02}", day.month),
            Field::MonthName => MONTHS[(day.month - 1).rem_euclid(12) as usize].to_owned(),
            Field::Day => format!("{:02}", day.day),
            Field::Hour => format!("{:02}", in_day / HOUR),
            Field::Minute => format!("{:02}", in_day / MINUTE % 60),
            Field::Second => format!("{:02}", in_day / SECOND % 60),
            Field::Micros => format!("{:06}", in_day % SECOND),
            Field::IsoYear => year_text(iso_year),
            Field::IsoWeek => format!("{iso_week:02}"),
            Field::Quarter => ((day.month - 1) / 3 + 1).to_string(),
            Field::Text(text) => (*text).to_owned(),
        };
        self.fields.iter().map(write).collect()
    }
}

fn year_text(year: i64) -> String {
    if year > 0 { format!("{year:04}") } else { format!("bc{:04}", 1 - year) }
}

/// Days since Monday.
fn weekday(day: Civil) -> i64 {
    // 1970-01-01 was a Thursday.
    (day.days() + EPOCH_DAYS + 3).rem_euclid(7)
}

/// The year and the week of ISO 8601: a week belongs to the year that its Thursday is in.
fn iso_week(day: Civil) -> (i64, i64) {
    let thursday = Civil::of_days(day.days() - weekday(day) + 3);
    let new_year = Civil { year: thursday.year, month: 1, day: 1 };
    (thursday.year, (thursday.days() - new_year.days()) / 7 + 1)
}
