//! What is not known of a system, and what can be supposed of it meanwhile.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::evidence::Tier;
use crate::schema::{Schema, TableId};
use crate::system::{Missing, System};

/// Words in the name of a column that may say in which country its row has to stay.
const PLACES: &[&str] = &["country", "region", "jurisdiction", "residency", "nation", "territory"];

/// So many names are listed; more would not be read.
const NAMES_MAX: usize = 6;

impl Tier {
    /// How sure any advice can be at most, of 1.
    pub fn confidence_max(self) -> f64 {
        match self {
            Tier::Catalogue => 0.4,
            Tier::Statements => 0.6,
            Tier::Writes => 0.75,
            Tier::Sample => 0.9,
            Tier::Trace => 0.97,
        }
    }
}

/// A key that could hold a system together, as far as its foreign keys tell. Whether it does, only transactions show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The table whose rows the others belong to.
    pub table: String,
    /// Its key.
    pub column: String,
    /// The tables whose rows belong to one of its rows, over any number of foreign keys.
    pub reaches: Vec<String>,
    /// The others.
    pub misses: Vec<String>,
}

/// The keys that reach two other tables at least, the ones that reach most first. Of two that neither belong to each other
/// and of which one reaches all that the other does, the other is left out.
pub fn hypotheses(schema: &Schema) -> Vec<Hypothesis> {
    let reaches: Vec<BTreeSet<TableId>> = reaches(schema);
    let candidates: Vec<TableId> = schema
        .ids()
        .filter(|id| schema.table(*id).primary_key.len() == 1 && reaches[id.0].len() >= 2)
        .collect();
    let mut all: Vec<TableId> = candidates
        .iter()
        .copied()
        .filter(|id| {
            !candidates.iter().any(|other| {
                let (own, theirs) = (&reaches[id.0], &reaches[other.0]);
                other != id && !theirs.contains(id) && own.is_subset(theirs) && own.len() < theirs.len()
            })
        })
        .collect();
    all.sort_by(|a, b| {
        reaches[b.0]
            .len()
            .cmp(&reaches[a.0].len())
            .then_with(|| schema.table(*a).name.cmp(&schema.table(*b).name))
    });
    all.into_iter()
        .map(|id| {
            let name = |id: TableId| schema.table(id).name.clone();
            let misses = schema.ids().filter(|other| *other != id && !reaches[id.0].contains(other));
            Hypothesis {
                table: name(id),
                column: schema.table(id).primary_key[0].clone(),
                reaches: reaches[id.0].iter().copied().map(name).collect(),
                misses: misses.map(name).collect(),
            }
        })
        .collect()
}

/// Of each table, those that refer to it, and those that refer to those.
fn reaches(schema: &Schema) -> Vec<BTreeSet<TableId>> {
    let mut children: Vec<Vec<TableId>> = vec![Vec::new(); schema.tables.len()];
    for child in schema.ids() {
        for reference in &schema.table(child).references {
            if reference.parent != child {
                children[reference.parent.0].push(child);
            }
        }
    }
    schema
        .ids()
        .map(|id| {
            let mut reached = BTreeSet::new();
            let mut left = vec![id];
            while let Some(next) = left.pop() {
                left.extend(children[next.0].iter().filter(|child| **child != id && reached.insert(**child)));
            }
            reached
        })
        .collect()
}

/// Columns that may say where rows have to stay, by their names alone: a question to somebody, no answer.
pub fn places(schema: &Schema) -> Vec<(String, String)> {
    let is_place = |column: &str| {
        let column = column.to_ascii_lowercase();
        column.split('_').any(|word| PLACES.contains(&word))
    };
    let mut all = Vec::new();
    for table in &schema.tables {
        for column in table.columns.keys().filter(|column| is_place(column)) {
            // What refers to a place says no more than the place.
            let refers = table.references.iter().any(|r| {
                r.columns.contains(column)
                    && schema.table(r.parent).columns.keys().any(|theirs| is_place(theirs))
            });
            let is_root = schema.tables.iter().any(|child| {
                child
                    .references
                    .iter()
                    .any(|r| schema.table(r.parent).name == table.name && child.name != table.name)
            });
            if is_root || refers {
                all.push((table.name.clone(), column.clone()));
            }
        }
    }
    all
}

/// What somebody said that sounds like a rule of where rows have to stay, in their own words.
pub fn said_of_places(system: &System) -> Vec<&str> {
    let rules = ["must", "may not", "must not", "shall", "has to", "have to", "required", "never", "only"];
    let places = ["country", "countries", "region", "jurisdiction", "residency", "gdpr", "border", "abroad"];
    system
        .intent
        .iter()
        .filter(|sentence| {
            let sentence = sentence.to_lowercase();
            rules.iter().any(|word| sentence.contains(word))
                && places.iter().any(|word| sentence.contains(word))
        })
        .map(String::as_str)
        .collect()
}

