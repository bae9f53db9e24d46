//! Rules about the two servers: can they do it at all, and may we?

use super::{Finding, Ground, Notes};
use crate::facts::DatabaseFacts;
use crate::ids::Side;
use crate::preflight::{self, Check};

/// The oldest major version with everything that is used here.
pub const MAJOR_MIN: u32 = 14;

pub(super) fn check(ground: &Ground, notes: &mut Notes) {
    apart(ground, notes);
    encodings(ground, notes);
    for side in [Side::Blue, Side::Green] {
        let facts = ground.facts(side);
        let database = &ground.home(side).database;
        let before = notes.findings.len();
        log_can_be_read(facts, database, slots_needed(ground), notes);
        privileges(facts, database, notes);
        notes.findings[before..].iter_mut().for_each(|finding| finding.side = Some(side));
        slots_last(facts, database, notes);
        prepared(facts, database, notes);
    }
}

/// One slot for each direction; both are on one server if the ends are.
fn slots_needed(ground: &Ground) -> u32 {
    if ground.blue.system_id == ground.green.system_id { 2 } else { 1 }
}

/// A copied cluster has the identifier and the names of the one that it was copied from, and is another place all the
/// same: whether both ends are one database was proved by whoever looked.
pub(super) fn apart(ground: &Ground, notes: &mut Notes) {
    if ground.ask.beside.is_some() && ground.blue.schema == ground.green.schema {
        let what = format!("{} and {} are one place", ground.ask.home, ground.rollout.to);
        notes.find(Finding::new(
            Check::SameHome,
            what,
            "Name another database or another schema in rollout.to.",
        ));
    }
}

fn encodings(ground: &Ground, notes: &mut Notes) {
    let (blue, green) = (&ground.blue.encoding, &ground.green.encoding);
    let remedy = "Make green with the encoding of blue, which must not be SQL_ASCII.";
    if blue != green {
        notes.find(Finding::new(
            Check::Encoding,
            format!("blue keeps text as {blue} and green as {green}"),
            remedy,
        ));
    } else if blue == "SQL_ASCII" {
        notes.find(Finding::new(Check::Encoding, "both keep text as SQL_ASCII, which is any bytes", remedy));
    }
}

fn log_can_be_read(facts: &DatabaseFacts, database: &str, needed: u32, notes: &mut Notes) {
    if facts.major < MAJOR_MIN {
        let what = format!("{database} runs PostgreSQL {}", facts.major);
        notes.find(Finding::new(Check::ServerVersion, what, format!("Upgrade it to {MAJOR_MIN} or later.")));
    }
    if let Some((bugs, sound)) = preflight::server_bugs(facts.version_num) {
        let (major, minor) = (facts.version_num / 10_000, facts.version_num % 10_000);
        let bugs: Vec<&str> = bugs.iter().map(|bug| bug.what).collect();
        let what = format!(
            "{database} runs PostgreSQL {major}.{minor}, and should run {major}.{sound}: {}",
            bugs.join("; ")
        );
        notes.warn(Check::ServerBug, true, what);
    }
    if facts.wal_level != "logical" {
        let what = format!("wal_level on {database} is {}, and must be logical", facts.wal_level);
        notes.find(Finding::new(
            Check::WalLevel,
            what,
            "ALTER SYSTEM SET wal_level = 'logical'; -- then restart",
        ));
    }
    for (code, setting, max, used) in [
        (Check::NoSlot, "max_replication_slots", facts.max_replication_slots, facts.slots_used),
        (Check::NoSender, "max_wal_senders", facts.max_wal_senders, facts.senders_used),
    ] {
        if max.saturating_sub(used) < needed {
            let what =
                format!("{database} has {used} of {setting} = {max} in use, and {needed} more are needed");
            let remedy = format!("ALTER SYSTEM SET {setting} = {}; -- then restart", used + needed);
            notes.find(Finding::new(code, what, remedy));
        }
    }
}

fn privileges(facts: &DatabaseFacts, database: &str, notes: &mut Notes) {
    for (may, what, remedy) in [
        (facts.can_replicate, "read the log", preflight::may_read_the_log(facts)),
        (facts.can_create, "create schemas and publications", preflight::may_create(facts)),
        (facts.can_use_schema, "use the schema", preflight::may_use_schema(facts)),
    ] {
        if !may {
            let what = format!("{} may not {what} on {database}", facts.role);
            notes.find(Finding::new(Check::Privilege, what, remedy));
        }
    }
    if !facts.can_skip_triggers {
        let remedy = preflight::may_skip_triggers(facts)
            .unwrap_or_else(|| format!("PostgreSQL {} lets a superuser do so, and nobody else", facts.major));
        let what = format!(
            "{} may not set session_replication_role on {database}, so triggers and foreign keys there act on what \
             replat writes ({remedy})",
            facts.role
        );
        notes.warn(Check::TriggersFire, true, what);
    }
}

/// What may become of a slot while nobody looks.
fn slots_last(facts: &DatabaseFacts, database: &str, notes: &mut Notes) {
    if facts.slot_idle_max_s > 0 {
        let what = format!(
            "{database} gives up a slot that nobody reads for {} s (idle_replication_slot_timeout); if replat does not run \
             for that long, the deployment has to be begun anew, or has no way back",
            facts.slot_idle_max_s
        );
        notes.warn(Check::SlotTimeout, false, what);
    }
    if facts.standbys > 0 {
        let what = format!(
            "{database} has {} that may become its primary, and a slot of replat is not taken along; after a failover the \
             deployment has to be begun anew, or has no way back",
            if facts.standbys == 1 { "a standby".to_owned() } else { format!("{} standbys", facts.standbys) }
        );
        notes.warn(Check::SlotFailover, false, what);
    }
}

fn prepared(facts: &DatabaseFacts, database: &str, notes: &mut Notes) {
    let waiting = facts.prepared_transactions;
    if waiting > 0 {
        let what = format!(
            "{waiting} prepared transactions on {database} wait for their second phase; nothing begins before they end"
        );
        notes.warn(Check::PreparedTransactions, false, what);
    }
}
