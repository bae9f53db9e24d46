//! Which rows of a table are guarded, for all partitions that are guarded on it: one set of triggers.
//!
//! Pure. What writers of other partitions pay is the triggers' WHEN, which the server parses anew for each statement:
//! so it stays small however many partitions there are. It may let a row through to the function that is nobody's, and
//! never keeps one from it. The function then decides exactly, as [`region_predicate`] says.
//!
//! Everything is a constant in the code of functions, and nothing is read from a table: code is always the newest, and
//! what a query sees can be as old as its transaction.

use std::collections::{BTreeMap, BTreeSet};

use replat_model::ids::{PartitionId, Side};
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::Dimension;
use replat_model::plan::{Plan, TablePlan};
use replat_model::region::{Constraint, Region};

use super::fence::lock_key;
use crate::slice::{constraint_predicate, dimension_column, region_predicate};
use crate::sql::{quote_ident, quote_literal};

/// With at most so many values in all, they stand in the triggers' WHEN; with more, a function looks them up, which
/// costs the same for any number. Measured: a single insert pays as much for the call as for five comparisons.
const PLAIN_MAX: usize = 4;

/// One partition on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The partition.
    pub partition: PartitionId,
    /// The schema of the home whose fence row says whether it is open.
    pub schema: String,
    /// Its rows.
    pub region: Region,
    /// The region's dimensions, with the names that their columns have on this table.
    pub columns: Vec<Dimension>,
}

impl Guarded {
    /// The plan's partition on one of its tables.
    pub fn of(plan: &Plan, table: &TablePlan, side: Side) -> Guarded {
        let columns = plan.dimensions.iter().map(|dimension| Dimension {
            column: dimension_column(table, side, &dimension.column).to_owned(),
            key_type: dimension.key_type,
        });
        Guarded {
            partition: plan.partition.clone(),
            schema: plan.end(side).home.schema.clone(),
            region: plan.region.clone(),
            columns: columns.collect(),
        }
    }

    /// Whether rows of another partition are refused by this guard as long as it is closed. Where only the hash of
    /// particular values could tell, it counts as if some were: one refused row keeps a stream waiting for ever.
    pub fn keeps_out(&self, partition: &PartitionId, region: &Region, dimensions: &[Dimension]) -> bool {
        // A guard of another context's partitions, over other dimensions, says nothing of these keys.
        let alike = self.columns.len() == dimensions.len()
            && self.columns.iter().zip(dimensions).all(|(own, other)| own.key_type == other.key_type);
        self.partition != *partition && alike && self.region.overlaps(region) != Some(false)
    }

    fn predicate(&self, row: &str) -> String {
        region_predicate(&self.region, &self.columns, |column| format!("{row}{}", quote_ident(column)))
    }

    /// What is true of its rows and is short. Without it a row that is not among many values is let through.
    fn short_predicate(&self, row: &str) -> String {
        let is_short = |constraint: &Constraint| match constraint {
            Constraint::NoneOf(values) => values.len() <= PLAIN_MAX,
            _ => true,
        };
        let terms: Vec<String> = self
            .region
            .constraints()
            .filter(|(_, constraint)| is_short(constraint))
            .map(|(at, constraint)| {
                let column = &self.columns[at];
                let name = format!("{row}{}", quote_ident(&column.column));
                constraint_predicate(&name, column.key_type, constraint)
            })
            .collect();
        if terms.is_empty() { "true".into() } else { terms.join(" AND ") }
    }

    /// The list of values that it is on a column, among whatever else is asked.
    fn values_of(&self, column: &Dimension) -> Option<&BTreeSet<KeyValue>> {
        self.region.constraints().find_map(|(at, constraint)| match constraint {
            Constraint::OneOf(values) if self.columns[at] == *column => Some(values),
            _ => None,
        })
    }

    /// Whether nothing but one constraint is asked.
    fn is_simple(&self) -> bool {
        self.region.constraints().count() == 1
    }

    fn pass(&self) -> String {
        format!(
            "PERFORM replat.pass({}, {}, {}, TG_OP);",
            quote_literal(self.partition.as_str()),
            quote_literal(&self.schema),
            lock_key(&self.partition, &self.schema)
        )
    }
}

