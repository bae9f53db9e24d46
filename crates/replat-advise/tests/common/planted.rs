//! Systems of random shape in which a key is planted, and systems in which there is none: their files, as a recorded
//! workload has them, and designs that are known to be good.

use std::collections::BTreeMap;
use std::fmt::Write;

use replat_advise::design::{Cut, Design, Level, Placement};
use replat_advise::evidence::Source;
use serde_json::{Value, json};

/// So many transactions of each system are in its log.
const LOGGED: usize = 800;

/// A small generator (splitmix64, by Steele, Lea and Flood).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        (self.roll() >> 11) as f64 / ((1_u64 << 53) as f64) < share
    }

    fn of(&mut self, weights: &[f64]) -> usize {
        let mut left = (self.roll() >> 11) as f64 / ((1_u64 << 53) as f64) * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return place;
            }
        }
        weights.len() - 1
    }
}

/// A system, and what is known of it.
pub struct Planted {
    /// What is special about it.
    pub name: String,
    /// Everything: workload, transactions, sizes.
    pub whole: Vec<Source>,
    /// What a server hands out: definition, sizes, counters, write-ahead log, and a log of the first transactions.
    pub sample: Vec<Source>,
    /// Designs of which the best is a good one; none if there is none.
    pub good: Vec<Design>,
}

/// How a system is to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What is special about it.
    pub name: &'static str,
    /// Foreign keys are declared; else all names are meaningless, and every table has the key under a name of its own.
    pub declared: bool,
    /// The share of tables that carry the key of the root, of those that could do without.
    pub carried: f64,
    /// The share of the load that one root has for itself.
    pub hot: f64,
    /// The share of transactions that touch a second root.
    pub crossing: f64,
    /// The share of transactions that go over many roots.
    pub batches: f64,
    /// Tables that all look things up in.
    pub lists: usize,
    /// One of those is written now and then.
    pub lists_written: bool,
    /// Each step of a transaction takes any row.
    pub scattered: bool,
}

pub const TENANTS: Wanted = Wanted {
    name: "tenants",
    declared: true,
    carried: 0.5,
    hot: 0.0,
    crossing: 0.03,
    batches: 0.0,
    lists: 1,
    lists_written: false,
    scattered: false,
};

/// What is tried, but for systems of two keys.
pub const KINDS: [Wanted; 7] = [
    TENANTS,
    Wanted { name: "no declared foreign key", declared: false, carried: 1.0, ..TENANTS },
    Wanted { name: "no table carries the key", carried: 0.0, ..TENANTS },
    Wanted { name: "a hot key", hot: 0.3, crossing: 0.0, ..TENANTS },
    Wanted { name: "read-mostly lists", lists: 4, lists_written: true, ..TENANTS },
    Wanted { name: "batches and transfers", crossing: 0.2, batches: 0.01, ..TENANTS },
    Wanted { name: "no locality", carried: 0.0, lists: 0, crossing: 0.0, scattered: true, ..TENANTS },
];

struct TableOf {
    name: String,
    /// Its own key columns; the first one names its rows.
    own: Vec<String>,
    /// A column that it has not got: name, by which own column, of which table, which column there.
    derived: Option<(String, String, usize, String)>,
    parent: Option<(usize, String)>,
    /// The column that has the root's key.
    root: String,
    rows: usize,
}

impl TableOf {
    fn keys(&self) -> Vec<&String> {
        self.own.iter().chain(self.derived.iter().map(|derived| &derived.0)).collect()
    }
}

struct Statement {
    sql: String,
    op: char,
    table: usize,
    equal: Vec<String>,
    calls: u64,
    found: u64,
}

type Row = Vec<i64>;

/// A statement as it ran: which, its parameters, its rows.
type Ran = (usize, Vec<i64>, Vec<Row>);

struct World {
    name: String,
    partitions: u32,
    declared: bool,
    tables: Vec<TableOf>,
    statements: Vec<Statement>,
    transactions: Vec<(String, Vec<Ran>)>,
}

