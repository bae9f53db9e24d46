//! What is advised of columns that go apart, as contexts of a spec with their rollouts, and the DDL that those name.

use std::path::Path;

use replat_advise::columns::{Split, TableColumns, bare};
use replat_advise::report::Report;
use replat_model::spec::{Context, Spec};
use toml_edit::{DocumentMut, Item, Table};

use super::lifecycles::{Put, forget_place};
use super::{Change, Opened, database, in_the_way, schema_of};
use crate::advise::split::{Piece, context_name, piece_in};
use crate::cli::AdviseArgs;
use crate::failure::{Exit, Failure};
use crate::project::folder_of;

/// What the advice on columns makes of a spec: of each table that should be several, a context with a rollout, in which
/// it is alone; and a file of DDL beside the spec.
pub(super) fn change(mut opened: Opened, args: &AdviseArgs, report: &Report) -> Result<Change, Failure> {
    let (mut contexts, mut files, mut first) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = Vec::new();
    let splits = report.columns.tables.iter().filter_map(|table| Some((table, table.split.as_ref()?)));
    for (table, split) in splits {
        match one(&mut opened, args, table, split)? {
            Ok((name, piece)) => {
                let path = folder_of(&opened.file).join(&piece.ddl_name);
                match std::fs::read_to_string(&path) {
                    Ok(there) if there != piece.ddl => {
                        return Err(in_the_way_of(&path, &piece));
                    }
                    _ => files.push((path, piece.ddl)),
                }
                first.extend(piece.before.lines().map(str::to_owned));
                contexts.push(name);
            }
            Err(why) => left.push(format!("{}: {why}", table.table)),
        }
    }
    if contexts.is_empty() {
        let nothing = || vec!["no table is seen to gain by it".to_owned()];
        return Err(Failure::new("RP8004", Exit::Precondition, "there is no table to be made several of")
            .because(if left.is_empty() { nothing() } else { left })
            .remedy("Read the advice first: replat advise columns …"));
    }
    let mut change = opened.changed(contexts, Put { left, ..Put::default() })?;
    (change.files, change.first) = (files, first);
    Ok(change)
}

/// Writes one into the document: the context's name, with the piece; or why the spec leaves no room for it.
fn one(
    opened: &mut Opened,
    args: &AdviseArgs,
    table: &TableColumns,
    split: &Split,
) -> Result<Result<(String, Piece), String>, Failure> {
    let (name, home) = match known(&opened.spec, table) {
        Some((name, context)) => match has_no_room(name, context, split) {
            Some(why) => return Ok(Err(why)),
            None => (name.to_owned(), context.home.database.clone()),
        },
        None => (free_name(&opened.document, &table.table), database(&opened.spec, args)?),
    };
    let piece = match piece_in(table, split, &name, &home) {
        Ok(piece) => piece,
        Err(failure) => return Ok(Err(failure.what.into())),
    };
    put(&mut opened.document, &name, &piece).ok_or_else(|| in_the_way(&name))?;
    Ok(Ok((name, piece)))
}

/// The context of the spec that has the table.
fn known<'s>(spec: &'s Spec, table: &TableColumns) -> Option<(&'s str, &'s Context)> {
    let is_of = |context: &Context| {
        context.home.schema == schema_of(&table.table) && context.tables.contains_key(bare(&table.table))
    };
    spec.contexts.iter().find(|(_, context)| is_of(context)).map(|(name, context)| (name.as_str(), context))
}

/// Why a context cannot get the rollout: it would have to bring its other tables along, or has something else to do.
fn has_no_room(name: &str, context: &Context, split: &Split) -> Option<String> {
    if let Some(rollout) = &context.rollout {
        let (version, to) = (&rollout.version, &rollout.to);
        return Some(format!(
            "the context {name} has a rollout already, of {version} to {to}; finish it first"
        ));
    }
    if context.tables.len() > 1 {
        let more = context.tables.len() - 1;
        return Some(format!(
            "the context {name} has {more} more tables, which its next version has to have as well: take the piece of \
             `replat advise columns` into its rollout, and their DDL besides"
        ));
    }
    let is_cut_so = matches!(&context.dimensions[..], [only] if only.column == split.dimension);
    (!is_cut_so).then(|| format!("the context {name} is not cut by {}", split.dimension))
}

/// A name that no context has.
fn free_name(document: &DocumentMut, table: &str) -> String {
    let base = context_name(table);
    let is_taken = |name: &str| document.get("contexts").is_some_and(|all| all.get(name).is_some());
    let mut name = base.clone();
    for n in 2.. {
        if !is_taken(&name) {
            break;
        }
        name = format!("{base}_{n}");
    }
    name
}

/// Adds the context, or to one that is there the rollout. `None` if it is not written as tables.
fn put(document: &mut DocumentMut, name: &str, piece: &Piece) -> Option<()> {
    let mut said: DocumentMut = piece.spec.parse().ok()?;
    let mut new = said.get_mut("contexts")?.as_table_mut()?.remove(name)?;
    forget_place(&mut new);
    let contexts = document.entry("contexts").or_insert_with(|| {
        let mut all = Table::new();
        all.set_implicit(true);
        Item::Table(all)
    });
    let contexts = contexts.as_table_mut()?;
    match contexts.get_mut(name) {
        None => {
            if let Some(table) = new.as_table_mut() {
                table.decor_mut().set_prefix("\n");
            }
            contexts.insert(name, new);
        }
        Some(known) => {
            let mut rollout = new.as_table_mut()?.remove("rollout")?;
            if let Some(table) = rollout.as_table_mut() {
                table.decor_mut().set_prefix("\n");
            }
            known.as_table_mut()?.insert("rollout", rollout);
        }
    }
    Some(())
}

fn in_the_way_of(path: &Path, piece: &Piece) -> Failure {
    let what = format!("{} is there already, and says something else", path.display());
    Failure::new("RP8004", Exit::Precondition, what)
        .remedy("Move it away; or compare it with what is advised: replat advise columns … --out DIR")
        .remedy(format!("DIR/{} is what would have been written.", piece.ddl_name))
}
