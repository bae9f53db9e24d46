//! What must be known of rows, asked as cheaply as it can be.
//!
//! | question | of what |
//! |---|---|
//! | the highest key in use | the newest partition with rows, where an index leads with the key or it is small |
//! | rows in a catch-all | defaults and open ranges |
//! | conditions of retirement | the oldest partitions, where a policy has such |
//! | rows of others that refer to it | the oldest partitions, where foreign keys refer to the set |
//!
//! Each question runs within a savepoint under a timeout. One that is not answered in time leaves its fact `None`,
//! and the locks that it took are gone before the next. Questions of one kind are asked in one statement first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::lifecycle::{Look, Retiring};
use replat_model::lifecycle::facts::{
    Bound, Edge, Level, Method, Part, Refused, SetFacts, Strays, TableName,
};
use tokio_postgres::Row;

use super::Reading;
use super::assembly::{Nodes, oid};
use super::is_wanted;
use crate::sql::quote_ident;

/// How long a question may take that is asked of a table by an index, or of an empty one.
const QUICK_MILLIS: u32 = 250;
/// How long a question may take that reads a whole partition.
const SCAN_MILLIS: u32 = 5_000;
/// How many pages a table may have that is read as a whole for the sake of a fact.
const SMALL_PAGES: u64 = 256;
/// How long the partitions of one set are asked for what retirement wants to know, all together.
const ASK_MAX: Duration = Duration::from_secs(20);
/// How many distinct values of a catch-all are looked at.
const VALUES_MAX: usize = 100;
/// How many leaves one question may go over.
const LEAVES_MAX: usize = 64;

/// Fills in what rows say. What a condition of the policy is refused for is handed back.
pub(super) async fn fill(
    reading: &Reading<'_>,
    sets: &mut [SetFacts],
    nodes: &Nodes,
    wanted: &Look,
) -> Result<Vec<Refused>, EngineError> {
    let readable = readable(reading, nodes).await?;
    let leading = leading(reading, sets, nodes).await?;
    let known = Known { nodes, readable: &readable, leading: &leading };
    highs(reading, sets, &known).await?;
    strays(reading, sets, &known).await?;
    let mut refused = Vec::new();
    for set in sets {
        if let Some(retiring) = asked_of(set, &wanted.retiring) {
            refused.extend(conditions(reading, set, &retiring, &known).await?);
            referenced(reading, set, &retiring, &known).await?;
        }
    }
    Ok(refused)
}

/// What retirement asks of a set's rows: of several wishes that are about it the last condition, every hold, and the
/// most partitions.
fn asked_of(set: &SetFacts, wishes: &[Retiring]) -> Option<Retiring> {
    let of_it = wishes.iter().filter(|wish| is_wanted(&wish.tables, &set.table));
    of_it.cloned().reduce(|one, other| Retiring {
        tables: Vec::new(),
        when: other.when.or(one.when),
        legal_hold: one.legal_hold.into_iter().chain(other.legal_hold).collect(),
        oldest: one.oldest.max(other.oldest),
    })
}

/// What decides whether a question is cheap, or may be asked at all.
struct Known<'a> {
    nodes: &'a Nodes,
    /// Tables of which this role may read rows.
    readable: &'a std::collections::HashSet<u32>,
    /// Leaves that have an index which leads with the column of that name.
    leading: &'a HashMap<u32, Vec<String>>,
}

