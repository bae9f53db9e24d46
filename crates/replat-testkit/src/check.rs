//! The checker: holds databases to the journal, and two versions of a tenant to each other.
//!
//! It asks the databases themselves and nobody else. Its SQL is its own: were it to compare with the expressions
//! that moved the rows, a mistake in them would agree with itself.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::load::{Entry, Notes, Outcome};
use crate::routes::{Homes, TenantHome};
use crate::rows::{Key, Table, Version};
use crate::server::connect;

/// How many differences are kept in words; all of them are counted.
const EXAMPLES_MAX: usize = 10;

/// What became of the operations that writers issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Durability {
    /// Operations that writers began and ended.
    pub issued: u64,
    /// Operations whose COMMIT was acknowledged.
    pub acknowledged: u64,
    /// Acknowledged operations whose id is at the tenant's home, at least once.
    pub found: u64,
    /// Acknowledged operations whose id is nowhere at the tenant's home.
    pub lost: u64,
    /// Operations whose id is there more than once, over all homes.
    pub doubled: u64,
    /// Operations that were refused for good, and yet took effect.
    pub phantom: u64,
    /// Rows that differ from their last acknowledged change: absent, changed, or not gone.
    pub wrong_rows: u64,
    /// Rows that were held to the journal.
    pub checked_rows: u64,
    /// Operations whose COMMIT was not answered; either effect is right.
    pub unknown: u64,
    /// Answers that a correct database does not give, such as a refused key.
    pub faults: u64,
    /// Some of what is wrong, in words.
    pub examples: Vec<String>,
}

impl Durability {
    /// Whether nothing at all is wrong.
    pub fn holds(&self) -> bool {
        [self.lost, self.doubled, self.phantom, self.wrong_rows, self.faults].iter().all(|count| *count == 0)
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(words());
        }
    }
}

/// What became of a tenant's rows in two homes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Rows that at least one side has, reference tables included.
    pub rows: u64,
    /// Rows that only one side has, or that say something else.
    pub different: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
}

/// Holds each tenant's home to the journal. Writers must stand still.
///
/// # Errors
///
/// What a database says; then nothing is known.
pub async fn check_journal(notes: &Notes, homes: &Homes) -> Result<Durability, tokio_postgres::Error> {
    let mut found = Durability {
        issued: count(notes, |_| true),
        acknowledged: count(notes, |entry| entry.outcome == Outcome::Acknowledged),
        unknown: count(notes, |entry| entry.outcome == Outcome::Unknown),
        faults: notes.faults.len() as u64,
        examples: notes.faults.iter().take(EXAMPLES_MAX).cloned().collect(),
        ..Durability::default()
    };
    let mut world = World::default();
    for (tenant, entries) in by_tenant(&notes.entries) {
        world.read(tenant, homes.of(tenant)).await?;
        check_rows(tenant, &entries, &world, &mut found);
    }
    for entry in &notes.entries {
        check_operation(entry, &world, &mut found);
    }
    Ok(found)
}

fn count(notes: &Notes, wanted: impl Fn(&Entry) -> bool) -> u64 {
    notes.entries.iter().filter(|entry| wanted(entry)).count() as u64
}

fn by_tenant(entries: &[Entry]) -> BTreeMap<i64, Vec<&Entry>> {
    let mut tenants: BTreeMap<i64, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        tenants.entry(entry.tenant).or_default().push(entry);
    }
    tenants
}

/// What the homes of all tenants hold.
#[derive(Default)]
struct World {
    sessions: HashMap<String, Client>,
    /// Each row's facts, once for every time that the row is there.
    rows: HashMap<(i64, Key), Vec<Vec<String>>>,
    /// How often each operation's id is there, whoever's it is.
    operations: HashMap<String, u64>,
}

impl World {
    async fn read(&mut self, tenant: i64, home: &TenantHome) -> Result<(), tokio_postgres::Error> {
        if !self.sessions.contains_key(&home.url) {
            self.sessions.insert(home.url.clone(), connect(&home.url).await?);
        }
        let client = &self.sessions[&home.url];
        for table in Table::ALL {
            let query = table.select_facts(home.version, &home.schema, tenant, "true");
            for texts in query_texts(client, &query).await? {
                let (id, facts) = texts.split_first().expect("a query for an id has a column");
                let key = Key { table, id: id.clone() };
                if table == Table::Events {
                    *self.operations.entry(id.clone()).or_default() += 1;
                }
                self.rows.entry((tenant, key)).or_default().push(facts.to_vec());
            }
        }
        Ok(())
    }
}

async fn query_texts(client: &Client, query: &str) -> Result<Rows, tokio_postgres::Error> {
    let texts = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned()).collect())
        }
        _ => None,
    };
    Ok(client.simple_query(query).await?.into_iter().filter_map(texts).collect())
}

fn check_operation(entry: &Entry, world: &World, found: &mut Durability) {
    let times = world.operations.get(&entry.op).copied().unwrap_or(0);
    let (op, kind, tenant) = (&entry.op, entry.kind, entry.tenant);
    if times > 1 {
        found.doubled += 1;
        found.example(|| format!("{kind} {op} of tenant {tenant} is there {times} times"));
    }
    match entry.outcome {
        Outcome::Acknowledged if times == 0 => {
            found.lost += 1;
            let at = entry.epoch;
            found.example(|| format!("{kind} {op} of tenant {tenant}, acknowledged at epoch {at}, is lost"));
        }
        Outcome::Acknowledged => found.found += 1,
        Outcome::GivenUp if times > 0 => {
            found.phantom += 1;
            found.example(|| format!("{kind} {op} of tenant {tenant} was refused and yet took effect"));
        }
        Outcome::Unknown | Outcome::GivenUp => {}
    }
}