impl World {
    fn statement(&mut self, table: usize, op: char, by: &[&str]) -> usize {
        let seen = &self.tables[table];
        let condition = |from: usize| {
            let terms = by.iter().enumerate().map(|(n, column)| format!("{column} = ${}", n + from));
            terms.collect::<Vec<_>>().join(" AND ")
        };
        let (sql, equal) = match op {
            'r' => (format!("SELECT * FROM {} WHERE {}", seen.name, condition(1)), by.to_vec()),
            'u' => (format!("UPDATE {} SET note = $9 WHERE {}", seen.name, condition(1)), by.to_vec()),
            _ => {
                let places: Vec<String> = (1..=seen.own.len()).map(|n| format!("${n}")).collect();
                let columns = seen.own.join(", ");
                let sql = format!("INSERT INTO {} ({columns}) VALUES ({})", seen.name, places.join(", "));
                (sql, seen.own.iter().map(String::as_str).collect())
            }
        };
        if let Some(known) = self.statements.iter().position(|statement| statement.sql == sql) {
            return known;
        }
        let equal = equal.into_iter().map(str::to_owned).collect();
        self.statements.push(Statement { sql, op, table, equal, calls: 0, found: 0 });
        self.statements.len() - 1
    }

    fn ran(&mut self, statement: usize, rows: Vec<Row>, parameters: Vec<i64>) -> Ran {
        self.statements[statement].calls += 1;
        self.statements[statement].found += rows.len() as u64;
        (statement, parameters, rows)
    }

    /// The design that places every table by these columns; what has none is everywhere.
    fn by(&self, column: impl Fn(usize) -> Option<String>) -> Design {
        let tables = self.tables.iter().enumerate().map(|(place, table)| {
            let placement = column(place).map_or(Placement::Replicate, |column| Placement::Partition {
                levels: vec![Level {
                    cut: Cut::Hash { cols: vec![column], n: self.partitions, pins: BTreeMap::new() },
                    shard: None,
                }],
            });
            (table.name.clone(), placement)
        });
        Design { partitions: self.partitions, tables: tables.collect(), ..Design::default() }
    }

    fn files(&self, good: Vec<Design>) -> Planted {
        let mut tables = serde_json::Map::new();
        let mut stats = serde_json::Map::new();
        let mut ddl = String::new();
        for table in &self.tables {
            let mut columns: serde_json::Map<String, Value> =
                table.own.iter().map(|column| (column.clone(), json!("BIGINT"))).collect();
            columns.insert("note".into(), json!("TEXT"));
            let parent = table.parent.as_ref().filter(|_| self.declared);
            let parent = parent.map(|(parent, by)| (by, &self.tables[*parent]));
            let fks: Vec<Value> =
                parent.iter().map(|(by, parent)| json!([[by], parent.name, [parent.own[0]]])).collect();
            let mut described =
                json!({ "pk": [table.own[0]], "fks": fks, "columns": columns, "key_columns": table.keys() });
            if let Some((name, by, of, column)) = &table.derived {
                described["derived_columns"] = json!({ name: [by, self.tables[*of].name, column] });
            }
            tables.insert(table.name.clone(), described);
            stats.insert(table.name.clone(), json!({ "rows": table.rows, "row_bytes": 100 }));
            let own: Vec<String> =
                table.own.iter().map(|column| format!("{column} bigint NOT NULL")).collect();
            let reference = parent.map_or_else(String::new, |(by, parent)| {
                format!(", FOREIGN KEY ({by}) REFERENCES {} ({})", parent.name, parent.own[0])
            });
            writeln!(
                ddl,
                "CREATE TABLE {} ({}, note text, PRIMARY KEY ({}){reference});",
                table.name,
                own.join(", "),
                table.own[0]
            )
            .expect("text takes text");
        }
        let statements = self.statements.iter().enumerate().map(|(id, statement)| {
            let places = statement.equal.iter().enumerate().map(|(n, column)| (column.clone(), json!(n + 1)));
            let equal: serde_json::Map<String, Value> = places.collect();
            let touch = json!([{ "table": self.tables[statement.table].name, "op": statement.op.to_string(), "eq": equal,
                "in": {}, "range": {} }]);
            json!({ "id": id, "name": format!("s{id}"), "sql": statement.sql, "touch": touch, "joins": [] })
        });
        let workload = json!({ "format": "advisor-workload/1", "name": self.name, "partitions": self.partitions,
            "tables": tables, "statements": statements.collect::<Vec<_>>() });
        let (mut trace, mut log, mut wal) = (String::new(), String::new(), String::new());
        let line = |text: &mut String, value: Value| writeln!(text, "{value}").expect("text takes text");
        for (number, (kind, ran)) in self.transactions.iter().enumerate() {
            let at = number as f64 * 0.01;
            let steps: Vec<Value> = ran
                .iter()
                .map(|(statement, parameters, rows)| json!([statement, parameters, [rows]]))
                .collect();
            line(&mut trace, json!({ "t": at, "x": kind, "c": 1, "s": steps }));
            let writes: Vec<&Ran> = ran.iter().filter(|ran| self.statements[ran.0].op != 'r').collect();
            let xid = if writes.is_empty() { 0 } else { number + 1000 };
            for (statement, parameters, _) in ran.iter().filter(|_| number < LOGGED) {
                let said: Vec<String> = parameters
                    .iter()
                    .enumerate()
                    .map(|(n, value)| format!("${} = '{value}'", n + 1))
                    .collect();
                line(
                    &mut log,
                    json!({ "timestamp": at, "pid": 7, "vxid": format!("7/{number}"), "txid": xid,
                        "query_id": statement + 1, "message": format!("execute: {}", self.statements[*statement].sql),
                        "detail": format!("parameters: {}", said.join(", ")) }),
                );
            }
            if writes.is_empty() {
                continue;
            }
            line(&mut wal, json!({ "xid": xid, "a": "B", "t": at }));
            for (statement, _, rows) in writes {
                let statement = &self.statements[*statement];
                let table = &self.tables[statement.table];
                for row in rows {
                    let columns: serde_json::Map<String, Value> = table
                        .own
                        .iter()
                        .zip(row)
                        .map(|(column, value)| (column.clone(), json!(value)))
                        .collect();
                    let op = statement.op.to_ascii_uppercase().to_string();
                    line(&mut wal, json!({ "xid": xid, "a": op, "table": table.name, "cols": columns }));
                }
            }
            line(&mut wal, json!({ "xid": xid, "a": "C", "t": at }));
        }
        let mut counters = "queryid,calls,rows,query\n".to_owned();
        for (id, statement) in self.statements.iter().enumerate() {
            writeln!(counters, "{},{},{},\"{}\"", id + 1, statement.calls, statement.found, statement.sql)
                .expect("text takes text");
        }
        let source = |name: &str, text: String| Source { name: name.to_owned(), text };
        let stats = Value::Object(stats).to_string();
        Planted {
            name: self.name.clone(),
            whole: vec![
                source("workload.json", workload.to_string()),
                source("trace.jsonl", trace),
                source("stats.json", stats.clone()),
            ],
            sample: vec![
                source("schema.sql", ddl),
                source("stats.json", stats),
                source("pg_stat_statements.csv", counters),
                source("wal.jsonl", wal),
                source("log.jsonl", log),
            ],
            good,
        }
    }
}