impl Known<'_> {
    /// Whether the least and the greatest value of `column` are quick to find in `id` and all below it.
    fn is_quick(&self, id: u32, column: Option<&str>) -> bool {
        let leaves = self.nodes.leaves(id);
        let leads = |leaf: u32| {
            column.is_some_and(|c| self.leading.get(&leaf).is_some_and(|l| l.iter().any(|n| n == c)))
        };
        self.may_read(id)
            && leaves.len() <= LEAVES_MAX
            && leaves.iter().all(|(leaf, node)| {
                leads(*leaf) || (node.kind == "r" && is_small(node.heap_pages, node.bytes))
            })
    }

    fn is_small(&self, id: u32) -> bool {
        let leaves = self.nodes.leaves(id);
        self.may_read(id)
            && leaves.len() <= LEAVES_MAX
            && leaves.iter().all(|(_, node)| node.kind == "r")
            && is_small(
                leaves.iter().map(|(_, node)| node.heap_pages).sum(),
                leaves.iter().map(|(_, node)| node.bytes).sum(),
            )
    }

    /// A foreign table is never asked: that would be another server's time.
    fn may_read(&self, id: u32) -> bool {
        self.readable.contains(&id) && self.nodes.leaves(id).iter().all(|(_, leaf)| leaf.kind != "f")
    }

    /// Whether statistics know of rows there. Files and counters may each have forgotten; one that remembers is
    /// enough.
    fn has_rows(&self, id: u32) -> bool {
        let seen = |node: &super::assembly::Node| {
            node.rows.is_some_and(|rows| rows > 0) || node.inserted > 0 || node.heap_pages > 0
        };
        self.nodes.leaves(id).iter().any(|(_, node)| seen(node))
    }
}

/// By pages where they were counted. A table that was never vacuumed has none on record, and the timeout is what
/// bounds the question then.
fn is_small(heap_pages: u64, bytes: u64) -> bool {
    heap_pages <= SMALL_PAGES && bytes <= 4 * SMALL_PAGES * 8192
}

async fn readable(
    reading: &Reading<'_>,
    nodes: &Nodes,
) -> Result<std::collections::HashSet<u32>, EngineError> {
    let sql = "
        select c.oid from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where c.oid = any ($1::oid[]) and has_table_privilege(c.oid, 'SELECT')
           and has_schema_privilege(n.oid, 'USAGE')";
    let ids = nodes.ids();
    let rows = reading.query(sql, &[&ids]).await?;
    rows.iter().map(|row| reading.get(row, "oid")).collect()
}

/// The columns that lead a valid, complete B-tree, by table.
async fn leading(
    reading: &Reading<'_>,
    sets: &[SetFacts],
    nodes: &Nodes,
) -> Result<HashMap<u32, Vec<String>>, EngineError> {
    let mut asked = Vec::new();
    for set in sets {
        each_level(&set.level, &mut |level| {
            for part in level.parts.iter().filter(|part| part.is_catch_all()) {
                asked.extend(nodes.leaves(oid(part.id)).iter().map(|(id, _)| *id));
            }
        });
        for (_, leaf) in candidates(set, nodes) {
            asked.extend(nodes.leaves(leaf).iter().map(|(id, _)| *id));
        }
    }
    let sql = "
        select i.indrelid, a.attname::text as name
          from pg_index i
          join pg_class x on x.oid = i.indexrelid
          join pg_am am on am.oid = x.relam and am.amname = 'btree'
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
         where i.indrelid = any ($1::oid[]) and i.indisvalid and i.indpred is null";
    let mut leading: HashMap<u32, Vec<String>> = HashMap::new();
    for row in reading.query(sql, &[&asked]).await? {
        leading.entry(reading.get(&row, "indrelid")?).or_default().push(reading.get(&row, "name")?);
    }
    Ok(leading)
}

/// Visits a level and all below it.
fn each_level<'a>(level: &'a Level, visit: &mut dyn FnMut(&'a Level)) {
    visit(level);
    for below in level.parts.iter().filter_map(|part| part.below.as_ref()) {
        each_level(below, visit);
    }
}

/// As [`each_level`], to change them. A level is known by the partition it is of; `None` at the top.
fn each_level_mut(level: &mut Level, of: Option<u64>, visit: &mut dyn FnMut(Option<u64>, &mut Level)) {
    visit(of, level);
    for part in &mut level.parts {
        if let Some(below) = &mut part.below {
            each_level_mut(below, Some(part.id), visit);
        }
    }
}

