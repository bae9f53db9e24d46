//! A small world to draft in: one context of two tables, the same on both sides until a test changes it.

use replat_model::draft::{Ask, Beside, Finding, SliceSize, draft};
use replat_model::facts::{
    ColumnFacts, DatabaseFacts, Identity, IndexFacts, ReplicaIdentity, TableFacts, TableKind, TypeKind,
};
use replat_model::ids::{Epoch, Home};
use replat_model::key::KeyValue;
use replat_model::plan::{ColumnPlan, DdlFile, Plan, TablePlan};
use replat_model::prediction::Measured;
use replat_model::region::{Constraint, Region};
use replat_model::spec::{self, ColumnMap, Down, Rollout, Spec, Table, TableMode};

const SPEC: &str = r#"
version = 1
project = "shop"
[databases.pg_a]
[databases.pg_b]
[contexts.shop]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "pg_a", schema = "public" }
[contexts.shop.tables.orders]
[contexts.shop.tables.currencies]
mode = "reference"
[contexts.shop.rollout]
version = "v2"
to = { database = "pg_b", schema = "shop" }
[policy]
sequence_room = 1000
"#;

pub struct World {
    pub spec: Spec,
    pub ask: Ask,
    pub blue: DatabaseFacts,
    pub green: DatabaseFacts,
}

impl World {
    pub fn new() -> World {
        World {
            spec: spec::parse(SPEC).expect("the spec of the tests is sound"),
            ask: Ask {
                context: "shop".into(),
                partition: "shop_42".parse().expect("a legal name"),
                region: Region::everything().and(0, Constraint::OneOf([KeyValue::Int(42)].into())),
                epoch: Epoch::FIRST,
                version: None,
                home: Home { database: "pg_a".into(), schema: "public".into() },
                ddl: Vec::new(),
                sizes: [("orders".to_owned(), SliceSize { rows: 7, bytes: 700 })].into(),
                occupied: Vec::new(),
                contracts: Vec::new(),
                crossings: Vec::new(),
                beside: None,
                measured: Measured::default(),
                unsettled_keys: Vec::new(),
                misfits: Vec::new(),
            },
            blue: database("1", "public"),
            green: database("2", "shop"),
        }
    }

    pub fn draft(&self) -> Result<Plan, Vec<Finding>> {
        draft(&self.spec, &self.ask, &self.blue, &self.green)
    }

    /// The plan's hazards as `NAME: what`, those that must be allowed with a `!`.
    pub fn hazards(&self) -> Vec<String> {
        let plan = self.draft().expect("nothing in the way");
        let text = |must_allow| if must_allow { "!" } else { "" };
        plan.hazards.iter().map(|h| format!("{}{}: {}", h.name, text(h.must_allow), h.what)).collect()
    }

    /// The findings as `CODE table.column: what | remedy`.
    pub fn findings(&self) -> Vec<String> {
        let findings = self.draft().err().unwrap_or_default();
        findings.iter().map(said).collect()
    }

    pub fn rollout(&mut self) -> &mut Rollout {
        self.context().rollout.as_mut().expect("the tests' context has a rollout")
    }

    pub fn context(&mut self) -> &mut spec::Context {
        self.spec.contexts.get_mut("shop").expect("the tests' context")
    }

    /// What the spec says about a column of green.
    pub fn map(&mut self, table: &str, column: &str, up: &str, down: Option<(&str, &str)>) {
        let down = down.map(|(column, sql)| Down { column: column.into(), sql: sql.into() });
        let columns = self.rollout().map.entry(table.into()).or_default();
        columns.insert(column.into(), ColumnMap { up: up.into(), down });
    }

    /// Green is in blue's own database, and its tables are made by the rollout.
    pub fn beside(&mut self) {
        self.ask.beside = Some(Beside::default());
        self.ask.ddl = vec![DdlFile { name: "v2.sql".into(), text: "create table …".into() }];
    }

    pub fn add_table(&mut self, name: &str, mode: TableMode) {
        self.context().tables.insert(name.into(), Table::of_mode(mode));
    }

    pub fn both(&mut self, change: impl Fn(&mut TableFacts)) {
        change(orders(&mut self.blue));
        change(orders(&mut self.green));
    }
}

fn said(finding: &Finding) -> String {
    let at = [finding.table.as_deref(), finding.column.as_deref()];
    let at: Vec<&str> = at.into_iter().flatten().collect();
    format!("{} {}: {} | {}", finding.code, at.join("."), finding.what, finding.remedy)
}

pub fn orders(facts: &mut DatabaseFacts) -> &mut TableFacts {
    facts.tables.iter_mut().find(|table| table.name == "orders").expect("every side has orders")
}

