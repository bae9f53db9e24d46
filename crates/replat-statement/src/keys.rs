//! What is known of the keys that a statement names.

use std::sync::Arc;

use replat_model::key::KeyValue;

/// Whose rows a statement concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The rows of these keys and of no other; see the crate's documentation for what that promises.
    Exact {
        /// The context that they belong to.
        context: Arc<str>,
        /// Each with a value for every dimension, in order, ascending and without a repetition; never empty. More
        /// than one is a cross-partition statement, unless one partition holds them all.
        keys: Vec<Vec<KeyValue>>,
    },
    /// Only rows with these values, but not every dimension has one.
    Partial {
        /// The context that they belong to.
        context: Arc<str>,
        /// For each dimension the values that it may have, ascending; `None` if it may have any.
        values: Vec<Option<Vec<KeyValue>>>,
    },
    /// No partitioned table is named, but one that every database holds alike.
    Reference,
    /// It cannot be told from the text and the parameters.
    Unknown(Why),
    /// No table's rows: `BEGIN`, `SET`, `SHOW`, `SELECT 1`, or the catalogue only.
    NotData,
}

impl Keys {
    /// Whether several keys are named.
    pub fn is_cross_partition(&self) -> bool {
        matches!(self, Keys::Exact { keys, .. } if keys.len() > 1)
    }
}

/// Why the keys of a statement are not known. Names tables and columns, never data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The text is longer than is read.
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Its parts are nested, or follow upon each other, more than is read.
    TooDeep,
    /// The parser does not know this SQL, or it is not SQL.
    NotParsed,
    /// A form that is not looked into.
    Unusual(&'static str),
    /// A table that is not known.
    Table(Box<str>),
    /// This table's key is not restricted to values.
    NoKey(Box<str>),
    /// A row may get another key.
    KeyAssigned(Box<str>),
    /// `ON CONFLICT .. DO UPDATE` may find a row of another key, since its target does not have the key's column.
    Conflict(Box<str>),
    /// A function that may read or write anything is all that there is.
    Function(Box<str>),
    /// Tables of several contexts.
    SeveralContexts,
    /// What this column is compared with is not a plain value of its type.
    NotAValue(Box<str>),
    /// This column is compared with NULL only, or a row gets NULL in it.
    Null(Box<str>),
    /// This parameter was not given, or is not in a form that is read.
    Parameter(u32),
    /// More keys than are listed.
    TooManyKeys,
    /// It concerns whole tables or the database, whatever their keys.
    Whole(&'static str),
    /// It runs a statement that was prepared in the session by this name.
    Execute(Box<str>),
    /// A statement before it may have changed how names and texts are read.
    Unsettled,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::TooLong { bytes } => write!(f, "the statement has {bytes} bytes, more than is read"),
            Why::TooDeep => f.write_str("the statement is nested or chained too deeply"),
            Why::NotParsed => f.write_str("the statement is not understood"),
            Why::Unusual(form) => write!(f, "the statement has {form}, which is not looked into"),
            Why::Table(name) => write!(f, "table {name} is not known"),
            Why::NoKey(table) => write!(f, "the key of {table} is not restricted to values"),
            Why::KeyAssigned(table) => write!(f, "a row of {table} may get another key"),
            Why::Conflict(table) => {
                write!(
                    f,
                    "ON CONFLICT may find a row of {table} with another key; name the key in its target"
                )
            }
            Why::Function(name) => write!(f, "function {name} may read or write anything"),
            Why::SeveralContexts => f.write_str("tables of several contexts are named"),
            Why::NotAValue(column) => {
                write!(f, "what {column} is compared with is not a plain value of its type")
            }
            Why::Null(column) => write!(f, "{column} is NULL"),
            Why::Parameter(number) => {
                write!(f, "parameter ${number} is missing, or its type or format is not read")
            }
            Why::TooManyKeys => f.write_str("the statement names more keys than are listed"),
            Why::Whole(what) => write!(f, "{what} concerns whole tables or the database"),
            Why::Unsettled => {
                f.write_str("a statement before it may change the search_path, or how texts are read")
            }
            Why::Execute(name) => write!(f, "prepared statement {name} was not seen"),
        }
    }
}