/// For each level that is cut by ranges of a column: the newest partition with rows that is no catch-all.
///
/// By what a level is of, `None` for the top.
fn candidates(set: &SetFacts, nodes: &Nodes) -> Vec<(Option<u64>, u32)> {
    let readable = std::collections::HashSet::new();
    let leading = HashMap::new();
    let known = Known { nodes, readable: &readable, leading: &leading };
    let mut found = Vec::new();
    let mut look = |of: Option<u64>, level: &Level| {
        let is_cut_by_column = level.keys.first().is_some_and(|key| key.column.is_some());
        if level.method != Method::Range || !is_cut_by_column {
            return;
        }
        let newest = level
            .parts
            .iter()
            .rev()
            .find(|part| !part.is_catch_all() && !part.detach_pending && known.has_rows(oid(part.id)));
        found.extend(newest.map(|part| (of, oid(part.id))));
    };
    fn walk(of: Option<u64>, level: &Level, look: &mut dyn FnMut(Option<u64>, &Level)) {
        look(of, level);
        for part in &level.parts {
            if let Some(below) = &part.below {
                walk(Some(part.id), below, look);
            }
        }
    }
    walk(None, &set.level, &mut look);
    found
}

/// A question about one table, whose answer is one value.
struct Question {
    /// What the answer is about: a set by its place, and what is asked there.
    set: usize,
    about: Option<u64>,
    /// An expression: a scalar subquery.
    sql: String,
}

/// The answers, in order; `None` where the server refused, or had no value. All are asked in one statement; if that
/// fails, each by itself.
async fn ask(
    reading: &Reading<'_>,
    questions: &[Question],
    millis: u32,
) -> Result<Vec<Option<String>>, EngineError> {
    let mut answers = Vec::new();
    for some in questions.chunks(200) {
        let all = some.iter().enumerate().map(|(n, q)| format!("select {n} as n, ({})::text as v", q.sql));
        let sql = format!("{} order by n", all.collect::<Vec<_>>().join(" union all "));
        let together = reading.try_query(millis.saturating_mul(4), &sql, &[]).await?;
        match together {
            Ok(rows) if rows.len() == some.len() => {
                answers.extend(rows.iter().map(|row| row.try_get::<_, Option<String>>(1).ok().flatten()));
            }
            _ => {
                for question in some {
                    let sql = format!("select ({})::text as v", question.sql);
                    let row = reading.try_query(millis, &sql, &[]).await?.ok();
                    let value = |rows: Vec<Row>| rows.first().and_then(|row| row.try_get(0).ok().flatten());
                    answers.push(row.and_then(value));
                }
            }
        }
    }
    Ok(answers)
}

/// The highest keys in use, of every level where they are quick to find.
async fn highs(reading: &Reading<'_>, sets: &mut [SetFacts], known: &Known<'_>) -> Result<(), EngineError> {
    let mut questions = Vec::new();
    for (place, set) in sets.iter().enumerate() {
        let levels = levels_by_owner(set);
        for (of, part) in candidates(set, known.nodes) {
            let Some(key) = levels.get(&of).and_then(|level| level.keys.first()) else { continue };
            let Some(node) = known.nodes.get(part) else { continue };
            if known.is_quick(part, key.column.as_deref()) {
                let sql = format!("select max({}) from {}", key.text, name(&node.table));
                questions.push(Question { set: place, about: of, sql });
            }
        }
    }
    let answers = ask(reading, &questions, QUICK_MILLIS).await?;
    for (question, answer) in questions.iter().zip(answers) {
        each_level_mut(&mut sets[question.set].level, None, &mut |of, level| {
            if of == question.about {
                level.high.clone_from(&answer);
            }
        });
    }
    Ok(())
}

