//! Partitions in order of their bounds.
//!
//! How values compare depends on type, collation and operator class, so the server is asked: once for each kind of
//! comparison, about all values of all sets together, for the rank of each.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Edge};

use super::Reading;
use super::keys::{Comparison, Cut};

/// The ranks of values, by how they are compared. A kind whose values the server refused to compare is absent.
#[derive(Default)]
pub(super) struct Ranks(HashMap<Comparison, HashMap<String, i64>>);

impl Ranks {
    /// Asks for the ranks of all values of these bounds.
    pub(super) async fn read<'a>(
        reading: &Reading<'_>,
        bounds: impl Iterator<Item = (&'a Cut, &'a Bound)>,
    ) -> Result<Ranks, EngineError> {
        let mut wanted: BTreeMap<&Comparison, BTreeSet<&str>> = BTreeMap::new();
        for (cut, bound) in bounds {
            let mut want = |key: usize, value: &'a str| {
                if let Some(Some(order)) = cut.orders.get(key) {
                    wanted.entry(order).or_default().insert(value);
                }
            };
            match bound {
                Bound::Range { from, to } => {
                    for (key, edge) in from.iter().enumerate().chain(to.iter().enumerate()) {
                        if let Edge::At(value) = edge {
                            want(key, value);
                        }
                    }
                }
                Bound::List(values) => values.iter().flatten().for_each(|value| want(0, value)),
                Bound::Hash { .. } | Bound::Default => {}
            }
        }
        let mut ranks = Ranks::default();
        for (order, values) in wanted {
            let values: Vec<&str> = values.into_iter().collect();
            if let Ok(rows) = reading.try_query(10_000, &order.sql(), &[&values]).await? {
                let rank = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
                let ranked: Result<_, tokio_postgres::Error> = rows.iter().map(rank).collect();
                ranks.0.insert(order.clone(), ranked.map_err(reading.failed())?);
            }
        }
        Ok(ranks)
    }

    /// Whether all values of a bound can be compared.
    pub(super) fn know(&self, cut: &Cut, bound: &Bound) -> bool {
        let known = |key: usize, value: &str| self.rank(cut, key, value).is_some();
        let edge = |(key, edge): (usize, &Edge)| match edge {
            Edge::At(value) => known(key, value),
            Edge::Min | Edge::Max => true,
        };
        match bound {
            Bound::Range { from, to } => from.iter().enumerate().all(edge) && to.iter().enumerate().all(edge),
            Bound::List(values) => values.iter().flatten().all(|value| known(0, value)),
            Bound::Hash { .. } | Bound::Default => true,
        }
    }

    fn rank(&self, cut: &Cut, key: usize, value: &str) -> Option<i64> {
        self.0.get(cut.orders.get(key)?.as_ref()?)?.get(value).copied()
    }

    /// Ranges ascending, lists by their least value with the absent one last, hashes by what is left, the default
    /// last.
    pub(super) fn compare(&self, cut: &Cut, one: &Bound, other: &Bound) -> Ordering {
        let side = |edges: &[Edge]| -> Vec<(u8, i64)> {
            let place = |(key, edge): (usize, &Edge)| match edge {
                Edge::Min => (0, 0),
                Edge::At(value) => (1, self.rank(cut, key, value).unwrap_or(0)),
                Edge::Max => (2, 0),
            };
            edges.iter().enumerate().map(place).collect()
        };
        let least = |values: &[Option<String>]| {
            let ranks = values.iter().flatten().map(|value| self.rank(cut, 0, value).unwrap_or(0));
            ranks.min().unwrap_or(i64::MAX)
        };
        match (one, other) {
            (Bound::Default, Bound::Default) => Ordering::Equal,
            (Bound::Default, _) => Ordering::Greater,
            (_, Bound::Default) => Ordering::Less,
            (Bound::Range { from, to }, Bound::Range { from: other_from, to: other_to }) => {
                (side(from), side(to)).cmp(&(side(other_from), side(other_to)))
            }
            (Bound::List(one), Bound::List(other)) => least(one).cmp(&least(other)),
            (
                Bound::Hash { modulus, remainder },
                Bound::Hash { modulus: other_modulus, remainder: other_remainder },
            ) => (remainder, modulus).cmp(&(other_remainder, other_modulus)),
            // A table is cut in one way only.
            _ => Ordering::Equal,
        }
    }
}

impl Comparison {
    /// The values `$1` with their ranks.
    fn sql(&self) -> String {
        let collate = self.collation.as_ref().map_or(String::new(), |name| format!(" COLLATE {name}"));
        format!(
            "select v, dense_rank() over (order by (v::{}){collate} using {}) from unnest($1::text[]) v",
            self.cast, self.less
        )
    }
}
