//! Whether green's tables can be views of blue's: where the two versions differ in nothing but what a view can say.
//!
//! A view does if every statement of the new version means through it what it would mean to the table that the rollout's
//! DDL makes. So a column is blue's column under its own name or another, or one that blue's table gets; and whatever
//! refuses, fills in or follows a write is the same on both sides. All else is a reason to copy.

use std::collections::BTreeMap;

use super::expression::plain_column;
use super::tokens::{Token, tokens};
use super::{Finding, Ground, Notes, ends, tables};
use crate::facts::{ColumnFacts, ForeignKeyFacts, IndexFacts, TableFacts, TableKind, TypeKind};
use crate::ids::Side;
use crate::plan::{AddedColumn, Path, ViewColumn, ViewPlan};
use crate::preflight::Check;
use crate::spec::{ColumnMap, PathWish, TableMode};

/// What a role can be allowed to do to the rows of a view.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The first major release in which a view can act with the rights of whoever uses it.
const INVOKER_MIN: u32 = 15;

/// The first major release in which MERGE can write to a view.
const MERGE_MIN: u32 = 17;

/// How green comes to its rows: the shortest way that is open, or the one that the spec insists on.
pub(super) fn choose(ground: &Ground, notes: &mut Notes) -> Path {
    let wish = ground.rollout.path;
    if wish == PathWish::Copy {
        return Path::Copy { because: Some("the spec says so".into()) };
    }
    match views(ground) {
        Ok(views) => {
            ends::apart(ground, notes);
            tables::check_names(ground, notes);
            tell(ground, &views, notes);
            Path::Views { views }
        }
        Err(reasons) => {
            if wish == PathWish::Views {
                let remedy = "Mend that, or write path = \"shortest\" in the rollout, and rows are copied.";
                let refused = |why: &String| Finding::new(Check::PathNotOpen, why.clone(), remedy);
                notes.findings.extend(reasons.iter().map(refused));
            }
            Path::Copy { because: ground.ask.beside.as_ref().map(|_| said(&reasons)) }
        }
    }
}

fn said(reasons: &[String]) -> String {
    match reasons {
        [] => "nothing else is known to do".into(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// What a person should know, and allows unless the spec asks for views by name.
fn tell(ground: &Ground, views: &[ViewPlan], notes: &mut Notes) {
    let blue = ground.home(Side::Blue);
    let must_allow = ground.rollout.path != PathWish::Views;
    let merge = if ground.blue.major < MERGE_MIN { ", MERGE" } else { "" };
    for what in [
        format!("green's tables are views; the rows stay in {blue}, also when the deployment is finished"),
        format!("a view takes no COPY, TRUNCATE{merge} or ON CONFLICT ON CONSTRAINT"),
    ] {
        notes.warn(Check::RowsShared, must_allow, what);
    }
    for view in views {
        for column in view.added() {
            let what = format!(
                "blue.{} gets the column {}, for all partitions; a SELECT * of the old version sees it",
                view.table, column.of
            );
            notes.warn(Check::RowsShared, must_allow, what);
        }
        let made: Vec<&str> = indexes_not_made(ground, view);
        if !made.is_empty() {
            let what = format!(
                "blue.{} does not get {} of the rollout's DDL; create them yourself if they are wanted",
                view.table,
                made.join(", ")
            );
            notes.warn(Check::RowsShared, must_allow, what);
        }
    }
}

fn indexes_not_made<'a>(ground: &Ground, view: &'a ViewPlan) -> Vec<&'a str> {
    let Some(blue) = ground.blue.table(&view.table) else { return Vec::new() };
    let names = Names::of(ground, blue, &view.stands_for, &view.columns);
    let has = |index: &IndexFacts| {
        blue.indexes.iter().any(|old| names.same_text(&index.definition, &old.definition))
    };
    view.stands_for.indexes.iter().filter(|index| !has(index)).map(|index| index.name.as_str()).collect()
}

/// Every table of green as a view, or every reason why that would not be the same.
fn views(ground: &Ground) -> Result<Vec<ViewPlan>, Vec<String>> {
    let Some(beside) = &ground.ask.beside else {
        return Err(vec!["blue and green are not in one database".into()]);
    };
    let mut reasons = Vec::new();
    if let Some(tied) = &beside.tied {
        reasons.push(format!("the rollout's DDL makes what needs a table: {tied}"));
    }
    if ground.blue.major < ends::MAJOR_MIN {
        reasons.push(format!("the server runs PostgreSQL {}", ground.blue.major));
    }
    if !ground.green.can_create {
        reasons.push(format!("{} may not create schemas", ground.green.role));
    }
    for sequence in &ground.green.free_sequences {
        let what = "is a sequence of green's own, and its numbers would meet blue's in one table";
        reasons.push(format!("{} {what}", sequence.name));
    }
    for (new, table) in &ground.rollout.tables {
        let is_one = table.sources.is_empty() && table.part_of.is_none();
        if !is_one || table.rows.is_some() || !table.back.is_empty() {
            reasons.push(format!(
                "{new} is not one table of blue with all its rows, or has a way back of its own"
            ));
        }
    }
    let names = [TableMode::Slice, TableMode::Reference].into_iter().flat_map(|mode| ground.tables(mode));
    let views: Vec<ViewPlan> = names.filter_map(|name| view(ground, name, &mut reasons)).collect();
    if reasons.is_empty() { Ok(views) } else { Err(reasons) }
}

fn view(ground: &Ground, name: &str, reasons: &mut Vec<String>) -> Option<ViewPlan> {
    let green_name = ground.green_names(name).next().unwrap_or(name);
    let (Some(blue), Some(green)) = (ground.blue.table(name), ground.green.table(green_name)) else {
        reasons.push(format!("{name} is not on both sides"));
        return None;
    };
    let mut case = Case { ground, blue, green, reasons: Vec::new() };
    case.kinds();
    let columns = case.columns();
    let names = Names::of(ground, blue, green, &columns);
    case.left_out(&columns);
    case.rules(&names);
    case.rights();
    reasons.append(&mut case.reasons);
    Some(ViewPlan {
        table: blue.name.clone(),
        stands_for: TableFacts { view_of: None, ..green.clone() },
        columns,
    })
}

/// One table, and what speaks against a view of it.
struct Case<'a> {
    ground: &'a Ground<'a>,
    blue: &'a TableFacts,
    green: &'a TableFacts,
    reasons: Vec<String>,
}