/// The levels of a set by the partitions they are of.
fn levels_by_owner(set: &SetFacts) -> HashMap<Option<u64>, &Level> {
    let mut levels = HashMap::from([(None, &set.level)]);
    set.level.each(&mut |part| {
        if let Some(below) = &part.below {
            levels.insert(Some(part.id), below);
        }
    });
    levels
}

/// `"schema"."table"`.
fn name(table: &TableName) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}

/// The rows in catch-all partitions.
async fn strays(reading: &Reading<'_>, sets: &mut [SetFacts], known: &Known<'_>) -> Result<(), EngineError> {
    let mut questions = Vec::new();
    for (place, set) in sets.iter().enumerate() {
        set.level.each(&mut |part| {
            if part.is_catch_all() && known.may_read(oid(part.id)) {
                let sql = format!("select exists (select from {})", name(&part.table));
                questions.push(Question { set: place, about: Some(part.id), sql });
            }
        });
    }
    let answers = ask(reading, &questions, QUICK_MILLIS).await?;
    for (question, answer) in questions.iter().zip(answers) {
        let set = &mut sets[question.set];
        let Some(found) = (match answer.as_deref() {
            Some("false") => Some((true, Some(Strays::default()))),
            Some("true") => Some((false, stray_rows(reading, set, question.about, known).await?)),
            _ => None,
        }) else {
            continue;
        };
        each_level_mut(&mut set.level, None, &mut |_, level| {
            if let Some(part) = level.parts.iter_mut().find(|part| Some(part.id) == question.about) {
                part.empty = Some(found.0);
                part.strays.clone_from(&found.1);
            }
        });
    }
    Ok(())
}

/// What lies in one catch-all that has rows. Rows without a key are left out: no other partition is theirs.
async fn stray_rows(
    reading: &Reading<'_>,
    set: &SetFacts,
    part: Option<u64>,
    known: &Known<'_>,
) -> Result<Option<Strays>, EngineError> {
    let mut found: Option<(&Level, &Part)> = None;
    each_level(&set.level, &mut |level| {
        found = found.or_else(|| level.parts.iter().find(|p| Some(p.id) == part).map(|p| (level, p)));
    });
    let Some((level, part)) = found else { return Ok(None) };
    let Some(key) = level.keys.first() else { return Ok(None) };
    let id = oid(part.id);
    let estimate = part.rows.unwrap_or(1).max(1);
    let table = name(&part.table);
    let column = key.column.as_deref();
    let mut strays = Strays { rows: estimate, more: true, ..Strays::default() };
    if level.method == Method::List || known.is_small(id) {
        // One more than is told shows whether there are others.
        let sql = format!(
            "select ({key})::text as value, count(*) as rows from {table} where ({key}) is not null
              group by ({key}) order by ({key}) limit {}",
            VALUES_MAX + 1,
            key = key.text
        );
        if let Ok(rows) = reading.try_query(SCAN_MILLIS, &sql, &[]).await? {
            for row in &rows {
                let count = u64::try_from(reading.get::<i64>(row, "rows")?).unwrap_or(0);
                strays.values.push((reading.get(row, "value")?, count));
            }
            strays.more = strays.values.len() > VALUES_MAX;
            strays.values.truncate(VALUES_MAX);
            strays.low = strays.values.first().map(|(value, _)| value.clone());
            if !strays.more {
                strays.rows = strays.values.iter().map(|(_, count)| count).sum();
                strays.high = strays.values.last().map(|(value, _)| value.clone());
                return Ok(Some(strays));
            }
        }
    }
    if level.method == Method::Range {
        let millis = if known.is_quick(id, column) { QUICK_MILLIS } else { SCAN_MILLIS };
        let sql =
            format!("select min({key})::text as low, max({key})::text as high from {table}", key = key.text);
        if let Ok(rows) = reading.try_query(millis, &sql, &[]).await?
            && let Some(row) = rows.first()
        {
            strays.low = reading.get(row, "low")?;
            strays.high = reading.get(row, "high")?;
        }
    }
    Ok(Some(strays))
}