/// What a step of a transaction does.
#[derive(Clone, Copy)]
enum Step {
    Read,
    ReadOfParent,
    ReadOfRoot,
    Update,
    Insert,
}

/// A tree of tables below one root, with lists beside it.
pub fn tree(wanted: Wanted, seed: u64, transactions: usize) -> Planted {
    let mut dice = Dice(seed.wrapping_mul(0x1_0001) + 17);
    let name = format!("{} {seed}", wanted.name);
    let partitions = [4, 8, 16][dice.below(3)];
    let mut world = World {
        name,
        partitions,
        declared: wanted.declared,
        tables: Vec::new(),
        statements: Vec::new(),
        transactions: Vec::new(),
    };
    let depth_of = |tables: &[TableOf], mut table: usize| {
        let mut depth = 0;
        while let Some((parent, _)) = &tables[table].parent {
            (table, depth) = (*parent, depth + 1);
        }
        depth
    };
    let count = dice.between(4, 9);
    let roots = dice.between(12, 60) * partitions as usize;
    for place in 0..count {
        let word = |kind: &str, meaning: String| {
            if wanted.declared { meaning } else { format!("{kind}{place}") }
        };
        let id = word("k", format!("e{place}_id"));
        let (mut own, mut derived, mut parent, mut root) = (vec![id.clone()], None, None, id);
        if place > 0 {
            let of = dice.below(place);
            let by = word("p", format!("e{of}_id"));
            own.push(by.clone());
            root.clone_from(&by);
            if depth_of(&world.tables, of) > 0 {
                // The parent has it by itself or not; this one then has it by itself or not.
                root = word("r", "e0_id".into());
                if dice.chance(wanted.carried) {
                    own.push(root.clone());
                } else {
                    derived = Some((root.clone(), by.clone(), of, world.tables[of].root.clone()));
                }
            }
            parent = Some((of, by));
        }
        world.tables.push(TableOf {
            name: word("t", format!("e{place}")),
            own,
            derived,
            parent,
            root,
            rows: roots * 10,
        });
    }
    for list in 0..wanted.lists {
        let id = format!("list{list}_id");
        world.tables.push(TableOf {
            name: format!("list{list}"),
            own: vec![id.clone()],
            derived: None,
            parent: None,
            root: id,
            rows: 100,
        });
    }
    let weights: Vec<f64> = {
        let skewed = dice.below(9) as f64 / 10.0;
        let mut weights: Vec<f64> = (1..=roots).map(|rank| (rank as f64).powf(-skewed)).collect();
        let all: f64 = weights.iter().sum();
        if wanted.hot > 0.0 {
            weights[0] = wanted.hot / (1.0 - wanted.hot) * (all - weights[0]);
        }
        weights
    };
    // Rows of each table and root. Numbers of different tables overlap, as sequences do.
    let mut next = vec![1_i64; count];
    let mut pools: Vec<Vec<Vec<Row>>> = vec![vec![Vec::new(); roots]; count];
    let new_row = |tables: &[TableOf],
                   pools: &mut [Vec<Vec<Row>>],
                   next: &mut [i64],
                   dice: &mut Dice,
                   table: usize,
                   root: usize| {
        let mut row = vec![next[table]];
        next[table] += 1;
        if let Some((parent, _)) = &tables[table].parent {
            let owners = &pools[*parent][root];
            row.push(owners[dice.below(owners.len())][0]);
            if depth_of(tables, *parent) > 0 {
                row.push(pools[0][root][0][0]);
            }
        }
        pools[table][root].push(row.clone());
        row
    };
    // Roots get their numbers in an order that says nothing of their weight.
    let mut order: Vec<usize> = (0..roots).collect();
    for place in (1..roots).rev() {
        order.swap(place, dice.below(place + 1));
    }
    for table in 0..count {
        for root in &order {
            let rows = if table == 0 { 1 } else { dice.between(1, 4) };
            for _ in 0..rows {
                new_row(&world.tables, &mut pools, &mut next, &mut dice, table, *root);
            }
        }
    }
    let kinds: Vec<Vec<(usize, Step)>> = (0..dice.between(4, 8))
        .map(|_| {
            let steps = if wanted.scattered { dice.between(3, 5) } else { dice.between(1, 5) };
            let mut kind: Vec<(usize, Step)> = Vec::new();
            for number in 0..steps {
                let table = dice.below(count);
                let carries = world.tables[table].own.contains(&world.tables[table].root);
                let step = match dice.below(6) {
                    0 if table > 0 => Step::ReadOfParent,
                    1 if carries => Step::ReadOfRoot,
                    2 | 3 => Step::Update,
                    4 if table > 0 => Step::Insert,
                    _ => Step::Read,
                };
                // Who scatters writes each time, so that no copy helps.
                kind.push((table, if wanted.scattered && number < 3 { Step::Update } else { step }));
            }
            kind
        })
        .collect();
    let shares: Vec<f64> = kinds.iter().map(|_| dice.between(1, 10) as f64).collect();
    for _ in 0..transactions {
        let mut ran: Vec<Ran> = Vec::new();
        if dice.chance(wanted.batches) {
            let table = dice.below(count);
            for _ in 0..30 {
                let root = dice.of(&weights);
                let row = pools[table][root][0].clone();
                let id = world.tables[table].own[0].clone();
                let statement = world.statement(table, 'u', &[&id]);
                ran.push(world.ran(statement, vec![row.clone()], vec![row[0]]));
            }
            world.transactions.push(("batch".into(), ran));
            continue;
        }
        let kind = dice.of(&shares);
        let home = dice.of(&weights);
        let crosses = dice.chance(wanted.crossing);
        for (number, (table, step)) in kinds[kind].iter().enumerate() {
            let table = *table;
            let goes_elsewhere = wanted.scattered || crosses && number + 1 == kinds[kind].len();
            let root = if goes_elsewhere { dice.of(&weights) } else { home };
            let pool = &pools[table][root];
            let row = pool[dice.below(pool.len())].clone();
            let own = world.tables[table].own.clone();
            let (statement, rows, parameters) = match step {
                Step::Read => (world.statement(table, 'r', &[&own[0]]), vec![row.clone()], vec![row[0]]),
                Step::Update => (world.statement(table, 'u', &[&own[0]]), vec![row.clone()], vec![row[0]]),
                Step::ReadOfParent => {
                    let rows = pool.iter().filter(|other| other[1] == row[1]).take(20).cloned().collect();
                    (world.statement(table, 'r', &[&own[1]]), rows, vec![row[1]])
                }
                Step::ReadOfRoot => {
                    let column = world.tables[table].root.clone();
                    let key = pools[0][root][0][0];
                    let rows = pool.iter().take(20).cloned().collect();
                    (world.statement(table, 'r', &[&column]), rows, vec![key])
                }
                Step::Insert => {
                    let row = new_row(&world.tables, &mut pools, &mut next, &mut dice, table, root);
                    let parameters = row[..own.len()].to_vec();
                    (world.statement(table, 'i', &[]), vec![row], parameters)
                }
            };
            ran.push(world.ran(statement, rows, parameters));
        }
        for list in 0..wanted.lists {
            if dice.chance(0.4) {
                let id = dice.between(1, 100) as i64;
                let op = if wanted.lists_written && list == 0 && dice.chance(0.005) { 'u' } else { 'r' };
                let statement = world.statement(count + list, op, &[&format!("list{list}_id")]);
                ran.push(world.ran(statement, vec![vec![id]], vec![id]));
            }
        }
        world.transactions.push((format!("kind{kind}"), ran));
    }
    let good = if wanted.scattered {
        Vec::new()
    } else {
        vec![world.by(|table| (table < count).then(|| world.tables[table].root.clone()))]
    };
    world.files(good)
}

