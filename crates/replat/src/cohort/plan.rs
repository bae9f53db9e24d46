//! From many wishes to one plan: both databases are looked at once, the DDL is rehearsed once, and each partition is
//! drafted from that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use replat_engine::WorkLog;
use replat_model::compatibility::{Compatibility, compatibility};
use replat_model::contract::ContractPlan;
use replat_model::draft::{Ask, SliceSize, schema_difference};
use replat_model::facts::DatabaseFacts;
use replat_model::ids::{Epoch, Home, PartitionId, Side};
use replat_model::map::{Map, Selection};
use replat_model::plan::{FORMAT, Hazard, Plan};
use replat_model::prediction::{Measured, Prediction};
use replat_model::region::Region;
use replat_model::spec::{Context, TableMode};
use replat_postgres::cohort::CONNECTIONS_MIN;
use replat_postgres::connect::Connected;
use replat_postgres::guard::closed_at;
use replat_postgres::sql::quote_ident;
use replat_postgres::survey::{Target, check_expressions, is_one_database, rehearse, survey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::Targets;
use crate::contracts::contract_plans;
use crate::failure::{Exit, Failure};
use crate::planning::{
    self, Ends, KeptOut, Wanted, drafted, find_in, found, green_tables, rollout, rows_of, sample, session,
    weigh,
};
use crate::project::Project;

/// What the kind of a cohort's plan file is called.
const KIND: &str = "CohortPlan";

/// The plan of a cohort as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortFile {
    /// `CohortPlan`.
    pub kind: String,
    /// Over the digests of all members' plans, in their order: what was approved is what is run.
    pub digest: String,
    /// The plan of the first member. The others differ from it in what stands below.
    pub plan: Plan,
    /// The members.
    pub members: Vec<MemberPlan>,
    /// What blue's catalogue said.
    pub blue: DatabaseFacts,
    /// What green's catalogue will say.
    pub green: DatabaseFacts,
    /// The schema difference, for people.
    pub difference: Vec<String>,
    /// Whether code of either version can run on the other's schema.
    pub compatibility: Compatibility,
    /// Partitions that were meant and do not go along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A partition that cannot go as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The partition as it was asked for.
    pub selection: String,
    /// Its name.
    pub partition: PartitionId,
    /// What stands in its way.
    pub because: Vec<String>,
    /// What to do about that.
    pub remedy: Vec<String>,
}

impl LeftOut {
    /// All of it on one line.
    pub fn line(&self) -> String {
        let more = match self.because.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        format!("{}: {}{more}", self.partition, self.because.first().map_or("", String::as_str))
    }
}

/// What is a member's own in its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPlan {
    /// The partition as it was asked for.
    pub selection: String,
    /// Its name.
    pub partition: PartitionId,
    /// Its key space.
    pub region: Region,
    /// Its epoch when the plan was made.
    pub epoch: Epoch,
    /// Rows and bytes of its share of each table, estimated.
    pub sizes: Vec<SliceSize>,
    /// What consumers rely on, with its values.
    pub contracts: Vec<ContractPlan>,
    /// What a person should know of it.
    pub hazards: Vec<Hazard>,
    /// The schema version that it is at, if that is known.
    pub version_before: Option<String>,
    /// What it will take.
    pub prediction: Prediction,
}

impl MemberPlan {
    fn of(selection: String, plan: &Plan) -> MemberPlan {
        let sizes = plan.tables.iter().map(|t| SliceSize { rows: t.rows, bytes: t.bytes }).collect();
        MemberPlan {
            selection,
            partition: plan.partition.clone(),
            region: plan.region.clone(),
            epoch: plan.epoch,
            sizes,
            contracts: plan.contracts.clone(),
            hazards: plan.hazards.clone(),
            version_before: plan.version_before.clone(),
            prediction: plan.prediction.clone(),
        }
    }

    /// The whole plan, from that of any other member.
    pub fn plan(&self, other: &Plan) -> Plan {
        let mut plan = Plan {
            partition: self.partition.clone(),
            region: self.region.clone(),
            epoch: self.epoch,
            contracts: self.contracts.clone(),
            hazards: self.hazards.clone(),
            version_before: self.version_before.clone(),
            prediction: self.prediction.clone(),
            ..other.clone()
        };
        for (table, size) in plan.tables.iter_mut().zip(&self.sizes) {
            (table.rows, table.bytes) = (size.rows, size.bytes);
        }
        plan
    }
}

impl CohortFile {
    /// The members' plans, in their order.
    pub fn plans(&self) -> impl Iterator<Item = Plan> {
        self.members.iter().map(|member| member.plan(&self.plan))
    }

