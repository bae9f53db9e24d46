//! Many changes of one key as its last word, so that a batch is merged as sets.

use std::collections::HashMap;

use replat_model::plan::Plan;

use crate::changes::{Cell, Change, Key};
use crate::copy::{copied_table, copied_tables};

/// The last word on one key within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is so.
    Put(Vec<Cell>),
    /// It is gone.
    Removed,
}

/// For each table, the last word on each key. `None` if the changes have to be taken in their order: a key whose
/// equality is not that of its bytes, a table that was emptied, or a row that changed its key and is not said in
/// full.
pub fn coalesce(plan: &Plan, changes: &[Change]) -> Option<Vec<HashMap<Key, Last>>> {
    let mut tables: Vec<HashMap<Key, Last>> = vec![HashMap::new(); copied_tables(plan).count()];
    for change in changes {
        let rows = &mut tables[change.table()];
        let table = copied_table(plan, change.table())?;
        if table.key.iter().any(|k| !k.bytes_comparable) && changes.len() > 1 {
            return None;
        }
        match change {
            Change::Empty { .. } => return None,
            Change::Remove { key, .. } => {
                rows.insert(key.clone(), Last::Removed);
            }
            Change::Put { old_key, key, cells, arrived, .. } => {
                let before = match old_key {
                    Some(old) => rows.insert(old.clone(), Last::Removed),
                    None => rows.get(key).cloned(),
                };
                let cells = filled(cells, before.as_ref());
                if !unsaid(&cells).is_empty() && (old_key.is_some() || *arrived) {
                    return None;
                }
                rows.insert(key.clone(), Last::Put(cells));
            }
        }
    }
    Some(tables)
}

/// A row whose unsaid values are taken from what the same batch said before.
fn filled(cells: &[Cell], before: Option<&Last>) -> Vec<Cell> {
    let Some(Last::Put(before)) = before else { return cells.to_vec() };
    cells
        .iter()
        .zip(before)
        .map(|(now, before)| if *now == Cell::Unsaid { before.clone() } else { now.clone() })
        .collect()
}

/// The places of the cells that the log does not say.
pub fn unsaid(cells: &[Cell]) -> Vec<usize> {
    cells.iter().enumerate().filter(|(_, c)| **c == Cell::Unsaid).map(|(n, _)| n).collect()
}