/// The partitions that retirement may be about, the oldest first, level by level, without catch-alls.
fn closed(set: &SetFacts, known: &Known<'_>) -> Vec<Vec<Part>> {
    let mut levels = Vec::new();
    each_level(&set.level, &mut |level| {
        let ordinary =
            level.parts.iter().filter(|part| !matches!(part.bound, Bound::Default | Bound::Hash { .. }));
        let closed = ordinary.filter(|part| !is_open(&part.bound) && known.may_read(oid(part.id)));
        levels.push(closed.cloned().collect());
    });
    levels
}

/// How many partitions of a level are still asked: until as many may go as a run retires, so that old ones that have
/// to stay do not hide younger ones that may go.
struct Asking {
    left: u32,
    since: Instant,
}

impl Asking {
    fn new(retiring: &Retiring, since: Instant) -> Asking {
        Asking { left: retiring.oldest, since }
    }

    fn goes_on(&self) -> bool {
        self.left > 0 && self.since.elapsed() < ASK_MAX
    }

    fn found(&mut self, may_go: bool) {
        self.left -= u32::from(may_go && self.left > 0);
    }
}

/// Whether a range has no end above.
fn is_open(bound: &Bound) -> bool {
    matches!(bound, Bound::Range { to, .. } if to.first() == Some(&Edge::Max))
}

/// The policy's conditions, asked of the oldest partitions. They see nothing but `pg_catalog` in their search path.
async fn conditions(
    reading: &Reading<'_>,
    set: &mut SetFacts,
    retiring: &Retiring,
    known: &Known<'_>,
) -> Result<Option<Refused>, EngineError> {
    let mut sqls = Vec::new();
    if let Some(when) = &retiring.when {
        // A row of which the condition is neither true nor false does not fulfil it.
        sqls.push((true, when, format!("({when}\n) is not true")));
    }
    for hold in &retiring.legal_hold {
        sqls.push((false, hold, format!("({hold}\n) is true")));
    }
    if sqls.is_empty() {
        return Ok(None);
    }
    let mut refused = None;
    let since = Instant::now();
    for level in closed(set, known) {
        let mut asking = Asking::new(retiring, since);
        for part in level {
            if !asking.goes_on() {
                break;
            }
            let found = condition(reading, set, &part, &sqls, &mut refused).await?;
            let held = found.1.filter(|_| !retiring.legal_hold.is_empty());
            asking.found(found.0 != Some(false) && held != Some(true));
            each_level_mut(&mut set.level, None, &mut |_, level| {
                if let Some(own) = level.parts.iter_mut().find(|own| own.id == part.id) {
                    (own.when_true, own.held_by_rows) = (found.0, held);
                }
            });
        }
    }
    Ok(refused)
}

/// Whether all rows of a partition fulfil the condition of the policy, and whether one is on hold by another.
async fn condition(
    reading: &Reading<'_>,
    set: &SetFacts,
    part: &Part,
    sqls: &[(bool, &String, String)],
    refused: &mut Option<Refused>,
) -> Result<(Option<bool>, Option<bool>), EngineError> {
    let mut when_true = None;
    let mut held = Some(false);
    for (is_when, condition, predicate) in sqls {
        let sql = format!("select exists (select from {} where {predicate}) as found", name(&part.table));
        let found = match reading.try_query(SCAN_MILLIS, &sql, &[]).await? {
            Ok(rows) => rows.first().map(|row| reading.get::<bool>(row, "found")).transpose()?,
            Err(error) => {
                *refused = refused.take().or_else(|| not_understood(set, condition, &error));
                None
            }
        };
        match is_when {
            true => when_true = found.map(|found| !found),
            // One hold that could not be asked is enough not to know.
            false => held = held.zip(found).map(|(held, found)| held || found).or(held.filter(|held| *held)),
        }
    }
    Ok((when_true, held))
}

