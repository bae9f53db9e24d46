//! From a wish to a plan: look at both databases, rehearse the DDL, draft, check; and whether a plan still fits.

mod kept_out;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use replat_engine::{LogError, WorkLog};
use replat_model::compatibility::{Compatibility, compatibility};
use replat_model::deploy::Event;
use replat_model::draft::tokens::without_restrictions;
use replat_model::draft::{Ask, Beside, Finding, SliceSize, changed, draft, schema_difference};
use replat_model::facts::DatabaseFacts;
use replat_model::ids::{Home, PartitionId, Side};
use replat_model::map::{Dimension, Leaf, Map, Selection};
use replat_model::plan::{DdlFile, FORMAT, Plan};
use replat_model::prediction::{Load, Measured, Prediction, predict};
use replat_model::region::Region;
use replat_model::spec::{Context, Policy, Rollout, Spec, TableMode};
use replat_postgres::connect::Connected;
use replat_postgres::guard::closed_at;
use replat_postgres::slice::{members, predicate, region_predicate, table_name};
use replat_postgres::sql::quote_ident;
use replat_postgres::survey::{
    Sampled, Target, check_expressions, crossings_within, is_one_database, misfits, rehearse,
    slice_is_occupied, slice_size, survey,
};
use serde::{Deserialize, Serialize};

use crate::cli::Target as CliTarget;
use crate::contracts::contract_plans;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::counted;

pub use self::kept_out::KeptOut;

/// A plan as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// `DeployPlan`.
    pub kind: String,
    /// The partition as it was asked for.
    pub selection: String,
    /// The plan's digest: what was approved is what is run.
    pub digest: String,
    /// The plan.
    pub plan: Plan,
    /// What blue's catalogue said.
    pub blue: DatabaseFacts,
    /// What green's catalogue will say.
    pub green: DatabaseFacts,
    /// The schema difference, for people.
    pub difference: Vec<String>,
    /// Whether code of either version can run on the other's schema.
    pub compatibility: Compatibility,
}

/// A plan, with the map that it needs: the partition is a leaf of its own in it.
pub struct Planned {
    /// The plan.
    pub file: PlanFile,
    /// The map.
    pub map: Map,
}

/// A partition that somebody named: what the spec and the map say of it.
pub struct Wanted<'a> {
    /// The context's name.
    pub name: &'a str,
    /// The context.
    pub context: &'a Context,
    /// The partition.
    pub id: PartitionId,
    /// Its key space.
    pub region: Region,
    /// Its home and epoch.
    pub leaf: Leaf,
    /// The schema version that it is at, if that is known.
    pub version: Option<String>,
    /// The map in which it is a leaf of its own.
    pub map: Map,
}

/// Finds the partition that `target` names, without a look at any database.
pub fn wanted<'a>(
    project: &'a Project,
    store: &dyn WorkLog,
    target: &'a CliTarget,
) -> Result<Wanted<'a>, Failure> {
    find(project, store, target.context.as_deref(), target.partition.as_deref().unwrap_or_default())
}

/// Finds the partition by its name alone.
pub fn find<'a>(
    project: &'a Project,
    store: &dyn WorkLog,
    context: Option<&'a str>,
    partition: &str,
) -> Result<Wanted<'a>, Failure> {
    let (name, context) = project.context(context)?;
    let map = project.map(store, name, context)?;
    find_in(store, name, context, &map, partition)
}

/// The same in a map of the context.
pub fn find_in<'a>(
    store: &dyn WorkLog,
    name: &'a str,
    context: &'a Context,
    map: &Map,
    partition: &str,
) -> Result<Wanted<'a>, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::new("RP2006", Exit::Invalid, e.to_string());
    let dimensions = map.dimensions().iter().map(|d| d.column.clone()).collect::<Vec<_>>();
    let selection = Selection::parse(partition, map.dimensions())
        .map_err(|e| bad(&e).remedy(ways_to_name(&dimensions)))?;
    let whole = map;
    let (map, id) = whole.carve(&selection).map_err(|e| {
        bad(&e).remedy(
            "Name one partition, or a part of one; `replat deploy list` shows what was cut out already.",
        )
    })?;
    let leaf = map.leaf(&id).ok_or_else(|| bad(&format!("{id} is not in the map")))?.clone();
    let region = map.region(&id).ok_or_else(|| bad(&format!("{id} is not in the map")))?;
    // What is carved out is where its rows were before.
    let holder = whole.carved_from(&map, &id).map_or(&id, |leaf| &leaf.partition);
    let first = || context.versions.first().filter(|_| *leaf.home == context.home).cloned();
    let version = store.schema_version(name, holder)?.or_else(first);
    Ok(Wanted { name, context, id, region, leaf, version, map })
}

