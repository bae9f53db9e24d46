//! A small plan, for tests of the rules.

use replat_model::ids::{Epoch, Home};
use replat_model::plan::{End, FORMAT, Path, Plan, Reversibility};
use replat_model::prediction::Prediction;
use replat_model::region::Region;
use replat_model::spec::Policy;

/// A plan without tables: the rules do not look at them.
pub fn plan() -> Plan {
    Plan {
        format: FORMAT,
        context: "shop".into(),
        partition: "acme".parse().expect("a legal id"),
        region: Region::everything(),
        dimensions: Vec::new(),
        epoch: Epoch::FIRST,
        blue: end("old"),
        green: end("new"),
        version_before: None,
        version: "2".into(),
        ddl: Vec::new(),
        one_database: false,
        path: Path::Copy { because: None },
        tables: Vec::new(),
        references: Vec::new(),
        rebuild: Vec::new(),
        sequences: Vec::new(),
        contracts: Vec::new(),
        reversible: Reversibility::Lossless,
        hazards: Vec::new(),
        policy: Policy::shipped(),
        prediction: Prediction::default(),
    }
}

fn end(database: &str) -> End {
    End {
        home: Home { database: database.into(), schema: "public".into() },
        system_id: database.into(),
        database_name: database.into(),
        major: 15,
    }
}
