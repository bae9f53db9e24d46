//! A look at all rows of a partition, as green will have them: whether green takes them.
//!
//! It costs one or two passes over each table, on blue alone, and takes no more time than [`PATIENCE_MS`] a table. What is
//! not seen here is found by the copy, which says the same at the cost of what was copied until then.

use replat_engine::EngineError;
use replat_model::draft::{Misfit, Unfit};
use replat_model::facts::{ColumnFacts, DatabaseFacts, IndexFacts, TableFacts, TypeKind};
use replat_model::ids::Side;
use replat_model::plan::{ColumnPlan, Plan, TablePlan};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::copy::copied_tables;
use crate::culprit::{Culprit, Rows};
use crate::error::{is_of_the_row, on};
use crate::merge::is_foreign;
use crate::slice::{key_text, members, satisfies, table_name};
use crate::sql::{quote_ident, quote_literal};

/// How long one statement of the look may take. Unit: milliseconds.
const PATIENCE_MS: u32 = 20_000;

/// What was being done, for errors.
const LOOKING: &str = "looking at the rows as green will have them";

/// The rows of the plan's tables that green, as its facts have it, would not take: what is wrong, how many there are, and
/// the key of one. What blue's catalogue promises already is not asked again.
///
/// # Errors
///
/// What the server says to anything that is not about a row.
pub async fn misfits(
    client: &Client,
    plan: &Plan,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
) -> Result<Vec<Misfit>, EngineError> {
    let mut found = Vec::new();
    for table in copied_tables(plan) {
        let (Some(before), Some(facts)) = (blue.table(&table.blue.name), green.table(&table.green.name))
        else {
            continue;
        };
        found.extend(Look { client, plan, table, before, facts }.all().await?);
    }
    Ok(found)
}

/// A condition that no row should satisfy.
struct Question {
    what: Unfit,
    condition: String,
}

/// What became of a statement.
enum Answer<T> {
    Said(T),
    /// It has no answer: a row is refused.
    OfARow,
    /// Nobody knows: it is not understood, or it took too long.
    Unseen(String),
}

struct Look<'a> {
    client: &'a Client,
    plan: &'a Plan,
    table: &'a TablePlan,
    /// The table on blue.
    before: &'a TableFacts,
    /// The table on green.
    facts: &'a TableFacts,
}