/// How a partition is named, with the dimensions of this very map.
fn ways_to_name(dimensions: &[String]) -> String {
    let column = dimensions.first().map_or("tenant_id", String::as_str);
    format!("Name a partition, or a part of the key space: -p {column}=VALUE or -p '{column}=[FROM,BEFORE)'")
}

/// Where the partition is to go, as the spec has it.
pub fn rollout<'a>(project: &Project, wanted: &Wanted<'a>) -> Result<&'a Rollout, Failure> {
    let name = wanted.name;
    wanted.context.rollout.as_ref().ok_or_else(|| {
        Failure::new("RP2002", Exit::Invalid, format!("context {name} has no rollout"))
            .remedy(format!("Say where it goes: [contexts.{name}.rollout] in {}.", project.file.display()))
    })
}

/// Refuses if another deployment holds the partition. The store refuses too, but only after the plan was made.
pub fn refuse_if_busy(store: &dyn WorkLog, context: &str, id: &PartitionId) -> Result<(), Failure> {
    for listed in store.list()?.into_iter().filter(|l| l.context == context && l.partition == *id) {
        let history = store.read(&listed.id)?;
        let over = history.iter().any(|entry| matches!(entry.event, Event::Finished { .. } | Event::Aborted));
        if !over {
            return Err(LogError::Busy { partition: id.clone(), by: listed.id }.into());
        }
    }
    Ok(())
}

