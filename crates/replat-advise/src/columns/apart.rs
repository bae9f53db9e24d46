//! The system as it would be with a table cut: what its pieces are used with, and to which contexts they would belong.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::{Job, Pieces};
use crate::context::contexts;
use crate::schema::{Schema, Table, TableId};
use crate::system::System;
use crate::trace::{Access, Op, Trace, Transaction};

/// So many tables are named that a piece is used with.
const NAMED_MAX: usize = 3;

/// What happens in one transaction.
pub(super) struct Together {
    /// Of each piece, the tables that it is used with, with the share of its transactions.
    pub with: Vec<Vec<(String, f64)>>,
    /// Of each piece, the other tables of the context that it would be in.
    pub context: Vec<Vec<String>>,
    /// Whether the pieces would be in different contexts.
    pub apart: bool,
    /// The share of transactions that write to several pieces.
    pub writes_several: f64,
}

/// A table that is cut, in its system.
pub(super) struct Cut<'a> {
    pub system: &'a System,
    pub id: TableId,
    /// What each statement does with the table, by its place among the templates.
    pub jobs: BTreeMap<usize, Vec<&'a Job>>,
    pub pieces: &'a Pieces,
    /// The pieces in the order in which they are told.
    pub order: &'a [usize],
}

impl Cut<'_> {
    /// What would happen together.
    pub fn together(&self) -> Together {
        let trace = &self.system.trace;
        let mut used = vec![0.0; self.order.len()];
        let mut with: Vec<BTreeMap<TableId, f64>> = vec![BTreeMap::new(); self.order.len()];
        let (mut all, mut several) = (0.0, 0.0);
        for transaction in &trace.transactions {
            let accesses = trace.accesses_of(transaction);
            let own: Vec<(TableId, Op)> = accesses
                .iter()
                .filter(|access| access.table == self.id)
                .flat_map(|a| self.parts(a))
                .collect();
            if own.is_empty() {
                continue;
            }
            all += 1.0;
            let written: BTreeSet<TableId> =
                own.iter().filter(|(_, op)| op.writes()).map(|(id, _)| *id).collect();
            several += f64::from(u8::from(written.len() > 1));
            let others: BTreeSet<TableId> =
                accesses.iter().filter(|access| access.table != self.id).map(|access| access.table).collect();
            // A new row is in all pieces, and says nothing of which are used together.
            let looked: BTreeSet<TableId> =
                own.iter().filter(|(_, op)| matches!(op, Op::Read | Op::Update)).map(|(id, _)| *id).collect();
            for place in (0..self.order.len()).filter(|place| looked.contains(&self.piece_id(*place))) {
                used[place] += 1.0;
                others.iter().for_each(|other| *with[place].entry(*other).or_default() += 1.0);
            }
        }
        let with = with.into_iter().zip(used).map(|(with, used): (BTreeMap<TableId, f64>, f64)| {
            let mut all: Vec<(String, f64)> = with
                .into_iter()
                .map(|(id, count)| (self.system.schema.table(id).name.clone(), count / used.max(1.0)))
                .collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            all.truncate(NAMED_MAX);
            all
        });
        let (context, apart) = self.contexts();
        Together { with: with.collect(), context, apart, writes_several: several / f64::max(all, 1.0) }
    }

    /// The table that a piece would be: the first keeps its place, the others come after all that are there.
    fn piece_id(&self, place: usize) -> TableId {
        if place == 0 { self.id } else { TableId(self.system.schema.tables.len() + place - 1) }
    }

    /// What an access of the table would be: accesses of its pieces.
    fn parts(&self, access: &Access) -> Vec<(TableId, Op)> {
        let mut parts: BTreeSet<(TableId, Op)> = BTreeSet::new();
        for job in self.jobs.get(&(access.template as usize)).into_iter().flatten() {
            if job.op != access.op {
                continue;
            }
            let (needed, written) = self.pieces.needed(job);
            for place in (0..self.order.len()).filter(|place| needed.contains(&self.order[*place])) {
                let op = if written.contains(&self.order[place]) { job.op } else { Op::Read };
                parts.insert((self.piece_id(place), op));
            }
        }
        parts.into_iter().collect()
    }

    /// The other tables of the context of each piece, and whether the pieces are in several.
    fn contexts(&self) -> (Vec<Vec<String>>, bool) {
        let mut schema = Schema { tables: self.system.schema.tables.clone() };
        // Which piece a foreign key goes with is told by what is used with it.
        let table = &mut schema.tables[self.id.0];
        table.references.clear();
        table.primary_key.clear();
        table.columns.clear();
        table.keys.clear();
        schema.tables.extend((1..self.order.len()).map(|_| Table::default()));
        let mut cut = Trace::default();
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        for transaction in &self.system.trace.transactions {
            let first = small(cut.accesses.len());
            for access in self.system.trace.accesses_of(transaction) {
                let parts = match access.table == self.id {
                    true => self.parts(access),
                    false => vec![(access.table, access.op)],
                };
                let whole =
                    parts.into_iter().map(|(table, op)| Access { table, op, rows: None, ..access.clone() });
                cut.accesses.extend(whole);
            }
            let accesses = first..small(cut.accesses.len());
            cut.transactions.push(Transaction { at: transaction.at, kind: transaction.kind, accesses });
        }
        let found = contexts(&schema, &cut);
        let group =
            |place: usize| found.groups.iter().position(|group| group.contains(&self.piece_id(place)));
        let groups: Vec<Option<usize>> = (0..self.order.len()).map(group).collect();
        let tables = |group: &Option<usize>| {
            let of_group = group.map_or(&[][..], |group| &found.groups[group][..]);
            let others =
                of_group.iter().filter(|id| **id != self.id && id.0 < self.system.schema.tables.len());
            others.map(|id| self.system.schema.table(*id).name.clone()).collect()
        };
        let context: Vec<Vec<String>> = groups.iter().map(tables).collect();
        // A piece that is used with nothing else is in no context of its own.
        let apart = context.iter().filter(|tables| !tables.is_empty()).count() > 1
            && groups.windows(2).any(|two| two[0] != two[1]);
        (context, apart)
    }
}
