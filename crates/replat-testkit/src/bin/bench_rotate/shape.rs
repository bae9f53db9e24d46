//! The partitioned tables that the cases begin with: made by pg_partman itself, so that every arm finds the same ones.

use std::ops::Range;

use tokio_postgres::Client;

use crate::Failure;
use crate::partman::Partman;

/// How many partitions are ready ahead of today's when a case begins.
pub const AHEAD: u32 = 4;

/// Some daily tables of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What its databases are called after.
    pub name: &'static str,
    /// How many tables.
    pub tables: u32,
    /// How many daily partitions lie before today's.
    pub past: u32,
    /// Whether there is a default partition.
    pub default: bool,
    /// Rows in partitions, of each table.
    pub rows: u32,
    /// Rows in the default partition, of each table.
    pub stray: Stray,
}

/// Rows in a default partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// None.
    None,
    /// So many, older than all partitions.
    Old(u32),
    /// So many in the last three days and today, for which there are no partitions: maintenance has not run.
    Recent(u32),
    /// There are no partitions at all: an ordinary table with so many rows of the last days.
    Ordinary(u32),
}

/// Which rows each kind of statement may touch, by their ids.
#[derive(Clone, Debug)]
pub struct Ids {
    /// Deleted one after another.
    pub deleted: Range<i64>,
    /// Updated at random.
    pub updated: Range<i64>,
    /// Never touched, so that all of them must be seen at any time.
    pub kept: Range<i64>,
}

impl Shape {
    /// The names of the tables, in the schema `public`.
    pub fn tables(&self) -> Vec<String> {
        match self.tables {
            1 => vec!["events".to_owned()],
            many => (1..=many).map(|number| format!("events_of_{number}")).collect(),
        }
    }

    /// Rows of each table.
    pub fn rows(&self) -> u32 {
        self.rows
            + match self.stray {
                Stray::None => 0,
                Stray::Old(rows) | Stray::Recent(rows) | Stray::Ordinary(rows) => rows,
            }
    }

    /// Which rows a load may touch. Strays have the lowest ids, so that they are what is touched.
    pub fn ids(&self) -> Ids {
        let rows = i64::from(match self.stray {
            Stray::None | Stray::Old(_) => self.rows(),
            Stray::Recent(rows) | Stray::Ordinary(rows) => rows,
        });
        let (quarter, half) = (rows / 4, rows / 2);
        Ids { deleted: 1..quarter + 1, updated: quarter + 1..half + 1, kept: half + 1..rows + 1 }
    }

    /// Makes the tables in an empty database that has pg_partman.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn make(&self, client: &Client, partman: &Partman) -> Result<(), Failure> {
        for table in self.tables() {
            client.batch_execute(&self.table(&table)).await?;
            if !matches!(self.stray, Stray::Ordinary(_)) {
                client.batch_execute(&partman.create_parent(&table, self.past, AHEAD)).await?;
            }
        }
        // Only now are all of them as far ahead as they are said to be.
        client.batch_execute(&partman.maintain()).await?;
        for table in self.tables() {
            if matches!(self.stray, Stray::Recent(_)) {
                client.batch_execute(&without_the_last_days(&table)).await?;
            }
            if !self.default && !matches!(self.stray, Stray::Ordinary(_)) {
                client.batch_execute(&format!("drop table public.{table}_default")).await?;
            }
            client.batch_execute(&self.fill(&table)).await?;
        }
        // A session at rest must not meet a vacuum, or a checkpoint, that the filling brought about.
        client.batch_execute("vacuum (freeze, analyze)").await?;
        Ok(client.batch_execute("checkpoint").await?)
    }

    fn table(&self, table: &str) -> String {
        let (key, cut) = match self.stray {
            Stray::Ordinary(_) => ("id", ""),
            _ => ("id, ts", " partition by range (ts)"),
        };
        format!(
            "create sequence public.{table}_id;
            create table public.{table} (
                id bigint not null default nextval('public.{table}_id'), ts timestamptz not null, dev int not null,
                kind int not null default 0, payload text, primary key ({key})){cut};
            alter sequence public.{table}_id owned by public.{table}.id;
            create index {table}_dev on public.{table} (dev, ts);
            create index {table}_ts on public.{table} (ts)"
        )
    }

    /// Fills in the strays first, then the rows of partitions.
    fn fill(&self, table: &str) -> String {
        let day = "date_trunc('day', now())";
        let (strays, when) = match self.stray {
            Stray::None => (0, String::new()),
            Stray::Old(rows) => (
                rows,
                format!("{day} - make_interval(days => {} + n % 30, secs => n % 86400)", self.past + 2),
            ),
            Stray::Recent(rows) | Stray::Ordinary(rows) => (
                rows,
                "now() - make_interval(secs => n::float8 * 3 * 86400 / ".to_owned() + &format!("{rows})"),
            ),
        };
        let before_gap = if matches!(self.stray, Stray::Recent(_)) { 4 } else { 1 };
        let days = self.past.saturating_sub(before_gap) + 1;
        let insert = |rows: u32, when: &str| {
            format!(
                "insert into public.{table} (ts, dev, payload)
                select {when}, n % 1000, repeat(md5(n::text), 4) from generate_series(1, {rows}) n;"
            )
        };
        let mut statements = String::new();
        if strays > 0 {
            statements += &insert(strays, &when);
        }
        if self.rows > 0 {
            let when = format!(
                "{day} - make_interval(days => {before_gap} + n % {days}) + make_interval(secs => n % 86400)"
            );
            statements += &insert(self.rows, &when);
        }
        statements
    }
}

/// As after some days without maintenance: the partitions of the last three days, of today and later are gone.
fn without_the_last_days(table: &str) -> String {
    format!(
        "do $$ declare part regclass; begin
            for part in
                select c.oid from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = 'public.{table}'::regclass
                and (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([^'']+)'''))[1]::timestamptz
                    >= current_date - 3
            loop execute format('drop table %s', part); end loop;
        end $$"
    )
}
