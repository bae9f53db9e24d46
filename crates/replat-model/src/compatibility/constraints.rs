//! What rows must satisfy where code runs, and did not have to where it was written for.

use super::{Break, Meeting, Work};
use crate::draft::without_schema;
use crate::facts::{ForeignKeyFacts, IndexFacts};

pub(super) fn breaks(meeting: &Meeting) -> Vec<Break> {
    let mut breaks = Vec::new();
    checks(meeting, &mut breaks);
    unique(meeting, &mut breaks);
    references(meeting, &mut breaks);
    if meeting.found.row_security && !meeting.known.row_security {
        let why = "row level security may hide rows there, and refuse them".into();
        breaks.push(meeting.broken(None, Work::ALL, why, meeting.later("row level security")));
    }
    breaks
}

fn checks(meeting: &Meeting, breaks: &mut Vec<Break>) {
    let [known_schema, found_schema] = meeting.schemas;
    let was: Vec<String> =
        meeting.known.constraints.iter().map(|c| without_schema(&c.definition, known_schema)).collect();
    for constraint in &meeting.found.constraints {
        let definition = without_schema(&constraint.definition, found_schema);
        if !was.contains(&definition) {
            let why = format!("rows must satisfy {} there: {definition}", constraint.name);
            breaks.push(meeting.broken(None, Work::CHANGES, why, meeting.later("the constraint")));
        }
    }
}

fn unique(meeting: &Meeting, breaks: &mut Vec<Break>) {
    let [known_schema, found_schema] = meeting.schemas;
    let is_kept = |index: &IndexFacts| {
        meeting.known.indexes.iter().filter(|was| was.unique).any(|was| {
            let same = without_schema(&was.definition, known_schema)
                == without_schema(&index.definition, found_schema);
            // What is unique in fewer columns is unique in more.
            same || was.is_plain_unique() && was.columns.iter().all(|column| index.columns.contains(column))
        })
    };
    for index in meeting.found.indexes.iter().filter(|index| index.unique && !is_kept(index)) {
        let of = match index.columns.is_empty() || index.expression {
            true => index.name.clone(),
            false => format!("({})", index.columns.join(", ")),
        };
        let why = format!("no two rows may have the same {of} there");
        breaks.push(meeting.broken(None, Work::CHANGES, why, meeting.later("the unique index")));
    }
}

fn references(meeting: &Meeting, breaks: &mut Vec<Break>) {
    let known = |key: &&ForeignKeyFacts| {
        meeting.known.foreign_keys.iter().any(|was| {
            (&was.columns, &was.ref_columns) == (&key.columns, &key.ref_columns)
                // A table that has another name is another table's matter.
                && (was.ref_table == key.ref_table || was.name == key.name)
        })
    };
    for key in meeting.found.foreign_keys.iter().filter(|key| !known(key)) {
        let why = format!("({}) must refer to a row of {} there", key.columns.join(", "), key.ref_table);
        breaks.push(meeting.broken(None, Work::CHANGES, why, meeting.later("the foreign key")));
    }
    let was_known = |name: &str, table: &str| {
        meeting.known.referenced_by.iter().any(|was| was.table == table || was.name == name)
    };
    for key in meeting.found.referenced_by.iter().filter(|key| !was_known(&key.name, &key.table)) {
        let why = format!("rows of {} may refer to a row there, by {}", key.table, key.name);
        breaks.push(meeting.broken(
            None,
            [Work::Updates, Work::Deletes],
            why,
            meeting.later("the foreign key"),
        ));
    }
}
