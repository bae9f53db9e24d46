//! The rights that a role lacks, as the statements that grant them.

use crate::draft::quoted;
use crate::facts::DatabaseFacts;

/// The first major release in which `session_replication_role` can be granted; before, it takes a superuser.
const GRANTED_PARAMETERS_MIN: u32 = 15;
/// The first major release in which a membership says what it is good for.
const MEMBERSHIP_OPTIONS_MIN: u32 = 16;

/// What an administrator has to run on this server, so that the role that made the survey may do a whole deployment:
/// each a statement with a comment that says what it is for. Empty if nothing is lacking.
///
/// The statements are for the database that was looked at, and for those of its tables that the facts are of.
pub fn grants(facts: &DatabaseFacts) -> Vec<String> {
    let role = quoted(&facts.role);
    let mut script = Vec::new();
    if !facts.can_replicate {
        script.push(format!("{} -- to read the log", may_read_the_log(facts)));
    }
    if !facts.can_create {
        let statement = may_create(facts);
        script
            .push(format!("{statement} -- to make the schema \"replat\", publications, and green's schema"));
    }
    if !facts.can_use_schema {
        script.push(format!("{} -- to see its tables", may_use_schema(facts)));
    }
    for statement in memberships(facts) {
        script.push(format!("{statement} -- to publish the tables, and to guard them by triggers"));
    }
    if facts.tables.iter().any(|table| table.rows_hidden) {
        script.push(format!("ALTER ROLE {role} BYPASSRLS; -- to see every row"));
    }
    if !facts.can_skip_triggers {
        script.push(match may_skip_triggers(facts) {
            Some(statement) => format!("{statement} -- to write without firing triggers a second time"),
            None => format!(
                "-- Triggers and foreign keys of this server act on what {role} writes: PostgreSQL {} cannot grant \
                 session_replication_role, which only a superuser may set.",
                facts.major
            ),
        });
    }
    script
}

/// What lets the role read the log.
pub(crate) fn may_read_the_log(facts: &DatabaseFacts) -> String {
    let role = quoted(&facts.role);
    match &facts.log_readers {
        Some(readers) => format!("GRANT {} TO {role};", quoted(readers)),
        None => format!("ALTER ROLE {role} REPLICATION;"),
    }
}

/// What lets the role make schemas and publications.
pub(crate) fn may_create(facts: &DatabaseFacts) -> String {
    format!("GRANT CREATE ON DATABASE {} TO {};", quoted(&facts.database_name), quoted(&facts.role))
}

/// What lets the role look into the schema.
pub(crate) fn may_use_schema(facts: &DatabaseFacts) -> String {
    format!("GRANT USAGE ON SCHEMA {} TO {};", quoted(&facts.schema), quoted(&facts.role))
}

/// What lets the role write without firing triggers; `None` where only a superuser may.
pub(crate) fn may_skip_triggers(facts: &DatabaseFacts) -> Option<String> {
    let statement = || format!("GRANT SET ON PARAMETER session_replication_role TO {};", quoted(&facts.role));
    (facts.major >= GRANTED_PARAMETERS_MIN).then(statement)
}

/// What makes the role as good as `owner`, a table's.
pub(crate) fn membership(major: u32, owner: &str, role: &str) -> String {
    let options = if major >= MEMBERSHIP_OPTIONS_MIN { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    format!("GRANT {} TO {}{options};", quoted(owner), quoted(role))
}

/// One membership for each owner of a table that the role is not.
fn memberships(facts: &DatabaseFacts) -> Vec<String> {
    let mut owners: Vec<&str> =
        facts.tables.iter().filter(|table| !table.owned).map(|table| table.owner.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners.into_iter().map(|owner| membership(facts.major, owner, &facts.role)).collect()
}
