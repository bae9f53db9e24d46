//! Whether code that was written for one version of a schema can run on another: what expand and contract ask about.
//!
//! While a rollout is under way, some partitions are at the old version and some at the new one, and an application
//! whose processes are exchanged one by one runs old and new code at once. [`compatibility`] compares the two shapes in
//! both directions and names each thing that breaks, with the kinds of statements that it breaks. It looks at shapes
//! alone. Absent on purpose: what code really does; a finding says what code *may* do that was right before.

mod columns;
mod constraints;

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::plain_source;
use crate::facts::{DatabaseFacts, TableFacts};
use crate::plan::{Path, Plan, TablePlan, ViewPlan};

/// A kind of statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Rows are looked at.
    Reads,
    /// Rows are added.
    Inserts,
    /// Rows are changed.
    Updates,
    /// Rows are removed.
    Deletes,
}

impl Work {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Work; 4] = [Work::Reads, Work::Inserts, Work::Updates, Work::Deletes];
    const CHANGES: [Work; 2] = [Work::Inserts, Work::Updates];
    const VALUES: [Work; 3] = [Work::Reads, Work::Inserts, Work::Updates];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Work::Reads => "reads",
            Work::Inserts => "inserts",
            Work::Updates => "updates",
            Work::Deletes => "deletes",
        })
    }
}

/// Something that code may do that was right before and is no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// The table, by the name that the code knows.
    pub table: String,
    /// The column, by the name that the code knows; `None` if it is about the whole row.
    pub column: Option<String>,
    /// The statements that may fail, or see what they cannot know.
    pub works: BTreeSet<Work>,
    /// Why, as one sentence without its full stop.
    pub why: String,
    /// How the change is made so that it does not break this code: one statement or one imperative sentence.
    pub instead: String,
}

/// Code of one version on the schema of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fitness {
    /// Everything that breaks, table by table; empty if all that was right is right.
    pub breaks: Vec<Break>,
}

impl Fitness {
    /// Whether statements of this kind all run as they did, as far as the shapes tell.
    pub fn runs(&self, work: Work) -> bool {
        self.breaks.iter().all(|found| !found.works.contains(&work))
    }

    /// `reads yes, inserts no, updates no, deletes yes`.
    pub fn summary(&self) -> String {
        let parts = Work::ALL.map(|work| format!("{work} {}", if self.runs(work) { "yes" } else { "no" }));
        parts.join(", ")
    }
}

/// Old and new code on each other's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compatibility {
    /// Code that was written for blue, on green.
    pub old_on_new: Fitness,
    /// Code that was written for green, on blue.
    pub new_on_old: Fitness,
}

/// Which code it is, and so where a break can be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// Written for blue; green's DDL can still be changed.
    Old,
    /// Written for green; blue is as it is.
    New,
}

/// One table as the code knows it, and as it is where the code runs.
struct Meeting<'a> {
    code: Code,
    known: &'a TableFacts,
    found: &'a TableFacts,
    /// The schemas, which definitions name and the code does not.
    schemas: [&'a str; 2],
    plan: Option<&'a TablePlan>,
}

impl Meeting<'_> {
    fn broken<const N: usize>(
        &self,
        column: Option<&str>,
        works: [Work; N],
        why: String,
        instead: String,
    ) -> Break {
        Break {
            table: self.known.name.clone(),
            column: column.map(str::to_owned),
            works: works.into(),
            why,
            instead,
        }
    }

    /// What to do instead of a restriction that old code does not know of.
    fn later(&self, what: &str) -> String {
        match self.code {
            Code::Old => format!("Add {what} with the version after, when no old code writes any more."),
            Code::New => self.only_there(),
        }
    }

    /// What to do where blue cannot know what new code does.
    fn only_there(&self) -> String {
        "Let new code run only where the partition has the new version; routers are told the version of each."
            .into()
    }
}

/// What breaks if code of the old version runs on green, and code of the new one on blue.
pub fn compatibility(blue: &DatabaseFacts, green: &DatabaseFacts, plan: &Plan) -> Compatibility {
    let moving = || plan.tables.iter().chain(&plan.references);
    let views: &[ViewPlan] = match &plan.path {
        Path::Views { views } => views,
        Path::Copy { .. } => &[],
    };
    let names = || {
        let shown = views.iter().map(|view| (view.table.as_str(), view.stands_for.name.as_str(), None));
        let moved = moving().map(|table| (table.blue.name.as_str(), table.green.name.as_str(), Some(table)));
        moved.chain(shown).chain(plan.rebuild.iter().map(|name| (name.as_str(), name.as_str(), None)))
    };
    let mut all = Compatibility::default();
    for (old, new, table) in names() {
        all.old_on_new.breaks.extend(meet(Code::Old, (blue, old), (green, new), table));
        all.new_on_old.breaks.extend(meet(Code::New, (green, new), (blue, old), table));
    }
    all
}

/// Code that knows a table by one name meets the table that it has become.
fn meet(
    code: Code,
    (home, name): (&DatabaseFacts, &str),
    (place, becomes): (&DatabaseFacts, &str),
    plan: Option<&TablePlan>,
) -> Vec<Break> {
    let Some(known) = home.table(name) else { return Vec::new() };
    let broken = |why: String, instead: String| {
        vec![Break { table: name.to_owned(), column: None, works: Work::ALL.into(), why, instead }]
    };
    let Some(found) = place.table(becomes) else {
        let instead = match code {
            Code::Old => "Keep it until no old code runs, and drop it with the version after.",
            Code::New => "Make it there too before new code runs.",
        };
        return broken("the table is not there".into(), instead.into());
    };
    if name != becomes && !place.relations.iter().any(|relation| relation == name) {
        let view = crate::draft::quoted(name);
        let instead = format!("CREATE VIEW {view} AS SELECT * FROM {};", crate::draft::quoted(becomes));
        let mut breaks = broken(format!("the table is called {becomes} there"), instead);
        breaks.extend(inside(&Meeting { code, known, found, schemas: [&home.schema, &place.schema], plan }));
        return breaks;
    }
    inside(&Meeting { code, known, found, schemas: [&home.schema, &place.schema], plan })
}

fn inside(meeting: &Meeting) -> Vec<Break> {
    let mut breaks = columns::breaks(meeting);
    breaks.extend(constraints::breaks(meeting));
    breaks
}

/// The column of the other shape that takes this one's value as it is, under another name.
fn renamed<'a>(meeting: &'a Meeting, column: &str) -> Option<&'a str> {
    let plan = meeting.plan?;
    let (to, back) = match meeting.code {
        Code::Old => (&plan.forward, &plan.backward),
        Code::New => (&plan.backward, &plan.forward),
    };
    // Either the value goes over as it is, or it comes from there as it is.
    let goes = to.iter().find(|way| plain_source(&way.expression, meeting.known) == Some(column));
    let goes = goes.map(|way| way.target.as_str());
    goes.or_else(|| {
        let way = back.iter().find(|way| way.target == column)?;
        plain_source(&way.expression, meeting.found)
    })
    .filter(|name| *name != column)
}
