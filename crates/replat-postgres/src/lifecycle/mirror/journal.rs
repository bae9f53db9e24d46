//! The journal of touched rows, and the statements that bring targets up to it.

use replat_model::lifecycle::facts::TableName;

use super::survey::{Found, Identity, Leaf, list};
use super::{Replacement, named};
use crate::sql::{quote_ident, quote_literal};

/// The error that tells that a source got a new file: everything has to be copied again.
pub const MOVED: &str = "RP001";
/// The error that tells that the set was changed by somebody else.
pub const CHANGED: &str = "RP002";

/// The error that tells that the journal is not empty.
pub const LATE: &str = "RP003";

/// The journal's name, and that of the trigger and its function.
pub fn journal(wanted: &Replacement, records: &str) -> TableName {
    TableName::new(records, format!("replat_mirror_{}", wanted.tag()))
}

/// The table that says how far each leaf is copied.
pub fn position(wanted: &Replacement, records: &str) -> TableName {
    TableName::new(records, format!("replat_copied_{}", wanted.tag()))
}

/// The columns of a target that hold a row's place, where rows are identified so.
pub fn place_columns(wanted: &Replacement) -> [String; 2] {
    let tag = wanted.tag();
    [format!("replat_{tag}_leaf"), format!("replat_{tag}_place")]
}

/// The columns of the journal.
fn entry_columns(found: &Found, wanted: &Replacement) -> Vec<(String, String)> {
    match &found.identity {
        Identity::Key(key) => key
            .iter()
            .enumerate()
            .map(|(at, column)| (format!("replat_{}_{at}", wanted.tag()), column.type_sql.clone()))
            .collect(),
        Identity::Place => {
            let [leaf, place] = place_columns(wanted);
            vec![(leaf, "pg_catalog.oid".into()), (place, "pg_catalog.tid".into())]
        }
    }
}

/// Makes the journal, the record of positions, and the trigger's function.
///
/// The function runs as its owner, with a path of its own, so that any writer may write the journal through it and
/// none can bend it.
pub fn create(wanted: &Replacement, found: &Found, records: &str) -> Vec<String> {
    let journal = journal(wanted, records);
    let columns: Vec<String> = entry_columns(found, wanted)
        .iter()
        .map(|(name, kind)| format!("{} {kind}", quote_ident(name)))
        .collect();
    vec![
        format!("CREATE TABLE {} ({})", named(&journal), columns.join(", ")),
        format!(
            "CREATE TABLE {} (leaf pg_catalog.oid PRIMARY KEY, node pg_catalog.oid, pages pg_catalog.int8, \
             page pg_catalog.int8 NOT NULL DEFAULT 0, signature pg_catalog.text NOT NULL)",
            named(&position(wanted, records))
        ),
        function(wanted, found, records, Pace::Later),
        format!("REVOKE ALL ON FUNCTION {}() FROM PUBLIC", named(&journal)),
    ]
}

/// How soon the targets follow a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When the journal is followed. Nothing can fail in a writer's transaction.
    Later,
    /// A row that is gone from its source is gone from the targets in the same transaction: while targets have foreign
    /// keys, it must not keep a row of the referenced table alive.
    GoneAtOnce,
    /// Every write is done to the targets in the same transaction, so that whoever sees a row in its source sees it in its
    /// target too, however old the snapshot: the swap then changes nobody's view. What meets a row that the journal has
    /// not brought yet is left to the journal.
    AtOnce,
}

