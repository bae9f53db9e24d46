//! Never a guess: whenever the keys of a statement are exact, the statement does the same on a server that holds no
//! other rows.
//!
//! Random statements from a grammar that is fond of what is easily misread: outer joins, operators without brackets,
//! names that shadow each other. Each that has exact keys is run on all rows, and again after the rows of all other
//! keys were deleted. Its result and what it leaves behind must be the same, and the other keys' rows untouched.

use replat_model::key::KeyType;
use replat_statement::{Keys, Plan, TableName, Tables};
use replat_testkit::Server;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::schema::dimension;

/// How many statements are made; `REPLAT_STATEMENTS` gives another number, `REPLAT_SEED` another beginning.
const STATEMENTS: u64 = 12_000;

const SCHEMA: &str = "
    create table a (t bigint not null, id int not null, x int, s text);
    create table b (t bigint not null, id int not null, x int, s text);
    create table r (t bigint, id int, x int, s text);
    insert into a select t, id, nullif((t * 7 + id * 3) % 4, 3), chr(96 + (t + id)::int % 3)
        from generate_series(1, 4) t, generate_series(1, 3) id;
    insert into b select t, id, nullif((t * 5 + id) % 4, 0), chr(96 + (t * id)::int % 3)
        from generate_series(1, 4) t, generate_series(2, 4) id where t <> 3 or id <> 2;
    insert into r select t, t % 3, nullif(t % 4, 2), chr(96 + t % 3) from generate_series(0, 5) t;
    create unique index on a (t, id);
";

#[tokio::test]
async fn exact_keys_are_exact() {
    let server = Server::start().await.expect("a server");
    server.create_database("shop").await.expect("a database");
    let client = server.client("shop").await.expect("a session");
    client.batch_execute(SCHEMA).await.expect("the tables");
    let public = |name| TableName::new("public", name);
    let tables = Tables::new(["public"])
        .with_context("shop", &[dimension("t", KeyType::BigInt)])
        .with_partitioned(public("a"))
        .with_partitioned(public("b"))
        .with_reference(public("r"));
    let number = |name, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (statements, seed) = (number("REPLAT_STATEMENTS", STATEMENTS), number("REPLAT_SEED", 1));
    let mut count = Count::default();
    for number in 0..statements {
        let sql = Grammar::new(seed.wrapping_mul(1_000_003).wrapping_add(number)).statement();
        let keys = match Plan::of(&sql, &tables).keys(&[]) {
            Keys::Exact { keys, .. } => keys,
            Keys::Unknown(_) => {
                count.unknown += 1;
                continue;
            }
            other => {
                count.other += 1;
                assert!(matches!(other, Keys::Reference | Keys::NotData), "{sql}: {other:?}");
                continue;
            }
        };
        let list = keys.iter().map(|key| key[0].to_string()).collect::<Vec<_>>().join(", ");
        let all = outcome(&client, "", &sql, &list).await;
        let reduce = format!("delete from a where t not in ({list}); delete from b where t not in ({list});");
        let reduced = outcome(&client, &reduce, &sql, &list).await;
        match (all, reduced) {
            (Ok(all), Ok(reduced)) => {
                assert_eq!(all.same, reduced.same, "statement {number}, keys {list}:\n{sql}");
                assert_eq!(
                    all.others,
                    count.others(&client, &list).await,
                    "statement {number} touched others:\n{sql}"
                );
                count.exact += 1;
                count.filled += usize::from(all.has_rows);
                count.several += usize::from(keys.len() > 1);
            }
            // The server may evaluate what the other rows make fail, before it drops them.
            (Err(_), _) => count.refused += 1,
            (Ok(_), Err(why)) => panic!("statement {number}, keys {list}: {why}:\n{sql}"),
        }
    }
    println!("{count:?}");
    let many = usize::try_from(statements).expect("a small number") / 8;
    assert!(count.exact > many && count.filled > many / 2 && count.several > many / 8, "{count:?}");
    assert!(count.refused < count.exact / 5, "{count:?}");
}

#[derive(Debug, Default)]
struct Count {
    exact: usize,
    filled: usize,
    several: usize,
    unknown: usize,
    refused: usize,
    other: usize,
}

impl Count {
    /// The rows of all other keys, as they are before any statement.
    async fn others(&self, client: &Client, list: &str) -> Vec<String> {
        lines(&client.simple_query(&others(list)).await.expect("the other rows"))
    }
}

struct Outcome {
    /// What the statement gave, then the rows of the keys.
    same: Vec<String>,
    others: Vec<String>,
    has_rows: bool,
}

fn others(list: &str) -> String {
    format!(
        "select 'a', * from a where t not in ({list}) union all select 'b', * from b where t not in ({list})"
    )
}