impl Look<'_> {
    async fn all(&self) -> Result<Vec<Misfit>, EngineError> {
        if let Some(misfit) = self.without_value().await? {
            // No other question has an answer then.
            return Ok(vec![misfit]);
        }
        let mut found = self.shared().await?;
        let (plain, checks) = (self.of_values(), self.of_checks());
        // What the server certainly understands is asked at once.
        if !plain.is_empty() {
            found.extend(self.ask(plain).await?);
        }
        for check in checks {
            found.extend(self.ask(vec![check]).await?);
        }
        for index in self.facts.indexes.iter().filter(|index| self.is_new_promise(index)) {
            found.extend(self.twice(index).await?);
        }
        Ok(found)
    }

    fn misfit(&self, what: Unfit, rows: u64, example: String) -> Misfit {
        let (table, blue) = (self.table.green.name.clone(), self.table.blue.name.clone());
        Misfit { table, blue, what, rows, example }
    }

    fn unseen(&self, why: String) -> Misfit {
        self.misfit(Unfit::Unseen { why }, 0, String::new())
    }

    /// The column of blue that goes over as it is.
    fn source(&self, plan: &ColumnPlan) -> Option<&ColumnFacts> {
        self.before.columns.iter().find(|column| quote_ident(&column.name) == plan.expression)
    }

    /// Whether all columns keep their names and values, so that one definition means the same on both sides.
    fn is_unchanged(&self) -> bool {
        let keeps = |plan: &ColumnPlan| self.source(plan).is_some_and(|column| column.name == plan.target);
        self.table.forward.iter().all(keeps)
    }

    /// Blue's rows of the partition with green's columns, under the alias `g`; the row's key as `replat_key`.
    fn rows(&self) -> String {
        let values: Vec<String> = self
            .table
            .forward
            .iter()
            .map(|c| match is_foreign(c) {
                true => format!("({})::text AS {}", c.expression, quote_ident(&c.target)),
                false => format!("({})::{} AS {}", c.expression, c.wire_type, quote_ident(&c.target)),
            })
            .collect();
        let plain = format!(
            "SELECT {}, concat_ws(', ', {}) AS replat_key FROM {} WHERE {}",
            values.join(", "),
            key_text(self.table, Side::Blue, ""),
            table_name(self.plan, self.table, Side::Blue),
            members(self.plan, self.table, Side::Blue, ""),
        );
        // The server would pull what is not asked for out of the way, and nothing must be evaluated twice.
        let mut sql = format!("({plain} OFFSET 0) g");
        let generated = self.facts.columns.iter().filter_map(|c| Some((c, c.generated.as_ref()?)));
        for (column, expression) in generated {
            sql = format!("(SELECT *, ({expression}) AS {} FROM {sql}) g", quote_ident(&column.name));
        }
        sql
    }

    /// A row for which an expression has no value.
    async fn without_value(&self) -> Result<Option<Misfit>, EngineError> {
        let is_kept = |c: &ColumnPlan| self.source(c).is_some_and(|from| from.stage_type() == c.wire_type);
        let computed: Vec<_> = self.table.forward.iter().filter(|c| !is_kept(c)).collect();
        let counts: Vec<String> =
            computed.iter().map(|c| format!("count(({})::{})", c.expression, c.wire_type)).collect();
        if counts.is_empty() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            counts.join(", "),
            table_name(self.plan, self.table, Side::Blue),
            members(self.plan, self.table, Side::Blue, ""),
        );
        match self.query(&sql).await? {
            Answer::Said(_) => Ok(None),
            Answer::Unseen(why) => Ok(Some(self.unseen(why))),
            Answer::OfARow => {
                let culprit = self.culprit(&computed).await?;
                Ok(culprit.map(|culprit| {
                    let what = Unfit::Valueless { column: culprit.column, why: culprit.why };
                    self.misfit(what, 1, culprit.key.join(", "))
                }))
            }
        }
    }

    /// Rows that another way of the same table, before this one in the plan, takes too.
    async fn shared(&self) -> Result<Vec<Misfit>, EngineError> {
        let earlier = copied_tables(self.plan).take_while(|table| !std::ptr::eq(*table, self.table));
        let mut found = Vec::new();
        let of_the_same = |other: &&TablePlan| !other.is_part && other.blue.name == self.table.blue.name;
        for other in earlier.filter(|other| !self.table.is_part && of_the_same(other)) {
            let sql = format!(
                "SELECT count(*), min(concat_ws(', ', {})) FROM {} WHERE {} AND {}",
                key_text(self.table, Side::Blue, ""),
                table_name(self.plan, self.table, Side::Blue),
                members(self.plan, self.table, Side::Blue, ""),
                other.blue_rows.as_ref().map_or_else(|| "true".into(), |rows| satisfies(rows, "")),
            );
            let what = Unfit::GoesTwice { other: other.green.name.clone() };
            match self.query(&sql).await? {
                Answer::Said(rows) => found.extend(rows.first().and_then(|row| {
                    let rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
                    let key: Option<String> = row.get(1);
                    key.map(|key| self.misfit(what, rows, key))
                })),
                Answer::Unseen(why) => found.push(self.unseen(why)),
                Answer::OfARow => found.push(self.unseen("a condition has no value for some row".into())),
            }
        }
        Ok(found)
    }

    /// As [`Rows::without_value`], in a session that finds names as the copy does.
    async fn culprit(&self, columns: &[&ColumnPlan]) -> Result<Option<Culprit>, EngineError> {
        let on = on(&self.plan.blue.home.database, LOOKING);
        self.client.batch_execute(&self.path("SET")).await.map_err(&on)?;
        let rows = Rows { plan: self.plan, table: self.table, side: Side::Blue, client: self.client };
        let culprit = rows.without_value(columns, (None, None)).await;
        self.client.batch_execute("RESET search_path").await.map_err(&on)?;
        culprit
    }

    fn path(&self, set: &str) -> String {
        format!("{set} search_path = {}, pg_catalog", quote_ident(&self.plan.blue.home.schema))
    }

    /// Nulls, labels and lengths.
    fn of_values(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for plan in &self.table.forward {
            let Some(column) = self.facts.column(&plan.target) else { continue };
            let name = quote_ident(&column.name);
            let source = self.source(plan);
            if column.not_null && !source.is_some_and(|source| source.not_null) {
                questions.push(Question {
                    what: Unfit::Null { column: column.name.clone() },
                    condition: format!("{name} IS NULL"),
                });
            }
            let has_known_labels = |labels: &[String]| {
                let known = |kind: &TypeKind| match kind {
                    TypeKind::Enum(own) => own.iter().all(|label| labels.contains(label)),
                    _ => false,
                };
                source.is_some_and(|source| known(&source.type_kind))
            };
            if let TypeKind::Enum(labels) = &column.type_kind
                && !has_known_labels(labels)
            {
                let known: Vec<String> = labels.iter().map(|label| quote_literal(label)).collect();
                questions.push(Question {
                    what: Unfit::NoLabel { column: column.name.clone(), labels: labels.clone() },
                    condition: format!("{name} <> ALL (ARRAY[{}]::text[])", known.join(", ")),
                });
            }
            if let Some(max) = length_max(column)
                && source.and_then(length_max).is_none_or(|before| before > max)
            {
                questions.push(Question {
                    what: Unfit::TooLong { column: column.name.clone(), max },
                    condition: format!("char_length({name}) > {max}"),
                });
            }
        }
        questions
    }

    fn of_checks(&self) -> Vec<Question> {
        let kept = |definition: &str| {
            self.is_unchanged()
                && self.before.constraints.iter().any(|before| before.definition == definition)
        };
        let checks =
            self.facts.constraints.iter().filter(|c| !kept(&c.definition)).filter_map(|constraint| {
                let condition = condition(&constraint.definition)?;
                Some(Question {
                    what: Unfit::Violates {
                        constraint: constraint.name.clone(),
                        definition: constraint.definition.clone(),
                    },
                    // A null is no violation.
                    condition: format!("({condition}) IS FALSE"),
                })
            });
        checks.collect()
    }

    async fn ask(&self, questions: Vec<Question>) -> Result<Vec<Misfit>, EngineError> {
        // The first by its key, as text: one example is as good as another, but it should always be the same.
        let asked = |Question { condition, .. }: &Question| {
            format!("count(*) FILTER (WHERE {condition}), min(replat_key) FILTER (WHERE {condition})")
        };
        let asked: Vec<String> = questions.iter().map(asked).collect();
        let sql = format!("SELECT {} FROM {}", asked.join(", "), self.rows());
        let row = match self.query(&sql).await? {
            Answer::Said(rows) => rows.into_iter().next(),
            Answer::Unseen(why) => return Ok(vec![self.unseen(why)]),
            Answer::OfARow => None,
        };
        let Some(row) = row else {
            return Ok(vec![self.unseen("a row could not be looked at".into())]);
        };
        let mut found = Vec::new();
        for (n, question) in questions.into_iter().enumerate() {
            let rows = u64::try_from(row.get::<_, i64>(2 * n)).unwrap_or_default();
            if rows > 0 {
                let example: Option<String> = row.get(2 * n + 1);
                found.push(self.misfit(question.what, rows, example.unwrap_or_default()));
            }
        }
        Ok(found)
    }

    /// Whether green keeps apart what blue does not.
    fn is_new_promise(&self, index: &IndexFacts) -> bool {
        if !index.unique || index.columns.is_empty() && !index.expression {
            return false;
        }
        let is_key = !index.expression
            && index.columns.len() == self.table.key.len()
            && self.table.key.iter().all(|key| index.columns.contains(&key.green));
        !is_key && !self.is_kept(index)
    }

    /// Whether an index of blue keeps the same values apart.
    fn is_kept(&self, index: &IndexFacts) -> bool {
        let same =
            |before: &IndexFacts| before.unique && before.valid && before.definition == index.definition;
        if self.is_unchanged() && self.before.indexes.iter().any(same) {
            return true;
        }
        let source = |name: &String| {
            let plan = self.table.forward.iter().find(|plan| plan.target == *name)?;
            self.source(plan).map(|column| column.name.as_str())
        };
        let sources: Option<Vec<&str>> = index.columns.iter().map(source).collect();
        let nulls_too = index.definition.contains("NULLS NOT DISTINCT");
        let covers = |sources: &Vec<&str>| {
            let alike = |before: &IndexFacts| {
                before.is_plain_unique()
                    && before.columns.len() == sources.len()
                    && before.columns.iter().all(|column| sources.contains(&column.as_str()))
            };
            self.before.indexes.iter().any(alike)
        };
        !index.expression && !nulls_too && sources.as_ref().is_some_and(covers)
    }

    /// Rows that a unique index of green would take for one.
    async fn twice(&self, index: &IndexFacts) -> Result<Option<Misfit>, EngineError> {
        let Some((list, rest)) = parenthesised(&index.definition) else { return Ok(None) };
        let some = rest.split_once(" WHERE ").map_or("true", |(_, some)| some);
        let nulls = if rest.contains("NULLS NOT DISTINCT") { "true" } else { "ROW({list}) IS NOT NULL" };
        let sql = format!(
            "SELECT coalesce(sum(n), 0)::bigint, min(keys) FROM (SELECT count(*) AS n, \
               min(replat_key) || ') and (' || max(replat_key) AS keys \
             FROM {} WHERE ({some}) AND {} GROUP BY {list} HAVING count(*) > 1) twice",
            self.rows(),
            nulls.replace("{list}", list),
        );
        let rows = match self.query(&sql).await? {
            Answer::Said(rows) => rows,
            Answer::Unseen(why) => return Ok(Some(self.unseen(format!("{}: {why}", index.name)))),
            Answer::OfARow => return Ok(Some(self.unseen(format!("{}: a row has no value", index.name)))),
        };
        let Some(row) = rows.first() else { return Ok(None) };
        let rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        let keys: Option<String> = row.get(1);
        let what = Unfit::Twice { index: index.name.clone(), over: list.to_owned() };
        Ok(keys.map(|keys| self.misfit(what, rows, keys)))
    }

    async fn query(&self, sql: &str) -> Result<Answer<Vec<tokio_postgres::Row>>, EngineError> {
        let database = &self.plan.blue.home.database;
        let on = on(database, LOOKING);
        let begin = format!(
            "BEGIN READ ONLY; {}; SET LOCAL statement_timeout = {PATIENCE_MS}",
            self.path("SET LOCAL")
        );
        self.client.batch_execute(&begin).await.map_err(&on)?;
        let answer = self.client.query(sql, &[]).await;
        self.client.batch_execute("ROLLBACK").await.map_err(&on)?;
        let error = match answer {
            Ok(rows) => return Ok(Answer::Said(rows)),
            Err(error) => error,
        };
        let Some(server) = error.as_db_error() else { return Err(on(error)) };
        if is_of_the_row(&error) {
            return Ok(Answer::OfARow);
        }
        if *server.code() == SqlState::QUERY_CANCELED {
            return Ok(Answer::Unseen(format!("it takes longer than {} s", PATIENCE_MS / 1_000)));
        }
        // It names a type, a function or a column that blue does not have.
        if ["42", "3F", "0A"].iter().any(|class| server.code().code().starts_with(class)) {
            return Ok(Answer::Unseen(format!("blue says {}", server.message())));
        }
        Err(on(error))
    }
}