pub fn column<'a>(table: &'a mut TableFacts, name: &str) -> &'a mut ColumnFacts {
    table.columns.iter_mut().find(|column| column.name == name).expect("the column is there")
}

pub fn drop_column(table: &mut TableFacts, name: &str) {
    table.columns.retain(|column| column.name != name);
}

pub fn add_column(table: &mut TableFacts, name: &str, type_name: &str) {
    let number = i32::try_from(table.columns.len()).expect("few columns") + 1;
    table.columns.push(ColumnFacts { number, ..nullable(name, type_name) });
}

pub fn planned<'a>(plan: &'a Plan, table: &str) -> &'a TablePlan {
    let mut tables = plan.tables.iter().chain(&plan.references);
    tables.find(|t| t.blue.name == table).expect("the table is planned")
}

pub fn target<'a>(columns: &'a [ColumnPlan], name: &str) -> &'a ColumnPlan {
    columns.iter().find(|column| column.target == name).expect("the column is planned")
}

fn database(system_id: &str, schema: &str) -> DatabaseFacts {
    DatabaseFacts {
        system_id: system_id.into(),
        database_name: "shop".into(),
        schema: schema.into(),
        schema_exists: true,
        version_num: 150_018,
        major: 15,
        encoding: "UTF8".into(),
        wal_level: "logical".into(),
        max_replication_slots: 10,
        slots_used: 0,
        max_wal_senders: 10,
        senders_used: 0,
        slot_idle_max_s: 0,
        standbys: 0,
        role: "replat".into(),
        is_superuser: true,
        can_replicate: true,
        log_readers: None,
        can_use_schema: true,
        can_create: true,
        can_skip_triggers: true,
        prepared_transactions: 0,
        relations: vec!["currencies".into(), "orders".into()],
        free_sequences: Vec::new(),
        tables: vec![currencies(schema), new_orders(schema)],
    }
}

fn new_orders(schema: &str) -> TableFacts {
    let columns = vec![
        nullable("tenant_id", "bigint"),
        ColumnFacts {
            identity: Some(Identity::ByDefault),
            sequence: Some(format!("{schema}.orders_id_seq")),
            ..nullable("id", "bigint")
        },
        nullable("note", "text"),
        nullable("amount", "numeric(14,2)"),
    ];
    table(schema, "orders", columns, &["tenant_id", "id"])
}

fn currencies(schema: &str) -> TableFacts {
    table(schema, "currencies", vec![nullable("code", "text"), nullable("name", "text")], &["code"])
}

pub fn table(schema: &str, name: &str, mut columns: Vec<ColumnFacts>, key: &[&str]) -> TableFacts {
    for (number, column) in (1..).zip(&mut columns) {
        column.number = number;
        column.not_null |= key.contains(&column.name.as_str());
    }
    let primary_key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    TableFacts {
        schema: schema.into(),
        name: name.into(),
        kind: TableKind::Ordinary,
        view_of: None,
        partition_root: None,
        unlogged: false,
        inherits: false,
        owner: "shopkeeper".into(),
        owned: true,
        row_security: false,
        grants: std::collections::BTreeMap::default(),
        rows_hidden: false,
        subscribed: false,
        columns,
        indexes: vec![index(&format!("{name}_pkey"), key)],
        primary_key,
        replica_identity: ReplicaIdentity::Default,
        constraints: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        triggers: Vec::new(),
        rows_estimate: 100,
        bytes: 8192,
    }
}

pub fn index(name: &str, columns: &[&str]) -> IndexFacts {
    IndexFacts {
        name: name.into(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        unique: true,
        partial: false,
        expression: false,
        deferrable: false,
        valid: true,
        backs_constraint: true,
        definition: format!("btree ({})", columns.join(", ")),
    }
}

pub fn nullable(name: &str, type_name: &str) -> ColumnFacts {
    let base = type_name.split('(').next().expect("a text has a first part").to_owned();
    let textual = ["text", "character varying"].contains(&base.as_str());
    ColumnFacts {
        name: name.into(),
        number: 0,
        type_name: type_name.into(),
        toastable: textual || base == "numeric",
        base_type: Some(base),
        type_kind: TypeKind::Builtin,
        not_null: false,
        default: None,
        generated: None,
        identity: None,
        sequence: None,
        collated: textual,
        deterministic: true,
    }
}

pub fn enumeration(name: &str, type_name: &str, labels: &[&str]) -> ColumnFacts {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    ColumnFacts {
        base_type: None,
        type_kind: TypeKind::Enum(labels),
        collated: false,
        toastable: false,
        ..nullable(name, type_name)
    }
}
