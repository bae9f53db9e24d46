//! The rows that one writer alone changes, and what it does to them next.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::rows::{Change, Key, Profile, Row, Set, Table};

/// Ids that a writer draws itself begin here, times its number plus one: far above what a fill uses.
const OWN_IDS: i64 = 1_000_000_000;
/// Length of a long profile; incompressible, so it is stored out of line (beyond some 2 kB).
const LONG_PROFILE: usize = 4_000;
/// A holding with fewer orders than this grows before anything else is done to it.
const ORDERS_MIN: usize = 8;

/// One business operation: a transaction over several tables, said without regard to a version.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Unique over all writers; in the form of a UUID.
    pub op: String,
    /// In words.
    pub kind: &'static str,
    /// In the order of foreign keys. The last one inserts the event that carries `op`.
    pub changes: Vec<Change>,
}

/// What one writer holds of one tenant.
#[derive(Debug)]
pub struct Holdings {
    writer: usize,
    tenant: i64,
    rows: BTreeMap<(Table, i64), Row>,
    /// Lines and payments by their order.
    parts: BTreeMap<i64, Vec<(Table, i64)>>,
    /// The writer's own latest operation that may be annotated.
    last_event: Option<(Key, Row)>,
    /// Ids of orders that were deleted and may be used again.
    freed: Vec<i64>,
    drawn: i64,
    operations: u64,
}

impl Holdings {
    /// Nothing yet.
    pub fn new(writer: usize, tenant: i64) -> Holdings {
        Holdings {
            writer,
            tenant,
            rows: BTreeMap::new(),
            parts: BTreeMap::new(),
            last_event: None,
            freed: Vec::new(),
            drawn: 0,
            operations: 0,
        }
    }

    /// Takes over a row that is there already.
    pub fn adopt(&mut self, table: Table, id: i64, row: Row) {
        if let Some(order) = row.order() {
            self.parts.entry(order).or_default().push((table, id));
        }
        self.rows.insert((table, id), row);
    }

    /// Draws the next operation. It changes nothing until [`Holdings::settle`].
    pub fn draw(&mut self, seed: u64, random: &mut Random) -> Operation {
        self.operations += 1;
        let op = operation_id(seed, self.writer, self.tenant, self.operations);
        let (kind, mut changes) = self.draw_changes(random);
        let event = Row::Event { kind: kind.to_owned(), seen: 0 };
        changes.push(Change::Insert(Key { table: Table::Events, id: op.clone() }, event));
        Operation { op, kind, changes }
    }

    /// What the operation did is now so.
    pub fn settle(&mut self, operation: &Operation) {
        for change in &operation.changes {
            self.settle_change(change);
        }
    }

    /// What the operation did is unknown: its rows are left alone from now on, and so are the orders that they
    /// belong to, since an order cannot go while an unknown payment of it stays.
    pub fn disown(&mut self, operation: &Operation) {
        self.last_event = None;
        for change in &operation.changes {
            let Some((table, id)) = numbered(change.key()) else { continue };
            let row = change.after().or_else(|| self.rows.get(&(table, id)).cloned());
            if let Some(order) = row.and_then(|row| row.order()) {
                self.forget(Table::Orders, order);
            }
            self.forget(table, id);
        }
    }

    fn settle_change(&mut self, change: &Change) {
        let key = change.key();
        let Some((table, id)) = numbered(key) else {
            self.last_event = change.after().map(|row| (key.clone(), row));
            return;
        };
        match change.after() {
            Some(row) if matches!(change, Change::Insert(..)) => self.adopt(table, id, row),
            Some(row) => drop(self.rows.insert((table, id), row)),
            None => {
                self.forget(table, id);
                if table == Table::Orders {
                    self.freed.push(id);
                }
            }
        }
    }

    fn forget(&mut self, table: Table, id: i64) {
        let Some(row) = self.rows.remove(&(table, id)) else { return };
        if let Some(parts) = row.order().and_then(|order| self.parts.get_mut(&order)) {
            parts.retain(|part| *part != (table, id));
        }
        if table == Table::Orders {
            self.parts.remove(&id);
        }
    }

    fn draw_changes(&mut self, random: &mut Random) -> (&'static str, Vec<Change>) {
        let few = self.count(Table::Orders) < ORDERS_MIN;
        let choice = if few { 0 } else { random.below(100) };
        let drawn = match choice {
            0..20 => None,
            20..35 => self.update(Table::Orders, random, advance),
            35..45 => self.update(Table::Users, random, rewrite),
            45..55 => self.update(Table::Users, random, retag),
            55..62 => self.update(Table::OrderLines, random, recount),
            62..70 => self.annotate(),
            70..80 => self.remove(random),
            80..90 => self.transfer(random),
            _ => self.pay(random),
        };
        // Whatever cannot be done for want of a row gives way to what makes rows.
        drawn.unwrap_or_else(|| self.place(random))
    }

