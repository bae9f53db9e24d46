//! Public workloads: what-if gives what their own tools give, keys cost no more than the reference, contexts are those
//! that were planted, and names, order and repetition change nothing.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{advised, expected, folders, of, read, system, text, trace};

use replat_advise::context::contexts;
use replat_advise::design::Design;
use replat_advise::explain::Placing;
use replat_advise::fixture::{BadEvidence, read_workload};
use replat_advise::measure::measure;
use replat_advise::schema::Schema;
use replat_advise::system::System;
use replat_advise::trace::Trace;
use serde_json::Value;

/// More than this above the reference is a worse design.
const REGRET_MAX: f64 = 0.02;

#[test]
fn what_if_is_what_the_workloads_own_tools_say() {
    let mut compared = 0;
    for folder in folders() {
        let expected = expected(&folder);
        if !expected["reference_metrics"]["J"].is_number() {
            continue;
        }
        let described = read(&folder);
        let design: Design =
            serde_json::from_value(expected["reference_design"].clone()).expect("a reference design");
        let metrics = measure(&described.schema, &described.trace, &design).expect("it fits the workload");
        for (name, got) in [
            ("J", metrics.cost),
            ("cross_partition_share", metrics.cross_partition_share),
            ("cross_partition_write_share", metrics.cross_partition_write_share),
            ("partitions_per_txn", metrics.partitions_per_txn),
            ("unroutable_statement_share", metrics.unroutable_statement_share),
            ("load_max_over_mean", metrics.load_max_over_mean),
            ("load_max_over_mean_worst_window", metrics.load_max_over_mean_worst_window),
            ("write_amplification", metrics.write_amplification),
            ("storage_factor", metrics.storage_factor.unwrap_or(1.0)),
        ] {
            let want = expected["reference_metrics"][name].as_f64().expect("a reference metric");
            assert!((got - want).abs() < 1.1e-4, "{} {name}: {got} and {want}", folder.display());
        }
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn designs_cost_no_more_than_the_reference_and_what_has_no_locality_is_left_alone() {
    for folder in folders() {
        let expected = expected(&folder);
        let Some(want) = expected["reference_metrics"]["J"].as_f64() else { continue };
        let began = std::time::Instant::now();
        let advice = advised(&of(read(&folder)));
        assert_eq!(
            advice.refuses(),
            expected["accept"]["verdict"] == "do_not_partition",
            "{}: {:?}",
            folder.display(),
            advice.locality
        );
        let metrics = advice.metrics.as_ref().expect("a design");
        println!(
            "{}: J {:.4}, the reference {want:.4}; cross {:.4} {:.0?}",
            folder.display(),
            metrics.cost,
            metrics.cross_partition_share,
            began.elapsed()
        );
        assert!(advice.refuses() || metrics.cost <= want + REGRET_MAX, "{}: {metrics:?}", folder.display());
    }
}

type Named = BTreeSet<BTreeSet<String>>;

fn named(schema: &Schema, trace: &Trace) -> Named {
    let found = contexts(schema, trace);
    let name = |id: &_| schema.table(*id).name.clone();
    found.groups.iter().map(|group| group.iter().map(name).collect()).collect()
}

#[test]
fn contexts_are_those_that_were_planted() {
    let mut compared = 0;
    for folder in folders() {
        let expected = expected(&folder);
        if !expected["contexts"].is_object() {
            continue;
        }
        let shared: BTreeSet<String> =
            serde_json::from_value(expected["shared_or_cross_cutting"].clone()).unwrap_or_default();
        let mut right: Vec<Named> = Vec::new();
        let also = expected["accept_also"].as_array().into_iter().flatten();
        for answer in std::iter::once(&expected["contexts"]).chain(also) {
            let groups: BTreeMap<String, BTreeSet<String>> =
                serde_json::from_value(answer.clone()).expect("groups");
            right.push(groups.into_values().map(|group| &group - &shared).collect());
        }
        let described = read(&folder);
        let found: Named =
            named(&described.schema, &described.trace).iter().map(|group| group - &shared).collect();
        assert!(right.contains(&found), "{}: {found:#?}", folder.display());
        compared += 1;
    }
    assert!(compared > 0);
}

/// The same system without foreign keys; and if it is `everything`, under other names, its tables in another order, and seen
/// twice.
fn disguised(folder: &Path, everything: bool) -> System {
    let mut workload: Value = serde_json::from_str(&text(folder, "workload.json")).expect("a workload");
    let tables = workload["tables"].as_object().expect("tables").clone();
    let rename = |(n, name): (usize, &String)| match everything {
        true => (name.clone(), format!("t{n:03}_{}", name.chars().rev().collect::<String>())),
        false => (name.clone(), name.clone()),
    };
    let names: BTreeMap<String, String> = tables.keys().rev().enumerate().map(rename).collect();
    let new_name = |name: &mut Value| {
        *name = Value::String(names[name.as_str().expect("a table")].clone());
    };
    let renamed = tables.into_iter().map(|(name, mut table)| {
        table["fks"] = Value::Array(Vec::new());
        table.as_object_mut().expect("a table").remove("derived_columns");
        (names[&name].clone(), table)
    });
    workload["tables"] = Value::Object(renamed.collect());
    for statement in workload["statements"].as_array_mut().expect("statements") {
        for touch in statement["touch"].as_array_mut().expect("touches") {
            new_name(&mut touch["table"]);
        }
        for join in statement["joins"].as_array_mut().expect("joins") {
            join.as_array_mut().expect("two ends").iter_mut().for_each(|end| new_name(&mut end[0]));
        }
    }
    for (_, constraint) in
        workload.get_mut("constraints").and_then(Value::as_object_mut).into_iter().flatten()
    {
        new_name(&mut constraint["table"]);
    }
    let stats: BTreeMap<String, Value> =
        serde_json::from_str(&text(folder, "stats.json")).expect("statistics");
    let stats: BTreeMap<_, _> =
        stats.into_iter().map(|(name, stats)| (names[&name].clone(), stats)).collect();
    let mut described = read_workload(&workload.to_string()).expect("a workload");
    described.read_stats(&serde_json::to_string(&stats).expect("text")).expect("statistics");
    let trace = trace(folder);
    described.read_trace(trace.lines().chain(trace.lines().filter(|_| everything))).expect("a trace");
    let constraints = described.constraints.clone();
    System { constraints, ..of(described) }
}

fn original(name: &str) -> String {
    name.split_once('_').expect("a disguised name").1.chars().rev().collect()
}

#[test]
fn names_order_foreign_keys_and_repetition_change_nothing() {
    let mut differing = Vec::new();
    for folder in folders().into_iter().filter(|folder| folder.join("trace.jsonl.gz").exists()) {
        let plain = system(&folder);
        // Of a table that nobody was seen touching, only its foreign keys say where it belongs.
        let touched: BTreeSet<String> =
            plain.trace.accesses.iter().map(|a| plain.schema.table(a.table).name.clone()).collect();
        let contexts_of = |system: &System, name: fn(&str) -> String| -> Named {
            let groups = named(&system.schema, &system.trace).into_iter();
            let groups = groups.map(|group| &group.iter().map(|table| name(table)).collect() & &touched);
            groups.filter(|group: &BTreeSet<String>| !group.is_empty()).collect()
        };
        let is_keyed = expected(&folder)["reference_metrics"]["J"].is_number();
        let keys_of = |system: &System, name: fn(&str) -> String| -> BTreeMap<String, String> {
            let advice = advised(system);
            // Where nothing helps, it does not matter which of the designs helps least.
            if advice.refuses() {
                return BTreeMap::new();
            }
            let placed = advice.tables.iter().map(|table| {
                let placing = match &table.placing {
                    Placing::By(column) => column.clone(),
                    other => format!("{other:?}"),
                };
                (name(&table.table), placing)
            });
            placed.filter(|(table, _)| touched.contains(table)).collect()
        };
        let contexts = contexts_of(&plain, str::to_owned);
        let keys = if is_keyed { keys_of(&plain, str::to_owned) } else { BTreeMap::new() };
        for everything in [false, true] {
            let other = disguised(&folder, everything);
            let name: fn(&str) -> String = if everything { original } else { str::to_owned };
            let what = if everything { "in full disguise" } else { "without foreign keys" };
            let others = contexts_of(&other, name);
            if others != contexts {
                differing.push(format!("{} {what}: {contexts:?} {others:?}", folder.display()));
            }
            let others = if is_keyed { keys_of(&other, name) } else { BTreeMap::new() };
            let differ: Vec<_> = keys.iter().filter(|(table, by)| others.get(*table) != Some(*by)).collect();
            if !differ.is_empty() {
                differing.push(format!("{} {what}: {differ:?} {others:?}", folder.display()));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn evidence_that_does_not_fit_is_refused_with_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tatp");
    let good = trace(&folder);
    let first = good.lines().next().expect("a transaction");
    let cases = [
        (first[..first.len() / 2].to_owned(), "line 2"),
        (r#"{"t":1,"x":"a","s":[[999,[],[null]]]}"#.to_owned(), "there is no statement 999"),
        (r#"{"t":1,"x":"a","s":[[0,[],[null,null]]]}"#.to_owned(), "touches 1 tables, and here 2"),
        (r#"{"t":1,"x":"a","s":[[0,[],[[[1,2,3,4,5,6,7,8,9]]]]]}"#.to_owned(), "key columns"),
        ("nothing".to_owned(), "line 2"),
    ];
    for (bad, says) in cases {
        let mut described = read_workload(&text(&folder, "workload.json")).expect("a workload");
        let error = described.read_trace([first, bad.as_str()]).expect_err("it does not fit");
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            matches!(error, BadEvidence::Text { line: 2, .. } | BadEvidence::Misfit { line: 2, .. }),
            "{error}"
        );
    }
    for (bad, says) in [
        ("{}", "missing field"),
        (r#"{"format":"advisor-workload/9","tables":{}}"#, "advisor-workload/1"),
        (r#"{"format":"advisor-workload/1","tables":{"a":{"fks":[[["b"],"c",["d"]]]}}}"#, "table c"),
    ] {
        let error = read_workload(bad).map(|_| ()).expect_err("it contradicts itself");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn nothing_is_made_of_nothing() {
    let workload = r#"{"format":"advisor-workload/1","tables":{"a":{"key_columns":["id"]}}}"#;
    let described = read_workload(workload).expect("a workload");
    let advice = advised(&of(described));
    assert_eq!(advice.contexts.groups.len(), 1);
    assert!(advice.design.is_none() && !advice.refuses());
    let empty = read_workload(r#"{"format":"advisor-workload/1","tables":{}}"#).expect("a workload");
    assert!(advised(&of(empty)).design.is_none());
}