    fn sealed(plans: impl Iterator<Item = Plan>) -> String {
        let digest = plans.fold(Sha256::new(), |digest, plan| digest.chain_update(plan.digest()));
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A cohort's plan, with the map of each member: the one in which it is a leaf of its own, after those before it.
pub struct PlannedCohort {
    /// The plan.
    pub file: CohortFile,
    /// The maps.
    pub maps: Vec<Map>,
}

/// The partitions that are meant, each as one would name it, in the order in which they were named.
async fn selections(
    project: &Project,
    (name, context): (&str, &Context),
    map: &Map,
    targets: &Targets,
) -> Result<Vec<String>, Failure> {
    let mut named = Vec::new();
    for one in &targets.partitions {
        match one.strip_prefix('@') {
            None => named.push(one.clone()),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    Failure::new("RP2006", Exit::Usage, format!("{path} cannot be read: {e}"))
                        .remedy("Write a partition on each line; what follows # is passed over.")
                })?;
                let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
                named.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
            }
        }
    }
    if targets.each {
        named = each(project, (name, context), map, &named).await?;
    }
    let mut seen = BTreeSet::new();
    named.retain(|one| seen.insert(one.clone()));
    if named.is_empty() {
        return Err(Failure::new("RP2006", Exit::Invalid, "no partition is meant")
            .remedy("Name some with -p, or see that the home has rows where they are looked for."));
    }
    Ok(named)
}

/// Every value of the dimension that the home has within these parts, or anywhere, written as a partition of its own.
async fn each(
    project: &Project,
    (name, context): (&str, &Context),
    map: &Map,
    parts: &[String],
) -> Result<Vec<String>, Failure> {
    let [dimension] = map.dimensions() else {
        return Err(Failure::new("RP2006", Exit::Usage, "--each needs a context with one dimension")
            .remedy("Name the partitions, or write them into a file: -p @FILE"));
    };
    let mut regions = Vec::new();
    for part in parts {
        let selection = Selection::parse(part, map.dimensions())
            .map_err(|e| Failure::new("RP2006", Exit::Invalid, e.to_string()))?;
        match &selection {
            Selection::Named(id) => regions.push(map.region(id).ok_or_else(|| {
                Failure::new("RP2006", Exit::Invalid, format!("there is no partition {id}"))
                    .remedy(format!("See: replat route get -C {name}"))
            })?),
            Selection::Keys(_) => regions.extend(selection.region()),
        }
    }
    if regions.is_empty() {
        regions.push(Region::everything());
    }
    let home = session(project, &context.home, true).await?;
    let of_tables: Vec<String> = context
        .tables
        .iter()
        .filter(|(_, table)| table.mode == TableMode::Slice)
        .map(|(name, table)| {
            let written: Vec<String> = regions
                .iter()
                .map(|r| format!("({})", rows_of(context, name, r, map.dimensions())))
                .collect();
            let (schema, column) = (&context.home.schema, table.column_of(&dimension.column));
            let [schema, name, column] = [schema, name.as_str(), column].map(quote_ident);
            format!(
                "SELECT {column} FROM {schema}.{name} WHERE {column} IS NOT NULL AND ({})",
                written.join(" OR ")
            )
        })
        .collect();
    let sql =
        format!("SELECT every.v::text FROM ({}) AS every (v) ORDER BY every.v", of_tables.join(" UNION "));
    let rows = home.client.query(&sql, &[]).await.map_err(|e| {
        Failure::new(
            "RP1004",
            Exit::Precondition,
            format!("the values of {} cannot be listed: {e}", dimension.column),
        )
        .because(crate::failure::causes(&e))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let text: &str = row.get(0);
        let key = dimension.key_type.parse(text).map_err(|e| {
            Failure::new(
                "RP2006",
                Exit::Invalid,
                format!("a value of {} cannot be a key: {e}", dimension.column),
            )
        })?;
        // What has moved before may have left its copy.
        let is_here = |id: &PartitionId| {
            let at_home = map.leaf(id).is_some_and(|leaf| *leaf.home == context.home);
            at_home && map.region(id).is_some_and(|r| r.contains(std::slice::from_ref(&key)))
        };
        if map.leaves().any(|leaf| is_here(&leaf.partition)) {
            let text = dimension.key_type.text_of(&key);
            let plain =
                text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) && !text.is_empty();
            let text = if plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) };
            found.push(format!("{}={text}", dimension.column));
        }
    }
    Ok(found)
}

