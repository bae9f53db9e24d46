//! Whole tables and their views change places: once every partition lives on green by views, green gets the tables, and
//! blue's names are views of them.
//!
//! One transaction, by metadata alone. It asks for its locks in short turns, and gives up what it has when one cannot be
//! had in time. A record that is written in the same transaction says where the tables are, so that a second run finds
//! nothing to do, whenever the first one died.

mod look;
mod script;

use replat_engine::EngineError;
use replat_model::exchange::{ExchangePlan, Made, Refusal, Relation, Seen, SharedTable, back, forth};
use replat_model::facts::TableName;
use replat_model::ids::Side;
use replat_model::plan::ViewPlan;
use tokio_postgres::{Client, GenericClient, Transaction};

pub use script::{Script, script};

use crate::error::on;
use crate::failpoint::crash_at;
use crate::guard;
use crate::prepare::Patience;
use crate::sql::quote_ident;
use crate::views::ALONE;

/// Where tables and views change places.
#[derive(Clone, Debug)]
pub struct Place {
    /// The database's name in the spec.
    pub database: String,
    /// The schema that the old version knows.
    pub blue: String,
    /// The schema that the new version knows.
    pub green: String,
}

/// What an exchange comes to.
#[derive(Clone, Debug)]
pub enum Drafted {
    /// The tables are there already.
    Done,
    /// What would be done.
    Plan {
        /// What changes places.
        plan: ExchangePlan,
        /// The statements.
        script: Script,
    },
    /// What stands in the way.
    Refused(Vec<Refusal>),
}

/// Looks at the database and says what it would take to bring the tables to `to`. Changes nothing.
///
/// `views` are those of the rollout that brought the partitions to green.
///
/// # Errors
///
/// [`EngineError`] as the server's refusal means it.
pub async fn draft(
    client: &mut Client,
    place: &Place,
    views: &[ViewPlan],
    to: Side,
) -> Result<Drafted, EngineError> {
    let on = on(&place.database, "a look at the tables");
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute("SET LOCAL search_path = pg_catalog").await.map_err(&on)?;
    let drafted = draft_in(&tx, place, views, to).await?;
    tx.rollback().await.map_err(&on)?;
    Ok(drafted)
}

async fn draft_in(
    tx: &Transaction<'_>,
    place: &Place,
    views: &[ViewPlan],
    to: Side,
) -> Result<Drafted, EngineError> {
    let recorded = look::record(tx, place).await?;
    let is_on = if recorded.tables.is_empty() { Side::Blue } else { Side::Green };
    if is_on == to {
        return Ok(Drafted::Done);
    }
    let (seen, drafted) = match to {
        Side::Green => {
            let made = look::greens_views(tx, place).await?;
            let tables = views.iter().map(|view| name(&place.blue, &view.table));
            let doors = views.iter().map(|view| name(&place.green, &view.stands_for.name));
            let names: Vec<TableName> = tables.chain(doors).collect();
            let seen = seen(tx, place, &names, to, made).await?;
            let drafted = forth(&place.blue, &place.green, views, &seen);
            (seen, drafted)
        }
        Side::Blue => {
            let tables = recorded.tables.iter().filter(|table| !table.is_leaf).map(|t| t.green.clone());
            let doors = recorded.tables.iter().filter(|table| table.moves()).map(|t| t.blue.clone());
            let names: Vec<TableName> = tables.chain(doors).collect();
            let seen = seen(tx, place, &names, to, recorded.made).await?;
            let drafted = back(&recorded.tables, &seen);
            (seen, drafted)
        }
    };
    Ok(match drafted {
        Ok(plan) => Drafted::Plan { script: script(&plan, seen.major), plan },
        Err(refusals) => Drafted::Refused(refusals),
    })
}

fn name(schema: &str, name: &str) -> TableName {
    TableName { schema: schema.to_owned(), name: name.to_owned() }
}