/// A condition that can never be asked, as against one that took too long.
fn not_understood(set: &SetFacts, condition: &str, error: &tokio_postgres::Error) -> Option<Refused> {
    let error = error.as_db_error()?;
    let class = error.code().code().get(..2)?;
    (class == "42" || class == "22").then(|| Refused {
        table: set.table.to_string(),
        why: format!("the condition {condition:?} cannot be asked: {}", error.message()),
        remedy: "Correct the condition in the policy; functions and types need their schemas.".into(),
    })
}

/// Whether rows of other tables refer to rows of the oldest partitions.
async fn referenced(
    reading: &Reading<'_>,
    set: &mut SetFacts,
    retiring: &Retiring,
    known: &Known<'_>,
) -> Result<(), EngineError> {
    if set.referenced_by.is_empty() {
        return Ok(());
    }
    let rows = reading.query(include_str!("joins.sql"), &[&known.nodes.ids()]).await?;
    let roots = super::around::root_of(std::slice::from_ref(set), known.nodes);
    let mut joins: Vec<(u32, bool, String, String)> = Vec::new();
    for row in rows {
        let to: u32 = reading.get(&row, "to_id")?;
        if roots.contains_key(&to) {
            let from = TableName::new(
                reading.get::<String>(&row, "from_schema")?,
                reading.get::<String>(&row, "from_table")?,
            );
            joins.push((to, reading.get(&row, "readable")?, name(&from), reading.get(&row, "condition")?));
        }
    }
    let since = Instant::now();
    for level in closed(set, known) {
        let mut asking = Asking::new(retiring, since);
        // What the policy's own conditions keep needs no question.
        for part in level.iter().filter(|p| p.held_by_rows != Some(true) && p.when_true != Some(false)) {
            if !asking.goes_on() {
                break;
            }
            let found = refers(reading, part, &joins, known).await?;
            asking.found(found != Some(true));
            each_level_mut(&mut set.level, None, &mut |_, level| {
                if let Some(own) = level.parts.iter_mut().find(|own| own.id == part.id) {
                    own.referenced = found;
                }
            });
        }
    }
    Ok(())
}

/// Whether rows of other tables refer to rows of a partition.
async fn refers(
    reading: &Reading<'_>,
    part: &Part,
    joins: &[(u32, bool, String, String)],
    known: &Known<'_>,
) -> Result<Option<bool>, EngineError> {
    let mut referenced = Some(false);
    // A key that refers to one partition concerns that one, and those above it.
    let above = ancestors(oid(part.id), known.nodes);
    let below: Vec<u32> = roots_below(oid(part.id), known.nodes);
    for (to, readable, from, condition) in joins {
        if !above.contains(to) && !below.contains(to) {
            continue;
        }
        let found = match readable {
            true => {
                let sql = format!(
                    "select exists (select from {from} f join {} p on {condition}) as found",
                    name(&part.table)
                );
                let asked = reading.try_query(SCAN_MILLIS, &sql, &[]).await?.ok();
                asked.and_then(|rows| rows.first().and_then(|row| row.try_get::<_, bool>("found").ok()))
            }
            false => None,
        };
        referenced = match (referenced, found) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
    }
    Ok(referenced)
}

/// A table and all that it is a partition of.
fn ancestors(id: u32, nodes: &Nodes) -> Vec<u32> {
    std::iter::successors(Some(id), |id| nodes.get(*id).map(|node| node.parent).filter(|parent| *parent != 0))
        .collect()
}

/// All partitions below a table.
fn roots_below(id: u32, nodes: &Nodes) -> Vec<u32> {
    let mut below = Vec::new();
    let mut left = nodes.children(id).to_vec();
    while let Some(id) = left.pop() {
        left.extend(nodes.children(id));
        below.push(id);
    }
    below
}