/// Plans the deployment of many partitions. Nothing is changed: the DDL is run in a transaction that is rolled back.
pub async fn plan(
    project: &Project,
    store: &dyn WorkLog,
    targets: &Targets,
) -> Result<PlannedCohort, Failure> {
    let (name, context) = project.context(targets.context.as_deref())?;
    let map = project.map(store, name, context)?;
    let selections = selections(project, (name, context), &map, targets).await?;
    let refused = if targets.leave_out_refused { Refused::StayBehind } else { Refused::StopAll };
    plan_these(project, store, (name, context), map, (selections, refused)).await
}

/// What becomes of a cohort if some of its members cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody goes, and they are named.
    StopAll,
    /// The others go, and they are named.
    StayBehind,
}

/// How many of those that cannot go an error names.
const NAMED_MAX: usize = 12;

/// What to do about those that cannot go.
fn stopped(left_out: &[LeftOut], of: usize) -> Failure {
    let what = format!("{} of {of} partitions cannot go as they are", left_out.len());
    let mut failure = Failure::new("RP2002", Exit::Precondition, what).details(&left_out);
    failure = failure.because(left_out.iter().take(NAMED_MAX).map(LeftOut::line));
    if left_out.len() > NAMED_MAX {
        failure = failure.because([format!("and {} more (see --json)", left_out.len() - NAMED_MAX)]);
    }
    let said: BTreeSet<&String> = left_out.iter().flat_map(|one| &one.remedy).collect();
    for remedy in said.into_iter().take(NAMED_MAX) {
        failure = failure.remedy(remedy.clone());
    }
    if left_out.len() < of {
        failure = failure.remedy("Or let the others go without them: --leave-out-refused");
    }
    failure
}

/// The same for partitions that are known by name.
pub async fn plan_these(
    project: &Project,
    store: &dyn WorkLog,
    (name, context): (&str, &Context),
    map: Map,
    (selections, refused): (Vec<String>, Refused),
) -> Result<PlannedCohort, Failure> {
    let find = |selections: &[String]| {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for selection in selections {
            let before = wanted.last().map_or(&map, |one| &one.map);
            wanted.push(find_in(store, name, context, before, selection)?);
        }
        Ok::<_, Failure>(wanted)
    };
    let wanted = find(&selections)?;
    let mut ids = BTreeSet::new();
    if let Some(twice) = wanted.iter().find(|one| !ids.insert(&one.id)) {
        return Err(Failure::new("RP2006", Exit::Invalid, format!("{} is named twice", twice.id))
            .remedy("Name each partition once."));
    }
    let first = wanted.first().expect("somebody is meant");
    let rollout = rollout(project, first)?;
    let home = Home::clone(&first.leaf.home);
    for one in &wanted {
        if *one.leaf.home == rollout.to {
            return Err(Failure::new(
                "RP2007",
                Exit::Invalid,
                format!("{} lives on {} already", one.id, rollout.to),
            )
            .remedy("Leave it out."));
        }
        if *one.leaf.home != home {
            let what = format!("{} lives on {}, and {} on {home}", one.id, one.leaf.home, first.id);
            return Err(Failure::new("RP2006", Exit::Invalid, what)
                .remedy("A cohort has one home: deploy those of each home by themselves."));
        }
    }
    refuse_too_few_connections(project, [&home, &rollout.to])?;
    let ddl = planning::read_ddl(project.folder(), rollout)?;
    let ends = Ends::connect(project, &home, &rollout.to).await?;
    let blue_tables: Vec<String> = context.tables.keys().cloned().collect();
    let blue = survey(&ends.blue.client, &home.database, &home.schema, Some(&blue_tables)).await?;
    let target = Target {
        database: &rollout.to.database,
        schema: &rollout.to.schema,
        version: &rollout.version,
        ddl: &ddl,
    };
    let rehearsal = rehearse(&ends.green.client, target, &green_tables(context, rollout)).await?;
    if is_one_database(&ends.blue.client, &ends.green.client, &rollout.to.database).await? {
        let what = format!("{home} and {} are schemas of one database", rollout.to);
        return Err(Failure::new("RP2002", Exit::Precondition, what)
            .remedy("Deploy the partitions by themselves: within one database there is no log to share."));
    }
    let closed = closed_at(&ends.green.client, &rollout.to, &green_tables(context, rollout)).await?;
    let mut plans = Vec::new();
    let mut going = Vec::new();
    let mut left_out = Vec::new();
    let mut measured = None;
    for (one, selection) in wanted.iter().zip(selections) {
        if let Some(old) = KeptOut::of((&one.id, &one.region), &one.map, &closed, &rollout.to) {
            let Failure { what, remedy, .. } = old.failure(name);
            left_out.push(LeftOut {
                selection,
                partition: one.id.clone(),
                because: vec![what.into()],
                remedy,
            });
            continue;
        }
        let mut ask = Ask {
            context: name.to_owned(),
            partition: one.id.clone(),
            region: one.region.clone(),
            epoch: one.leaf.epoch,
            home: home.clone(),
            ddl: rehearsal.ddl.clone(),
            sizes: BTreeMap::new(),
            occupied: Vec::new(),
            contracts: contracts(project, one, &ends.blue, &home).await?,
            crossings: Vec::new(),
            version: one.version.clone(),
            beside: None,
            measured: Measured::default(),
            unsettled_keys: Vec::new(),
            misfits: Vec::new(),
        };
        let first = drafted(&project.spec, &ask, &blue, &rehearsal.facts)?;
        weigh(&ends, &first, &blue, &rehearsal.facts, &mut ask).await?;
        // How fast the servers are is the same for all.
        ask.measured = match &measured {
            Some(measured) => Measured::clone(measured),
            None => measured.insert(sample(&ends, &first, &ask).await).clone(),
        };
        // What the schemas have against it was against the first draft, and is so for all. This is about its rows.
        match drafted(&project.spec, &ask, &blue, &rehearsal.facts) {
            Ok(plan) => {
                plans.push(plan);
                going.push(selection);
            }
            Err(Failure { because, remedy, .. }) => {
                left_out.push(LeftOut { selection, partition: one.id.clone(), because, remedy });
            }
        }
    }
    if plans.is_empty() || (refused == Refused::StopAll && !left_out.is_empty()) {
        return Err(stopped(&left_out, wanted.len()));
    }
    // Those that stay behind are no leaves of their own.
    let maps = if left_out.is_empty() { wanted } else { find(&going)? };
    let maps: Vec<Map> = maps.into_iter().map(|one| one.map).collect();
    let plan = plans.first().expect("somebody goes").clone();
    // Expressions know no partitions.
    let mut findings = check_expressions(&ends.blue.client, Side::Blue, &plan).await?;
    findings.extend(check_expressions(&ends.green.client, Side::Green, &plan).await?);
    if !findings.is_empty() {
        return Err(found(&findings));
    }
    let members = going.into_iter().zip(&plans).map(|(s, plan)| MemberPlan::of(s, plan)).collect();
    let difference = schema_difference(&blue, &rehearsal.facts, &plan);
    let compatibility = compatibility(&blue, &rehearsal.facts, &plan);
    let digest = CohortFile::sealed(plans.into_iter());
    let green = rehearsal.facts;
    let file = CohortFile {
        kind: KIND.into(),
        digest,
        plan,
        members,
        blue,
        green,
        difference,
        compatibility,
        left_out,
    };
    Ok(PlannedCohort { file, maps })
}