async fn seen(
    client: &impl GenericClient,
    place: &Place,
    names: &[TableName],
    to: Side,
    made: Vec<Made>,
) -> Result<Seen, EngineError> {
    let schema = match to {
        Side::Blue => &place.blue,
        Side::Green => &place.green,
    };
    look::look(client, place, &names.iter().collect::<Vec<_>>(), schema, made).await
}

/// Carries an exchange out, if it is still what `agreed` says. Done before, it is done.
///
/// # Errors
///
/// [`EngineError::Locked`] if the locks could not be had in many short turns, [`EngineError::Precondition`] if something
/// is different by now. Nothing is changed then.
pub async fn exchange(
    client: &mut Client,
    place: &Place,
    views: &[ViewPlan],
    agreed: &ExchangePlan,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let on = on(&place.database, "writing down what is exchanged");
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute("SELECT pg_advisory_xact_lock(7311340948551)").await.map_err(&on)?;
    tx.batch_execute(guard::SCHEMA).await.map_err(&on)?;
    tx.commit().await.map_err(&on)?;
    let done = exchange_with_patience(client, place, views, agreed, lock_timeout_ms).await;
    if done.is_err() {
        // What was to be proved is not needed any more; a proof that stays would hold rows back one day.
        for statement in script::without_proofs(agreed) {
            drop(in_turns(client, place, &statement, lock_timeout_ms).await);
        }
    }
    done
}

