//! `contracts`: the queries that consumers rely on, listed, tried, and asked on both sides.

use replat_model::contract::{Answer, ContractPlan, ROWS_MAX};
use replat_model::ids::Home;
use replat_model::map::Dimension;
use replat_model::region::{Constraint, Region};
use replat_model::spec::{Context, TableMode};
use replat_postgres::connect::Connected;
use replat_postgres::contracts::{answer, compare, sample};
use serde_json::json;

use crate::cli::ContractsVerb;
use crate::deploy::Desk;
use crate::failure::{Exit, Failure};
use crate::planning::{rows_of, session, wanted};
use crate::project::Project;
use crate::render;

/// The contracts of a context, with their queries read and their values taken from rows of `region` in `home`.
pub async fn contract_plans(
    project: &Project,
    context: &Context,
    dimensions: &[Dimension],
    region: &Region,
    blue: &Connected,
    home: &Home,
) -> Result<Vec<ContractPlan>, Failure> {
    let mut plans = Vec::new();
    for (name, contract) in &context.contracts {
        let path = project.folder().join(&contract.query);
        let sql = std::fs::read_to_string(&path).map_err(|e| {
            Failure::new("RP2001", Exit::Invalid, format!("{} cannot be read: {e}", path.display()))
                .because([format!("contract {name} says that its query is there")])
                .remedy("Correct `query`; paths begin at the spec's directory.")
        })?;
        let mut parameters = Vec::new();
        for parameter in &contract.parameters {
            parameters.push(match parameter.strip_prefix('$') {
                Some(column) => value(context, dimensions, region, column, blue, home).await?,
                None => Some(parameter.clone()),
            });
        }
        plans.push(ContractPlan {
            name: name.clone(),
            consumer: contract.consumer(name).to_owned(),
            sql,
            parameters,
            columns: contract.columns,
            rows: contract.rows,
            order: contract.order,
            budget_ms: contract.budget.map(|budget| budget.millis()),
        });
    }
    Ok(plans)
}

/// The partition's own value of a dimension: the one that it is made of, or that of one of its rows.
async fn value(
    context: &Context,
    dimensions: &[Dimension],
    region: &Region,
    column: &str,
    blue: &Connected,
    home: &Home,
) -> Result<Option<String>, Failure> {
    let of_it = region.constraints().find(|(at, _)| dimensions[*at].column == column);
    if let Some((at, Constraint::OneOf(values))) = of_it
        && let Some(value) = values.first()
    {
        return Ok(Some(dimensions[at].key_type.text_of(value)));
    }
    let slices = context.tables.iter().filter(|(_, table)| table.mode == TableMode::Slice);
    for (name, table) in slices {
        let predicate = rows_of(context, name, region, dimensions);
        let found = sample(&blue.client, home, name, table.column_of(column), &predicate).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl Desk<'_> {
    /// Obeys `contracts`.
    pub async fn contracts(&self, verb: &ContractsVerb) -> Result<(), Failure> {
        match verb {
            ContractsVerb::List { context } => self.list_contracts(context.as_deref()),
            ContractsVerb::Check { context } => self.check_contracts(context.as_deref()).await,
            ContractsVerb::Test { target } => self.test_contracts(target).await,
        }
    }

    fn list_contracts(&self, context: Option<&str>) -> Result<(), Failure> {
        let (name, context) = self.project.context(context)?;
        let mut text = String::new();
        for (contract, spec) in &context.contracts {
            let values = spec.parameters.join(", ");
            text += &format!("{contract}  for {}  {} ({values})\n", spec.consumer(contract), spec.query);
        }
        if context.contracts.is_empty() {
            text = format!("context {name} has no contracts\n");
        }
        self.style.result(&text, &json!(context.contracts));
        Ok(())
    }

    /// Runs each at the context's home, with the values of some row.
    async fn check_contracts(&self, context: Option<&str>) -> Result<(), Failure> {
        let (name, context) = self.project.context(context)?;
        let home = &context.home;
        let blue = session(&self.project, home, true).await?;
        let all = Region::everything();
        let plans = contract_plans(&self.project, context, &context.dimensions, &all, &blue, home).await?;
        let (mut text, mut values, mut broken) = (String::new(), Vec::new(), Vec::new());
        for plan in &plans {
            let said = match answer(plan, (&blue.client, home)).await? {
                Ok(answered) => {
                    let over = plan.budget_ms.filter(|budget| answered.took_ms > *budget);
                    broken.extend(
                        plan.too_many(&answered)
                            .map(|why| format!("{} ({}): {why}", plan.name, plan.consumer)),
                    );
                    broken.extend(over.map(|budget| {
                        let took = answered.took_ms;
                        format!(
                            "{} ({}): it may take {budget} ms and took {took} ms",
                            plan.name, plan.consumer
                        )
                    }));
                    shown(&answered)
                }
                Err(why) => {
                    broken.push(format!("{} ({}): {why}", plan.name, plan.consumer));
                    why
                }
            };
            text += &format!("{}  {said}\n", plan.name);
            values.push(json!({ "contract": plan.name, "consumer": plan.consumer, "answer": said }));
        }
        self.style.result(&text, &json!(values));
        refuse(broken, format!("context {name} at {home}"))
    }

    async fn test_contracts(&self, target: &crate::cli::Target) -> Result<(), Failure> {
        let wanted = wanted(&self.project, &self.store, target)?;
        let rollout = wanted.context.rollout.as_ref().ok_or_else(|| {
            Failure::new("RP2002", Exit::Invalid, format!("context {} has no rollout", wanted.name))
                .remedy("`replat contracts check` asks the home alone.")
        })?;
        // While green is home, blue is followed: both can be asked then, too.
        let present = &*wanted.leaf.home;
        let home = if *present == rollout.to { &wanted.context.home } else { present };
        if *home == rollout.to {
            return Err(Failure::new(
                "RP2007",
                Exit::Invalid,
                format!("{} lives on {home} already", wanted.id),
            )
            .remedy("There is no other side to compare with; `replat contracts check` asks one alone."));
        }
        let blue = session(&self.project, home, true).await?;
        let green = session(&self.project, &rollout.to, true).await?;
        let dimensions = wanted.map.dimensions();
        let plans =
            contract_plans(&self.project, wanted.context, dimensions, &wanted.region, &blue, home).await?;
        let kept = compare(&plans, (&blue.client, home), (&green.client, &rollout.to)).await?;
        let mut text: String = kept.kept.iter().map(|name| format!("{name}  kept\n")).collect();
        for name in &kept.unsettled {
            text += &format!("{name}  kept; its rows changed during every look, and were not compared\n");
        }
        self.style.result(&text, &json!(kept));
        refuse(render::broken_contracts(&kept), format!("{} on {home} and {}", wanted.id, rollout.to))
    }
}

fn shown(answer: &Answer) -> String {
    let columns: Vec<String> =
        answer.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    let rows = match answer.rows.len() {
        many if many > ROWS_MAX => format!("more than {ROWS_MAX}"),
        few => few.to_string(),
    };
    format!("{rows} rows ({}) in {} ms", columns.join(", "), answer.took_ms)
}

fn refuse(broken: Vec<String>, place: String) -> Result<(), Failure> {
    if broken.is_empty() {
        return Ok(());
    }
    let count = render::counted(broken.len(), "contract is", "contracts are");
    Err(Failure::new("RP4004", Exit::Different, format!("{count} not kept: {place}")).because(broken).remedy(
        "Mend the DDL or the expressions of the rollout, or agree with the consumer on another contract.",
    ))
}