/// Runs `sql` after `before`, and takes both back.
async fn outcome(client: &Client, before: &str, sql: &str, list: &str) -> Result<Outcome, String> {
    client.batch_execute(&format!("begin; {before}")).await.expect("a transaction");
    let ran = client.simple_query(sql).await;
    let result = match ran {
        Ok(messages) => {
            let mut same = lines(&messages);
            let has_rows = same.iter().any(|line| line != "done 0");
            let of_keys = format!(
                "select 'a', * from a where t in ({list}) union all select 'b', * from b where t in ({list})"
            );
            same.extend(lines(&client.simple_query(&of_keys).await.expect("the rows of the keys")));
            let others = lines(&client.simple_query(&others(list)).await.expect("the other rows"));
            Ok(Outcome { same, others, has_rows })
        }
        Err(error) => {
            let why = error.as_db_error().map(ToString::to_string).unwrap_or_else(|| error.to_string());
            // A statement that we made wrongly proves nothing.
            let syntax = error.code().is_some_and(|code| code.code() == "42601");
            assert!(!syntax, "{why}:\n{sql}");
            Err(why)
        }
    };
    client.batch_execute("rollback").await.expect("an end");
    result
}

/// Rows and counts as text, in an order of their own.
fn lines(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let mut lines: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect::<Vec<_>>().join(","))
            }
            SimpleQueryMessage::CommandComplete(count) => Some(format!("done {count}")),
            _ => None,
        })
        .collect();
    lines.sort();
    lines
}

/// Makes statements; the same from the same seed.
struct Grammar {
    state: u64,
    ranges: usize,
    depth: usize,
}