impl Case<'_> {
    fn unless(&mut self, holds: bool, why: impl FnOnce(&Self) -> String) {
        if !holds {
            let why = why(self);
            self.reasons.push(why);
        }
    }

    fn at(&self, column: &str) -> String {
        format!("{}.{column}", self.green.name)
    }

    fn kinds(&mut self) {
        let (blue, green) = (self.blue, self.green);
        let is_table = |kind| matches!(kind, TableKind::Ordinary | TableKind::Partitioned);
        self.unless(is_table(blue.kind) || blue.view_of.is_some(), |_| {
            format!("{} is no table on blue", blue.name)
        });
        let whole = blue.partition_root.is_none() && !blue.inherits;
        self.unless(whole, |_| format!("{} is a part of another table on blue", blue.name));
        let stands =
            green.view_of.as_ref().is_some_and(|of| of.schema == blue.schema && of.name == blue.name);
        let is_made = !self.ground.ask.ddl.is_empty() && is_table(green.kind);
        self.unless(stands || is_made, |_| {
            format!("{} is there already on green, and is a table", green.name)
        });
        self.unless(stands || blue.view_of.is_some() || blue.kind == green.kind, |_| {
            format!("{} is partitioned on one side only", green.name)
        });
        self.unless(blue.unlogged == green.unlogged, |_| {
            format!("{} is logged on one side only", green.name)
        });
        // What policies say cannot be compared, and those of the rollout's DDL would be passed over.
        self.unless(!blue.row_security && !green.row_security, |_| {
            format!("{} has row level security, whose policies are each table's own", green.name)
        });
    }

    fn columns(&mut self) -> Vec<ViewColumn> {
        let (ground, green) = (self.ground, self.green);
        let map = ground.rollout.map.get(&green.name);
        for name in map.into_iter().flat_map(BTreeMap::keys).filter(|name| green.column(name).is_none()) {
            self.unless(false, |case| format!("{} is in rollout.map, and not on green", case.at(name)));
        }
        let mut columns: Vec<ViewColumn> = Vec::new();
        for column in &green.columns {
            let mapped = map.and_then(|map| map.get(&column.name));
            let Some(found) = self.column(column, mapped) else { continue };
            let twice = columns.iter().any(|other| other.of == found.of);
            self.unless(!twice, |case| format!("{} is another column of green, too", case.at(&column.name)));
            columns.push(found);
        }
        columns
    }

    fn column(&mut self, green: &ColumnFacts, map: Option<&ColumnMap>) -> Option<ViewColumn> {
        let blue = self.blue;
        let name = &green.name;
        let source = match map {
            None => blue.column(name),
            Some(map) => {
                let plain = plain_column(&map.up, blue).and_then(|name| blue.column(name));
                self.unless(plain.is_some(), |case| {
                    format!("{} is made by {:?}, and cannot be written through a view", case.at(name), map.up)
                });
                Some(plain?)
            }
        };
        if let (Some(down), Some(source)) = (map.and_then(|map| map.down.as_ref()), source) {
            let is_itself = down.column == source.name && plain_column(&down.sql, self.green) == Some(name);
            self.unless(is_itself, |case| {
                format!("{} has a `down` that makes another value of it", case.at(name))
            });
        }
        let Some(source) = source else { return self.added(green) };
        self.alike(source, green);
        let default =
            (green.sequence.is_none() && green.default != source.default).then(|| green.default.clone());
        Some(ViewColumn {
            name: name.clone(),
            of: source.name.clone(),
            default: default.flatten(),
            added: None,
        })
    }

    /// Whether a column means the same to a writer on both sides.
    fn alike(&mut self, blue: &ColumnFacts, green: &ColumnFacts) {
        let at = self.at(&green.name);
        for (what, same) in [
            ("type", blue.type_name == green.type_name),
            ("say about null", blue.not_null == green.not_null),
            ("identity", blue.identity == green.identity),
            ("sequence", blue.sequence.is_some() == green.sequence.is_some()),
            ("collation", (blue.collated, blue.deterministic) == (green.collated, green.deterministic)),
            ("way of being generated", blue.generated.is_some() == green.generated.is_some()),
        ] {
            let (was, is) = (&blue.type_name, &green.type_name);
            self.unless(same, |_| match what {
                "type" => format!("{at} is {was} on blue and {is} on green"),
                _ => format!("{at} has another {what} than blue's column"),
            });
        }
        // A view can have a default of its own, but cannot be without one where the table has one.
        let draws = |column: &ColumnFacts| {
            column.sequence.is_none() && column.default.as_ref().is_some_and(|d| d.contains("nextval("))
        };
        let differs = green.sequence.is_none() && green.generated.is_none() && blue.default != green.default;
        self.unless(!differs || green.default.is_some(), |_| format!("{at} has a default on blue only"));
        self.unless(!differs || !draws(blue) && !draws(green), |_| {
            format!("{at} has numbers from another sequence")
        });
    }

    /// The column that blue's table gets.
    fn added(&mut self, column: &ColumnFacts) -> Option<ViewColumn> {
        let at = self.at(&column.name);
        let is_plain = column.generated.is_none() && column.identity.is_none() && column.sequence.is_none();
        let is_constant = column.default.as_deref().is_none_or(is_constant);
        let has_value = !column.not_null || column.default.is_some();
        let before = self.reasons.len();
        self.unless(is_plain, |_| format!("{at} is new and makes its own values"));
        self.unless(is_constant, |_| format!("{at} is new and its default is no constant"));
        self.unless(has_value, |_| format!("{at} is new, must not be null and has no default"));
        self.unless(column.type_kind == TypeKind::Builtin, |_| {
            format!("{at} is new and of a type of its own")
        });
        self.unless(self.blue.view_of.is_none(), |_| {
            format!("{at} is new, and blue's table is a view itself")
        });
        self.unless(self.blue.owned, |case| {
            format!("{} may not add columns to blue's table", case.ground.blue.role)
        });
        (self.reasons.len() == before).then(|| ViewColumn {
            name: column.name.clone(),
            of: column.name.clone(),
            default: None,
            added: Some(AddedColumn {
                type_name: column.type_name.clone(),
                default: column.default.clone(),
                not_null: column.not_null,
            }),
        })
    }

    /// Blue's columns that green has not got: a row of the new version must do without them.
    fn left_out(&mut self, columns: &[ViewColumn]) {
        let blue = self.blue;
        for column in &blue.columns {
            let is_kept = columns.iter().any(|of| of.of == column.name);
            self.unless(is_kept || column.can_be_left_out(), |_| {
                format!(
                    "blue.{}.{} must not be null, and the new version does not know it",
                    blue.name, column.name
                )
            });
        }
        let map = self.ground.rollout.map.get(&self.green.name);
        let downs = map.into_iter().flat_map(BTreeMap::values).filter_map(|map| map.down.as_ref());
        for down in downs {
            let is_kept = columns.iter().any(|of| of.of == down.column);
            self.unless(is_kept, |case| {
                format!("blue.{}.{} has a value made by a `down`", case.blue.name, down.column)
            });
        }
    }

    /// What refuses or follows a write: keys, checks, references, triggers.
    fn rules(&mut self, names: &Names<'_>) {
        let (blue, green) = (self.blue, self.green);
        for column in green.columns.iter().filter(|column| column.generated.is_some()) {
            let old = names.column(&column.name).and_then(|name| blue.column(name));
            let same = old.and_then(|old| old.generated.as_deref()).zip(column.generated.as_deref());
            let is_same = same.is_none_or(|(old, new)| names.same_text(new, old));
            self.unless(is_same, |case| format!("{} is generated in another way", case.at(&column.name)));
        }
        let unique = |table: &'_ TableFacts| -> Vec<IndexFacts> {
            table.indexes.iter().filter(|index| index.unique).cloned().collect()
        };
        self.pair("the unique", &unique(blue), &unique(green), |old, new| {
            (old.deferrable, old.valid) == (new.deferrable, new.valid)
                && names.same_text(&new.definition, &old.definition)
        });
        self.pair("the constraint", &blue.constraints, &green.constraints, |old, new| {
            names.same_text(&new.definition, &old.definition)
        });
        self.pair("the foreign key", &blue.foreign_keys, &green.foreign_keys, |old, new| {
            names.same_key(old, new)
        });
        self.pair("the trigger", &blue.triggers, &green.triggers, |old, new| {
            old.enabled == new.enabled && names.same_text(&new.definition, &old.definition)
        });
    }

    /// Each rule of one side has its like on the other.
    fn pair<T: Named>(&mut self, what: &str, blue: &[T], green: &[T], same: impl Fn(&T, &T) -> bool) {
        for new in green.iter().filter(|new| !blue.iter().any(|old| same(old, new))) {
            self.reasons.push(format!("{} has {what} {} on green only", self.green.name, new.name()));
        }
        for old in blue.iter().filter(|old| !green.iter().any(|new| same(old, new))) {
            self.reasons.push(format!("{} has {what} {} on blue only", self.blue.name, old.name()));
        }
    }

    /// Who uses a view needs the rights to the table beneath it as well; before 15 the view's owner does.
    fn rights(&mut self) {
        let (blue, green) = (self.blue, self.green);
        if self.ground.blue.major < INVOKER_MIN {
            self.unless(blue.owned, |case| {
                format!(
                    "{} does not belong to {}, with whose rights a view would act",
                    blue.name, case.ground.blue.role
                )
            });
            return;
        }
        for (role, rights) in green.grants.iter().filter(|(role, _)| **role != green.owner) {
            let had = blue.grants.get(role);
            let lacks: Vec<&str> = RIGHTS
                .into_iter()
                .filter(|right| rights.iter().any(|r| r == right))
                .filter(|right| !had.is_some_and(|had| had.iter().any(|r| r == right)))
                .collect();
            self.unless(lacks.is_empty(), |_| {
                format!("{role} may {} on green's {}, and not on blue's table", lacks.join(", "), green.name)
            });
        }
    }
}

