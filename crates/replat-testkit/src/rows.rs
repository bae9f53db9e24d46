//! Rows of the example database as a writer means them, apart from how either version stores them.
//!
//! A writer changes a [`Row`]; [`Change::sql`] says it in the version of the home that the tenant has at that
//! moment. A checker reads the same facts back with [`Table::select_facts`]. Both texts are written here by hand: they
//! must not come from the expressions under test.

use serde::Serialize;

/// The two schemas of `examples/saas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// `schema_v1.sql`.
    V1,
    /// `schema_v2.sql`.
    V2,
}

/// The tables that writers change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `users`
    Users,
    /// `orders`
    Orders,
    /// `order_lines`
    OrderLines,
    /// `payments`
    Payments,
    /// `events`
    Events,
}

impl Table {
    /// All of them, parents first.
    pub const ALL: [Table; 5] =
        [Table::Users, Table::Orders, Table::OrderLines, Table::Payments, Table::Events];

    /// Its name in both versions.
    pub fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::Orders => "orders",
            Table::OrderLines => "order_lines",
            Table::Payments => "payments",
            Table::Events => "events",
        }
    }

    /// The column by which writers name a row: the id; for events the operation, whose id the database draws.
    pub fn id_column(self) -> &'static str {
        match self {
            Table::Events => "op_id",
            _ => "id",
        }
    }

    /// One SQL expression per value of [`Row::texts`], in that order.
    fn facts(self, version: Version) -> &'static [&'static str] {
        const PROFILE: &str = "length(profile) || ':' || left(profile, 32) || ':' || right(profile, 32)";
        // A derived column that disagrees with its origin becomes a fact that no writer ever stated.
        const NAME_V2: &str = "first_name || ' ' || last_name || case when email_domain =
            lower(split_part(email, '@', 2)) then '' else ' of another domain' end";
        const PRICE: &str = "round(unit_price * 100)::bigint || case when total = quantity * unit_price
            then '' else ' in a wrong total' end";
        match (self, version) {
            (Table::Users, Version::V1) => &["email", "full_name", "tags::text", PROFILE, "rev"],
            (Table::Users, Version::V2) => &["email", NAME_V2, "tags::text", PROFILE, "rev"],
            (Table::Orders, _) => &["user_id", "status::text", "rev"],
            (Table::OrderLines, _) => &["order_id", "quantity", PRICE, "rev"],
            (Table::Payments, Version::V1) => &["order_id", "round(amount * 100)::bigint", "rev"],
            (Table::Payments, Version::V2) => &["order_id", "amount_minor", "rev"],
            (Table::Events, _) => &["kind", "coalesce(body->>'seen', '0')"],
        }
    }

    /// A query for the id and the facts of a tenant's rows that satisfy `condition`.
    pub fn select_facts(self, version: Version, schema: &str, tenant: i64, condition: &str) -> String {
        let (id, facts, name) = (self.id_column(), self.facts(version).join(", "), self.name());
        format!("select {id}, {facts} from {schema}.{name} where tenant_id = {tenant} and ({condition})")
    }
}

/// One row's name within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// Which table.
    pub table: Table,
    /// The value of [`Table::id_column`], as text.
    pub id: String,
}

/// A long text, known by its length and its two ends; whole only where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    digest: String,
    text: Option<String>,
}

impl Profile {
    /// A profile with this ASCII text.
    pub fn new(text: String) -> Profile {
        let head = &text[..text.len().min(32)];
        let tail = &text[text.len().saturating_sub(32)..];
        Profile { digest: format!("{}:{head}:{tail}", text.len()), text: Some(text) }
    }

    fn text(&self) -> &str {
        self.text.as_deref().expect("only profiles that a writer made are written")
    }
}

/// What a row says. Amounts are in the currency's minor unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A row of `users`.
    User {
        /// Unique in its tenant.
        email: String,
        /// First and last name, parted by exactly one space.
        full_name: String,
        /// An array, as PostgreSQL prints it.
        tags: String,
        /// Often stored out of line.
        profile: Profile,
        /// Counts the changes of this row.
        rev: i64,
    },
    /// A row of `orders`.
    Order {
        /// The user's id.
        user: i64,
        /// One of the four that both versions know.
        status: String,
        /// Counts the changes of this row.
        rev: i64,
    },
    /// A row of `order_lines`.
    Line {
        /// The order's id.
        order: i64,
        /// Pieces.
        quantity: i64,
        /// Of one piece.
        price_minor: i64,
        /// Counts the changes of this row.
        rev: i64,
    },
    /// A row of `payments`.
    Payment {
        /// The order's id.
        order: i64,
        /// Never negative.
        amount_minor: i64,
        /// Counts the changes of this row.
        rev: i64,
    },
    /// A row of `events`.
    Event {
        /// What kind of operation it records.
        kind: String,
        /// How often it was annotated.
        seen: i64,
    },
}