    fn count(&self, table: Table) -> usize {
        self.rows.range((table, i64::MIN)..=(table, i64::MAX)).count()
    }

    /// Some row of the table; every one has a chance.
    fn pick(&self, table: Table, random: &mut Random) -> Option<(Key, Row)> {
        let nth = random.below(u64::try_from(self.count(table)).ok().filter(|count| *count > 0)?);
        let mut rows = self.rows.range((table, i64::MIN)..=(table, i64::MAX));
        let ((_, id), row) = rows.nth(usize::try_from(nth).ok()?)?;
        Some((key(table, *id), row.clone()))
    }

    fn new_id(&mut self) -> i64 {
        self.drawn += 1;
        let writer = i64::try_from(self.writer).expect("fewer writers than 2^63");
        (writer + 1) * OWN_IDS + self.drawn
    }

    /// An order of a new user, with two lines and a payment; now and then under an id that was just freed.
    fn place(&mut self, random: &mut Random) -> (&'static str, Vec<Change>) {
        let user = self.new_id();
        let reused = if random.below(2) == 0 { self.freed.pop() } else { None };
        let order = reused.unwrap_or_else(|| self.new_id());
        let (first, second, payment) = (self.new_id(), self.new_id(), self.new_id());
        let price = 100 + i64::try_from(random.below(100_000)).expect("below 2^63");
        let line = |quantity| Row::Line { order, quantity, price_minor: price, rev: 1 };
        let changes = vec![
            Change::Insert(key(Table::Users, user), new_user(user, random)),
            Change::Insert(key(Table::Orders, order), Row::Order { user, status: "new".into(), rev: 1 }),
            Change::Insert(key(Table::OrderLines, first), line(1)),
            Change::Insert(key(Table::OrderLines, second), line(3)),
            Change::Insert(
                key(Table::Payments, payment),
                Row::Payment { order, amount_minor: price * 4, rev: 1 },
            ),
        ];
        (if reused.is_some() { "place an order under a freed id" } else { "place an order" }, changes)
    }

