//! Which tables there are, and which of their columns carry a partition's key.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use replat_model::map::Dimension;

/// A table's full name, as the catalogue has it: case matters, and there are no quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema's name.
    pub schema: Box<str>,
    /// The table's own name.
    pub name: Box<str>,
}

impl TableName {
    /// The table `name` in `schema`.
    pub fn new(schema: &str, name: &str) -> TableName {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What is known of the tables of one database, and where names without a schema are looked for.
///
/// Cheap to clone. Every table and view in the schemas of the search path ought to be here, the ones that are of no
/// interest by [`Tables::with_other`]: a name is looked up along the path, and a table that is missing in an earlier
/// schema would be taken for its namesake in a later one.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) known: Arc<Known>,
    pub(crate) path: Path,
}

/// Where names without a schema are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    /// In `pg_catalog`, then in these, in order.
    Schemas(Arc<[Box<str>]>),
    /// That is not known.
    Unknown,
}

impl Path {
    fn of<'a>(schemas: impl IntoIterator<Item = &'a str>) -> Path {
        Path::Schemas(schemas.into_iter().map(Into::into).collect())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) contexts: Vec<Context>,
    tables: HashMap<Box<str>, HashMap<Box<str>, Table>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) name: Arc<str>,
    pub(crate) dimensions: Arc<[Dimension]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Table {
    Partitioned(Arc<Partitioned>),
    Reference,
    Other,
}

/// A partitioned table.
#[derive(Debug)]
pub(crate) struct Partitioned {
    pub(crate) name: TableName,
    /// Its place in [`Known::contexts`].
    pub(crate) context: usize,
    /// The column of each dimension, in the context's order.
    pub(crate) columns: Box<[Box<str>]>,
}

/// What a name in a statement refers to.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Partitioned(Arc<Partitioned>),
    Reference,
    Catalogue,
    /// Nothing that is known, or known and not classified.
    Unknown,
}

impl Tables {
    /// No tables yet. `search_path` has the schemas in which a name without one is looked for, in order, as
    /// `current_schemas(false)` gives them; `pg_catalog` is always searched first.
    pub fn new<'a>(search_path: impl IntoIterator<Item = &'a str>) -> Tables {
        Tables { known: Arc::default(), path: Path::of(search_path) }
    }

    /// Adds a context, as its map has it.
    #[must_use]
    pub fn with_context(mut self, name: &str, dimensions: &[Dimension]) -> Tables {
        let context = Context { name: name.into(), dimensions: dimensions.into() };
        Arc::make_mut(&mut self.known).contexts.push(context);
        self
    }

    /// Adds a table of the context that was added last; the key's columns are named after its dimensions.
    ///
    /// # Panics
    ///
    /// If no context was added yet.
    #[must_use]
    pub fn with_partitioned(self, table: TableName) -> Tables {
        let context = self.known.contexts.last().expect("a context is added before its tables");
        let columns: Vec<Box<str>> = context.dimensions.iter().map(|d| d.column.as_str().into()).collect();
        self.with_columns(table, columns.into())
    }

    /// Adds a table of the context that was added last, in which the dimensions' columns have names of their own:
    /// one for each dimension, in its order.
    ///
    /// # Panics
    ///
    /// If no context was added yet, or if there are not as many columns as dimensions.
    #[must_use]
    pub fn with_partitioned_by(self, table: TableName, columns: &[&str]) -> Tables {
        self.with_columns(table, columns.iter().map(|column| Box::from(*column)).collect())
    }

    fn with_columns(mut self, name: TableName, columns: Box<[Box<str>]>) -> Tables {
        let known = Arc::make_mut(&mut self.known);
        let context = known.contexts.len().checked_sub(1).expect("a context is added before its tables");
        let dimensions = known.contexts[context].dimensions.len();
        assert_eq!(columns.len(), dimensions, "a table carries a column for each dimension");
        let table = Partitioned { name: name.clone(), context, columns };
        known.add(name, Table::Partitioned(Arc::new(table)));
        self
    }

    /// Adds a table that is not partitioned, and that every database of the project holds alike.
    #[must_use]
    pub fn with_reference(mut self, table: TableName) -> Tables {
        Arc::make_mut(&mut self.known).add(table, Table::Reference);
        self
    }

    /// Adds a table or a view of which nothing more is known; a statement that names it is
    /// [`Keys::Unknown`](crate::Keys::Unknown).
    #[must_use]
    pub fn with_other(mut self, table: TableName) -> Tables {
        Arc::make_mut(&mut self.known).add(table, Table::Other);
        self
    }

    /// The same tables seen from a session with another search path.
    #[must_use]
    pub fn with_search_path<'a>(&self, search_path: impl IntoIterator<Item = &'a str>) -> Tables {
        Tables { known: self.known.clone(), path: Path::of(search_path) }
    }

    /// The same tables seen from a session whose search path is not known: a name without a schema may mean anything,
    /// also if it looks like one of the catalogue's.
    #[must_use]
    pub fn with_unknown_search_path(&self) -> Tables {
        Tables { known: self.known.clone(), path: Path::Unknown }
    }

    pub(crate) fn context(&self, place: usize) -> &Context {
        &self.known.contexts[place]
    }

    /// What a name refers to; `schema` and `name` are folded already. Also the schema in which it was found.
    pub(crate) fn find(&self, schema: Option<&str>, name: &str) -> Found {
        match schema {
            Some("pg_catalog" | "information_schema") => Found::Catalogue,
            // Where a temporary table is, is not known.
            Some(schema) => self.known.find(schema, name).unwrap_or(Found::Unknown),
            None => {
                let Path::Schemas(path) = &self.path else { return Found::Unknown };
                let mut found = path.iter().filter_map(|schema| self.known.find(schema, name));
                // The catalogue's names begin like this; others may, but then they are known.
                let otherwise = if name.starts_with("pg_") { Found::Catalogue } else { Found::Unknown };
                found.next().unwrap_or(otherwise)
            }
        }
    }
}

impl Known {
    fn add(&mut self, name: TableName, table: Table) {
        self.tables.entry(name.schema).or_default().insert(name.name, table);
    }

    fn find(&self, schema: &str, name: &str) -> Option<Found> {
        Some(match self.tables.get(schema)?.get(name)? {
            Table::Partitioned(table) => Found::Partitioned(table.clone()),
            Table::Reference => Found::Reference,
            Table::Other => Found::Unknown,
        })
    }
}