/// The trigger's function.
///
/// An update names its row before and after, even if they are the same: comparing them would take an operator of the
/// key's type, and whatever can fail here fails in somebody's transaction.
pub fn function(wanted: &Replacement, found: &Found, records: &str, pace: Pace) -> String {
    let journal = named(&journal(wanted, records));
    let row = |of: &str| match &found.identity {
        Identity::Key(key) => {
            key.iter().map(|c| format!("{of}.{}", quote_ident(&c.name))).collect::<Vec<_>>().join(", ")
        }
        Identity::Place => format!("TG_RELID, {of}.ctid"),
    };
    const COUNT: &str = "GET DIAGNOSTICS replat_n = ROW_COUNT;\nreplat_done := replat_done OPERATOR(pg_catalog.+) replat_n;\n";
    let delete = |target: &TableName| {
        let same = match &found.identity {
            Identity::Key(key) => key
                .iter()
                .map(|c| format!("t.{n} {} OLD.{n}", c.equals, n = quote_ident(&c.name)))
                .collect::<Vec<_>>()
                .join(" AND "),
            Identity::Place => {
                let [leaf, place] = place_columns(wanted);
                format!("t.{} = TG_RELID AND t.{} = OLD.ctid", quote_ident(&leaf), quote_ident(&place))
            }
        };
        format!("DELETE FROM {} t WHERE {same};\n{COUNT}", named(target))
    };
    let insert = |(target, proof): (&super::Target, &String)| {
        let mut values: Vec<String> = found.columns.iter().map(|c| format!("r.{}", quote_ident(c))).collect();
        if found.identity == Identity::Place {
            values.extend(["TG_RELID".to_owned(), "NEW.ctid".to_owned()]);
        }
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM (SELECT NEW.*) r WHERE {proof} ON CONFLICT DO NOTHING;\n{COUNT}",
            named(&target.staged),
            written(wanted, found),
            values.join(", ")
        )
    };
    let told = |of: &str, always: bool| {
        let entry = format!("INSERT INTO {journal} VALUES ({});", row(of));
        match always {
            true => format!("{entry}\n"),
            false => format!("IF replat_done OPERATOR(pg_catalog.<>) 1 THEN {entry} END IF;\n"),
        }
    };
    let deletes: String = match pace {
        Pace::Later => String::new(),
        Pace::GoneAtOnce | Pace::AtOnce => wanted.targets.iter().map(|t| delete(&t.staged)).collect(),
    };
    let inserts: String = match pace {
        Pace::Later | Pace::GoneAtOnce => String::new(),
        Pace::AtOnce => wanted.targets.iter().zip(&found.proofs).map(insert).collect(),
    };
    let always = pace != Pace::AtOnce;
    let body = format!(
        "#variable_conflict use_column\n\
         DECLARE replat_n pg_catalog.int8; replat_done pg_catalog.int8 := 0;\n\
         BEGIN\n\
         IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN\n{deletes}{old}END IF;\n\
         replat_done := 0;\n\
         IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN\n{inserts}{new}END IF;\n\
         RETURN NULL;\nEND",
        old = told("OLD", always),
        new = told("NEW", always),
    );
    format!(
        "CREATE OR REPLACE FUNCTION {journal}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp AS {}",
        quote_literal(&body)
    )
}

/// Watches one leaf. The trigger also fires for writers that replicate.
pub fn watch(wanted: &Replacement, records: &str, leaf: &Leaf) -> Vec<String> {
    let journal = journal(wanted, records);
    let (name, table) = (quote_ident(&journal.name), named(&leaf.table));
    vec![
        format!(
            "CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW \
             EXECUTE FUNCTION {}()",
            named(&journal)
        ),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"),
    ]
}

/// Settings under which a handful of journal entries finds its rows by index, however the statistics lie.
pub const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
     SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off; SET LOCAL jit = off";

