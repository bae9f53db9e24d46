//! A small plan and the history of a deployment that is ready to switch, for tests of the rules.

use replat_model::deploy::{Certificate, Event};
use replat_model::ids::{Epoch, Home, Lsn, Side};
use replat_model::plan::{End, Plan, Reversibility};
use replat_model::region::Region;
use replat_model::spec::Policy;

/// A plan without tables: the rules do not look at them.
pub fn plan() -> Plan {
    Plan {
        format: 1,
        context: "shop".into(),
        partition: "acme".parse().expect("a legal id"),
        region: Region::everything(),
        dimensions: Vec::new(),
        epoch: Epoch::FIRST,
        blue: end("old"),
        green: end("new"),
        version: "2".into(),
        ddl: Vec::new(),
        tables: Vec::new(),
        references: Vec::new(),
        rebuild: Vec::new(),
        sequences: Vec::new(),
        reversible: Reversibility::Lossless,
        hazards: Vec::new(),
        policy: Policy::shipped(),
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

/// All that happens to `plan` from the first word until both sides are alike, compared in both directions.
pub fn prepared(plan: Plan) -> Vec<Event> {
    let slot = |side| Event::SlotOpened { side, at: Lsn(0), xid_horizon: 0 };
    let verified = |from| Event::Verified { from, certificate: Certificate::default() };
    vec![
        Event::Asked { plan: Box::new(plan) },
        Event::Prepared,
        slot(Side::Blue),
        Event::CopyPlanned { chunks: Vec::new() },
        Event::Copied { at: Lsn(0), rows: 0, bytes: 0 },
        Event::Indexed,
        slot(Side::Green),
        verified(Side::Blue),
        verified(Side::Green),
    ]
}
