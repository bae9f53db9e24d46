//! Whatever was seen, there is advice: on systems of any shape, with any wish, and it says what its design measures.

use proptest::prelude::*;
use replat_advise::advise::{Verdict, Wish, advise_on};
use replat_advise::evidence::Tier;
use replat_advise::measure::measure;
use replat_advise::schema::{KeyColumn, Schema, Table, TableId};
use replat_advise::system::{Constraints, Residency, System};
use replat_advise::trace::{Access, Op, Template, Touch, Trace, Transaction};
use replat_advise::value::Value;

/// A touch: which table, what happens, and the keys of its rows, or that nobody knows which.
type Touched = (usize, u8, Option<Vec<[i64; 3]>>);

fn system(
    widths: &[usize],
    transactions: &[Vec<Touched>],
    tier: Tier,
    partitions: Option<u32>,
    residency: bool,
) -> System {
    let mut schema = Schema::default();
    let mut trace = Trace::default();
    for (number, width) in widths.iter().enumerate() {
        let keys: Vec<KeyColumn> =
            (0..*width).map(|key| KeyColumn { name: format!("c{key}"), derived: None }).collect();
        let primary_key = keys.first().map(|key| key.name.clone()).into_iter().collect();
        schema.tables.push(Table { name: format!("t{number}"), primary_key, keys, ..Table::default() });
        for op in [Op::Read, Op::Insert, Op::Update] {
            let touch = Touch {
                table: TableId(number),
                op,
                equal: [("c0".to_owned(), Some(1))].into(),
                one_of: [].into(),
                range: [].into(),
            };
            trace.templates.push(Template {
                name: String::new(),
                text: format!("{op:?} {number}"),
                touches: vec![touch],
                joins: Vec::new(),
                calls: None,
            });
        }
    }
    trace.kinds.push("any".to_owned());
    let small = |n: usize| u32::try_from(n).expect("few");
    for (number, touched) in transactions.iter().enumerate() {
        let first = small(trace.accesses.len());
        for (table, op, rows) in touched {
            let (table, op) = (table % widths.len(), usize::from(op % 3));
            let rows = rows.as_ref().map(|rows| {
                let begin = small(trace.cells.len());
                for value in rows.iter().flat_map(|row| &row[..widths[table]]) {
                    let value = if *value == 0 { Value::unknown(7) } else { Value::Int(*value) };
                    let id = trace.values.id(value);
                    trace.cells.push(id);
                }
                begin..small(trace.cells.len())
            });
            trace.accesses.push(Access {
                template: small(table * 3 + op),
                touch: 0,
                table: TableId(table),
                op: [Op::Read, Op::Insert, Op::Update][op],
                rows,
            });
        }
        trace.transactions.push(Transaction {
            at: number as f64,
            kind: 0,
            accesses: first..small(trace.accesses.len()),
        });
    }
    let residency = residency.then(|| Residency { table: "t0".to_owned(), column: "c1".to_owned() });
    System {
        name: String::new(),
        schema,
        trace,
        partitions,
        constraints: Constraints { residency, ..Constraints::default() },
        services: vec![("a".to_owned(), vec!["t0".to_owned()]), ("b".to_owned(), vec!["t1".to_owned()])],
        tier,
        missing: Vec::new(),
        intent: Vec::new(),
    }
}

fn touched() -> impl Strategy<Value = Touched> {
    let row = [0..6_i64, 0..3_i64, 0..40_i64];
    (0..4_usize, any::<u8>(), proptest::option::weighted(0.9, proptest::collection::vec(row, 0..4)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn there_is_always_advice(
        widths in proptest::collection::vec(0..4_usize, 1..5),
        transactions in proptest::collection::vec(proptest::collection::vec(touched(), 0..5), 0..60),
        tier in proptest::sample::select(vec![Tier::Statements, Tier::Writes, Tier::Trace]),
        partitions in proptest::option::of(0..70_u32),
        capacity in proptest::option::weighted(0.2, 0.01..10.0_f64),
        residency: bool,
    ) {
        let system = system(&widths, &transactions, tier, partitions, residency);
        let advice = advise_on(&system, &Wish { partitions: None, capacity });
        prop_assert!((0.0..=1.0).contains(&advice.confidence));
        let without = transactions.is_empty() || tier < Tier::Writes;
        let unsaid = matches!(advice.verdict, Verdict::NotEnoughEvidence { .. });
        prop_assert!(unsaid || !without || advice.design.is_none());
        if let Some(design) = &advice.design {
            let metrics = measure(&system.schema, &system.trace, design).expect("it fits");
            prop_assert_eq!(Some(&metrics), advice.metrics.as_ref());
            let forecast = advice.forecast.as_ref().expect("a design has a forecast");
            prop_assert!(forecast.cross_partition_share.low <= forecast.cross_partition_share.high);
            prop_assert_eq!(advice.tables.len(), widths.len());
        }
        // It can be written down and read again.
        let text = serde_json::to_string(&advice).expect("text");
        let again: replat_advise::advise::Advice = serde_json::from_str(&text).expect("advice");
        prop_assert_eq!(again.design, advice.design);
        prop_assert_eq!(again.verdict, advice.verdict);
    }
}