/// Brings the targets up to the journal and empties it. The statements must see one state: they run in one
/// REPEATABLE READ transaction, or under locks that keep writers out.
///
/// With `holding` the rows that are read are held against deletion meanwhile: a transaction that deletes one then finds
/// the copy when its trigger looks for it, and so does not leave it behind to keep alive what it refers to.
///
/// With `only`, places in the journal, nothing but those entries is followed. An entry stands for the row as it is now,
/// so any may come first.
pub fn follow(
    wanted: &Replacement,
    found: &Found,
    records: &str,
    holding: bool,
    only: Option<&[String]>,
) -> Vec<String> {
    let hold = if holding { " FOR KEY SHARE OF r" } else { "" };
    let whole = named(&journal(wanted, records));
    let which = only.map_or(String::new(), |places| {
        let places = places.iter().map(|place| format!("\"{place}\"")).collect::<Vec<_>>().join(",");
        format!(" WHERE ctid = ANY ({}::pg_catalog.tid[])", quote_literal(&format!("{{{places}}}")))
    });
    let journal = format!("(SELECT * FROM {whole}{which})");
    let entry = entry_columns(found, wanted);
    let names = entry.iter().map(|(name, _)| quote_ident(name)).collect::<Vec<_>>().join(", ");
    let mut statements = Vec::new();
    for target in &wanted.targets {
        let same = joined(found, wanted, "t", true);
        statements.push(format!("DELETE FROM {} t USING {journal} j WHERE {same}", named(&target.staged)));
    }
    for leaf in &found.leaves {
        let same = joined(found, wanted, "r", false);
        let of_leaf = match &found.identity {
            Identity::Key(_) => String::new(),
            Identity::Place => format!(" WHERE {} = {}", quote_ident(&place_columns(wanted)[0]), leaf.id),
        };
        let touched = format!(
            "(SELECT DISTINCT {names} FROM {journal} e{of_leaf}) j JOIN ONLY {} r ON {same}",
            named(&leaf.table)
        );
        for (target, proof) in wanted.targets.iter().zip(&found.proofs) {
            statements.push(format!(
                "INSERT INTO {} ({}) SELECT {} FROM {touched} WHERE {proof}{hold}",
                named(&target.staged),
                written(wanted, found),
                read(found, leaf),
            ));
        }
        statements.push(homeless(&format!("FROM {touched}"), found));
    }
    statements.push(format!("DELETE FROM {whole}{which}"));
    statements
}

/// Leaves one entry of each row in the journal: that is enough to know that it was touched.
pub fn compact(wanted: &Replacement, found: &Found, records: &str) -> String {
    let journal = named(&journal(wanted, records));
    let entry = entry_columns(found, wanted);
    let names = entry.iter().map(|(name, _)| quote_ident(name)).collect::<Vec<_>>().join(", ");
    format!(
        "DELETE FROM {journal} WHERE ctid NOT IN (SELECT pg_catalog.min(ctid) FROM {journal} GROUP BY {names})"
    )
}

/// Copies a range of pages of one leaf.
pub fn copy(
    wanted: &Replacement,
    found: &Found,
    records: &str,
    leaf: &Leaf,
    from: i64,
    to: i64,
) -> Vec<String> {
    let range = format!(
        "FROM ONLY {} r WHERE r.ctid >= '({from},0)'::pg_catalog.tid AND r.ctid < '({to},0)'::pg_catalog.tid",
        named(&leaf.table)
    );
    let mut statements = Vec::new();
    for (target, proof) in wanted.targets.iter().zip(&found.proofs) {
        // An entry of the journal may have brought the row already.
        let new = match &found.identity {
            Identity::Key(_) => String::new(),
            Identity::Place => {
                let [of, place] = place_columns(wanted);
                format!(
                    " AND NOT EXISTS (SELECT FROM {} t WHERE t.{} = {} AND t.{} = r.ctid)",
                    named(&target.staged),
                    quote_ident(&of),
                    leaf.id,
                    quote_ident(&place)
                )
            }
        };
        statements.push(format!(
            "INSERT INTO {} ({}) SELECT {} {range} AND ({proof}){new} ON CONFLICT DO NOTHING",
            named(&target.staged),
            written(wanted, found),
            read(found, leaf),
        ));
    }
    statements.push(homeless(&range, found));
    statements.push(format!(
        "UPDATE {} SET page = {to} WHERE leaf = {}",
        named(&position(wanted, records)),
        leaf.id
    ));
    statements
}

/// Fails if a row belongs to no target: it would be lost.
fn homeless(rows: &str, found: &Found) -> String {
    let home = found.proofs.iter().map(|proof| format!("({proof})")).collect::<Vec<_>>().join(" OR ");
    let and = if rows.contains(" WHERE r.ctid") { "AND" } else { "WHERE" };
    let body = format!(
        "BEGIN IF EXISTS (SELECT {rows} {and} ({home}) IS NOT TRUE) THEN RAISE EXCEPTION \
         'a row belongs to none of the new partitions' USING ERRCODE = '{CHANGED}'; END IF; END"
    );
    format!("DO {}", quote_literal(&body))
}