async fn contracts(
    project: &Project,
    one: &Wanted<'_>,
    blue: &Connected,
    home: &Home,
) -> Result<Vec<ContractPlan>, Failure> {
    contract_plans(project, one.context, one.map.dimensions(), &one.region, blue, home).await
}

fn refuse_too_few_connections(project: &Project, homes: [&Home; 2]) -> Result<(), Failure> {
    for home in homes {
        let allowed =
            project.spec.databases.get(&home.database).map_or(CONNECTIONS_MIN, |d| d.max_connections);
        if allowed < CONNECTIONS_MIN {
            let what = format!(
                "a cohort needs {CONNECTIONS_MIN} connections to {}, and max_connections allows {allowed}",
                home.database
            );
            return Err(Failure::new("RP2002", Exit::Precondition, what).remedy(format!(
                "Raise max_connections of [databases.{}] in {}.",
                home.database,
                project.file.display()
            )));
        }
    }
    Ok(())
}

/// Whether a file is the plan of a cohort.
pub fn is_cohort_file(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str::<Kind>(&text).ok())
        .is_some_and(|file| file.kind == KIND)
}

/// Reads a cohort's plan file and checks that nobody changed it.
pub fn read_file(path: &Path) -> Result<CohortFile, Failure> {
    let bad = |why: String| {
        Failure::new("RP2004", Exit::Invalid, format!("{} is not a plan: {why}", path.display()))
            .remedy("Make one: replat plan deploy --each … --out FILE")
    };
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let file: CohortFile = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if file.kind != KIND || file.plan.format != FORMAT || file.members.is_empty() {
        return Err(bad(format!("its kind is {}, its format {}", file.kind, file.plan.format)));
    }
    if CohortFile::sealed(file.plans()) != file.digest
        || file.difference != schema_difference(&file.blue, &file.green, &file.plan)
        || file.compatibility != compatibility(&file.blue, &file.green, &file.plan)
    {
        return Err(bad("its digest does not fit its content; it was changed after it was made".into()));
    }
    Ok(file)
}