/// What guards a table.
pub(super) struct GuardSql {
    /// Makes the functions that the triggers call.
    pub functions: String,
    /// Name and arguments of those functions, as the server identifies them.
    pub signatures: Vec<String>,
    /// The triggers' names, and what makes each of them where it is not there, or another one is.
    pub triggers: Vec<(&'static str, String)>,
}

/// Names sort last, so that a trigger which changes the key has run before the guard looks at it.
pub(super) const TRIGGERS: [&str; 3] = ["zz_replat_insert", "zz_replat_update", "zz_replat_delete"];

/// The guard of `table`, which is quoted, for everybody who is guarded there, at least one. `n` is the table's number.
pub(super) fn guard_sql(n: i32, table: &str, guards: &[Guarded]) -> GuardSql {
    let values = Values::of(guards);
    let mut functions = row_function(n, guards, values.as_ref());
    let mut signatures = vec![format!("replat.guard_{n}()")];
    if let Some(values) = &values {
        functions += &values.function(n);
        signatures.push(format!("replat.is_guarded_{n}({})", type_name(values.column.key_type)));
    }
    let condition = |row: &str| {
        let looked_up = values
            .as_ref()
            .map(|values| format!("replat.is_guarded_{n}({row}{})", quote_ident(&values.column.column)));
        let others = guards.iter().filter(|guard| values.as_ref().is_none_or(|v| !v.has(guard)));
        let terms = others.map(|guard| format!("({})", guard.short_predicate(row)));
        looked_up.into_iter().chain(terms).collect::<Vec<_>>().join(" OR ")
    };
    let (old, new) = (condition("OLD."), condition("NEW."));
    let conditions = [new.clone(), format!("{old} OR {new}"), old];
    let triggers = TRIGGERS.into_iter().zip(["INSERT", "UPDATE", "DELETE"]).zip(conditions);
    let triggers = triggers.map(|((name, event), when)| {
        let text = format!(
            "CREATE OR REPLACE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) \
             EXECUTE FUNCTION replat.guard_{n}()"
        );
        (name, text)
    });
    GuardSql { functions, signatures, triggers: triggers.collect() }
}

/// Guarded values of one column, of which there are many.
struct Values<'g> {
    column: &'g Dimension,
    all: BTreeSet<&'g KeyValue>,
    /// Those that say the whole of one partition.
    owned: BTreeMap<&'g KeyValue, &'g Guarded>,
    /// Partitions whose every value is owned.
    owners: BTreeSet<&'g PartitionId>,
}