async fn exchange_with_patience(
    client: &mut Client,
    place: &Place,
    views: &[ViewPlan],
    agreed: &ExchangePlan,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    if let Drafted::Plan { plan, script } = draft(client, place, views, agreed.to).await?
        && plan == *agreed
    {
        for statement in &script.proving {
            in_turns(client, place, statement, lock_timeout_ms).await?;
        }
        crash_at("exchange.proved");
    }
    let mut patience = Patience::default();
    loop {
        let done = try_to_exchange(client, place, views, agreed, lock_timeout_ms).await;
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}

/// One statement by itself, which asks for its lock in short turns.
async fn in_turns(
    client: &mut Client,
    place: &Place,
    statement: &str,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let on = on(&place.database, "proving what partitions hold");
    let bound = format!("SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = {lock_timeout_ms}");
    let mut patience = Patience::default();
    loop {
        let done = async {
            let tx = client.transaction().await?;
            tx.batch_execute(&bound).await?;
            tx.batch_execute(statement).await?;
            tx.commit().await
        };
        let done = done.await.map_err(&on);
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}

async fn try_to_exchange(
    client: &mut Client,
    place: &Place,
    views: &[ViewPlan],
    agreed: &ExchangePlan,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let on = on(&place.database, "exchanging tables and views");
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("{ALONE}; SET LOCAL search_path = pg_catalog")).await.map_err(&on)?;
    let script = match draft_in(&tx, place, views, agreed.to).await? {
        Drafted::Done => return Ok(()),
        Drafted::Plan { plan, script } if plan == *agreed => script,
        Drafted::Plan { .. } => return Err(changed("the tables have changed since it was agreed".into())),
        Drafted::Refused(refusals) => {
            let what = refusals.iter().map(|refusal| refusal.what.as_str()).collect::<Vec<_>>().join("; ");
            return Err(changed(what));
        }
    };
    let before = tables(&tx, place, agreed).await?;
    // Whoever comes after us in the queue waits as long as we do; so neither a lock nor all of them take long.
    let bound = format!(
        "SET LOCAL lock_timeout = {lock_timeout_ms}; SET LOCAL statement_timeout = {}",
        lock_timeout_ms.saturating_mul(2)
    );
    tx.batch_execute(&bound).await.map_err(&on)?;
    for statement in &script.locking {
        tx.batch_execute(statement).await.map_err(&on)?;
    }
    tx.batch_execute("SET LOCAL statement_timeout = 0").await.map_err(&on)?;
    if tables(&tx, place, agreed).await? != before {
        return Err(changed("the tables have changed while their locks were waited for".into()));
    }
    for statement in &script.moving {
        tx.batch_execute(statement).await.map_err(&on)?;
    }
    for table in agreed.tables.iter().filter(|t| t.moves() && t.has_view_on(agreed.to.other())) {
        is_writable(&tx, place, table.on(agreed.to.other())).await?;
    }
    write_down(&tx, place, agreed).await.map_err(&on)?;
    crash_at("exchange.before_commit");
    tx.commit().await.map_err(&on)?;
    crash_at("exchange.after_commit");
    Ok(())
}

/// What the catalogue says of the tables, whether or not there are still views in their place.
async fn tables(
    tx: &Transaction<'_>,
    place: &Place,
    plan: &ExchangePlan,
) -> Result<Vec<Relation>, EngineError> {
    let names: Vec<&TableName> =
        plan.tables.iter().flat_map(|table| [table.on(plan.to.other()), table.on(plan.to)]).collect();
    let mut relations = look::relations(tx, place, &names, "").await?;
    relations.retain(|relation| relation.is_table);
    Ok(relations)
}

fn changed(what: String) -> EngineError {
    EngineError::Precondition { what, remedy: "Look again with --dry-run.".into() }
}

fn quoted(name: &TableName) -> String {
    format!("{}.{}", quote_ident(&name.schema), quote_ident(&name.name))
}

async fn is_writable(tx: &Transaction<'_>, place: &Place, view: &TableName) -> Result<(), EngineError> {
    let name = quoted(view);
    let row = tx
        .query_one("SELECT pg_relation_is_updatable($1::text::regclass, false) & 28 = 28", &[&name])
        .await
        .map_err(on(&place.database, "a look at the view"))?;
    match row.get::<_, bool>(0) {
        true => Ok(()),
        false => Err(EngineError::Precondition {
            what: format!("{name} could not be written as a view"),
            remedy: "See which rules the table has.".into(),
        }),
    }
}

/// Where the tables are from now on, and which views stand in their old place.
async fn write_down(
    tx: &Transaction<'_>,
    place: &Place,
    plan: &ExchangePlan,
) -> Result<(), tokio_postgres::Error> {
    let (green, blue) = (&place.green, &place.blue);
    if plan.to == Side::Blue {
        tx.execute(
            "DELETE FROM replat.exchanged WHERE schema_name = $1 AND base_schema = $2",
            &[green, blue],
        )
        .await?;
    }
    for (ord, table) in (0_i32..).zip(&plan.tables) {
        match plan.to {
            Side::Green => away(tx, place, ord, table).await?,
            Side::Blue => home(tx, table).await?,
        }
    }
    Ok(())
}

/// A table that is on green now.
async fn away(
    tx: &Transaction<'_>,
    place: &Place,
    ord: i32,
    table: &SharedTable,
) -> Result<(), tokio_postgres::Error> {
    let shared = serde_json::to_string(&table.once_on(Side::Green)).expect("what is shared is plain data");
    let view = table.moves().then(|| quoted(&table.blue));
    tx.execute(
        "INSERT INTO replat.exchanged (schema_name, base_schema, ord, shared, definition) \
         VALUES ($1, $2, $3, $4::text::jsonb, pg_get_viewdef($5::text::regclass))",
        &[&place.green, &place.blue, &ord, &shared, &view],
    )
    .await?;
    tx.execute(
        "DELETE FROM replat.view WHERE schema_name = $1 AND name = $2",
        &[&table.green.schema, &table.green.name],
    )
    .await?;
    Ok(())
}

/// A table that is on blue again.
async fn home(tx: &Transaction<'_>, table: &SharedTable) -> Result<(), tokio_postgres::Error> {
    let Some(stands_for) = &table.stands_for else { return Ok(()) };
    let stands_for = serde_json::to_string(stands_for).expect("facts are plain data");
    tx.execute(
        "INSERT INTO replat.view (schema_name, name, base_schema, base_name, definition, stands_for) \
         VALUES ($1, $2, $3, $4, pg_get_viewdef($5::text::regclass), $6::text::jsonb)",
        &[
            &table.green.schema,
            &table.green.name,
            &table.blue.schema,
            &table.blue.name,
            &quoted(&table.green),
            &stands_for,
        ],
    )
    .await?;
    Ok(())
}