impl Row {
    /// The facts of this row, as [`Table::select_facts`] reads them back.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Row::User { email, full_name, tags, profile, rev } => {
                vec![email.clone(), full_name.clone(), tags.clone(), profile.digest.clone(), rev.to_string()]
            }
            Row::Order { user, status, rev } => vec![user.to_string(), status.clone(), rev.to_string()],
            Row::Line { order, quantity, price_minor, rev } => {
                [order, quantity, price_minor, rev].map(i64::to_string).into()
            }
            Row::Payment { order, amount_minor, rev } => {
                [order, amount_minor, rev].map(i64::to_string).into()
            }
            Row::Event { kind, seen } => vec![kind.clone(), seen.to_string()],
        }
    }

    /// The row that has these facts; `None` if they are not a row of `table` that a writer could have made.
    pub fn from_texts(table: Table, texts: &[String]) -> Option<Row> {
        let number = |text: &String| text.parse::<i64>().ok();
        match (table, texts) {
            (Table::Users, [email, full_name, tags, digest, rev]) => Some(Row::User {
                email: email.clone(),
                full_name: full_name.clone(),
                tags: tags.clone(),
                profile: Profile { digest: digest.clone(), text: None },
                rev: number(rev)?,
            }),
            (Table::Orders, [user, status, rev]) => {
                Some(Row::Order { user: number(user)?, status: status.clone(), rev: number(rev)? })
            }
            (Table::OrderLines, [order, quantity, price, rev]) => Some(Row::Line {
                order: number(order)?,
                quantity: number(quantity)?,
                price_minor: number(price)?,
                rev: number(rev)?,
            }),
            (Table::Payments, [order, amount, rev]) => {
                Some(Row::Payment { order: number(order)?, amount_minor: number(amount)?, rev: number(rev)? })
            }
            (Table::Events, [kind, seen]) => Some(Row::Event { kind: kind.clone(), seen: number(seen)? }),
            _ => None,
        }
    }

    /// The order that this row belongs to, if it is a part of one.
    pub fn order(&self) -> Option<i64> {
        match self {
            Row::Line { order, .. } | Row::Payment { order, .. } => Some(*order),
            _ => None,
        }
    }
}

/// One column's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// A user's long text.
    Profile(Profile),
    /// A user's tags; the long text stays untouched, so it is not in the change stream.
    Tags(String),
    /// An order's status.
    Status(String),
    /// A line's quantity; the generated total follows.
    Quantity(i64),
    /// A payment's amount, in the minor unit.
    AmountMinor(i64),
}

impl Set {
    /// `row` after this change; `None` if it is of another table.
    fn applied_to(&self, row: &Row) -> Option<Row> {
        let mut row = row.clone();
        let rev = match (self, &mut row) {
            (Set::Profile(new), Row::User { profile, rev, .. }) => {
                *profile = new.clone();
                rev
            }
            (Set::Tags(new), Row::User { tags, rev, .. }) => {
                *tags = new.clone();
                rev
            }
            (Set::Status(new), Row::Order { status, rev, .. }) => {
                *status = new.clone();
                rev
            }
            (Set::Quantity(new), Row::Line { quantity, rev, .. }) => {
                *quantity = *new;
                rev
            }
            (Set::AmountMinor(new), Row::Payment { amount_minor, rev, .. }) => {
                *amount_minor = *new;
                rev
            }
            _ => return None,
        };
        *rev += 1;
        Some(row)
    }

    fn sql(&self, version: Version) -> String {
        match (self, version) {
            (Set::Profile(profile), _) => format!("profile = {}", quote(profile.text())),
            (Set::Tags(tags), _) => format!("tags = {}", quote(tags)),
            (Set::Status(status), _) => format!("status = {}", quote(status)),
            (Set::Quantity(quantity), _) => format!("quantity = {quantity}"),
            (Set::AmountMinor(minor), Version::V1) => format!("amount = {}", decimal(*minor)),
            (Set::AmountMinor(minor), Version::V2) => format!("amount_minor = {minor}"),
        }
    }
}

/// One statement's worth of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Insert(Key, Row),
    /// A row as it was, and a column's new value.
    Update(Key, Row, Set),
    /// One more look at an event, which is kept inside its JSON.
    Annotate(Key, Row),
    /// A row that goes.
    Delete(Key),
}

impl Change {
    /// The row's name.
    pub fn key(&self) -> &Key {
        match self {
            Change::Insert(key, _)
            | Change::Update(key, _, _)
            | Change::Annotate(key, _)
            | Change::Delete(key) => key,
        }
    }

    /// The row afterwards; `None` if it is gone.
    pub fn after(&self) -> Option<Row> {
        match self {
            Change::Insert(_, row) => Some(row.clone()),
            Change::Update(_, row, set) => {
                Some(set.applied_to(row).expect("a writer sets columns of the row's own table"))
            }
            Change::Annotate(_, Row::Event { kind, seen }) => {
                Some(Row::Event { kind: kind.clone(), seen: seen + 1 })
            }
            Change::Annotate(_, other) => Some(other.clone()),
            Change::Delete(_) => None,
        }
    }