impl Grammar {
    fn new(seed: u64) -> Grammar {
        Grammar { state: seed, ranges: 0, depth: 0 }
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.random() % n as u64).expect("it is below a usize")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// True once in `n`.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn statement(&mut self) -> String {
        match self.below(12) {
            0 => self.delete(),
            1 => self.update(),
            2 => self.insert(),
            3 => {
                let op = self.one(&["union all", "union", "except", "intersect"]);
                let (a, b) = (self.select(&[]), self.select(&[]));
                let (a, b) = (format!("select t, id from ({a}) q"), format!("select t, id from ({b}) q"));
                format!("{a} {op} {b}")
            }
            4 => {
                let (name, inner) = (self.one(&["a", "b", "c"]), self.select(&[]));
                let columns = self.one(&["", "(t, id)", "(id, t)", "(k)"]);
                let outer = self.select(&[]);
                format!("with {name}{columns} as ({inner}) {outer}")
            }
            5 => {
                let (name, inner) = (self.one(&["d", "a"]), self.changing());
                let key = self.key();
                match self.below(3) {
                    0 => format!("with {name} as ({inner} returning *) select t, id from {name}"),
                    1 => format!("with {name} as ({inner} returning *) select count(*), {key} t from {name}"),
                    _ => format!(
                        "with {name} as ({inner} returning *) select y.t, y.id from {name} q join b y on y.t = q.t"
                    ),
                }
            }
            _ => self.select(&[]),
        }
    }

    fn changing(&mut self) -> String {
        if self.rarely(2) { self.delete() } else { self.update() }
    }

    fn delete(&mut self) -> String {
        let (name, table) = (self.name(), self.one(&["a", "b"]));
        let mut names = vec![name.clone()];
        let using =
            if self.rarely(2) { format!(" using {}", self.from(&[], &mut names)) } else { String::new() };
        let condition = self.condition(&names);
        format!("delete from {table} {name}{using} where {condition}")
    }

    fn update(&mut self) -> String {
        let (name, table) = (self.name(), self.one(&["a", "b"]));
        let mut names = vec![name.clone()];
        // Which of several matches is taken is the server's affair, so that only a constant is set then.
        let from =
            if self.rarely(2) { format!(" from {}", self.from(&[], &mut names)) } else { String::new() };
        let value = match from.is_empty() {
            true => match self.below(3) {
                0 => format!("({})", self.scalar(&names)),
                1 => "x + 1".to_owned(),
                _ => "9".to_owned(),
            },
            false => "8".to_owned(),
        };
        let condition = self.condition(&names);
        let column = if self.rarely(40) { "t" } else { "x" };
        format!("update {table} {name} set {column} = {value}{from} where {condition}")
    }

    fn insert(&mut self) -> String {
        let (key, other) = (self.key(), self.key());
        let conflict = self.one(&[
            "",
            " on conflict do nothing",
            " on conflict (t, id) do update set x = 77",
            " on conflict (t, id) do update set x = excluded.id where a.id > 1",
        ]);
        let source = match self.below(4) {
            0 => format!("values ({key}, 2, 5)"),
            1 => format!("values ({key}, 70, 5), ({other}, 71, (select max(x) from b where t = {other}))"),
            2 => {
                format!("select {key}, 80 + q.id, q.id from ({}) q where q.id is not null", self.select(&[]))
            }
            _ => format!("select distinct q.t, 90, 6 from ({}) q where q.t is not null", self.select(&[])),
        };
        format!("insert into a (t, id, x) {source}{conflict}")
    }

    fn key(&mut self) -> usize {
        1 + self.below(4)
    }

    fn name(&mut self) -> String {
        self.ranges += 1;
        // Names that are tables too, so that they shadow.
        match self.below(12) {
            0 if self.ranges == 1 => "b".to_owned(),
            1 if self.ranges == 2 => "a".to_owned(),
            _ => format!("v{}", self.ranges),
        }
    }

    /// A query with columns `t` and `id`. `outer` are ranges of the surrounding queries.
    fn select(&mut self, outer: &[String]) -> String {
        self.depth += 1;
        let mut names = Vec::new();
        let from = self.from(outer, &mut names);
        let mut seen = names.clone();
        if self.rarely(3) {
            seen.extend_from_slice(outer);
        }
        let condition = self.condition(&seen);
        let (one, two) = (self.pick(&names), self.pick(&names));
        let sql = match self.below(8) {
            0 => format!("select {one}.t, count(*) as id from {from} where {condition} group by {one}.t"),
            1 => format!("select min({one}.t) as t, count({two}.x) as id from {from} where {condition}"),
            2 if self.depth < 4 => {
                let scalar = self.scalar(&names);
                format!("select {one}.t, ({scalar}) as id from {from} where {condition}")
            }
            3 => {
                let key = self.key();
                format!("select {key} as t, {two}.id from {from} where {condition}")
            }
            4 => format!("select distinct {one}.t as t, {two}.id as id from {from} where {condition}"),
            5 => format!("select {one}.id as t, {two}.t as id from {from} where {condition}"),
            _ => format!("select {one}.t, {two}.id from {from} where {condition}"),
        };
        self.depth -= 1;
        sql
    }

    fn pick(&mut self, names: &[String]) -> String {
        names[self.below(names.len())].clone()
    }

    /// One value, whatever rows there are.
    fn scalar(&mut self, outer: &[String]) -> String {
        let inner = self.select(outer);
        let what = self.one(&["count(*)", "sum(id)", "max(t)"]);
        format!("select {what} from ({inner}) w")
    }

    fn from(&mut self, outer: &[String], names: &mut Vec<String>) -> String {
        let mut from = self.item(outer, names);
        while self.rarely(2) && names.len() < 4 {
            let before = names.clone();
            match self.below(9) {
                0 => {
                    let next = self.item(outer, names);
                    from.push_str(&format!(", {next}"));
                }
                1 => {
                    let next = self.item(outer, names);
                    from.push_str(&format!(" cross join {next}"));
                }
                2 if before.len() == 1 => {
                    let (kind, next) = (self.kind(), self.item(outer, names));
                    from.push_str(&format!(" {kind} {next} using (t)"));
                }
                3 if self.depth < 3 => {
                    let kind = self.one(&["cross join", "left join"]);
                    let seen: Vec<String> = before.iter().chain(outer).cloned().collect();
                    let (inner, name) = (self.select(&seen), self.name());
                    names.push(name.clone());
                    let on = if kind == "cross join" { "" } else { " on true" };
                    from.push_str(&format!(" {kind} lateral ({inner}) {name}{on}"));
                }
                4 if names.len() < 3 => {
                    // b join c, bound before what stands to the left.
                    let mut inner_names = Vec::new();
                    let kind = self.kind();
                    let (one, two) = (self.item(outer, &mut inner_names), self.item(outer, &mut inner_names));
                    let (inner_kind, inner_on) = (self.kind(), self.on(&inner_names));
                    names.extend(inner_names);
                    let on = self.on(names);
                    let brackets = if self.rarely(2) { ("(", ")") } else { ("", "") };
                    from.push_str(&format!(
                        " {kind} {}{one} {inner_kind} {two} on {inner_on}{} on {on}",
                        brackets.0, brackets.1
                    ));
                }
                _ => {
                    let (kind, next) = (self.kind(), self.item(outer, names));
                    let on = self.on(names);
                    from.push_str(&format!(" {kind} {next} on {on}"));
                }
            }
            if from.contains(", ") {
                // A comma binds less than a join, so that ON would not see what stands before it.
                break;
            }
        }
        from
    }

    fn kind(&mut self) -> &'static str {
        self.one(&[
            "join",
            "inner join",
            "left join",
            "left join",
            "left outer join",
            "right join",
            "full join",
        ])
    }

    fn item(&mut self, outer: &[String], names: &mut Vec<String>) -> String {
        let name = self.name();
        names.push(name.clone());
        match if self.depth < 3 { self.below(10) } else { self.below(8) } {
            0..4 => format!("a {name}"),
            4..7 => format!("b as {name}"),
            7 => format!("r {name}"),
            8 => {
                let inner = self.select(outer);
                let columns = self.one(&["", "", "(t, id)", "(id, t)"]);
                let blank = "select *, id as x, chr(97) as s from";
                format!("({blank} ({inner}) i{columns}) {name}")
            }
            _ => {
                let key = self.key();
                format!("(select t, id, x, s from a where t = {key}) {name}")
            }
        }
    }

    fn on(&mut self, names: &[String]) -> String {
        let (last, other) = (&names[names.len() - 1].clone(), self.pick(names));
        let mut on = match self.below(5) {
            0 => format!("{other}.id = {last}.id"),
            1 => format!("{last}.t = {other}.t and {last}.id = {other}.id"),
            _ => format!("{other}.t = {last}.t"),
        };
        if self.rarely(3) {
            let op = self.one(&["and", "and", "and", "or"]);
            let more = self.atom(names);
            on.push_str(&format!(" {op} {more}"));
        }
        on
    }

    /// Mostly restricted enough for exact keys, sometimes not.
    fn condition(&mut self, names: &[String]) -> String {
        let mut parts = Vec::new();
        for name in names {
            if self.rarely(4) {
                continue;
            }
            let (key, other, column) = (self.key(), self.key(), self.key_column(name, names));
            parts.push(match self.below(10) {
                0 => format!("{column} in ({key}, {other})"),
                1 => format!("{key} = {column}"),
                2 => format!("({column}, {name}.id) = ({key}, {other})"),
                3 => format!("{column} = any (array[{key}, {other}])"),
                4 => format!("({column} = '{key}'::bigint)"),
                5 => {
                    let with = self.pick(names);
                    format!("{column} = {with}.t")
                }
                _ => format!("{column} = {key}"),
            });
        }
        for _ in 0..self.below(3) {
            let at = self.below(parts.len() + 1);
            let atom = self.atom(names);
            parts.insert(at, atom);
        }
        if parts.is_empty() {
            return "true".to_owned();
        }
        let mut condition = parts[0].clone();
        for part in &parts[1..] {
            let op = if self.rarely(12) { "or" } else { "and" };
            condition.push_str(&format!(" {op} {part}"));
        }
        match self.below(20) {
            0 => format!("not ({condition})"),
            1 => format!("not {condition}"),
            2 => format!("({condition})"),
            _ => condition,
        }
    }

    /// Sometimes without its table, where that is not ambiguous.
    fn key_column(&mut self, name: &str, names: &[String]) -> String {
        if names.len() == 1 && self.rarely(2) { "t".to_owned() } else { format!("{name}.t") }
    }

    /// Any condition, without brackets wherever that can be.
    fn atom(&mut self, names: &[String]) -> String {
        let (one, two) = (self.pick(names), self.pick(names));
        let (key, n) = (self.key(), self.below(4));
        match self.below(24) {
            0 => format!("{one}.x is distinct from {n}"),
            1 => format!("{one}.x is not distinct from {two}.x"),
            2 => format!("{one}.x between {n} and {key}"),
            3 => format!("{one}.x not between {n} and 1"),
            4 => format!("{one}.s like 'a%' escape '!'"),
            5 => format!("{one}.s || 'x' = 'ax'"),
            6 => format!("{one}.x + {n} = {two}.x"),
            7 => format!("not {one}.x = {n}"),
            8 => format!("{one}.x is null"),
            9 => format!("{one}.t = {key} is not null"),
            10 => format!("{one}.t = {key} is not true"),
            11 => format!("({one}.t = {key} or {two}.x = {n})"),
            12 => format!("{one}.t >= {key}"),
            13 => format!("{one}.t <> {key}"),
            14 => format!("case when {one}.t = {key} then true else {two}.x = {n} end"),
            15 => format!("{one}.t not in ({key}, {n})"),
            16 => format!("{one}.t = {two}.t"),
            17 => format!("-{one}.x = -{n}"),
            18 => format!("{one}.id = any ('{{1,{n}}}')"),
            19 if self.depth < 3 => {
                let inner = self.select(names);
                let not = self.one(&["", "not "]);
                format!("{not}exists ({inner})")
            }
            20 if self.depth < 3 => {
                let inner = self.select(names);
                let not = self.one(&["", "not "]);
                format!("{one}.id {not}in (select id from ({inner}) w)")
            }
            21 if self.depth < 3 => {
                let scalar = self.scalar(names);
                format!("{one}.id < ({scalar})")
            }
            22 => format!("{one}.t = {key} and {two}.x <> {n}"),
            _ => format!("{one}.x = {n}"),
        }
    }
}