/// Orders between customers and sellers, either of whom could be the key; the traffic decides.
pub fn two_keys(seed: u64, transactions: usize) -> Planted {
    let mut dice = Dice(seed.wrapping_mul(0x3_0007) + 5);
    let partitions = [4, 8, 16][dice.below(3)];
    let (customers, sellers) =
        (dice.between(40, 90) * partitions as usize, dice.between(10, 30) * partitions as usize);
    let of_customers = dice.between(1, 9) as f64 / 10.0;
    let table = |name: &str, own: &[&str], parent: Option<(usize, &str)>, rows: usize| TableOf {
        name: name.to_owned(),
        own: own.iter().map(|column| (*column).to_owned()).collect(),
        derived: None,
        parent: parent.map(|(parent, by)| (parent, by.to_owned())),
        root: own[0].to_owned(),
        rows,
    };
    let mut world = World {
        name: format!("two keys {seed} ({of_customers} of customers)"),
        partitions,
        declared: true,
        tables: vec![
            table("customers", &["customer_id"], None, customers),
            table("sellers", &["seller_id"], None, sellers),
            table("listings", &["listing_id", "seller_id"], Some((1, "seller_id")), 10 * sellers),
            table(
                "orders",
                &["order_id", "customer_id", "seller_id"],
                Some((0, "customer_id")),
                20 * customers,
            ),
        ],
        statements: Vec::new(),
        transactions: Vec::new(),
    };
    let mut orders: Vec<Row> = (0..4 * customers)
        .map(|n| vec![n as i64 + 1, dice.between(1, customers) as i64, dice.between(1, sellers) as i64])
        .collect();
    for _ in 0..transactions {
        let (customer, seller) = (dice.between(1, customers) as i64, dice.between(1, sellers) as i64);
        let mut ran = Vec::new();
        let by_customer = dice.chance(of_customers);
        let (own, column, key, place) =
            if by_customer { (0, "customer_id", customer, 1) } else { (1, "seller_id", seller, 2) };
        let places = dice.chance(0.15);
        let statement = world.statement(own, if places { 'u' } else { 'r' }, &[column]);
        ran.push(world.ran(statement, vec![vec![key]], vec![key]));
        if places {
            let row = vec![orders.len() as i64 + 1, customer, seller];
            let statement = world.statement(3, 'i', &[]);
            ran.push(world.ran(statement, vec![row.clone()], row.clone()));
            orders.push(row);
        } else {
            let rows: Vec<Row> = orders.iter().filter(|row| row[place] == key).take(20).cloned().collect();
            let statement = world.statement(3, 'r', &[column]);
            ran.push(world.ran(statement, rows.clone(), vec![key]));
            if let Some(row) = rows.first().filter(|_| dice.chance(0.5)) {
                let statement = world.statement(3, 'u', &["order_id"]);
                ran.push(world.ran(statement, vec![row.clone()], vec![row[0]]));
            }
            if !by_customer {
                let listing = vec![seller * 10 + dice.below(10) as i64, seller];
                let statement = world.statement(2, 'u', &["listing_id"]);
                ran.push(world.ran(statement, vec![listing.clone()], vec![listing[0]]));
            }
        }
        let kind = match (by_customer, places) {
            (true, true) => "buy",
            (true, false) => "orders of a customer",
            (false, true) => "sell",
            (false, false) => "orders of a seller",
        };
        world.transactions.push((kind.into(), ran));
    }
    let by = |orders: &str| {
        world.by(|table| Some(["customer_id", "seller_id", "seller_id", orders][table].to_owned()))
    };
    let good = vec![by("customer_id"), by("seller_id")];
    world.files(good)
}