impl<'g> Values<'g> {
    /// `None` if there are few.
    fn of(guards: &'g [Guarded]) -> Option<Values<'g>> {
        let mut by_column: BTreeMap<(&str, KeyType), (usize, &Dimension)> = BTreeMap::new();
        let mut constants = 0;
        for guard in guards {
            for (at, constraint) in guard.region.constraints() {
                let column = &guard.columns[at];
                constants += 1;
                if let Constraint::OneOf(values) = constraint {
                    constants += values.len().saturating_sub(1);
                    by_column.entry((&column.column, column.key_type)).or_insert((0, column)).0 +=
                        values.len();
                }
            }
        }
        let (_, column) = by_column.into_values().max_by_key(|(count, _)| *count)?;
        if constants <= PLAIN_MAX {
            return None;
        }
        let mut found =
            Values { column, all: BTreeSet::new(), owned: BTreeMap::new(), owners: BTreeSet::new() };
        for guard in guards {
            let Some(values) = guard.values_of(column) else { continue };
            // Of two that guard one value, the first owns it, and the second one is decided by itself.
            if guard.is_simple() && values.iter().all(|value| !found.owned.contains_key(value)) {
                found.owned.extend(values.iter().map(|value| (value, guard)));
                found.owners.insert(&guard.partition);
            }
            found.all.extend(values);
        }
        Some(found)
    }

    /// Whether each row of the partition has one of the values.
    fn has(&self, guard: &Guarded) -> bool {
        guard.values_of(self.column).is_some()
    }

    /// A search in a sorted constant. It is written in full names, since it runs as whoever writes and under whatever
    /// `search_path`. Whoever writes may call it, and can name it nowhere: it is in a schema that nobody may use.
    fn function(&self, n: i32) -> String {
        let type_name = type_name(self.column.key_type);
        let list = list(self.all.iter().map(|v| self.column.key_type.text_of(v)), type_name);
        let key = self.key("$1");
        let body = format!(
            "BEGIN RETURN ({list})[pg_catalog.width_bucket({key}, {list})] OPERATOR(pg_catalog.=) {key}; END"
        );
        format!(
            "CREATE OR REPLACE FUNCTION replat.is_guarded_{n}({type_name}) RETURNS boolean \
             LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS {}; \
             GRANT EXECUTE ON FUNCTION replat.is_guarded_{n}({type_name}) TO PUBLIC; ",
            quote_literal(&body)
        )
    }

    /// A key as it is searched for: text by its bytes, which is the order of the list whatever the server's locale.
    fn key(&self, key: &str) -> String {
        let typed = format!("({key})::{}", type_name(self.column.key_type));
        match self.column.key_type {
            KeyType::Text => format!("({typed} COLLATE pg_catalog.\"C\")"),
            _ => typed,
        }
    }

    /// What the function does for a row that has an owned value.
    fn pass(&self, row: &str) -> String {
        let key = self.key(&format!("{row}{}", quote_ident(&self.column.column)));
        let key_type = self.column.key_type;
        let values = list(self.owned.keys().map(|v| key_type.text_of(v)), type_name(key_type));
        let owners = self.owned.values();
        let partitions = list(owners.clone().map(|g| g.partition.to_string()), "text");
        let schemas = list(owners.clone().map(|g| g.schema.clone()), "text");
        let locks = list(owners.map(|g| lock_key(&g.partition, &g.schema).to_string()), "bigint");
        format!(
            "i := width_bucket({key}, {values}); \
             IF ({values})[i] = {key} THEN PERFORM replat.pass(({partitions})[i], ({schemas})[i], ({locks})[i], TG_OP); \
             END IF; "
        )
    }
}

/// The function that decides. OLD has no values when a row is inserted, NEW none when one is deleted: no condition is
/// true of them then.
fn row_function(n: i32, guards: &[Guarded], values: Option<&Values<'_>>) -> String {
    let mut body = String::from("DECLARE i integer; BEGIN ");
    match guards {
        // The trigger's condition has decided.
        [one] if values.is_none() && one.predicate("") == one.short_predicate("") => body += &one.pass(),
        _ => {
            let mut others: Vec<&Guarded> = guards.iter().collect();
            if let Some(values) = values.filter(|values| !values.owned.is_empty()) {
                others.retain(|guard| !values.owners.contains(&guard.partition));
                let column = quote_ident(&values.column.column);
                body += &values.pass("NEW.");
                body += &format!(
                    "IF TG_OP <> 'INSERT' AND OLD.{column} IS DISTINCT FROM NEW.{column} THEN {}END IF; ",
                    values.pass("OLD.")
                );
            }
            for guard in others {
                let (old, new) = (guard.predicate("OLD."), guard.predicate("NEW."));
                let row = format!("(TG_OP <> 'INSERT' AND ({old})) OR (TG_OP <> 'DELETE' AND ({new}))");
                body += &format!("IF {row} THEN {} END IF; ", guard.pass());
            }
        }
    }
    body += " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END";
    format!(
        "CREATE OR REPLACE FUNCTION replat.guard_{n}() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp AS {}; ",
        quote_literal(&body)
    )
}

fn list(texts: impl Iterator<Item = String>, type_name: &str) -> String {
    let texts: Vec<String> = texts.map(|text| quote_literal(&text)).collect();
    format!("ARRAY[{}]::{type_name}[]", texts.join(", "))
}

/// A key type's name that no `search_path` can turn into another type.
fn type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::SmallInt => "pg_catalog.int2",
        KeyType::Integer => "pg_catalog.int4",
        KeyType::BigInt => "pg_catalog.int8",
        KeyType::Text => "pg_catalog.text",
        KeyType::Uuid => "pg_catalog.uuid",
        KeyType::Date => "pg_catalog.date",
        KeyType::Timestamp => "pg_catalog.timestamp",
        KeyType::TimestampTz => "pg_catalog.timestamptz",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(partition: &str, key_type: KeyType, constraint: Constraint) -> Guarded {
        Guarded {
            partition: partition.parse().expect("a name"),
            schema: "public".into(),
            region: Region::everything().and(0, constraint),
            columns: vec![Dimension { column: "own_name".into(), key_type }],
        }
    }

    #[test]
    fn a_guard_keeps_out_whoever_may_have_keys_of_it_and_is_not_its_own() {
        let is = |n: i64| Constraint::OneOf(BTreeSet::from([KeyValue::Int(n)]));
        let but = |n: i64| Constraint::NoneOf(BTreeSet::from([KeyValue::Int(n)]));
        let within = |a: i64, b: i64| Constraint::Within {
            lower: Some(KeyValue::Int(a)),
            upper: Some(KeyValue::Int(b)),
        };
        let bucket = |remainder| Constraint::Bucket { modulus: 4, remainder };
        let dimensions = [Dimension { column: "tenant".into(), key_type: KeyType::BigInt }];
        let rows = [
            (within(8, 16), is(11), true),
            (within(8, 16), is(16), false),
            (within(8, 16), within(12, 20), true),
            (within(8, 16), within(16, 20), false),
            (but(3), is(4), true),
            (but(3), is(3), false),
            (bucket(1), bucket(2), false),
            (bucket(1), bucket(1), true),
            // Only the hash of some value could tell: it counts.
            (bucket(1), within(1, 5), true),
        ];
        let one: PartitionId = "one".parse().expect("a name");
        for (old, new, want) in rows {
            let region = Region::everything().and(0, new);
            let said = format!("{old:?} {region:?}");
            let other = guarded("other", KeyType::BigInt, old.clone());
            assert_eq!(other.keeps_out(&one, &region, &dimensions), want, "{said}");
            let own = guarded("one", KeyType::BigInt, old.clone());
            assert!(!own.keeps_out(&one, &region, &dimensions), "{said}");
            let elsewhere = guarded("other", KeyType::Text, old);
            assert!(!elsewhere.keeps_out(&one, &region, &dimensions), "{said}");
        }
    }
}
