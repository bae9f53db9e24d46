//! Plans of runs, as they are kept in files: what was approved is what is run.

use std::path::Path;

use replat_engine::lifecycle::Script;
use replat_model::lifecycle::draft::{Wish, digest};
use replat_model::lifecycle::plan::RotatePlan;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::{Exit, Failure};

/// What a plan file of a run says of itself.
pub const KIND: &str = "RotatePlan";

/// A plan as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotatePlanFile {
    /// `RotatePlan`.
    pub kind: String,
    /// The plan's digest, with all that decides how it is carried out.
    pub digest: String,
    /// The database, by its name in the spec or by its own; how it is reached is not kept.
    pub database: String,
    /// The sets that were looked at, by their names.
    pub tables: Vec<String>,
    /// What was wanted.
    pub wish: Wish,
    /// The plan.
    pub plan: RotatePlan,
    /// The statements of each unit, for people; what is run is made anew, from the units.
    pub scripts: Vec<(String, Script)>,
}

impl RotatePlanFile {
    /// A plan with its digest.
    pub fn new(
        database: String,
        tables: Vec<String>,
        wish: Wish,
        plan: RotatePlan,
        scripts: Vec<(String, Script)>,
    ) -> RotatePlanFile {
        let kind = KIND.to_owned();
        let mut file = RotatePlanFile { kind, digest: String::new(), database, tables, wish, plan, scripts };
        file.digest = file.true_digest();
        file
    }

    fn true_digest(&self) -> String {
        let rest = (
            &self.database,
            &self.tables,
            &self.wish,
            &self.scripts,
            &self.plan.findings,
            &self.plan.understood,
        );
        let rest = serde_json::to_vec(&rest).expect("a wish is plain data");
        let mut hash = Sha256::new();
        hash.update(digest(&self.plan));
        hash.update(rest);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a plan file and checks that nobody changed it.
    pub fn read(path: &Path) -> Result<RotatePlanFile, Failure> {
        let bad = |why: String| {
            Failure::new("RP2004", Exit::Invalid, format!("{} is not a plan of a run: {why}", path.display()))
                .remedy("Make one: replat plan rotate … --out FILE")
        };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let file: RotatePlanFile = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if file.kind != KIND || file.plan.format != 1 {
            return Err(bad(format!("its kind is {}, its format {}", file.kind, file.plan.format)));
        }
        if file.true_digest() != file.digest {
            return Err(bad("its digest does not fit its content; it was changed after it was made".into()));
        }
        Ok(file)
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).expect("a plan is plain data");
        std::fs::write(path, text + "\n").map_err(|e| {
            Failure::new("RP2004", Exit::Invalid, format!("{} cannot be written: {e}", path.display()))
        })
    }
}

/// Whether a file is a plan of a run, as far as it says so itself.
pub fn is_one(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str::<Kind>(&text).is_ok_and(|k| k.kind == KIND)
}
