//! A parsed statement, read for what restricts the partitioned tables that it names.
//!
//! Every part of a statement is taken apart by name, without `..`, wherever it could hold a table, a condition or an
//! expression: a field that a later parser adds does not compile until somebody has thought of it. What is not
//! understood ends the reading with a [`Why`].

mod change;
mod expr;
mod facts;
mod from;
mod query;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use replat_model::key::KeyType;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Statement};

use crate::functions::{is_harmless, leaves_settings};
use crate::keys::Why;
use crate::tables::{Found, Partitioned, Path, Tables};
use crate::term::{Set, Term};
use facts::{Fact, RangeId, Scope, Var};

/// One place at which a statement names a partitioned table.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub(crate) table: Arc<Partitioned>,
    /// For each dimension the sets of which every row that matters has a value; it is in all of them.
    pub(crate) sets: Vec<Vec<Set>>,
    /// Rows are put into it, with these values; else rows are looked for, and none has NULL.
    pub(crate) inserted: bool,
}

/// What a statement was found to name.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) mentions: Vec<Mention>,
    pub(crate) names_reference: bool,
    /// The first function that is not known to be harmless.
    pub(crate) function: Option<Box<str>>,
    /// A function is called that may change settings of the session.
    pub(crate) may_set: bool,
    /// Rows are changed.
    pub(crate) changes: bool,
    /// Those of a table that is not partitioned are.
    pub(crate) changes_reference: bool,
    /// Rows are locked.
    pub(crate) locks: bool,
    /// For each parameter (by number less one) and each plain use as a value of a key: the type that it has there.
    pub(crate) uses: HashMap<usize, Vec<Option<KeyType>>>,
}

impl Read {
    pub(crate) fn only_reads(&self) -> bool {
        !self.changes && !self.locks && self.function.is_none()
    }
}

/// Reads a query, or a statement that changes rows.
pub(crate) fn read(statement: &Statement, tables: &Tables) -> Result<Read, Why> {
    let mut reader = Reader { tables, ranges: Vec::new(), found: Read::default() };
    reader.statement(statement, &Around::default())?;
    Ok(reader.found)
}

/// How many tables, sub-queries and functions may be named. What holds is worked out for each, from the others.
const RANGES_MAX: usize = 100;

struct Reader<'a> {
    tables: &'a Tables,
    /// All tables, sub-queries and functions that stand in a FROM.
    ranges: Vec<Range>,
    found: Read,
}

/// Something that rows come from.
struct Range {
    /// By which name its columns are qualified.
    name: Option<Box<str>>,
    /// The schema, where the table's own name serves.
    schema: Option<Box<str>>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Partitioned(Arc<Partitioned>),
    /// A sub-query or a CTE.
    Derived(Rc<Outputs>),
    /// Nothing is known of its columns.
    Opaque,
}

/// The columns of a query's result.
#[derive(Clone, Debug, Default)]
struct Outputs {
    columns: Vec<Output>,
    /// Whether `columns` has all of them in their order. If not, only names tell.
    in_order: bool,
}

#[derive(Clone, Debug)]
struct Output {
    /// `None` if it has none that is known, or a name that another column has too.
    name: Option<Box<str>>,
    /// Each value in this column is in all of these sets, or NULL.
    sets: Vec<Set>,
}

/// What is seen from a place in a statement.
#[derive(Clone, Default)]
struct Around {
    ctes: Option<Rc<Cte>>,
    scope: Option<Rc<Scope>>,
    /// What holds for every row of the surrounding queries for which this place matters.
    pool: Rc<Vec<Fact>>,
}

struct Cte {
    name: Box<str>,
    /// `None` while it is read itself.
    outputs: Option<Rc<Outputs>>,
    next: Option<Rc<Cte>>,
}

impl Around {
    fn cte(&self, name: &str) -> Option<Kind> {
        let mut next = self.ctes.as_ref();
        while let Some(cte) = next {
            if &*cte.name == name {
                return Some(cte.outputs.clone().map_or(Kind::Opaque, Kind::Derived));
            }
            next = cte.next.as_ref();
        }
        None
    }

    fn with_cte(mut self, name: Box<str>, outputs: Option<Rc<Outputs>>) -> Around {
        self.ctes = Some(Rc::new(Cte { name, outputs, next: self.ctes.take() }));
        self
    }

    fn within(&self, scope: Scope, pool: Vec<Fact>) -> Around {
        Around { ctes: self.ctes.clone(), scope: Some(Rc::new(scope)), pool: Rc::new(pool) }
    }
}