    fn update(
        &self,
        table: Table,
        random: &mut Random,
        draw: fn(&mut Random) -> (&'static str, Set),
    ) -> Option<(&'static str, Vec<Change>)> {
        let (key, row) = self.pick(table, random)?;
        let (kind, set) = draw(random);
        Some((kind, vec![Change::Update(key, row, set)]))
    }

    fn annotate(&self) -> Option<(&'static str, Vec<Change>)> {
        let (key, row) = self.last_event.clone()?;
        Some(("annotate an event", vec![Change::Annotate(key, row)]))
    }

    /// An order goes, with all that hangs on it.
    fn remove(&self, random: &mut Random) -> Option<(&'static str, Vec<Change>)> {
        let (order, _) = self.pick(Table::Orders, random)?;
        let (_, id) = numbered(&order)?;
        let parts = self.parts.get(&id).into_iter().flatten();
        let mut changes: Vec<Change> =
            parts.map(|(table, part)| Change::Delete(key(*table, *part))).collect();
        changes.push(Change::Delete(order));
        Some(("delete an order", changes))
    }

    /// Money goes from one payment to another; the sum stays.
    fn transfer(&self, random: &mut Random) -> Option<(&'static str, Vec<Change>)> {
        let (from, from_row) = self.pick(Table::Payments, random)?;
        let (to, to_row) = self.pick(Table::Payments, random)?;
        let (Row::Payment { amount_minor: has, .. }, Row::Payment { amount_minor: gets, .. }) =
            (&from_row, &to_row)
        else {
            return None;
        };
        if from == to {
            return None;
        }
        let sum = i64::try_from(random.below(has.unsigned_abs() + 1)).ok()?;
        let (has, gets) = (has - sum, gets + sum);
        let changes = vec![
            Change::Update(from, from_row, Set::AmountMinor(has)),
            Change::Update(to, to_row, Set::AmountMinor(gets)),
        ];
        Some(("transfer", changes))
    }

    fn pay(&mut self, random: &mut Random) -> Option<(&'static str, Vec<Change>)> {
        let (order, _) = self.pick(Table::Orders, random)?;
        let (_, order) = numbered(&order)?;
        let amount_minor = i64::try_from(random.below(1_000_000)).ok()?;
        let payment = Row::Payment { order, amount_minor, rev: 1 };
        Some(("pay", vec![Change::Insert(key(Table::Payments, self.new_id()), payment)]))
    }
}

fn key(table: Table, id: i64) -> Key {
    Key { table, id: id.to_string() }
}

/// Table and number of a key; `None` for events, which are named by operations.
fn numbered(key: &Key) -> Option<(Table, i64)> {
    Some((key.table, key.id.parse().ok().filter(|_| key.table != Table::Events)?))
}

fn new_user(id: i64, random: &mut Random) -> Row {
    // One in four is born with a long text, so that inserts carry values out of line, too.
    let length = if random.below(4) == 0 { LONG_PROFILE } else { 12 };
    Row::User {
        email: format!("Live{id}@Shop{}.example", random.below(5)),
        full_name: format!("Live O'Hara{}", random.below(1000)),
        tags: "{live}".into(),
        profile: Profile::new(random.hex(length)),
        rev: 1,
    }
}

fn advance(random: &mut Random) -> (&'static str, Set) {
    let status = ["new", "paid", "shipped", "cancelled"][random.below(4) as usize];
    ("advance an order", Set::Status(status.into()))
}

fn rewrite(random: &mut Random) -> (&'static str, Set) {
    ("rewrite a long text", Set::Profile(Profile::new(random.hex(LONG_PROFILE))))
}

fn retag(random: &mut Random) -> (&'static str, Set) {
    ("leave a long text alone", Set::Tags(format!("{{live,t{}}}", random.below(1000))))
}

fn recount(random: &mut Random) -> (&'static str, Set) {
    let quantity = i64::try_from(1 + random.below(20)).expect("below 2^63");
    ("change a quantity", Set::Quantity(quantity))
}

/// A UUID (version 8, "custom") that says which operation of which writer it is, under which seed.
fn operation_id(seed: u64, writer: usize, tenant: i64, number: u64) -> String {
    let mut random = Random::new(seed ^ 0x0070_e7a7);
    let run = random.bits() >> 48;
    let (tenant, writer) = (tenant & 0xFFFF_FFFF, writer & 0x0FFF);
    format!("{tenant:08x}-{run:04x}-8{writer:03x}-8000-{number:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn operations_follow_from_the_seed_and_their_ids_never_repeat() {
        let story = |seed| {
            let (mut holdings, mut random) = (Holdings::new(1, 7), Random::new(seed));
            let draw = |_| {
                let operation = holdings.draw(seed, &mut random);
                holdings.settle(&operation);
                operation
            };
            (0..500).map(draw).collect::<Vec<_>>()
        };
        let (first, second) = (story(1), story(1));
        assert!(first.iter().zip(&second).all(|(a, b)| a.changes == b.changes));
        let ids: BTreeSet<&str> = first.iter().map(|operation| operation.op.as_str()).collect();
        assert_eq!(ids.len(), first.len());
        let kinds: BTreeSet<&str> = first.iter().map(|operation| operation.kind).collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }

    #[test]
    fn money_is_neither_made_nor_lost_by_transfers() {
        let (mut holdings, mut random) = (Holdings::new(0, 1), Random::new(3));
        for _ in 0..300 {
            let operation = holdings.draw(3, &mut random);
            if operation.kind == "transfer" {
                let amounts = |row: Option<Row>| match row {
                    Some(Row::Payment { amount_minor, .. }) => amount_minor,
                    _ => 0,
                };
                let before: i64 = operation
                    .changes
                    .iter()
                    .map(|change| match change {
                        Change::Update(_, row, _) => amounts(Some(row.clone())),
                        _ => 0,
                    })
                    .sum();
                let after: i64 = operation.changes.iter().map(|change| amounts(change.after())).sum();
                assert_eq!(before, after);
            }
            holdings.settle(&operation);
        }
    }

    #[test]
    fn rows_of_an_operation_in_doubt_are_never_touched_again() {
        let (mut holdings, mut random) = (Holdings::new(0, 1), Random::new(5));
        let mut disowned = BTreeSet::new();
        for number in 0..400 {
            let operation = holdings.draw(5, &mut random);
            for change in &operation.changes {
                assert!(!disowned.contains(change.key()), "{} touches {:?}", operation.kind, change.key());
            }
            if number % 10 == 0 {
                disowned.extend(operation.changes.iter().map(|change| change.key().clone()));
                holdings.disown(&operation);
            } else {
                holdings.settle(&operation);
            }
        }
    }
}
