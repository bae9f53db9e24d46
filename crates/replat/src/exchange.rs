//! `deploy exchange`: green gets the tables that it has been a view of, and blue's names become views; or back.

use std::sync::Arc;

use replat_engine::{Listed, WorkLog};
use replat_model::deploy::Deployment;
use replat_model::exchange::{ExchangePlan, Refusal};
use replat_model::ids::{Home, Side};
use replat_model::plan::{Path, ViewPlan};
use replat_postgres::ends::Ends;
use replat_postgres::exchange::{Drafted, Place, draft, exchange};
use serde_json::json;

use crate::ask;
use crate::cli::ExchangeArgs;
use crate::deploy::Desk;
use crate::failure::{Exit, Failure, UNTOUCHED};
use crate::render::{self, Exchange};

/// The names that are shown of many.
const SHOWN_MAX: usize = 5;

/// A rollout by views that every partition has gone along with.
struct Rolled {
    listed: Listed,
    d: Deployment,
}

impl Rolled {
    fn views(&self) -> &[ViewPlan] {
        match &self.d.plan.path {
            Path::Views { views } => views,
            Path::Copy { .. } => &[],
        }
    }

    fn place(&self) -> Place {
        let (blue, green) = (&self.d.plan.blue.home, &self.d.plan.green.home);
        Place { database: green.database.clone(), blue: blue.schema.clone(), green: green.schema.clone() }
    }
}

impl Desk<'_> {
    /// `deploy exchange`.
    pub async fn exchange(&self, args: &ExchangeArgs) -> Result<(), Failure> {
        let rolled = self.rolled(args)?;
        let (place, to) = (rolled.place(), if args.back { Side::Blue } else { Side::Green });
        let plan = Arc::new(rolled.d.plan.clone());
        let blue = self.project.connection(&plan.blue.home, self.global.dry_run)?;
        let green = self.project.connection(&plan.green.home, self.global.dry_run)?;
        let ends = Ends::new(Arc::clone(&plan), rolled.listed.id.clone(), blue, green);
        let ends = if self.global.dry_run { ends.reading_only() } else { ends };
        let mut session = ends.connect(Side::Green, "exchange").await?;
        let (agreed, script) = match draft(&mut session, &place, rolled.views(), to).await? {
            Drafted::Done => return self.tell_done(&plan.green.home, to, true),
            Drafted::Refused(refusals) => return Err(refused(&refusals)),
            Drafted::Plan { plan, script } => (plan, script),
        };
        let lock_timeout = self.project.spec.policy.lock_timeout;
        let shown = Exchange { plan: &agreed, script: &script, lock_timeout_ms: lock_timeout.millis() };
        if self.global.dry_run {
            let text = format!("{}No change has been made.\n", render::exchange(&shown));
            self.style.result(&text, &render::exchange_value(&shown));
            return Ok(());
        }
        refuse_unless_allowed(&agreed, &args.allow)?;
        self.style.remark(&render::exchange(&shown));
        ask::confirm(self.global, &format!("Exchange {} tables?", agreed.tables.len()))?;
        exchange(&mut session, &place, rolled.views(), &agreed, lock_timeout.millis()).await?;
        self.tell_done(&plan.green.home, to, false)
    }

    fn tell_done(&self, home: &Home, to: Side, already: bool) -> Result<(), Failure> {
        let what = match to {
            Side::Green => format!("{home} has the tables; the old version's names are views of them."),
            Side::Blue => format!("The tables of {home} are views again."),
        };
        let text = if already { format!("Nothing needs to be done. {what}") } else { what };
        self.style.result(&text, &json!({ "home": home, "tables_on": to, "already": already }));
        Ok(())
    }

    /// The newest deployment by views to where all partitions of the context live, if all of them have ended.
    fn rolled(&self, args: &ExchangeArgs) -> Result<Rolled, Failure> {
        let (name, context) = self.project.context(args.context.as_deref())?;
        let map = self.project.map(&self.store, name, context)?;
        let mut all = Vec::new();
        for listed in self.store.list()?.into_iter().filter(|listed| listed.context == name) {
            let d = self.watch().state(&listed)?;
            all.push(Rolled { listed, d });
        }
        let by_views = |rolled: &&Rolled| rolled.d.finished.is_some() && rolled.d.plan.path.shares_rows();
        let newest = all.iter().rposition(|rolled| by_views(&rolled)).ok_or_else(|| {
            not_yet(format!("no deployment of {name} by views has finished"), Vec::new()).remedy(
                "Tables are exchanged after rollouts with path = \"views\"; a copy makes tables of its own.",
            )
        })?;
        let busy = few(all
            .iter()
            .filter(|r| !r.d.ended())
            .map(|r| format!("{} of {}", r.listed.id, r.listed.partition)));
        if !busy.is_empty() {
            return Err(not_yet(format!("{name} is being deployed"), busy)
                .remedy("End each of them: replat deploy finish ID, or replat deploy abort ID"));
        }
        let rolled = all.swap_remove(newest);
        let green = &rolled.d.plan.green.home;
        let elsewhere = few(map
            .leaves()
            .filter(|leaf| *leaf.home != *green)
            .map(|leaf| format!("{} lives on {}", leaf.partition, leaf.home)));
        if !elsewhere.is_empty() {
            return Err(not_yet(format!("not every partition of {name} lives on {green}"), elsewhere)
                .remedy("Deploy them first; the names of tables are the same for all partitions."));
        }
        Ok(rolled)
    }
}

fn not_yet(what: String, because: Vec<String>) -> Failure {
    Failure::new("RP5007", Exit::Precondition, what).because(because)
}

fn few(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown: Vec<String> = all.collect();
    let more = shown.len().saturating_sub(SHOWN_MAX);
    shown.truncate(SHOWN_MAX);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

fn refused(refusals: &[Refusal]) -> Failure {
    let what = match refusals.len() {
        1 => "something stands in the way of the exchange".to_owned(),
        many => format!("{many} things stand in the way of the exchange"),
    };
    let failure = not_yet(what, refusals.iter().map(|refusal| refusal.what.clone()).collect())
        .details(&refusals)
        .state(UNTOUCHED);
    let mut remedies: Vec<&str> = refusals.iter().map(|refusal| refusal.remedy.as_str()).collect();
    remedies.dedup();
    remedies.into_iter().fold(failure, Failure::remedy)
}

fn refuse_unless_allowed(plan: &ExchangePlan, allowed: &[String]) -> Result<(), Failure> {
    let missing: Vec<_> =
        plan.hazards.iter().filter(|h| !allowed.iter().any(|name| name == h.name.code())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut names: Vec<&str> = missing.iter().map(|hazard| hazard.name.code()).collect();
    names.sort_unstable();
    names.dedup();
    Err(Failure::new("RP2005", Exit::Invalid, "the exchange has hazards that nobody has allowed")
        .because(missing.iter().map(|hazard| format!("{}: {}", hazard.name.code(), hazard.what)))
        .remedy(format!("If they are acceptable: --allow {}", names.join(","))))
}