impl Reader<'_> {
    fn statement(&mut self, statement: &Statement, around: &Around) -> Result<Rc<Outputs>, Why> {
        match statement {
            Statement::Query(query) => self.query(query, around),
            Statement::Insert(insert) => self.insert(insert, around),
            Statement::Update(update) => self.update(update, around),
            Statement::Delete(delete) => self.delete(delete, around),
            Statement::Merge(_) => Err(Why::Unusual("MERGE")),
            _ => Err(Why::Unusual("a statement of another kind")),
        }
    }

    /// Takes note of a table that is named, and gives its range.
    fn table(&mut self, name: &ObjectName, alias: Option<Box<str>>, around: &Around) -> Result<RangeId, Why> {
        let parts = idents(name)?;
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [schema, name] => (Some(schema), name),
            _ => return Err(Why::Unusual("a name with a database")),
        };
        if let (None, Some(kind)) = (schema, around.cte(name)) {
            let name = Some(alias.unwrap_or_else(|| name.clone()));
            return self.range(Range { name, schema: None, kind });
        }
        let (kind, found_in) = match self.tables.find(schema.map(|schema| &**schema), name) {
            Found::Partitioned(table) => {
                let schema = table.name.schema.clone();
                (Kind::Partitioned(table), Some(schema))
            }
            Found::Reference => {
                self.found.names_reference = true;
                (Kind::Opaque, schema.cloned())
            }
            Found::Catalogue => (Kind::Opaque, schema.cloned()),
            Found::Unknown => {
                let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
                return Err(Why::Table(format!("{schema}{name}").into()));
            }
        };
        let range = match alias {
            Some(alias) => Range { name: Some(alias), schema: None, kind },
            None => Range { name: Some(name.clone()), schema: found_in, kind },
        };
        self.range(range)
    }

    fn range(&mut self, range: Range) -> Result<RangeId, Why> {
        if self.ranges.len() == RANGES_MAX {
            return Err(Why::TooDeep);
        }
        self.ranges.push(range);
        Ok(RangeId(self.ranges.len() - 1))
    }

    /// Takes note of how a partitioned table is restricted.
    fn mention(&mut self, range: RangeId, pool: &[Fact]) {
        let Kind::Partitioned(table) = &self.ranges[range.0].kind else { return };
        let table = table.clone();
        let columns = 0..table.columns.len();
        let sets = columns.map(|column| self.sets_of(Var { range, column }, pool)).collect();
        self.found.mentions.push(Mention { table, sets, inserted: false });
    }

    /// Takes note of a function that is called.
    fn function(&mut self, name: &ObjectName) -> Result<(), Why> {
        let parts = idents(name)?;
        let is_looked_up = parts.len() == 1 && self.tables.path == Path::Unknown;
        let (harmless, leaves_settings) = match parts.as_slice() {
            _ if is_looked_up => (false, false),
            [name] => (is_harmless(None, name), leaves_settings(None, name)),
            [schema, name] => (is_harmless(Some(schema), name), leaves_settings(Some(schema), name)),
            _ => (false, false),
        };
        self.found.may_set |= !leaves_settings;
        if !harmless && self.found.function.is_none() {
            self.found.function = Some(parts.join(".").into());
        }
        Ok(())
    }

    /// Takes note of a value that is used as one of a key's column, of this type.
    fn uses(&mut self, term: &Term, column: Option<KeyType>) {
        let (number, key_type) = match term {
            Term::Param(number) => (*number, column),
            Term::Cast(inner, to) => match inner.as_ref() {
                Term::Param(number) => (*number, Some(*to)),
                _ => return,
            },
            _ => return,
        };
        if let Some(place) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) {
            self.found.uses.entry(place).or_default().push(key_type);
        }
    }

    fn key_type(&self, var: Var) -> Option<KeyType> {
        match &self.ranges[var.range.0].kind {
            Kind::Partitioned(table) => {
                Some(self.tables.context(table.context).dimensions[var.column].key_type)
            }
            _ => None,
        }
    }
}

/// A name as PostgreSQL folds it, or `None` if it is not one that is read.
pub(crate) fn fold(name: &str, quote: Option<char>) -> Option<Box<str>> {
    // A longer name is cut by the server, at a length that it may have been compiled with.
    if name.len() > 63 || name.is_empty() {
        return None;
    }
    match quote {
        None => Some(name.to_ascii_lowercase().into()),
        Some('"') => Some(name.into()),
        Some(_) => None,
    }
}

fn ident(ident: &Ident) -> Result<Box<str>, Why> {
    fold(&ident.value, ident.quote_style)
        .ok_or(Why::Unusual("a name that is too long or not quoted like one"))
}

fn idents(name: &ObjectName) -> Result<Vec<Box<str>>, Why> {
    let parts = name.0.iter().map(|part| match part {
        ObjectNamePart::Identifier(part) => ident(part),
        ObjectNamePart::Function(_) => Err(Why::Unusual("a name that is computed")),
    });
    parts.collect()
}