/// What has a name to be told by.
trait Named {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($kind:ty),*) => { $(impl Named for $kind { fn name(&self) -> &str { &self.name } })* };
}

named!(IndexFacts, ForeignKeyFacts, crate::facts::ConstraintFacts, crate::facts::TriggerFacts);

/// What green calls things, and what blue calls them.
struct Names<'a> {
    ground: &'a Ground<'a>,
    columns: BTreeMap<&'a str, &'a str>,
    schemas: (&'a str, &'a str),
}

impl<'a> Names<'a> {
    fn of(
        ground: &'a Ground<'a>,
        blue: &'a TableFacts,
        green: &'a TableFacts,
        columns: &'a [ViewColumn],
    ) -> Names<'a> {
        Names {
            ground,
            columns: columns.iter().map(|column| (column.name.as_str(), column.of.as_str())).collect(),
            schemas: (&blue.schema, &green.schema),
        }
    }

    /// The column of blue that green's `name` is.
    fn column(&self, name: &str) -> Option<&'a str> {
        self.columns.get(name).copied()
    }

    /// Blue's name of a table that green calls `name`.
    fn table(&self, name: &str) -> Option<&'a str> {
        let mut all =
            [TableMode::Slice, TableMode::Reference].into_iter().flat_map(|mode| self.ground.tables(mode));
        all.find(|blue| self.ground.green_names(blue).any(|green| green == name))
    }

    /// Whether a text of green's catalogue says what a text of blue's does. Names are told apart by what stands beside
    /// them: `schema.table` is a table, any other name that a column has is that column.
    fn same_text(&self, green: &str, blue: &str) -> bool {
        let (green, blue) = (tokens(green), tokens(blue));
        if green.len() != blue.len() || green.contains(&Token::Broken) {
            return false;
        }
        let dot = |tokens: &[Token], at: usize| tokens.get(at) == Some(&Token::Symbol('.'));
        (0..green.len()).all(|at| match (green[at].name(), blue[at].name()) {
            (Some(new), Some(old)) => {
                let is_schema = dot(&green, at + 1) && (old, new) == self.schemas;
                let is_table = at > 1 && dot(&green, at - 1) && self.table(new) == Some(old);
                match is_schema {
                    // Only a table is the same thing in both schemas; a function of green's is its own.
                    true => {
                        green.get(at + 2).and_then(Token::name).is_some_and(|name| self.table(name).is_some())
                    }
                    false => is_table || self.column(new).unwrap_or(new) == old,
                }
            }
            _ => green[at] == blue[at],
        })
    }

    fn same_key(&self, old: &ForeignKeyFacts, new: &ForeignKeyFacts) -> bool {
        let (blue, green) = self.schemas;
        let is_ours = new.ref_schema == green;
        let table = if is_ours { self.table(&new.ref_table) } else { Some(new.ref_table.as_str()) };
        let schema = if is_ours { blue } else { new.ref_schema.as_str() };
        let columns = new.columns.iter().map(|name| self.column(name));
        columns.eq(old.columns.iter().map(|name| Some(name.as_str())))
            && self.ref_columns(new, is_ours) == old.ref_columns
            && (Some(old.ref_table.as_str()), old.ref_schema.as_str()) == (table, schema)
            && (old.on_delete_cascade, old.on_update_cascade)
                == (new.on_delete_cascade, new.on_update_cascade)
    }

    /// The columns that green's key points at, as blue calls them.
    fn ref_columns(&self, key: &ForeignKeyFacts, is_ours: bool) -> Vec<String> {
        let map = self.ground.rollout.map.get(&key.ref_table).filter(|_| is_ours);
        let blue = self.table(&key.ref_table).and_then(|name| self.ground.blue.table(name));
        let old = |name: &String| {
            let up = map.and_then(|map| map.get(name)).zip(blue);
            up.and_then(|(map, blue)| plain_column(&map.up, blue)).unwrap_or(name).to_owned()
        };
        key.ref_columns.iter().map(old).collect()
    }
}

