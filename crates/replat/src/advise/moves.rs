//! Moves of drift, read from what is deployed, and told with the commands that carry them out.

use replat_advise::carry::{Becoming, Carried, Ground, Left, Stage, Wanted, carried};
use replat_advise::deployed::Deployed;
use replat_advise::drift::Drift;
use replat_engine::WorkLog;
use replat_model::deploy::Event;
use serde_json::{Value, json};

use crate::cli::AdviseArgs;
use crate::failure::Failure;
use crate::project::Project;

/// The moves that were found, as deployments of this project.
///
/// # Errors
///
/// [`Failure`] if the store cannot be read.
pub fn moves(project: &Project, deployed: &Deployed, drift: &Drift) -> Result<Vec<Carried>, Failure> {
    let mut left = Vec::new();
    if let Some(store) = project.store_so_far()? {
        for listed in store.list()? {
            let history = store.read(&listed.id)?;
            let Some(Event::Asked { plan }) = history.first().map(|first| &first.event) else { continue };
            left.push(Left {
                context: listed.context,
                partition: listed.partition,
                region: plan.region.clone(),
                home: plan.blue.home.clone(),
            });
        }
    }
    let databases: Vec<String> = project.spec.databases.keys().cloned().collect();
    Ok(carried(Ground { deployed, databases: &databases, left: &left }, drift))
}

/// How the program is called again.
pub struct Calling<'a> {
    /// The spec, if it was named.
    pub spec: Option<&'a Project>,
    /// What was asked.
    pub args: &'a AdviseArgs,
}

impl Calling<'_> {
    /// The commands of a stage, in their order; `before` stages come before it.
    fn commands(&self, stage: &Stage, before: usize) -> Vec<String> {
        let replat = match self.spec {
            Some(project) => format!("replat -c {}", shell(&project.file.display().to_string())),
            None => "replat".to_owned(),
        };
        let mut commands = Vec::new();
        if stage.rollout.change != Becoming::AsItIs {
            let evidence: Vec<String> =
                self.args.evidence.iter().map(|path| shell(&path.display().to_string())).collect();
            let only = match &self.args.context {
                Some(context) => format!(" -C {context}"),
                None => String::new(),
            };
            commands.push(format!("{replat} advise drift{only} -e {} --apply-to-spec", evidence.join(" ")));
        }
        let file = match before {
            0 => "move.json".to_owned(),
            more => format!("move-{}.json", more + 1),
        };
        let which: String = stage.partitions.iter().map(|one| format!(" -p {}", shell(one))).collect();
        commands.push(format!("{replat} plan deploy -C {}{which} --out {file}", stage.context));
        commands.push(format!("{replat} apply {file}"));
        commands
    }

    /// Moves for programs.
    pub fn value(&self, moves: &[Carried]) -> Value {
        let mut value = json!(moves);
        for (carried, said) in moves.iter().zip(value.as_array_mut().into_iter().flatten()) {
            let stages = said["stages"].as_array_mut();
            for (before, (stage, said)) in carried.stages.iter().zip(stages.into_iter().flatten()).enumerate()
            {
                said["commands"] = json!(self.commands(stage, before));
            }
        }
        value
    }

    /// Moves for people.
    pub fn told(&self, moves: &[Carried]) -> String {
        moves.iter().map(|one| self.told_of(one)).collect()
    }

    fn told_of(&self, carried: &Carried) -> String {
        let what = if carried.recommended { "Recommended" } else { "Not yet" };
        let mut text = format!("\n{what}: {}.\n", carried.because);
        for (before, stage) in carried.stages.iter().enumerate() {
            let Wanted { to, version, change } = &stage.rollout;
            text += &format!(
                "  {}. {} of {} from {} to {to}\n",
                before + 1,
                stage.partitions.join(", "),
                stage.context,
                stage.from
            );
            for remark in &stage.before {
                text += &format!("     {remark}\n");
            }
            if *change != Becoming::AsItIs {
                text += &format!(
                    "     the spec has to say: [contexts.{}.rollout] version = \"{version}\", to = {{ database = \"{}\", \
                     schema = \"{}\" }}\n",
                    stage.context, to.database, to.schema
                );
            }
            // Only what has paid for itself is written by these commands; and what comes second is asked for again, since
            // the first may have been enough.
            if carried.recommended && before == 0 {
                self.commands(stage, before)
                    .iter()
                    .for_each(|command| text += &format!("       {command}\n"));
            }
        }
        if carried.recommended && carried.stages.len() > 1 {
            text += "  A context has one rollout, so these are carried out one after the other. After the first ask again: \
                     what is left is told with its commands, or that it is not worth while any more.\n";
        }
        carried.cannot.iter().for_each(|why| text += &format!("  - {why}\n"));
        text
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:=/,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
