//! A row for which no partition is there: what the server says of it, and how its partition is asked for.
//!
//! `replat rotate --watch` hears requests on a channel of the database. Anybody who may connect may ask; what is made is
//! the policy's affair.

use crate::sql::quote_literal;

/// The channel on which requests are heard.
pub const CHANNEL: &str = "replat_rotate";

/// A partition that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The schema of the partitioned table that has none.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Until which day there should be partitions, as `2027-01-31`, if the row's key tells.
    pub until: Option<String>,
}

impl Wanted {
    /// What is wanted by the fields of the server's error: for whom it found no partition, and its DETAIL, in whatever
    /// language.
    pub fn of(schema: &str, table: &str, detail: Option<&str>) -> Wanted {
        Wanted { schema: schema.to_owned(), table: table.to_owned(), until: detail.and_then(day_in) }
    }

    /// The statement that asks, once it is run on the database; under the name of the table at the top, which is the one
    /// that a policy names.
    pub fn query(&self) -> String {
        let [schema, table] = [&self.schema, &self.table].map(|name| quote_literal(name));
        let until = match &self.until {
            Some(day) => format!(", 'until', {}", quote_literal(day)),
            None => String::new(),
        };
        format!(
            "SELECT pg_catalog.pg_notify('{CHANNEL}', pg_catalog.json_build_object(\
               'table', tn.nspname || '.' || t.relname{until})::text) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
                  pg_catalog.pg_class t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
             WHERE n.nspname = {schema} AND c.relname = {table} \
               AND t.oid = pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid"
        )
    }
}

/// The last day in the values of a key: `… (tenant, at) = (7, 2031-01-01 00:00:00+00).`
fn day_in(detail: &str) -> Option<String> {
    let (_, values) = detail.split_once(") = (")?;
    let days = values.split([',', ' ', '(', ')', '\'', '"']).filter(|word| is_day(word));
    days.max().map(str::to_owned)
}

/// Days of four-digit years alone: they compare as texts.
fn is_day(word: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    word.len() == 10 && word.bytes().enumerate().all(shape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_day_is_read_from_the_servers_detail() {
        let rows = [
            (
                "Partition key of the failing row contains (at) = (2031-01-01 00:00:00+00).",
                Some("2031-01-01"),
            ),
            ("Partitionierungsschlüssel … enthält (tenant, at) = (7, 2031-12-31).", Some("2031-12-31")),
            ("… contains (a, b) = (2031-01-01, 2030-01-01).", Some("2031-01-01")),
            ("… contains (id) = (42).", None),
            ("… contains (name) = (x) = (2031-01-01).", Some("2031-01-01")),
            ("… contains (at) = (12031-01-01).", None),
            ("… contains (at) = (01/02/2031).", None),
            ("", None),
        ];
        for (detail, want) in rows {
            assert_eq!(Wanted::of("s", "t", Some(detail)).until.as_deref(), want, "{detail}");
        }
    }

    #[test]
    fn names_are_quoted() {
        let query = Wanted::of("s'", "t", None).query();
        assert!(query.contains("n.nspname = 's''' AND"), "{query}");
    }

    proptest! {
        #[test]
        fn no_detail_makes_it_panic(detail in "\\PC{0,80}") {
            drop(Wanted::of("s", "t", Some(&detail)).query());
        }
    }
}
