//! What is advised of the life of rows, as lifecycles of a spec.

use replat_advise::columns::bare;
use replat_advise::lifecycle::Lifecycle as Advised;
use replat_advise::report::Report;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::policy::{Cut, Lifecycle};
use replat_model::spec::Spec;
use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::{Change, Opened, database, schema_of, set};
use crate::cli::AdviseArgs;
use crate::failure::{Exit, Failure};

/// What became of the advice on rows that grow old.
#[derive(Default)]
pub(super) struct Put {
    /// The names of the lifecycles that were written.
    pub names: Vec<String>,
    /// Why others were not.
    pub left: Vec<String>,
    /// What makes an ordinary table one that the lifecycles are for, as arguments of replat.
    pub converts: Vec<String>,
}

/// What the advice on rows that grow old makes of a spec.
pub(super) fn change(mut opened: Opened, args: &AdviseArgs, report: &Report) -> Result<Change, Failure> {
    if report.lifecycles.is_empty() {
        let what = "no table is seen to grow at one end of time";
        return Err(Failure::new("RP8004", Exit::Precondition, what)
            .remedy("Read the advice first: replat advise lifecycle …")
            .remedy("Watch the database for longer, and ask again: replat capture start"));
    }
    let put = put(&mut opened.document, &opened.spec, args, report)?;
    opened.changed(Vec::new(), put)
}

/// Puts them into the document. Where the spec looks after such a table already, only the length of its ranges, how many
/// are kept ready and for how long rows are kept are changed.
pub(super) fn put(
    document: &mut DocumentMut,
    spec: &Spec,
    args: &AdviseArgs,
    report: &Report,
) -> Result<Put, Failure> {
    let Put { mut names, mut left, mut converts } = Put::default();
    for advised in &report.lifecycles {
        let table = TableName::new(schema_of(&advised.table), bare(&advised.table));
        let is_here = |known: &Lifecycle| match (&known.database, &args.home) {
            (Some(known), Some(home)) => known == home,
            _ => true,
        };
        let known = spec.lifecycles.iter().find(|(_, known)| known.covers(&table) && is_here(known));
        match known {
            None => {
                names.push(add(document, spec, args, advised)?);
                let encoding = advised.encoding.as_ref().map(|word| format!(" --encoding={word}"));
                converts.push(format!(
                    "rotate convert {}.{} --by=range:{} --interval=\"{}\"{}",
                    table.schema,
                    table.name,
                    advised.column,
                    advised.interval.text(),
                    encoding.unwrap_or_default()
                ));
            }
            Some((name, known)) => match in_the_way(known, advised) {
                Some(why) => left.push(format!("lifecycles.{name}: {why}")),
                None => {
                    revise(document, name, advised).ok_or_else(|| not_a_table(name))?;
                    names.push(name.clone());
                }
            },
        }
    }
    Ok(Put { names, left, converts })
}

/// Why what the spec says of a table is not for advice to change.
fn in_the_way(known: &Lifecycle, advised: &Advised) -> Option<String> {
    if known.tables.len() > 1 || known.tables.iter().any(|pattern| pattern.contains('*')) {
        return Some(format!("it looks after other tables besides {}", advised.table));
    }
    let fits = |level: &replat_model::lifecycle::policy::LevelPolicy| {
        level.by == Cut::Range && level.column == advised.column
    };
    let cut_otherwise = !known.levels.is_empty() && !known.levels.iter().any(fits);
    cut_otherwise.then(|| format!("it does not cut {} by ranges of {}", advised.table, advised.column))
}

/// Adds a lifecycle as it is shown; its name.
fn add(
    document: &mut DocumentMut,
    spec: &Spec,
    args: &AdviseArgs,
    advised: &Advised,
) -> Result<String, Failure> {
    let of_context = |context: &&replat_model::spec::Context| {
        context.home.schema == schema_of(&advised.table) && context.tables.contains_key(bare(&advised.table))
    };
    let database = match spec.contexts.values().find(of_context) {
        Some(context) if args.home.is_none() => context.home.database.clone(),
        _ => database(spec, args)?,
    };
    let all = document.entry("lifecycles").or_insert_with(|| {
        let mut all = Table::new();
        all.set_implicit(true);
        Item::Table(all)
    });
    let base = advised.table.replace('.', "_");
    let all = all.as_table_mut().ok_or_else(|| not_a_table(&base))?;
    let name = (1..)
        .map(|n| if n == 1 { base.clone() } else { format!("{base}_{n}") })
        .find(|name| !all.contains_key(name))
        .unwrap_or_default();
    let piece = advised.spec(&name, &database).parse::<DocumentMut>().ok();
    let item = piece.and_then(|mut piece| piece.get_mut("lifecycles")?.as_table_mut()?.remove(&name));
    let mut item = item.ok_or_else(|| not_a_table(&name))?;
    forget_place(&mut item);
    if let Some(table) = item.as_table_mut() {
        table.decor_mut().set_prefix("\n");
    }
    all.insert(&name, item);
    Ok(name)
}

/// Where it stood in another document says nothing of where it is to stand.
pub(super) fn forget_place(item: &mut Item) {
    match item {
        Item::Table(table) => {
            table.set_position(None);
            table.iter_mut().for_each(|(_, below)| forget_place(below));
        }
        Item::ArrayOfTables(tables) => {
            for table in tables.iter_mut() {
                table.set_position(None);
                table.iter_mut().for_each(|(_, below)| forget_place(below));
            }
        }
        Item::None | Item::Value(_) => {}
    }
}

/// Changes what the spec says of a table; `None` if it is not written as tables.
fn revise(document: &mut DocumentMut, name: &str, advised: &Advised) -> Option<()> {
    let said = document.get_mut("lifecycles")?.as_table_like_mut()?.get_mut(name)?.as_table_like_mut()?;
    if said.contains_key("ahead_count") || !(said.contains_key("ahead") || said.contains_key("until")) {
        set(said, "ahead_count", value(i64::from(advised.ahead)));
    }
    if let Some(levels) = said.get_mut("levels") {
        match levels {
            Item::ArrayOfTables(levels) => levels.iter_mut().for_each(|level| cut(level, advised)),
            Item::Value(toml_edit::Value::Array(levels)) => {
                levels
                    .iter_mut()
                    .filter_map(toml_edit::Value::as_inline_table_mut)
                    .for_each(|level| cut(level, advised));
            }
            _ => return None,
        }
    }
    if let Some(days) = advised.keep {
        let keep = format!("{days}d");
        match said.get_mut("retire") {
            None => {
                let mut retire = Table::new();
                retire.insert("keep", value(keep));
                said.insert("retire", Item::Table(retire));
            }
            Some(retire) => {
                let retire = retire.as_table_like_mut()?;
                // Who counts in rows or bytes knows why.
                if retire.contains_key("keep") {
                    set(retire, "keep", value(keep));
                }
            }
        }
    }
    Some(())
}

fn cut(level: &mut dyn TableLike, advised: &Advised) {
    let says = |key: &str, text: &str| level.get(key).and_then(Item::as_str) == Some(text);
    if says("by", "range") && says("column", &advised.column) {
        set(level, "interval", value(advised.interval.text()));
        if let Some(encoding) = &advised.encoding {
            set(level, "encoding", value(encoding.as_str()));
        }
    }
}

fn not_a_table(name: &str) -> Failure {
    let what = format!("lifecycles.{name} is not written as a table of its own");
    Failure::new("RP8004", Exit::Precondition, what)
        .remedy(format!("Write it with a header: [lifecycles.{name}]"))
}
