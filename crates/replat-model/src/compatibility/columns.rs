//! Columns that code knows, and those that it does not.

use std::collections::BTreeSet;

use super::{Break, Code, Meeting, Work, renamed};
use crate::draft::{crosses, quoted};
use crate::facts::{ColumnFacts, Identity, TypeKind};

pub(super) fn breaks(meeting: &Meeting) -> Vec<Break> {
    let mut breaks = Vec::new();
    for known in &meeting.known.columns {
        match meeting.found.column(&known.name) {
            None => breaks.push(gone(meeting, known)),
            Some(found) => {
                breaks.extend(retyped(meeting, known, found));
                breaks.extend(stricter(meeting, known, found));
            }
        }
    }
    let strange = meeting.found.columns.iter().filter(|c| meeting.known.column(&c.name).is_none());
    breaks.extend(strange.filter(|c| !c.can_be_left_out()).map(|column| unsaid(meeting, column)));
    breaks
}

fn gone(meeting: &Meeting, known: &ColumnFacts) -> Break {
    let (table, column) = (&meeting.known.name, &known.name);
    let now = renamed(meeting, column);
    let why = match now {
        Some(now) => format!("the column is called {now} there"),
        None => "the column is not there".to_owned(),
    };
    let instead = match (meeting.code, now) {
        (Code::Old, Some(now)) => format!(
            "Keep {column} beside {now} until no old code runs, let a trigger keep both alike, and drop it with the version \
             after."
        ),
        (Code::Old, None) => {
            format!("Keep {column} until no old code runs, and drop it with the version after.")
        }
        (Code::New, Some(_)) => meeting.only_there(),
        (Code::New, None) => {
            format!("ALTER TABLE {} ADD COLUMN {} {};", table_there(meeting), quoted(column), known.type_name)
        }
    };
    let works = match known.generated {
        Some(_) => BTreeSet::from([Work::Reads]),
        None => Work::VALUES.into(),
    };
    Break { table: table.clone(), column: Some(column.clone()), works, why, instead }
}

/// The table where the code runs, for SQL.
fn table_there(meeting: &Meeting) -> String {
    format!("{}.{}", quoted(meeting.schemas[1]), quoted(&meeting.found.name))
}

/// Another type: values that are written may not fit, and values that are read may be none that the code knows.
fn retyped(meeting: &Meeting, known: &ColumnFacts, found: &ColumnFacts) -> Option<Break> {
    let takes_all = crosses(known, found) && !is_only_label(known, found);
    let gives_known = crosses(found, known) && !is_only_label(found, known);
    let works: BTreeSet<Work> =
        [(Work::Reads, gives_known), (Work::Inserts, takes_all), (Work::Updates, takes_all)]
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(work, _)| work)
            .filter(|work| known.generated.is_none() || *work == Work::Reads)
            .collect();
    if works.is_empty() {
        return None;
    }
    let why = match (labels_gone(known, found), labels_gone(found, known)) {
        (Some(gone), _) if !gone.is_empty() => format!("it does not take {}", gone.join(", ")),
        (_, Some(new)) if !new.is_empty() => {
            format!("it may be {}, which the code does not know", new.join(", "))
        }
        _ => format!("it is {} and not {}", found.type_name, known.type_name),
    };
    let instead = match meeting.code {
        Code::Old => format!(
            "Add a column of the new type under another name, and drop {} with the version after.",
            known.name
        ),
        Code::New => meeting.only_there(),
    };
    Some(Break { table: meeting.known.name.clone(), column: Some(known.name.clone()), works, why, instead })
}

/// Whether a text goes where only labels can stand.
fn is_only_label(from: &ColumnFacts, to: &ColumnFacts) -> bool {
    matches!(to.type_kind, TypeKind::Enum(_)) && !matches!(from.type_kind, TypeKind::Enum(_))
}

/// The labels of one enum that another has not got; `None` if they are not two enums.
fn labels_gone(from: &ColumnFacts, to: &ColumnFacts) -> Option<Vec<String>> {
    let (TypeKind::Enum(labels), TypeKind::Enum(known)) = (&from.type_kind, &to.type_kind) else {
        return None;
    };
    Some(labels.iter().filter(|label| !known.contains(label)).cloned().collect())
}

fn stricter(meeting: &Meeting, known: &ColumnFacts, found: &ColumnFacts) -> Vec<Break> {
    let column = known.name.as_str();
    let mut breaks = Vec::new();
    if found.not_null && !known.not_null {
        breaks.push(meeting.broken(
            Some(column),
            Work::CHANGES,
            "it takes no null".into(),
            meeting.later("NOT NULL"),
        ));
    } else if found.not_null && known.can_be_left_out() && !found.can_be_left_out() {
        let instead = match meeting.code {
            Code::Old => format!(
                "Keep its default until no old code runs: ALTER COLUMN {} SET DEFAULT …",
                quoted(column)
            ),
            Code::New => meeting.only_there(),
        };
        let why = "it has no default, and must not be null";
        breaks.push(meeting.broken(Some(column), [Work::Inserts], why.into(), instead));
    }
    if found.generated.is_some() && known.generated.is_none() {
        let instead = match meeting.code {
            Code::Old => {
                "Make it an ordinary column that a trigger fills, and a generated one with the version after."
                    .into()
            }
            Code::New => meeting.only_there(),
        };
        let why = "it is generated, and takes no value".into();
        breaks.push(meeting.broken(Some(column), Work::CHANGES, why, instead));
    }
    if found.identity == Some(Identity::Always) && known.identity != Some(Identity::Always) {
        let instead = match meeting.code {
            Code::Old => format!(
                "ALTER COLUMN {} SET GENERATED BY DEFAULT until no old code writes it.",
                quoted(column)
            ),
            Code::New => meeting.only_there(),
        };
        let why = "it numbers itself, and takes no value".into();
        breaks.push(meeting.broken(Some(column), Work::CHANGES, why, instead));
    }
    breaks
}

/// A column that code does not know, and must.
fn unsaid(meeting: &Meeting, found: &ColumnFacts) -> Break {
    let instead = match meeting.code {
        Code::Old => format!("Give {} a default, or let it be null until no old code writes.", found.name),
        Code::New => format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;",
            table_there(meeting),
            quoted(&found.name)
        ),
    };
    let why =
        format!("{} must have a value there, has no default, and the code does not know it", found.name);
    meeting.broken(None, [Work::Inserts], why, instead)
}