    /// The statement that brings it about in `version`. It concerns exactly one row, or something is wrong: an
    /// update also names the revision that the writer last saw.
    ///
    /// `op` is the operation's id, for columns that want a UUID.
    pub fn sql(&self, version: Version, tenant: i64, op: &str) -> String {
        let key = self.key();
        let (table, column) = (key.table.name(), key.table.id_column());
        let place = format!("tenant_id = {tenant} and {column} = {}", quote(&key.id));
        match self {
            Change::Insert(key, row) => insert_sql(version, tenant, key, row, op),
            Change::Update(_, row, set) => {
                let rev = row.texts().pop().expect("every row has facts");
                format!(
                    "update {table} set {}, rev = rev + 1 where {place} and rev = {rev}",
                    set.sql(version)
                )
            }
            Change::Annotate(_, _) => {
                let seen = "coalesce((body->>'seen')::int, 0) + 1";
                format!("update events set body = body || jsonb_build_object('seen', {seen}) where {place}")
            }
            Change::Delete(_) => format!("delete from {table} where {place}"),
        }
    }
}

fn insert_sql(version: Version, tenant: i64, key: &Key, row: &Row, op: &str) -> String {
    let id = &key.id;
    match row {
        Row::User { email, full_name, tags, profile, rev } => {
            let (columns, names) = match version {
                Version::V1 => ("full_name", quote(full_name)),
                Version::V2 => ("first_name, last_name, email_domain", names_v2(full_name, email)),
            };
            let (email, tags, profile) = (quote(email), quote(tags), quote(profile.text()));
            format!(
                "insert into users (tenant_id, id, email, {columns}, external_id, tags, profile, rev)
                 values ({tenant}, {id}, {email}, {names}, '{op}', {tags}, {profile}, {rev})"
            )
        }
        Row::Order { user, status, rev } => format!(
            "insert into orders (tenant_id, id, user_id, status, currency, discounts, rev)
             values ({tenant}, {id}, {user}, {}, 'EUR', '{{0.10,2}}', {rev})",
            quote(status)
        ),
        Row::Line { order, quantity, price_minor, rev } => format!(
            "insert into order_lines (tenant_id, id, order_id, sku, quantity, unit_price, rev)
             values ({tenant}, {id}, {order}, 'SKU-live', {quantity}, {}, {rev})",
            decimal(*price_minor)
        ),
        Row::Payment { order, amount_minor, rev } => {
            let (column, amount) = match version {
                Version::V1 => ("amount", decimal(*amount_minor)),
                Version::V2 => ("amount_minor", amount_minor.to_string()),
            };
            format!(
                "insert into payments (tenant_id, id, order_id, {column}, reference, rev)
                 values ({tenant}, {id}, {order}, {amount}, '{op}', {rev})"
            )
        }
        // The id is left to the database: a home whose sequence lags behind its rows refuses here.
        Row::Event { kind, .. } => format!(
            "insert into events (tenant_id, op_id, kind, body)
             values ({tenant}, '{id}', {}, '{{\"live\": true, \"share\": 0.50}}')",
            quote(kind)
        ),
    }
}

fn names_v2(full_name: &str, email: &str) -> String {
    let (first, last) = full_name.split_once(' ').expect("a writer's names have one space");
    let (_, domain) = email.split_once('@').expect("a writer's addresses have an @");
    format!("{}, {}, {}", quote(first), quote(last), quote(&domain.to_lowercase()))
}

/// `12345` as `123.45`.
fn decimal(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// A string literal; backslashes mean themselves, as the SQL standard has it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_says_survives_being_written_as_text() {
        let rows = [
            (Table::Orders, Row::Order { user: 1, status: "paid".into(), rev: 3 }),
            (Table::OrderLines, Row::Line { order: 1, quantity: 2, price_minor: 199, rev: 1 }),
            (Table::Payments, Row::Payment { order: 1, amount_minor: 5, rev: 9 }),
            (Table::Events, Row::Event { kind: "pay".into(), seen: 0 }),
        ];
        for (table, row) in rows {
            assert_eq!(Row::from_texts(table, &row.texts()), Some(row));
        }
        assert_eq!(Row::from_texts(Table::Orders, &["1".into()]), None);
        assert_eq!(Row::from_texts(Table::Payments, &["1".into(), "x".into(), "2".into()]), None);
    }

    #[test]
    fn an_amount_is_written_in_the_unit_of_the_version() {
        let set = Set::AmountMinor(12_305);
        assert_eq!(set.sql(Version::V1), "amount = 123.05");
        assert_eq!(set.sql(Version::V2), "amount_minor = 12305");
    }

    #[test]
    fn a_change_counts_the_revision_of_its_own_table_only() {
        let order = Row::Order { user: 1, status: "new".into(), rev: 1 };
        let paid = Row::Order { user: 1, status: "paid".into(), rev: 2 };
        assert_eq!(Set::Status("paid".into()).applied_to(&order), Some(paid));
        assert_eq!(Set::Quantity(2).applied_to(&order), None);
    }
}
