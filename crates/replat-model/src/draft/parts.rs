//! Rules about rows that become several, each in a table of its own: which part gives which column back.

use std::collections::BTreeSet;

use super::columns::given_back as given_by;
use super::{Finding, Ground, Notes, Pair, quoted, tables};
use crate::ids::Side;
use crate::plan::KeyColumn;
use crate::preflight::Check;
use crate::spec::Flow;

/// Who gives the columns of one table of blue back.
#[derive(Default)]
pub(super) struct Given<'a> {
    /// Columns that are not this one's matter: a part of the row has them, or the main part has.
    pub elsewhere: BTreeSet<&'a str>,
    /// Of the main part: the columns that only another part gives back.
    of_parts: BTreeSet<&'a str>,
}

/// For each of the flows of one table, in their order, what the others give back.
pub(super) fn given_back<'a>(ground: &Ground<'a>, flows: &[Flow<'a>]) -> Vec<Given<'a>> {
    let given: Vec<BTreeSet<&str>> = flows
        .iter()
        .map(|flow| {
            let (blue, green) = (ground.blue.table(flow.old), ground.green.table(flow.new));
            let (Some(blue), Some(green)) = (blue, green) else { return BTreeSet::new() };
            given_by(&Pair { blue, green, flow: flow.clone(), same_major: ground.same_major() })
        })
        .collect();
    let of = |is_part: bool| {
        let some = flows.iter().zip(&given).filter(move |(flow, _)| flow.is_part == is_part);
        some.flat_map(|(_, given)| given.iter().copied()).collect::<BTreeSet<&str>>()
    };
    let (of_main, of_parts) = (of(false), of(true));
    let only_parts: BTreeSet<&str> = of_parts.difference(&of_main).copied().collect();
    let all = |flow: &Flow<'a>| {
        let columns = ground.blue.table(flow.old).map(|table| table.columns.iter()).into_iter().flatten();
        columns.map(|column| column.name.as_str()).collect::<BTreeSet<&str>>()
    };
    flows
        .iter()
        .zip(&given)
        .map(|(flow, given)| match flow.is_part {
            false => Given { elsewhere: only_parts.clone(), of_parts: only_parts.clone() },
            // A part gives what nobody else does, and the key.
            true => {
                let kept: BTreeSet<&str> = given.intersection(&only_parts).copied().collect();
                let elsewhere = all(flow).into_iter().filter(|name| !kept.contains(name)).collect();
                Given { elsewhere, of_parts: BTreeSet::new() }
            }
        })
        .collect()
}

/// The main part makes the row on the way back, before its other parts are there.
pub(super) fn check(pair: &Pair, given: &Given, key: &[KeyColumn], notes: &mut Notes) {
    for name in &given.of_parts {
        let is_key = key.iter().any(|column| column.blue == **name);
        let Some(column) = pair.blue.column(name).filter(|column| column.not_null && !is_key) else {
            continue;
        };
        let what = format!(
            "{} must not be null on blue, and is given back by another part of the row, which may come later or not at all",
            column.name
        );
        let remedy = format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;",
            tables::qualified(pair.blue),
            quoted(&column.name)
        );
        let finding = Finding::new(Check::PartNotNull, what, remedy);
        notes.find(finding.at(&pair.blue.name).column(&column.name).on(Side::Blue));
    }
}
