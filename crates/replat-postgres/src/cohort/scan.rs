//! The copy of what is small: one scan of a table for many members.
//!
//! What is asked for is one predicate over all of their keys. Whether that is a scan of the table or a walk of its index
//! is for the server to say, which knows both and their costs. Each member's chunk is written down in the transaction
//! that brings its rows, so a crash costs what was under way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use replat_engine::EngineError;
use replat_model::deploy::Chunk;
use replat_model::ids::Side;
use replat_model::key::KeyValue;
use replat_model::plan::{Plan, TablePlan};
use replat_model::region::{Constraint, Region};
use tokio_postgres::{Client, Transaction};

use super::{Common, again};
use crate::copy::{Carrying, Format, boundaries, carry, enum_columns, has_rows};
use crate::ends::Ends;
use crate::error::on;
use crate::failpoint::crash_at;
use crate::slice::{dimension_column, region_predicate, satisfies, table_name};
use crate::sql::quote_ident;

/// Rows that one transaction brings at most, by estimate.
const ROWS_AT_ONCE: u64 = 2_000_000;

/// So few members are not worth a scan of their own.
const WORTH_A_SCAN: usize = 2;

/// A member that is a list of values of one dimension.
struct Listed<'a> {
    place: usize,
    plan: &'a Plan,
    dimension: usize,
    values: &'a BTreeSet<KeyValue>,
}

/// The members that are lists of values of one and the same dimension.
fn listed<'a>(common: &'a Common, places: impl IntoIterator<Item = usize>) -> Vec<Listed<'a>> {
    let mut all: Vec<Listed<'a>> = Vec::new();
    for place in places {
        let plan: &Plan = &common.members[place].ends.plan;
        let mut constraints = plan.region.constraints();
        if let (Some((dimension, Constraint::OneOf(values))), None) = (constraints.next(), constraints.next())
            && all.first().is_none_or(|first| first.dimension == dimension)
        {
            all.push(Listed { place, plan, dimension, values });
        }
    }
    all
}