/// Whether a default is one value for ever: a literal, perhaps with its sign, and perhaps with the type it is read as.
fn is_constant(default: &str) -> bool {
    let tokens = tokens(default);
    let sign = |token: &&Token| matches!(token, Token::Symbol('(' | '-' | '+'));
    let start = tokens.iter().take_while(sign).count();
    let is_value = match tokens.get(start) {
        Some(Token::Literal(_) | Token::Number(_)) => true,
        Some(word) => ["true", "false", "null"].iter().any(|value| word.is_word(value)),
        None => false,
    };
    let rest = tokens.get(start + 1..).unwrap_or_default();
    let closing = rest.iter().take_while(|token| **token == Token::Symbol(')')).count();
    let kind = &rest[closing..];
    let is_kind = |token: &Token| {
        matches!(token, Token::Cast | Token::Number(_) | Token::Symbol('.' | '[' | ']' | '(' | ')' | ','))
            || token.name().is_some()
    };
    is_value && (kind.is_empty() || kind[0] == Token::Cast && kind.iter().all(is_kind))
}

#[cfg(test)]
mod tests {
    use super::is_constant;

    #[test]
    fn a_constant_is_told_from_what_is_worked_out() {
        for constant in [
            "1",
            "-1",
            "(-1)",
            "'x'::text",
            "true",
            "NULL::character varying(10)",
            "'{}'::jsonb",
            "'{}'::text[]",
        ] {
            assert!(is_constant(constant), "{constant}");
        }
        for other in [
            "now()",
            "random()",
            "1 + 1",
            "('x'::text || 'y'::text)",
            "",
            "CURRENT_USER",
            "1 + random()",
            "'a' || b",
        ] {
            assert!(!is_constant(other), "{other}");
        }
    }
}