/// The hazards that somebody must allow, by name, each once.
pub fn to_be_allowed(plan: &Plan) -> Vec<&str> {
    let mut names: Vec<&str> = plan.hazards.iter().filter(|h| h.must_allow).map(|h| h.name.code()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A digest as people quote it.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Plans the deployment of one partition. Nothing is changed: the DDL is run in a transaction that is rolled back.
pub async fn plan(
    project: &Project,
    store: &dyn WorkLog,
    context: Option<&str>,
    partition: &str,
) -> Result<Planned, Failure> {
    let wanted = find(project, store, context, partition)?;
    let rollout = rollout(project, &wanted)?;
    let Wanted { name, context, id, region, leaf, version, map } = wanted;
    let spec = &project.spec;
    if *leaf.home == rollout.to {
        return Err(Failure::new("RP2007", Exit::Invalid, format!("{id} lives on {} already", leaf.home))
            .remedy("Nothing needs to be done."));
    }
    let ddl = read_ddl(project.folder(), rollout)?;
    let ends = Ends::connect(project, &leaf.home, &rollout.to).await?;
    let closed = closed_at(&ends.green.client, &rollout.to, &green_tables(context, rollout)).await?;
    if let Some(old) = KeptOut::of((&id, &region), &map, &closed, &rollout.to) {
        return Err(old.failure(name));
    }
    let blue_tables: Vec<String> = context.tables.keys().cloned().collect();
    let blue = survey(&ends.blue.client, &leaf.home.database, &leaf.home.schema, Some(&blue_tables)).await?;
    let target = Target {
        database: &rollout.to.database,
        schema: &rollout.to.schema,
        version: &rollout.version,
        ddl: &ddl,
    };
    let rehearsal = rehearse(&ends.green.client, target, &green_tables(context, rollout)).await?;
    let mut ask = Ask {
        context: name.to_owned(),
        partition: id,
        region,
        epoch: leaf.epoch,
        version,
        home: Home::clone(&leaf.home),
        ddl: rehearsal.ddl,
        sizes: BTreeMap::new(),
        occupied: Vec::new(),
        contracts: Vec::new(),
        crossings: Vec::new(),
        beside: None,
        measured: Measured::default(),
        unsettled_keys: Vec::new(),
        misfits: Vec::new(),
    };
    if is_one_database(&ends.blue.client, &ends.green.client, &rollout.to.database).await? {
        ask.beside = Some(Beside { tied: rehearsal.tied });
    }
    ask.contracts =
        contract_plans(project, context, map.dimensions(), &ask.region, &ends.blue, &ask.home).await?;
    let first = drafted(spec, &ask, &blue, &rehearsal.facts)?;
    measure(&ends, &first, &blue, &rehearsal.facts, &mut ask).await?;
    let plan = drafted(spec, &ask, &blue, &rehearsal.facts)?;
    let mut findings = check_expressions(&ends.blue.client, Side::Blue, &plan).await?;
    findings.extend(check_expressions(&ends.green.client, Side::Green, &plan).await?);
    if !findings.is_empty() {
        return Err(found(&findings));
    }
    let difference = schema_difference(&blue, &rehearsal.facts, &plan);
    let compatibility = compatibility(&blue, &rehearsal.facts, &plan);
    let file = PlanFile {
        kind: "DeployPlan".into(),
        selection: partition.to_owned(),
        digest: plan.digest(),
        plan,
        blue,
        green: rehearsal.facts,
        difference,
        compatibility,
    };
    Ok(Planned { file, map })
}

/// What can be said of a deployment with sessions that cannot write: everything but the schema difference, which
/// needs the DDL to be rehearsed.
#[derive(Clone, Debug, Serialize)]
pub struct Outlook {
    /// The partition.
    pub partition: String,
    /// Its key space, for people.
    pub region: String,
    /// Where it lives.
    pub from: Home,
    /// Where it is to live.
    pub to: Home,
    /// The version that it gets.
    pub version: String,
    /// Its tables, with estimated rows and bytes.
    pub tables: BTreeMap<String, SliceSize>,
    /// Whether green's schema holds tables already.
    pub green_has_tables: bool,
    /// What it will take, as far as reading tells.
    pub prediction: Prediction,
}

/// Looks at both databases through read-only sessions.
pub async fn outlook(
    project: &Project,
    store: &dyn WorkLog,
    context: Option<&str>,
    partition: &str,
) -> Result<Outlook, Failure> {
    let wanted = find(project, store, context, partition)?;
    let rollout = rollout(project, &wanted)?;
    let Wanted { context, id, region, leaf, map, .. } = wanted;
    let (blue, green) =
        (session(project, &leaf.home, true).await?, session(project, &rollout.to, true).await?);
    let wanted: Vec<String> = context.tables.keys().cloned().collect();
    let blue_facts = survey(&blue.client, &leaf.home.database, &leaf.home.schema, Some(&wanted)).await?;
    let green_facts = survey(
        &green.client,
        &rollout.to.database,
        &rollout.to.schema,
        Some(&green_tables(context, rollout)),
    )
    .await?;
    let mut tables = BTreeMap::new();
    for (table, _) in context.tables.iter().filter(|(_, t)| t.mode == TableMode::Slice) {
        if let Some(facts) = blue_facts.table(table) {
            let slice = rows_of(context, table, &region, map.dimensions());
            let size = slice_size(&blue.client, &leaf.home.database, facts, &slice).await?;
            tables.insert(table.clone(), size);
        }
    }
    let largest = tables.iter().max_by_key(|(_, size)| size.bytes);
    let sampled = largest.map(|(table, size)| Sampled {
        table: table.clone(),
        qualified: [&leaf.home.schema, table].map(|name| quote_ident(name)).join("."),
        predicate: rows_of(context, table, &region, map.dimensions()),
        size: *size,
    });
    let load = Load {
        bytes: tables.values().map(|size| size.bytes).sum(),
        lanes: project.spec.policy.copy_parallel,
        // Which are continued is known when the DDL was rehearsed.
        sequences: 0,
        pause_max_ms: project.spec.policy.pause_max.millis(),
    };
    let measured = replat_postgres::survey::measure(&blue.client, &green.client, sampled).await;
    Ok(Outlook {
        prediction: predict(measured, load),
        partition: id.to_string(),
        region: region.describe(map.dimensions()),
        from: Home::clone(&leaf.home),
        to: rollout.to.clone(),
        version: rollout.version.clone(),
        tables,
        green_has_tables: !green_facts.tables.is_empty(),
    })
}

/// What the rows of a table satisfy that are in a part of the key space.
pub fn rows_of(context: &Context, table: &str, region: &Region, dimensions: &[Dimension]) -> String {
    region_predicate(region, dimensions, |dimension| quote_ident(context.column_of(table, dimension)))
}

/// What the context's tables are called on green.
pub fn green_tables(context: &Context, rollout: &Rollout) -> Vec<String> {
    rollout.new_tables(context).into_iter().map(str::to_owned).collect()
}

/// The plan, or everything that stands in its way.
pub fn drafted(spec: &Spec, ask: &Ask, blue: &DatabaseFacts, green: &DatabaseFacts) -> Result<Plan, Failure> {
    draft(spec, ask, blue, green).map_err(|findings| found(&findings))
}

/// What stands in the way of a deployment, as a failure.
pub fn found(findings: &[Finding]) -> Failure {
    let things = counted(findings.len(), "thing stands", "things stand");
    let mut failure =
        Failure::new("RP2002", Exit::Precondition, format!("{things} in the way of this deployment"));
    for finding in findings {
        let place = match (&finding.table, &finding.column) {
            (Some(table), Some(column)) => format!("{table}.{column}: "),
            (Some(table), None) => format!("{table}: "),
            _ => String::new(),
        };
        failure = failure
            .because([format!("{} {place}{}", finding.code, finding.what)])
            .remedy(finding.remedy.clone());
    }
    let mut said = BTreeSet::new();
    failure.remedy.retain(|remedy| said.insert(remedy.clone()));
    failure
}

/// A session to each side.
pub struct Ends {
    /// Blue's.
    pub blue: Connected,
    /// Green's.
    pub green: Connected,
}

impl Ends {
    /// Connects to both.
    pub async fn connect(project: &Project, blue: &Home, green: &Home) -> Result<Ends, Failure> {
        Ok(Ends { blue: session(project, blue, false).await?, green: session(project, green, false).await? })
    }
}

/// A session for planning.
pub async fn session(project: &Project, home: &Home, read_only: bool) -> Result<Connected, Failure> {
    let info = project.connection(home, read_only)?;
    replat_postgres::connect::connect(&info, "replat/plan").await.map_err(|e| {
        let exit = if e.is_temporary() { Exit::Temporary } else { Exit::Precondition };
        Failure::new("RP1001", exit, format!("database {}: {e}", home.database))
            .because(crate::failure::causes(&e))
            .remedy(e.remedy())
    })
}

/// How long planning looks for rows of one foreign key, in one direction.
const EDGE_PATIENCE: Duration = Duration::from_secs(3);

/// How much of each table moves, how fast that goes, and whether green holds some of it already.
pub async fn measure(
    ends: &Ends,
    plan: &Plan,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
    ask: &mut Ask,
) -> Result<(), Failure> {
    weigh(ends, plan, blue, green, ask).await?;
    // Where rows stay where they are, nothing takes time.
    if !plan.path.shares_rows() {
        ask.measured = sample(ends, plan, ask).await;
    }
    Ok(())
}

/// How fast both servers are, tried with rows of the largest table.
pub async fn sample(ends: &Ends, plan: &Plan, ask: &Ask) -> Measured {
    let largest =
        plan.tables.iter().max_by_key(|table| ask.sizes.get(&table.blue.name).map_or(0, |s| s.bytes));
    let sampled = largest.map(|table| Sampled {
        table: table.blue.name.clone(),
        qualified: table_name(plan, table, Side::Blue),
        predicate: predicate(plan, table, Side::Blue, ""),
        size: ask.sizes.get(&table.blue.name).copied().unwrap_or_default(),
    });
    replat_postgres::survey::measure(&ends.blue.client, &ends.green.client, sampled).await
}

/// How much of each table moves, and whether green holds some of it already.
pub async fn weigh(
    ends: &Ends,
    plan: &Plan,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
    ask: &mut Ask,
) -> Result<(), Failure> {
    for table in plan.tables.iter().chain(&plan.references) {
        if let Some(facts) = blue.table(&table.blue.name) {
            let slice = members(plan, table, Side::Blue, "");
            let size = slice_size(&ends.blue.client, &plan.blue.home.database, facts, &slice).await?;
            ask.sizes.insert(table.blue.name.clone(), size);
        }
    }
    let at_the_edge = crossings_within(&ends.blue.client, plan, EDGE_PATIENCE).await?;
    (ask.crossings, ask.unsettled_keys) = (at_the_edge.found, at_the_edge.unsettled);
    ask.misfits = misfits(&ends.blue.client, plan, blue, green).await?;
    if !ask.ddl.is_empty() {
        return Ok(());
    }
    // Reference tables are not asked: the first deployment to this schema filled them for all.
    for table in &plan.tables {
        if let Some(facts) = green.table(&table.green.name) {
            let slice = predicate(plan, table, Side::Green, "");
            if slice_is_occupied(&ends.green.client, &plan.green.home.database, facts, &slice).await? {
                ask.occupied.push(table.green.name.clone());
            }
        }
    }
    Ok(())
}

/// The rollout's DDL files.
///
/// # Errors
///
/// That a file cannot be read.
pub fn read_ddl(folder: &Path, rollout: &Rollout) -> Result<Vec<DdlFile>, Failure> {
    rollout
        .ddl
        .iter()
        .map(|name| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(|e| {
                Failure::new("RP2001", Exit::Invalid, format!("{} cannot be read: {e}", path.display()))
            })?;
            Ok(DdlFile { name: name.to_string(), text: without_restrictions(&text) })
        })
        .collect()
}

/// Reads a plan file and checks that nobody changed it.
pub fn read_file(path: &Path) -> Result<PlanFile, Failure> {
    let bad = |why: String| {
        Failure::new("RP2004", Exit::Invalid, format!("{} is not a plan: {why}", path.display()))
            .remedy("Make one: replat plan deploy -p … --out FILE")
    };
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let file: PlanFile = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if file.kind != "DeployPlan" || file.plan.format != FORMAT {
        return Err(bad(format!("its kind is {}, its format {}", file.kind, file.plan.format)));
    }
    if file.plan.digest() != file.digest
        || file.difference != schema_difference(&file.blue, &file.green, &file.plan)
        || file.compatibility != compatibility(&file.blue, &file.green, &file.plan)
    {
        return Err(bad("its digest does not fit its content; it was changed after it was made".into()));
    }
    Ok(file)
}

/// What is no longer so, as far as sessions can tell that cannot write: the map, the DDL files and both catalogues.
/// What the DDL makes of green's is known only after it was rehearsed, so green is looked at where it has its tables
/// already.
pub async fn outdated(
    project: &Project,
    store: &dyn WorkLog,
    file: &PlanFile,
) -> Result<Vec<String>, Failure> {
    let wanted = find(project, store, Some(&file.plan.context), &file.selection)?;
    let rollout = rollout(project, &wanted)?;
    let mut lines = Vec::new();
    if wanted.leaf.epoch != file.plan.epoch || *wanted.leaf.home != file.plan.blue.home {
        lines.push(format!(
            "{} is on {} at epoch {}, the plan is for {} at {}",
            wanted.id, wanted.leaf.home, wanted.leaf.epoch, file.plan.blue.home, file.plan.epoch
        ));
    }
    if rollout.to != file.plan.green.home || rollout.version != file.plan.version {
        let (to, version) = (&rollout.to, &rollout.version);
        lines.push(format!("the rollout goes to {to} with version {version}"));
    }
    if !file.plan.ddl.is_empty() && read_ddl(project.folder(), rollout)? != file.plan.ddl {
        lines.push("the DDL was changed".into());
    }
    let blue = session(project, &file.plan.blue.home, true).await?;
    let tables: Vec<String> = wanted.context.tables.keys().cloned().collect();
    let home = &file.plan.blue.home;
    let now = survey(&blue.client, &home.database, &home.schema, Some(&tables)).await?;
    lines.extend(changed(&file.blue, &now).into_iter().map(|l| format!("blue: {l}")));
    if file.plan.ddl.is_empty() {
        let green = session(project, &file.plan.green.home, true).await?;
        let tables = green_tables(wanted.context, rollout);
        let home = &file.plan.green.home;
        let now = survey(&green.client, &home.database, &home.schema, Some(&tables)).await?;
        lines.extend(changed(&file.green, &now).into_iter().map(|l| format!("green: {l}")));
    }
    Ok(lines)
}

/// What is no longer so, compared with a plan that was made just now for the same partition.
pub fn what_changed(then: &PlanFile, now: &PlanFile) -> Vec<String> {
    let mut lines = Vec::new();
    if then.plan.epoch != now.plan.epoch {
        lines.push(format!(
            "{} is at epoch {}, the plan is for {}",
            now.plan.partition, now.plan.epoch, then.plan.epoch
        ));
    }
    for (what, was, is) in [
        ("blue's home", then.plan.blue.home.to_string(), now.plan.blue.home.to_string()),
        ("green's home", then.plan.green.home.to_string(), now.plan.green.home.to_string()),
        ("the version", then.plan.version.clone(), now.plan.version.clone()),
        ("the version on blue", said(&then.plan.version_before), said(&now.plan.version_before)),
    ] {
        if was != is {
            lines.push(format!("{what} was {was} and is {is}"));
        }
    }
    if then.plan.ddl != now.plan.ddl {
        lines.push("the DDL was changed, or was run meanwhile".into());
    }
    lines.extend(changed(&then.blue, &now.blue).into_iter().map(|l| format!("blue: {l}")));
    lines.extend(changed(&then.green, &now.green).into_iter().map(|l| format!("green: {l}")));
    if lines.is_empty() && unsized_plan(&then.plan) != unsized_plan(&now.plan) {
        lines.push("the spec says something else about its tables or columns".into());
    }
    lines
}

/// A version that may never have been said.
fn said(version: &Option<String>) -> String {
    version.clone().unwrap_or_else(|| "unknown".into())
}

/// A plan without its estimates, which change by themselves, and without its limits, which it brings along.
fn unsized_plan(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for table in plan.tables.iter_mut().chain(&mut plan.references) {
        (table.rows, table.bytes) = (0, 0);
    }
    plan.hazards.clear();
    plan.policy = Policy::shipped();
    plan.prediction = Prediction::default();
    plan
}