/// What is not known, the most decisive first.
pub fn missing(system: &System) -> Vec<Missing> {
    let schema = &system.schema;
    let roots = hypotheses(schema);
    let root_names: Vec<&str> = roots.iter().take(2).map(|root| root.table.as_str()).collect();
    let of_roots = if root_names.is_empty() { "the keys".to_owned() } else { root_names.join(" and ") };
    let mut all = Vec::new();
    let mut say = |what: String, decides: &str, how: &str| {
        all.push(Missing { what, decides: decides.to_owned(), how: how.to_owned() });
    };
    match system.tier {
        Tier::Catalogue => say(
            "transaction mix: no query log, no pg_stat_statements, no write-ahead log".to_owned(),
            "contexts, keys and all that is said of cost",
            "replat capture start, over two full weeks of its ordinary work and at least 10000 writing transactions",
        ),
        Tier::Statements => say(
            "which statements run in one transaction, and with which values".to_owned(),
            "the share of transactions that cross partitions",
            "replat capture start with the write-ahead log (wal_level = logical)",
        ),
        Tier::Writes => say(
            "what transactions read before they write".to_owned(),
            "whether tables that are mostly read are kept with those that are written, or replicated",
            "replat capture start with a sample of transactions (log_transaction_sample_rate)",
        ),
        Tier::Sample => say(
            "transactions outside of the sample, such as monthly jobs".to_owned(),
            "whether rare transactions cross partitions",
            "a longer capture, over the end of a month",
        ),
        Tier::Trace => {}
    }
    let unsized_tables: Vec<&str> =
        schema.tables.iter().filter(|table| table.rows.is_none()).map(|table| table.name.as_str()).collect();
    if !unsized_tables.is_empty() {
        say(
            format!("table sizes and growth of {}", listed(&unsized_tables)),
            "what replication costs, and how many partitions there should be",
            "ANALYZE, then capture the catalogue twice, a week apart",
        );
    } else if !schema.tables.is_empty() {
        say(
            "growth of the tables".to_owned(),
            "when partitions have to be split",
            "capture the catalogue twice, a week apart",
        );
    }
    if system.tier <= Tier::Statements {
        say(
            format!("distribution of load over {of_roots}: skew, and how much the largest has"),
            "whether one key fits into one partition, or has to be split further",
            "replat capture start with the write-ahead log",
        );
        say(
            format!("share of transactions crossing {of_roots}"),
            "whether any of these keys is of use",
            "replat capture start with the write-ahead log",
        );
    }
    let lookups = lookups(schema, &roots);
    if system.tier == Tier::Catalogue && !lookups.is_empty() {
        say(
            format!("read/write ratio of {}", listed(&lookups)),
            "whether they are replicated or partitioned",
            "pg_stat_user_tables, or pg_stat_statements",
        );
    }
    say_of_rules(system, &mut all);
    all.extend(unresolved(system));
    all
}

/// What no traffic can tell, only somebody.
fn say_of_rules(system: &System, all: &mut Vec<Missing>) {
    let mut say = |what: String, decides: &str, how: &str| {
        all.push(Missing { what, decides: decides.to_owned(), how: how.to_owned() });
    };
    if system.constraints.residency.is_none() {
        let places = places(&system.schema);
        let said = said_of_places(system);
        if !places.is_empty() || !said.is_empty() {
            let columns: Vec<String> =
                places.iter().map(|(table, column)| format!("{table}.{column}")).collect();
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let by = if columns.is_empty() {
                "a column that does not exist yet".to_owned()
            } else {
                listed(&columns)
            };
            let quoted = said.first().map_or_else(String::new, |said| format!(" (it is said: \"{said}\")"));
            say(
                format!("whether rows have to stay where {by} says{quoted}"),
                "the outermost cut, whatever the traffic is: a rule of residency comes before all keys",
                "ask whoever answers for the law; then write it down as a constraint",
            );
        }
    }
    say(
        "latency and availability targets".to_owned(),
        "whether a transaction over several partitions can be borne, and how many partitions may fail together",
        "ask whoever answers for the service",
    );
    if system.constraints.retention.is_none() {
        let aged: Vec<&str> = system
            .schema
            .tables
            .iter()
            .filter(|table| {
                let is_time = |t: &String| {
                    t.to_ascii_lowercase().starts_with("timestamp") || t.eq_ignore_ascii_case("date")
                };
                table.columns.values().any(is_time)
            })
            .map(|table| table.name.as_str())
            .collect();
        if !aged.is_empty() {
            say(
                format!("retention of {}", listed(&aged)),
                "whether partitions are cut by time as well, to be dropped whole",
                "ask whoever answers for the data",
            );
        }
    }
}

/// Tables that refer to none and that nothing belongs to: lists of what there is to choose from.
fn lookups<'s>(schema: &'s Schema, roots: &[Hypothesis]) -> Vec<&'s str> {
    schema
        .tables
        .iter()
        .filter(|table| table.references.is_empty() && !roots.iter().any(|root| root.table == table.name))
        .map(|table| table.name.as_str())
        .collect()
}

/// Columns to partition by of whose values most were not seen.
fn unresolved(system: &System) -> Option<Missing> {
    if !(Tier::Writes..=Tier::Sample).contains(&system.tier) {
        return None;
    }
    let known: Vec<bool> =
        system.trace.values.ids().map(|id| system.trace.values.get(id).is_known()).collect();
    let mut counts: Vec<Vec<(u64, u64)>> =
        system.schema.tables.iter().map(|table| vec![(0, 0); table.keys.len()]).collect();
    for access in &system.trace.accesses {
        let width = system.schema.table(access.table).keys.len();
        for row in system.trace.rows_of(access, width).into_iter().flatten() {
            for (count, value) in counts[access.table.0].iter_mut().zip(row) {
                count.0 += 1;
                count.1 += u64::from(!known[value.0 as usize]);
            }
        }
    }
    let mut worst: Vec<(u64, String)> = Vec::new();
    for (table, counts) in system.schema.tables.iter().zip(&counts) {
        for (key, (all, unknown)) in table.keys.iter().zip(counts) {
            if *unknown * 2 > *all {
                worst.push((*unknown, format!("{}.{}", table.name, key.name)));
            }
        }
    }
    worst.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let names: Vec<&str> = worst.iter().map(|(_, name)| name.as_str()).collect();
    (!names.is_empty()).then(|| Missing {
        what: format!("most values of {}, in the rows that were seen", listed(&names)),
        decides: "designs by these columns, which are judged by what foreign keys and other rows tell"
            .to_owned(),
        how: "a longer capture of the write-ahead log, or lookups by key on a replica".to_owned(),
    })
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