/// How many characters a column takes.
fn length_max(column: &ColumnFacts) -> Option<u64> {
    let (name, max) = column.type_name.strip_suffix(')')?.split_once('(')?;
    let is_text = ["character varying", "character"].contains(&name);
    is_text.then(|| max.parse().ok()).flatten()
}

/// The condition of a CHECK that is enforced.
fn condition(definition: &str) -> Option<&str> {
    let inner = definition.strip_prefix("CHECK ")?;
    let (condition, rest) = parenthesised(inner)?;
    (!rest.contains("NOT ENFORCED")).then_some(condition)
}

/// What is in the first parentheses of what the server wrote, and what comes after them. Quotes may hold some, too.
fn parenthesised(text: &str) -> Option<(&str, &str)> {
    let start = text.find('(')?;
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < start) {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('(', None) => depth += 1,
            (')', None) if depth == 1 => return Some((&text[start + 1..at], &text[at + 1..])),
            (')', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{condition, parenthesised};

    #[test]
    fn what_is_between_parentheses_is_found() {
        let rows = [
            ("btree (a, lower(b)) WHERE (c)", Some(("a, lower(b)", " WHERE (c)"))),
            ("btree (\"odd)name\", b)", Some(("\"odd)name\", b", ""))),
            ("CHECK ((x <> ')'::text)) NOT VALID", Some(("(x <> ')'::text)", " NOT VALID"))),
            ("no parentheses", None),
            ("(never closed", None),
        ];
        for (text, want) in rows {
            assert_eq!(parenthesised(text), want, "{text}");
        }
        assert_eq!(condition("CHECK ((a > 0)) NO INHERIT"), Some("(a > 0)"));
        assert_eq!(condition("CHECK ((a > 0)) NOT ENFORCED"), None);
        assert_eq!(condition("EXCLUDE USING gist (a WITH &&)"), None);
    }
}