/// What their rows in `table` on `side` satisfy.
fn predicate_of(members: &[&Listed<'_>], table: &TablePlan, side: Side) -> String {
    let Some(first) = members.first() else { return "false".into() };
    let values = members.iter().flat_map(|member| member.values.iter().cloned()).collect();
    let region = Region::everything().and(first.dimension, Constraint::OneOf(values));
    let slice = region_predicate(&region, &first.plan.dimensions, |column| {
        quote_ident(dimension_column(table, side, column))
    });
    match table.rows_on(side) {
        None => slice,
        Some(rows) => format!("{slice} AND {}", satisfies(rows, "")),
    }
}

/// How many rows each of them has in `table` on `side`, by its place.
async fn counts(
    client: &Client,
    members: &[&Listed<'_>],
    table: &TablePlan,
    side: Side,
) -> Result<HashMap<usize, u64>, EngineError> {
    let Some(first) = members.first() else { return Ok(HashMap::new()) };
    let dimension = &first.plan.dimensions[first.dimension];
    let column = quote_ident(dimension_column(table, side, &dimension.column));
    let sql = format!(
        "SELECT {column}::text, count(*) FROM {} WHERE {} GROUP BY {column}",
        table_name(first.plan, table, side),
        predicate_of(members, table, side)
    );
    let on = on(&first.plan.end(side).home.database, "counting the members' rows");
    let owners: HashMap<&KeyValue, usize> =
        members.iter().flat_map(|member| member.values.iter().map(|value| (value, member.place))).collect();
    let mut counts = HashMap::new();
    for row in client.query(&sql, &[]).await.map_err(on)? {
        let value = dimension.key_type.parse(row.get(0)).ok();
        if let Some(place) = value.and_then(|value| owners.get(&value).copied()) {
            *counts.entry(place).or_default() += u64::try_from(row.get::<_, i64>(1)).unwrap_or_default();
        }
    }
    Ok(counts)
}

/// The pieces in which these members are copied, in their order. What has no more than `rows` rows is one piece.
pub(super) async fn plan(
    common: &Common,
    places: &[usize],
    rows: u32,
) -> Vec<Result<Vec<Chunk>, EngineError>> {
    match plan_all(common, places, rows).await {
        Ok(chunks) => chunks.into_iter().map(Ok).collect(),
        Err(error) => places.iter().map(|_| Err(again(&error))).collect(),
    }
}

async fn plan_all(common: &Common, places: &[usize], rows: u32) -> Result<Vec<Vec<Chunk>>, EngineError> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let blue = common.members[*first].ends.connect(Side::Blue, "plan").await?;
    let listed = listed(common, places.iter().copied());
    let listed: Vec<&Listed<'_>> = listed.iter().collect();
    let mut chunks: Vec<Vec<Chunk>> = vec![Vec::new(); places.len()];
    for (n, table) in common.members[*first].ends.plan.tables.iter().enumerate() {
        let counts = counts(&blue, &listed, table, Side::Blue).await?;
        for (place, chunks) in places.iter().zip(&mut chunks) {
            let is_listed = listed.iter().any(|member| member.place == *place);
            let count = counts.get(place).copied().unwrap_or_default();
            let cuts = match is_listed && count <= u64::from(rows) {
                true => Vec::new(),
                false => {
                    let plan = &common.members[*place].ends.plan;
                    boundaries(&blue, plan, &plan.tables[n], Side::Blue, "true", rows).await?
                }
            };
            let mut after = None;
            for upto in cuts {
                chunks.push(Chunk { table: n, after: after.replace(upto.clone()), upto: Some(upto) });
            }
            chunks.push(Chunk { table: n, after, upto: None });
        }
    }
    Ok(chunks)
}

/// Copies reference tables, once for all, and of these members every table that is one piece.
///
/// What cannot be copied together is left: each member then copies it by itself, and whoever is the reason is told so.
pub(super) async fn copy(common: &Common, asked: &[(usize, Arc<Vec<Chunk>>)]) -> Result<(), EngineError> {
    let Some((first, _)) = asked.first() else { return Ok(()) };
    let ends = &common.members[*first].ends;
    let blue = ends.connect(Side::Blue, "copy").await?;
    let mut green = ends.connect_to_write(Side::Green, "copy").await?;
    for n in 0..ends.plan.references.len() {
        copy_reference(ends, &blue, &mut green, n).await?;
    }
    let listed = listed(common, asked.iter().map(|(place, _)| *place));
    for (n, table) in ends.plan.tables.iter().enumerate() {
        let mut small = Vec::new();
        for (place, chunks) in asked {
            let of_table: Vec<usize> =
                chunks.iter().enumerate().filter(|(_, c)| c.table == n).map(|(k, _)| k).collect();
            let member = listed.iter().find(|member| member.place == *place);
            if let ([k], Some(member)) = (&of_table[..], member) {
                small.push(Piece { member, number: i32::try_from(*k).expect("fewer than 2^31 chunks") });
            }
        }
        let format =
            Format::of(table, Side::Blue, &enum_columns(&green, &ends.plan, table, Side::Green).await?);
        let mut groups = grouped(&small, n);
        while let Some(group) = groups.pop() {
            if group.len() < WORTH_A_SCAN {
                continue;
            }
            match copy_group(common, &blue, &mut green, table, &group, format).await {
                Ok(()) => {}
                Err(error) if error.verdict() == replat_engine::Verdict::AskAPerson => {
                    tracing::info!(table = table.blue.name, members = group.len(), %error, "not copied together");
                    let (one, other) = group.split_at(group.len() / 2);
                    groups.extend([one.to_vec(), other.to_vec()]);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A member's only piece of a table, with its number.
#[derive(Clone, Copy)]
struct Piece<'a> {
    member: &'a Listed<'a>,
    number: i32,
}

fn grouped<'a>(small: &[Piece<'a>], table: usize) -> Vec<Vec<Piece<'a>>> {
    let mut groups: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut rows = 0;
    for piece in small {
        rows += piece.member.plan.tables[table].rows;
        match groups.last_mut() {
            Some(group) if rows <= ROWS_AT_ONCE => group.push(*piece),
            _ => {
                rows = piece.member.plan.tables[table].rows;
                groups.push(vec![*piece]);
            }
        }
    }
    groups
}

/// A reference table that has rows was filled by an earlier deployment; it is only compared.
async fn copy_reference(ends: &Ends, blue: &Client, green: &mut Client, n: usize) -> Result<(), EngineError> {
    let (plan, table) = (&ends.plan, &ends.plan.references[n]);
    let on = on(ends.database(Side::Green), "copying a reference table");
    let tx = green.transaction().await.map_err(&on)?;
    let number = i32::try_from(n).expect("fewer than 2^31 tables");
    if claim(&tx, &[ends.maker()], &[number]).await.map_err(&on)?.is_empty() {
        return Ok(());
    }
    if !has_rows(tx.client(), plan, table).await? {
        let format =
            Format::of(table, Side::Blue, &enum_columns(tx.client(), plan, table, Side::Green).await?);
        let wanted = Carrying { plan, table, wanted: "true", format };
        carry(blue, tx.client(), wanted).await.map_err(|failed| failed.into_error(plan, table))?;
    }
    tx.commit().await.map_err(&on)?;
    crash_at("scan.reference_copied");
    Ok(())
}

/// Takes chunks for whoever has not copied them yet. The deployments whose chunks were taken.
async fn claim(
    tx: &Transaction<'_>,
    deployments: &[&str],
    numbers: &[i32],
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let rows = tx
        .query(
            "INSERT INTO replat.chunk (deployment, n, rows, bytes) \
             SELECT u.deployment, u.n, 0, 0 FROM unnest($1::text[], $2::int[]) AS u (deployment, n) \
             ORDER BY u.deployment ON CONFLICT DO NOTHING RETURNING deployment",
            &[&deployments, &numbers],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn copy_group(
    common: &Common,
    blue: &Client,
    green: &mut Client,
    table: &TablePlan,
    group: &[Piece<'_>],
    format: Format,
) -> Result<(), EngineError> {
    let plan = group[0].member.plan;
    let on = on(&plan.green.home.database, "copying many members");
    let name = |piece: &Piece<'_>| common.members[piece.member.place].ends.deployment.as_str();
    let tx = green.transaction().await.map_err(&on)?;
    let deployments: Vec<&str> = group.iter().map(name).collect();
    let numbers: Vec<i32> = group.iter().map(|piece| piece.number).collect();
    let mine = claim(&tx, &deployments, &numbers).await.map_err(&on)?;
    let group: Vec<&Piece<'_>> = group.iter().filter(|piece| mine.contains(name(piece))).collect();
    if group.is_empty() {
        return Ok(());
    }
    let deployments: Vec<&str> = group.iter().map(|piece| name(piece)).collect();
    // The way back must not take these rows for anybody's writes, and its slot may be there already.
    tx.execute(
        "SELECT count(pg_logical_emit_message(true, 'replat.own', mark || ' ' || deployment)) \
         FROM replat.fence WHERE deployment = ANY ($1::text[])",
        &[&deployments],
    )
    .await
    .map_err(&on)?;
    let members: Vec<&Listed<'_>> = group.iter().map(|piece| piece.member).collect();
    let wanted = predicate_of(&members, table, Side::Blue);
    let (rows, bytes) = carry(blue, tx.client(), Carrying { plan, table, wanted: &wanted, format })
        .await
        .map_err(|failed| failed.into_error(plan, table))?;
    let counts = counts(tx.client(), &members, table, Side::Green).await?;
    let of = |piece: &&Piece<'_>| counts.get(&piece.member.place).copied().unwrap_or_default();
    let numbers: Vec<i32> = group.iter().map(|piece| piece.number).collect();
    let copied: Vec<i64> = group.iter().map(|piece| crate::guard::number(of(piece))).collect();
    let share = |piece: &&Piece<'_>| {
        u64::try_from(u128::from(bytes) * u128::from(of(piece)) / u128::from(rows.max(1))).unwrap_or_default()
    };
    let sent: Vec<i64> = group.iter().map(|piece| crate::guard::number(share(piece))).collect();
    tx.execute(
        "UPDATE replat.chunk c SET rows = u.rows, bytes = u.bytes \
         FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS u (deployment, n, rows, bytes) \
         WHERE c.deployment = u.deployment AND c.n = u.n",
        &[&deployments, &numbers, &copied, &sent],
    )
    .await
    .map_err(&on)?;
    crash_at("scan.before_commit");
    tx.commit().await.map_err(&on)?;
    crash_at("scan.after_commit");
    Ok(())
}