/// The states that a row may be in: one, or two if the last change is unknown.
fn expectations<'a>(entries: &[&'a Entry]) -> BTreeMap<&'a Key, Vec<Option<&'a Vec<String>>>> {
    let mut expected: BTreeMap<&Key, Vec<Option<&Vec<String>>>> = BTreeMap::new();
    let fact_outcomes = entries.iter().flat_map(|entry| entry.facts.iter().map(|fact| (entry.outcome, fact)));
    for (outcome, fact) in fact_outcomes {
        let state = fact.row.as_ref();
        match outcome {
            Outcome::Acknowledged => drop(expected.insert(&fact.key, vec![state])),
            // What a row was before its first change is not in the journal, so nothing can be demanded of it then.
            Outcome::Unknown => drop(expected.get_mut(&fact.key).map(|allowed| allowed.push(state))),
            Outcome::GivenUp => {}
        }
    }
    expected
}

fn check_rows(tenant: i64, entries: &[&Entry], world: &World, found: &mut Durability) {
    for (key, allowed) in expectations(entries) {
        found.checked_rows += 1;
        let there = world.rows.get(&(tenant, key.clone())).map_or(&[][..], Vec::as_slice);
        let right = match there {
            [] => allowed.contains(&None),
            [one] => allowed.contains(&Some(one)),
            _ => false,
        };
        // An event that is absent or there twice is counted as lost or doubled, and not once more here.
        let counted = key.table == Table::Events && there.len() != 1;
        if !right && !counted {
            found.wrong_rows += 1;
            found.example(|| {
                format!("{} {} of tenant {tenant} is {there:?}, not {allowed:?}", key.table.name(), key.id)
            });
        }
    }
}

/// Compares all rows of a tenant, and the reference tables, between a v1 and a v2 home.
///
/// The two are read one after the other, so they can only be equal when nobody writes and the stream has caught
/// up.
///
/// # Errors
///
/// What a database says.
pub async fn compare_tenant(
    blue: &TenantHome,
    green: &TenantHome,
    tenant: i64,
) -> Result<Comparison, tokio_postgres::Error> {
    let (blue_client, green_client) = (connect(&blue.url).await?, connect(&green.url).await?);
    let mut comparison = Comparison::default();
    for table in WHOLE_ROWS {
        let on_blue = query_texts(&blue_client, &table.query(blue, tenant)).await?;
        let on_green = query_texts(&green_client, &table.query(green, tenant)).await?;
        compare_rows(table.name, on_blue, on_green, &mut comparison);
    }
    Ok(comparison)
}

/// Rows as text, column by column.
type Rows = Vec<Vec<String>>;

/// Lays both sides' rows beside each other by their first column.
fn compare_rows(table: &str, blue: Rows, green: Rows, found: &mut Comparison) {
    let mut sides: HashMap<String, (Rows, Rows)> = HashMap::new();
    for row in blue {
        sides.entry(row[0].clone()).or_default().0.push(row);
    }
    for row in green {
        sides.entry(row[0].clone()).or_default().1.push(row);
    }
    for (id, (on_blue, on_green)) in sides {
        found.rows += on_blue.len().max(on_green.len()) as u64;
        if on_blue != on_green {
            found.different += on_blue.len().max(on_green.len()) as u64;
            if found.examples.len() < EXAMPLES_MAX {
                found.examples.push(format!("{table} {id}: blue {on_blue:?}, green {on_green:?}"));
            }
        }
    }
}

/// All columns of a table as v2 has them, said from either version; the first is the key.
struct WholeRow {
    name: &'static str,
    of_tenant: bool,
    common: &'static str,
    v1: &'static str,
    v2: &'static str,
}

impl WholeRow {
    fn query(&self, home: &TenantHome, tenant: i64) -> String {
        let own = match home.version {
            Version::V1 => self.v1,
            Version::V2 => self.v2,
        };
        let condition = if self.of_tenant { format!("tenant_id = {tenant}") } else { "true".to_owned() };
        // Times are printed in one zone, whatever the servers' own is.
        format!(
            "set timezone = 'UTC'; select {}{own} from {}.{} where {condition}",
            self.common, home.schema, self.name
        )
    }
}

const WHOLE_ROWS: &[WholeRow] = &[
    WholeRow { name: "currencies", of_tenant: false, common: "code, name, minor_digits", v1: "", v2: "" },
    WholeRow {
        name: "tenants",
        of_tenant: true,
        common: "tenant_id, slug, settings::text, created_at",
        v1: "",
        v2: "",
    },
    WholeRow {
        name: "users",
        of_tenant: true,
        common: "id, email, external_id, tags::text, md5(profile), rev, created_at, ",
        v1: "left(full_name, position(' ' in full_name) - 1),
             substr(full_name, position(' ' in full_name) + 1),
             substr(lower(email), position('@' in email) + 1)",
        v2: "first_name, last_name, email_domain",
    },
    WholeRow {
        name: "orders",
        of_tenant: true,
        common: "id, user_id, status::text, currency, md5(note), discounts::text, rev, placed_at",
        v1: "",
        v2: "",
    },
    WholeRow {
        name: "order_lines",
        of_tenant: true,
        common: "id, order_id, sku, quantity, unit_price, total, rev",
        v1: "",
        v2: "",
    },
    WholeRow {
        name: "payments",
        of_tenant: true,
        common: "id, order_id, reference, rev, paid_at, ",
        v1: "(amount * 100)::numeric(20,0)",
        v2: "amount_minor",
    },
    WholeRow { name: "events", of_tenant: true, common: "id, op_id, kind, body::text, at", v1: "", v2: "" },
];
