//! Partitions are cut anew: split, merged, or spread by another modulus.
//!
//! Every unit copies the rows of the partitions that it replaces, once. So a partition is better split into all its
//! cells at once than one by one, as long as there are not too many: more than [`PIECES`] are cut in two rounds, first
//! into stretches of cells, then these.
//!
//! Here is what all of them share: names, and what can be replaced at all.

mod merge;
mod modulus;
mod split;

use super::super::draft::build::{edge_word, named};
use super::super::draft::referenced::held;
use super::super::draft::{Names, unit};
use super::super::facts::{Bound, Level, Part, TableName};
use super::super::grid::Grid;
use super::super::health::{Finding, codes};
use super::super::name::Pattern;
use super::super::plan::{NewLevel, NewPart, Unit, Work};
use super::{Found, refuse};

pub use merge::Merge;
pub(super) use merge::merge;
pub use modulus::Modulus;
pub(super) use modulus::modulus;
pub use split::Split;
pub(super) use split::split;

/// New partitions that one unit brings at most. Each has its locks, and its CHECK is tried for every row.
pub const PIECES: usize = 50;

/// Gives new partitions of one parent their names.
struct Namer<'a> {
    found: Found<'a>,
    pattern: Pattern,
    names: &'a mut Names,
}

impl<'a> Namer<'a> {
    fn new(found: Found<'a>, grid: Option<&Grid>, names: &'a mut Names) -> Namer<'a> {
        let pattern = Pattern::learn(&found.parent.name, &named(found.level), grid);
        Namer { found, pattern, names }
    }

    fn part(&mut self, bound: Bound, grid: Option<&Grid>) -> Result<NewPart, Finding> {
        let parent = self.found.parent;
        // Beside the one whose place it takes.
        let schema = self.found.part.table.schema.clone();
        let taken = |name: &str| self.names.is_taken(&schema, name);
        // Remainders of several moduli are side by side for a while, so the name says of which.
        let moduli = self.found.level.parts.iter().filter_map(|part| match part.bound {
            Bound::Hash { modulus, .. } => Some(modulus),
            _ => None,
        });
        let other = |modulus: u32| moduli.clone().any(|known| known != modulus);
        let word = match &bound {
            Bound::Hash { modulus, remainder } if other(*modulus) => Some(format!("h{remainder}of{modulus}")),
            bound => edge_word(bound).map(str::to_owned),
        };
        let named = match word {
            Some(word) => {
                let plain = Pattern::learn(&parent.name, &[], None);
                plain.name(&Bound::List(vec![Some(word)]), None, &taken)
            }
            None => self.pattern.name(&bound, grid, &taken),
        };
        let name = named.map_err(|bad| Finding {
            code: codes::NAME.into(),
            ..refuse(&self.found.set.table, format!("{parent}: {bad}"), "Rename what has the name.")
        })?;
        self.called(TableName::new(schema, name), bound)
    }

    fn called(&mut self, table: TableName, bound: Bound) -> Result<NewPart, Finding> {
        self.names.take(&table.schema, &table.name);
        let below = match &self.found.part.below {
            Some(level) => Some(self.below(level, &self.found.part.table, &table)?),
            None => None,
        };
        Ok(NewPart { table, bound, like: Some(self.found.part.table.clone()), below })
    }

    /// The same cut further below another table.
    fn below(&mut self, level: &Level, of: &TableName, table: &TableName) -> Result<NewLevel, Finding> {
        let pattern = Pattern::learn(&of.name, &named(level), None).for_parent(&table.name);
        let mut parts = Vec::new();
        for part in &level.parts {
            let taken = |name: &str| self.names.is_taken(&table.schema, name);
            let name = pattern.name(&part.bound, None, &taken).map_err(|bad| Finding {
                code: codes::NAME.into(),
                ..refuse(&self.found.set.table, format!("{table}: {bad}"), "Rename what has the name.")
            })?;
            self.names.take(&table.schema, &name);
            let new = TableName::new(table.schema.clone(), name);
            let below = part.below.as_ref().map(|level| self.below(level, &part.table, &new)).transpose()?;
            parts.push(NewPart {
                table: new,
                bound: part.bound.clone(),
                like: Some(part.table.clone()),
                below,
            });
        }
        let keys = level.keys.iter().map(|key| key.text.clone()).collect();
        Ok(NewLevel { method: level.method, keys, parts })
    }
}

/// What a part is to a unit that replaces it.
fn old(part: &Part) -> (TableName, u64, Bound) {
    (part.table.clone(), part.id, part.bound.clone())
}

/// The unit that replaces partitions of one parent.
fn recut(found: Found<'_>, old: Vec<(TableName, u64, Bound)>, new: Vec<NewPart>) -> Unit {
    unit(found.set, Work::Recut { parent: found.parent.clone(), old, new })
}

/// Whether this part can be replaced at all.
fn whole(found: Found<'_>) -> Result<(), Finding> {
    let (table, part) = (&found.set.table, found.part);
    if let Some((what, remedy)) = held(found.set) {
        return Err(refuse(table, what, remedy));
    }
    if part.foreign {
        let what = format!("{} is on another server", part.table);
        return Err(refuse(table, what, "Copy its rows yourself; replat cannot follow writes to it."));
    }
    if let Some(half) = found.level.parts.iter().find(|part| part.detach_pending) {
        let what = format!("a detach of {} was broken off", half.table);
        return Err(refuse(table, what, "Let it be finished first: replat rotate"));
    }
    Ok(())
}
