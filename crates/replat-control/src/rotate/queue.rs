//! The order of units: as planned, but two that concern the same tables never at the same time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use replat_model::lifecycle::facts::TableName;
use tokio::sync::Notify;

/// Units that wait for their turn, each with the tables that it concerns: its set, and the tables this one refers to,
/// which are locked for a moment when a partition is attached.
pub struct Queue {
    waiting: Mutex<Waiting>,
    freed: Notify,
}

struct Waiting {
    units: VecDeque<(usize, BTreeSet<TableName>)>,
    busy: BTreeSet<TableName>,
}

/// A unit whose turn it is. Its tables are free again when this is dropped.
pub struct Turn<'a> {
    /// Its place in the plan.
    pub unit: usize,
    tables: BTreeSet<TableName>,
    queue: &'a Queue,
}

impl Queue {
    /// The units of a plan, by their places in it.
    pub fn new(units: impl IntoIterator<Item = (usize, BTreeSet<TableName>)>) -> Queue {
        let waiting = Waiting { units: units.into_iter().collect(), busy: BTreeSet::new() };
        Queue { waiting: Mutex::new(waiting), freed: Notify::new() }
    }

    /// The first unit none of whose tables is busy; `None` when all are done or under way.
    pub async fn next(&self) -> Option<Turn<'_>> {
        loop {
            // Asked for before the look, so that a table that is freed in between is not missed.
            let freed = self.freed.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
                if waiting.units.is_empty() {
                    return None;
                }
                let free = waiting.units.iter().position(|(_, tables)| tables.is_disjoint(&waiting.busy));
                if let Some((unit, tables)) = free.and_then(|at| waiting.units.remove(at)) {
                    waiting.busy.extend(tables.iter().cloned());
                    return Some(Turn { unit, tables, queue: self });
                }
            }
            freed.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(|e| e.into_inner());
        waiting.busy.retain(|table| !self.tables.contains(table));
        drop(waiting);
        self.queue.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn tables(names: &[&str]) -> BTreeSet<TableName> {
        names.iter().map(|n| TableName::new("s", *n)).collect()
    }

    #[tokio::test]
    async fn the_plans_order_holds_but_for_what_concerns_a_busy_table() {
        let queue = Queue::new([
            (0, tables(&["a", "shared"])),
            (1, tables(&["a"])),
            (2, tables(&["b", "shared"])),
            (3, tables(&["c"])),
        ]);
        let first = queue.next().await.expect("a unit");
        assert_eq!(first.unit, 0);
        let second = queue.next().await.expect("a unit");
        assert_eq!(second.unit, 3, "1 and 2 concern tables of 0");
        let waits = queue.next();
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none(), "its tables are busy");
        drop(first);
        let third = waits.await.expect("a unit");
        assert_eq!(third.unit, 1);
        let fourth = queue.next().await.expect("a unit");
        assert_eq!(fourth.unit, 2);
        assert!(queue.next().await.is_none());
    }
}