/// Fails if a source got a new file, if its trigger was switched off, or if the set was changed.
pub fn unchanged(wanted: &Replacement, found: &Found, records: &str) -> String {
    let position = named(&position(wanted, records));
    let trigger = quote_literal(&journal(wanted, records).name);
    let body = format!(
        "BEGIN \
         IF EXISTS (SELECT FROM {position} p WHERE pg_catalog.pg_relation_filenode(p.leaf::pg_catalog.regclass) \
         IS DISTINCT FROM p.node) THEN RAISE EXCEPTION 'a partition was rewritten' USING ERRCODE = '{MOVED}'; END IF; \
         IF EXISTS (SELECT FROM {position} p WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t \
         WHERE t.tgrelid = p.leaf AND t.tgname = {trigger} AND t.tgenabled = 'A')) \
         THEN RAISE EXCEPTION 'the trigger that follows writes was switched off' USING ERRCODE = '{CHANGED}'; END IF; \
         IF {} <> (SELECT pg_catalog.min(signature) FROM {position}) \
         THEN RAISE EXCEPTION 'the table was altered meanwhile' USING ERRCODE = '{CHANGED}'; END IF; END",
        super::survey::signature_sql(found.parent_id)
    );
    format!("DO {}", quote_literal(&body))
}

/// Fails if there is a row that the targets do not have as their writers left it.
///
/// The swap itself brings nothing: a transaction that keeps one snapshot to its end, and has not touched the set yet, would
/// not see what was brought after it began; its updates would change nothing, without an error.
pub fn settled(wanted: &Replacement, records: &str) -> String {
    let journal = named(&journal(wanted, records));
    let body = format!(
        "BEGIN IF EXISTS (SELECT FROM {journal}) THEN RAISE EXCEPTION 'rows are still to be brought' \
         USING ERRCODE = '{LATE}'; END IF; END"
    );
    format!("DO {}", quote_literal(&body))
}

/// The transactions of others that have a snapshot, or may have one that this role may not see.
pub const SNAPSHOTS: &str = "SELECT l.virtualtransaction AS transaction, a.pid \
       FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
       WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock' \
         AND a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() \
         AND a.backend_type IN ('client backend', 'background worker', 'logical replication worker') \
         AND (a.backend_xmin IS NOT NULL \
           OR NOT (pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') OR a.usename = current_user))";

/// The columns of a target that are written.
fn written(wanted: &Replacement, found: &Found) -> String {
    match &found.identity {
        Identity::Key(_) => list(&found.columns),
        Identity::Place => list(&[&found.columns[..], &place_columns(wanted)].concat()),
    }
}

/// What is written into them, from a leaf called `r`.
fn read(found: &Found, leaf: &Leaf) -> String {
    let columns: Vec<String> = found.columns.iter().map(|c| format!("r.{}", quote_ident(c))).collect();
    match &found.identity {
        Identity::Key(_) => columns.join(", "),
        Identity::Place => format!("{}, {}::pg_catalog.oid, r.ctid", columns.join(", "), leaf.id),
    }
}

/// How a row of `table` (a target, or a leaf) meets its entry `j`.
fn joined(found: &Found, wanted: &Replacement, table: &str, target: bool) -> String {
    let entry = entry_columns(found, wanted);
    match &found.identity {
        Identity::Key(key) => key
            .iter()
            .zip(&entry)
            .map(|(c, (j, _))| format!("{table}.{} {} j.{}", quote_ident(&c.name), c.equals, quote_ident(j)))
            .collect::<Vec<_>>()
            .join(" AND "),
        Identity::Place => {
            let [leaf, place] = place_columns(wanted).map(|name| quote_ident(&name));
            match target {
                true => format!("{table}.{leaf} = j.{leaf} AND {table}.{place} = j.{place}"),
                false => format!("{table}.ctid = j.{place}"),
            }
        }
    }
}
