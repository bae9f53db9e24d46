//! Plans that were made already, by the text of their statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::plan::Plan;
use crate::tables::{Known, Path, Tables};

/// A bounded memory of [`Plan`]s, to be shared by all sessions of a process.
///
/// Holds two generations: what is asked for lives in the young one, and when that is half of the limit, it becomes
/// the old one and the old one is forgotten. So what was used lately stays, and a hit costs one look-up.
#[derive(Debug)]
pub struct Plans {
    /// Of one generation; unit: bytes.
    half: usize,
    generations: Mutex<Generations>,
}

type Generation = HashMap<Path, HashMap<Box<str>, Arc<Plan>>>;

#[derive(Debug, Default)]
struct Generations {
    /// The tables that the plans were made for.
    known: Option<Arc<Known>>,
    young: Generation,
    old: Generation,
    young_bytes: usize,
}

impl Plans {
    /// A memory that takes about `bytes` at most.
    pub fn with_limit(bytes: usize) -> Plans {
        Plans { half: bytes / 2, generations: Mutex::default() }
    }

    /// The plan of `sql` as seen with `tables`, remembered or made.
    ///
    /// Other tables than at the last call (not merely another search path) empty the memory.
    pub fn plan(&self, sql: &str, tables: &Tables) -> Arc<Plan> {
        if let Some(plan) = self.lock().find(sql, tables, self.half) {
            return plan;
        }
        let plan = Arc::new(Plan::of(sql, tables));
        self.lock().add(sql, tables, &plan, self.half);
        plan
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // A panic in between leaves at worst a plan that is not found.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, sql: &str, tables: &Tables, half: usize) -> Option<Arc<Plan>> {
        if !self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &tables.known)) {
            *self = Generations { known: Some(tables.known.clone()), ..Generations::default() };
        }
        if let Some(plan) = self.young.get(&tables.path).and_then(|plans| plans.get(sql)) {
            return Some(plan.clone());
        }
        let plan = self.old.get(&tables.path)?.get(sql)?.clone();
        self.add(sql, tables, &plan, half);
        Some(plan)
    }

    fn add(&mut self, sql: &str, tables: &Tables, plan: &Arc<Plan>, half: usize) {
        let path = match &tables.path {
            Path::Schemas(schemas) => schemas.iter().map(|schema| schema.len() + 16).sum(),
            Path::Unknown => 0,
        };
        let bytes = 2 * sql.len() + path + plan.weight();
        let stale = !self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &tables.known));
        if stale || bytes > half {
            return;
        }
        if self.young_bytes + bytes > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let path = self.young.entry(tables.path.clone()).or_default();
        if path.insert(sql.into(), plan.clone()).is_none() {
            self.young_bytes += bytes;
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |generation: &Generation| generation.values().map(HashMap::len).sum::<usize>();
        count(&self.young) + count(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_and_again_stays_and_the_memory_is_bounded() {
        let tables = Tables::new(["public"]);
        let plans = Plans::with_limit(64 * 1024);
        let first = plans.plan("select 0", &tables);
        for n in 1..10_000 {
            plans.plan(&format!("select {n}"), &tables);
            assert!(Arc::ptr_eq(&first, &plans.plan("select 0", &tables)), "{n}");
        }
        assert!(plans.lock().len() < 600, "{}", plans.lock().len());
        let again = plans.plan("select 9998", &tables);
        assert!(Arc::ptr_eq(&again, &plans.plan("select 9998", &tables)));
    }

    #[test]
    fn another_search_path_has_other_plans_and_other_tables_forget_all() {
        let tables = Tables::new(["public"]);
        let plans = Plans::with_limit(64 * 1024);
        let first = plans.plan("select 1", &tables);
        let elsewhere = tables.with_search_path(["app"]);
        assert!(!Arc::ptr_eq(&first, &plans.plan("select 1", &elsewhere)));
        assert!(Arc::ptr_eq(&first, &plans.plan("select 1", &tables)));
        let other = Tables::new(["public"]);
        assert!(!Arc::ptr_eq(&first, &plans.plan("select 1", &other)));
        assert_eq!(plans.lock().len(), 1);
    }

    #[test]
    fn a_statement_that_is_larger_than_the_memory_is_not_kept() {
        let tables = Tables::new(["public"]);
        let plans = Plans::with_limit(1024);
        plans.plan(&format!("select '{}'", "x".repeat(2000)), &tables);
        assert_eq!(plans.lock().len(), 0);
    }
}
