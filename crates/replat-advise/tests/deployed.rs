//! What is deployed as a design, and moves of drift as deployments: what each becomes, and what none does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use replat_advise::carry::{Becoming, Carried, Ground, Left, carried};
use replat_advise::deployed::{Called, CannotTell, Deployed, Keys as Known, Parts, Standing, deployed};
use replat_advise::design::{Cut, Placement};
use replat_advise::drift::{Drift, Keys, Move, Price, Transfer, TransferStep};
use replat_advise::evidence::{Source, read};
use replat_advise::measure::measure;
use replat_advise::system::System;
use replat_advise::value::Value;
use replat_model::ids::{Home, PartitionId};
use replat_model::map::{Map, Selection};
use replat_model::spec::{Context, parse};

/// Accounts of branches; each transaction touches one. A branch is a number, or a hash.
fn bank(branches: &[&str]) -> System {
    let workload = r#"{"format": "advisor-workload/1", "name": "bank",
        "tables": {"accounts": {"pk": ["bid", "aid"], "key_columns": ["bid", "aid"],
                                "columns": {"bid": "bigint", "aid": "bigint"}}},
        "statements": [{"id": 0, "name": "look",
                        "touch": [{"table": "accounts", "op": "u", "eq": {"bid": 1, "aid": 2}}]}]}"#;
    let mut trace = String::new();
    for (number, branch) in branches.iter().enumerate() {
        let branch = branch.parse::<i64>().map_or(format!("{branch:?}"), |n| n.to_string());
        let line = format!(
            r#"{{"t": {number}, "x": "look", "s": [[0, [{branch}, {number}], [[[{branch}, {number}]]]]]}}"#
        );
        writeln!(trace, "{line}").expect("text");
    }
    let files = [("workload.json", workload.to_owned()), ("trace.jsonl", trace)];
    let files = files.map(|(name, text)| Source { name: name.to_owned(), text });
    System::of(read(&files).expect("evidence").0).0
}

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "public".into() }
}

const ROLLOUT: &str =
    "\n[contexts.bank.rollout]\nversion = \"v1\"\nto = { database = \"green\", schema = \"public\" }\n";

/// A context that is cut so, with this much more in its spec.
fn context(dimensions: &str, tree: &str, more: &str) -> Context {
    let text = format!(
        "version = 1\nproject = \"p\"\n[databases.blue]\nurl = \"env:B\"\n[databases.green]\nurl = \"env:G\"\n\
         [databases.red]\nurl = \"env:R\"\n[contexts.bank]\ndimensions = [{dimensions}]\n\
         home = {{ database = \"blue\", schema = \"public\" }}\n{tree}\n[contexts.bank.tables]\naccounts = {{}}\n{more}"
    );
    parse(&text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}")).contexts["bank"].clone()
}

const BID: &str = "{ column = \"bid\", type = \"bigint\" }";
const LISTED: &str = "tree = { split = \"bid\", list = { one = [1], few = [2, 3] } }";

/// The context, with some partitions cut out of it or not, elsewhere.
fn standing(context: &Context, elsewhere: &[(&str, &str)]) -> Standing {
    let tree = context.tree.as_ref();
    let mut map = Map::build("bank", context.dimensions.clone(), tree, context.home.clone()).expect("a map");
    for (selection, database) in elsewhere {
        let selection = Selection::parse(selection, map.dimensions()).expect("a selection");
        let (carved, id) = map.carve(&selection).expect("a partition");
        let epoch = carved.leaf(&id).expect("it is there").epoch.next();
        map = carved.with_home(&id, home(database), epoch).expect("it goes");
    }
    Standing { context: context.clone(), map, is_stored: !elsewhere.is_empty(), versions: BTreeMap::new() }
}

fn stands(context: &Context, elsewhere: &[(&str, &str)]) -> BTreeMap<String, Standing> {
    BTreeMap::from([("bank".to_owned(), standing(context, elsewhere))])
}

/// The hashes of these branches: `h1` of 1, in which partition.
fn hashes(of: &[(&str, &str)]) -> Known {
    let id = |name: &str| name.parse::<PartitionId>().expect("a name");
    let told = of.iter().map(|(hash, partition)| ((*hash).to_owned(), id(partition))).collect();
    Known::Hashes(BTreeMap::from([("bank".to_owned(), told)]))
}

/// In which part each value of the first column is.
fn places(deployed: &Deployed) -> BTreeMap<String, String> {
    let Placement::Partition { levels } = &deployed.design.tables["accounts"] else { panic!("it is cut") };
    let Cut::List { map, .. } = &levels[0].cut else { panic!("by a list: {levels:?}") };
    map.iter().map(|(key, part)| (key.clone(), deployed.names[*part as usize].clone())).collect()
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn a_key_is_where_the_map_says_and_a_hash_where_the_capture_says() {
    let context = context(BID, LISTED, "");
    let all = ["1", "2", "3", "4", "5", "6", "7"];
    // In one database each partition counts as if it had one of its own.
    let made = deployed(&bank(&all), stands(&context, &[]), &Known::Values).expect("a design");
    assert_eq!((made.parts, made.design.partitions), (Parts::Partitions, 3));
    let own = [
        ("1", "one"),
        ("2", "few"),
        ("3", "few"),
        ("4", "rest"),
        ("5", "rest"),
        ("6", "rest"),
        ("7", "rest"),
    ];
    assert_eq!(places(&made), pairs(&own));
    // In several, the database counts.
    let moved = [("one", "green"), ("bid=5", "red")];
    let made = deployed(&bank(&all), stands(&context, &moved), &Known::Values).expect("a design");
    assert_eq!((made.parts, made.names.join(" ")), (Parts::Databases, "blue green red".to_owned()));
    let own = [
        ("1", "green"),
        ("2", "blue"),
        ("3", "blue"),
        ("4", "blue"),
        ("5", "red"),
        ("6", "blue"),
        ("7", "blue"),
    ];
    assert_eq!(places(&made), pairs(&own));
    let by_value = measure(&made.system.schema, &made.system.trace, &made.design).expect("it fits");

    // The same keys as hashes: partitions stand for them, and it costs the same.
    let hashed: Vec<String> = all.iter().map(|key| format!("h{key}")).collect();
    let hashed: Vec<&str> = hashed.iter().map(String::as_str).collect();
    let told = hashes(&[
        ("h1", "one"),
        ("h2", "few"),
        ("h3", "few"),
        ("h4", "rest"),
        ("h5", "bid_5"),
        ("h6", "rest"),
        ("h7", "rest"),
    ]);
    let made = deployed(&bank(&hashed), stands(&context, &moved), &told).expect("a design");
    let own = [("bid_5", "red"), ("few", "blue"), ("one", "green"), ("rest", "blue")];
    assert_eq!(places(&made), pairs(&own));
    assert_eq!(made.called["bank"], Called::Partition);
    let by_partition = measure(&made.system.schema, &made.system.trace, &made.design).expect("it fits");
    assert_eq!(by_partition.load_max_over_mean, by_value.load_max_over_mean);
    assert!(made.notes.iter().any(|note| note.contains("whole partitions")), "{:?}", made.notes);
    // One of which it was not told is counted, and said.
    let made = deployed(&bank(&["h1", "h9"]), stands(&context, &moved), &told).expect("a design");
    assert!(
        made.notes.iter().any(|note| note.contains("Of 1 keys of bank it is not known")),
        "{:?}",
        made.notes
    );
}

#[test]
fn what_cannot_be_told_is_said() {
    let listed = context(BID, LISTED, "");
    let nothing = Known::Hashes(BTreeMap::new());
    let system = bank(&["h1", "h2"]);
    let error = deployed(&system, stands(&listed, &[]), &nothing).expect_err("nobody knows");
    assert_eq!(error, CannotTell::Places { context: "bank".into(), is_of_several_columns: false });
    // Which bucket a hash is in is drawn by chance.
    let buckets = context(BID, "tree = { split = \"bid\", hash = 4 }", "");
    let made = deployed(&system, stands(&buckets, &[]), &nothing).expect("a design");
    assert_eq!(made.called["bank"], Called::Hash);
    assert!(made.notes[0].contains("by chance"), "{:?}", made.notes);
    let two = "{ column = \"bid\", type = \"bigint\" }, { column = \"aid\", type = \"bigint\" }";
    let two = context(two, "tree = { split = \"aid\", cuts = [2] }", "");
    let error = deployed(&system, stands(&two, &[]), &nothing).expect_err("nobody knows");
    assert_eq!(error, CannotTell::Places { context: "bank".into(), is_of_several_columns: true });
    let mut other = listed.clone();
    let accounts = other.tables.remove("accounts").expect("it is there");
    other.tables.insert("elsewhere".into(), accounts);
    let error = deployed(&bank(&["1"]), stands(&other, &[]), &Known::Values).expect_err("other tables");
    assert_eq!(error, CannotTell::NothingCut);
}

#[test]
fn of_a_key_of_several_columns_partitions_are_told_and_moved() {
    let two = "{ column = \"bid\", type = \"bigint\" }, { column = \"aid\", type = \"bigint\" }";
    let two = context(two, "tree = { split = \"aid\", cuts = [2, 4] }", ROLLOUT);
    // The account is the transaction's number.
    let system = bank(&["7", "7", "7", "7", "7"]);
    let made = deployed(&system, stands(&two, &[("r1", "green")]), &Known::Values).expect("a design");
    assert_eq!(places(&made), pairs(&[("r0", "blue"), ("r1", "green"), ("r2", "blue")]));
    assert!(made.notes[0].contains("key of several columns"), "{:?}", made.notes);
    let told = carry(&made, &[], TransferStep::Move(keys(&["r2"], 0, 1)));
    assert_eq!(stages(&told), ["r2: blue.public to green.public"]);
}

/// Keys of accounts that go from one part to another.
fn keys(of: &[&str], from: u32, to: u32) -> Keys {
    let value = |text: &&str| text.parse().map_or(Value::Text((*text).to_owned()), Value::Int);
    Keys {
        tables: vec!["accounts".into()],
        columns: vec!["bid".into()],
        from,
        to,
        keys: of.iter().map(value).collect(),
        count: of.len(),
        partly: false,
        rows: 1.0,
        bytes: 1.0,
    }
}

/// What becomes of a step that has paid for itself.
fn carry(deployed: &Deployed, left: &[Left], step: TransferStep) -> Carried {
    let transfer = Transfer { steps: vec![step], price: Price::default() };
    let found = Move {
        at: 1.0,
        since: 0.0,
        due: true,
        regret: 1.0,
        saves: 1.0,
        pays_after: None,
        design: deployed.design.clone(),
        transfer,
        because: "it pays".into(),
    };
    let drift = Drift {
        transactions: 1,
        window: Some(1),
        changes: Vec::new(),
        passing: Vec::new(),
        seasons: Vec::new(),
        forecast: None,
        repartitions: vec![found],
        considered: Vec::new(),
    };
    let databases = ["blue", "green", "red"].map(str::to_owned);
    carried(Ground { deployed, databases: &databases, left }, &drift).remove(0)
}

fn stages(told: &Carried) -> Vec<String> {
    let line = |stage: &replat_advise::carry::Stage| {
        format!("{}: {} to {}", stage.partitions.join(" "), stage.from, stage.rollout.to)
    };
    told.stages.iter().map(line).collect()
}

#[test]
fn moves_become_deployments_or_are_said_to_be_none() {
    let listed = context(BID, LISTED, ROLLOUT);
    let made = |elsewhere: &[(&str, &str)], known: &Known, keys: &[&str]| {
        deployed(&bank(keys), stands(&listed, elsewhere), known).expect("a design")
    };
    let apart = made(&[("bid=9", "green")], &Known::Values, &["1", "2", "5", "9"]);
    let three = made(&[("bid=9", "green"), ("bid=8", "red")], &Known::Values, &["1", "8", "9"]);
    let one = made(&[], &Known::Values, &["1"]);
    let told = hashes(&[("h1", "one"), ("h5", "rest")]);
    let hashed = made(&[("bid=9", "green")], &told, &["h1", "h5", "h6"]);
    let to_green = |of: &[&str]| TransferStep::Move(keys(of, 0, 1));
    let too_many = Keys { keys: Vec::new(), count: 4711, ..keys(&[], 0, 1) };
    let partly = Keys { partly: true, ..keys(&["1", "2"], 0, 1) };
    // Of what is deployed, a step, the deployments, and a piece of what is said instead.
    let cases: Vec<(&str, &Deployed, TransferStep, &[&str], &str)> = vec![
        ("a key of the rest", &apart, to_green(&["5"]), &["bid=5: blue.public to green.public"], ""),
        ("all of a list", &apart, to_green(&["1"]), &["one: blue.public to green.public"], ""),
        ("some of a list", &apart, to_green(&["2"]), &["bid=2: blue.public to green.public"], ""),
        ("several", &apart, to_green(&["2", "3", "6"]), &["bid=6 few: blue.public to green.public"], ""),
        ("it is there", &apart, to_green(&["9"]), &[], ""),
        ("too many", &apart, TransferStep::Move(too_many), &[], "4711 keys are too many"),
        ("a part of a key", &apart, TransferStep::Move(partly), &[], "make it a dimension"),
        (
            "a new place",
            &apart,
            TransferStep::Split(keys(&["5"], 0, 2)),
            &["bid=5: blue.public to red.public"],
            "",
        ),
        ("no place left", &three, TransferStep::Split(keys(&["5"], 0, 3)), &[], "add [databases.NAME]"),
        ("one database", &one, TransferStep::Move(keys(&["1"], 1, 0)), &[], "partitions in one database"),
        (
            "a merge",
            &three,
            TransferStep::Merge(keys(&["8"], 2, 1)),
            &["bid_8: red.public to green.public"],
            "",
        ),
        ("hashes", &hashed, to_green(&["one", "rest"]), &["one rest: blue.public to green.public"], ""),
        (
            "an unknown hash",
            &hashed,
            to_green(&["h6"]),
            &[],
            "1 key that ought to go to green cannot be named",
        ),
        (
            "another column",
            &apart,
            TransferStep::Rekey {
                table: "accounts".into(),
                from: vec!["bid".into()],
                to: vec!["aid".into()],
                add: Vec::new(),
                rows: 1.0,
                bytes: 1.0,
            },
            &[],
            "no deployment places accounts by aid",
        ),
    ];
    for (what, deployed, step, want, instead) in cases {
        let told = carry(deployed, &[], step);
        assert_eq!(stages(&told), want, "{what}: {told:?}");
        match instead {
            "" => assert!(told.cannot.is_empty(), "{what}: {told:?}"),
            said => assert!(told.cannot.iter().any(|why| why.contains(said)), "{what}: {told:?}"),
        }
    }
}

#[test]
fn a_key_comes_back_with_those_that_it_left_with() {
    let context = context(BID, "", ROLLOUT);
    let elsewhere = [("bid=[8,16)", "green"), ("bid=11", "red")];
    let made =
        deployed(&bank(&["1", "9", "11"]), stands(&context, &elsewhere), &Known::Values).expect("a design");
    let region = |text: &str| {
        let dimensions = &context.dimensions;
        Selection::parse(text, dimensions).expect("a selection").region().expect("a region")
    };
    let left = Left {
        context: "bank".into(),
        partition: "bid_8_to_16".parse().expect("a name"),
        region: region("bid=[8,16)"),
        home: home("blue"),
    };
    let to_blue = |of: &[&str], from| TransferStep::Move(keys(of, from, 0));
    for (of, from) in [("9", 1), ("11", 2)] {
        let told = carry(&made, std::slice::from_ref(&left), to_blue(&[of], from));
        assert_eq!(stages(&told), Vec::<String>::new());
        assert!(told.cannot[0].contains("it left with bid_8_to_16"), "{told:?}");
    }
    // The whole of it can, and where it never was there is no guard.
    let told = carry(&made, std::slice::from_ref(&left), TransferStep::Merge(keys(&["9"], 1, 0)));
    assert_eq!(stages(&told), ["bid_8_to_16: green.public to blue.public"]);
    let told = carry(&made, &[left], TransferStep::Move(keys(&["9"], 1, 2)));
    assert_eq!(stages(&told), ["bid=9: green.public to red.public"]);
}

#[test]
fn a_rollout_stays_goes_elsewhere_or_is_plain() {
    let to_red =
        "\n[contexts.bank.rollout]\nversion = \"v2\"\nto = { database = \"red\", schema = \"public\" }\n";
    let ddl = format!("{to_red}ddl = [\"v2.sql\"]\n");
    let mapped = format!("{to_red}[contexts.bank.rollout.map.accounts.aid]\nup = \"aid\"\n");
    // The spec's rollout, versions on blue and green, then what is wanted, and whether the DDL is forgotten.
    let cases = [
        ("", None, None, ("v1", Becoming::Plain, true)),
        (ROLLOUT, None, None, ("v1", Becoming::AsItIs, true)),
        (to_red, None, None, ("v2", Becoming::OtherHome, true)),
        (&ddl, Some("v2"), None, ("v2", Becoming::OtherHome, true)),
        (&ddl, Some("v1"), Some("v3"), ("v3", Becoming::Plain, true)),
        (&mapped, Some("v2"), None, ("v2", Becoming::Plain, true)),
        (&mapped, Some("v1"), Some("v2"), ("v2", Becoming::OtherHome, true)),
    ];
    for (rollout, blue, green, want) in cases {
        let context = context(BID, "", rollout);
        let mut standing = standing(&context, &[("bid=9", "green")]);
        let versions = [("blue", blue), ("green", green)];
        standing.versions = versions
            .into_iter()
            .filter_map(|(database, version)| Some((home(database), version?.to_owned())))
            .collect();
        let all = BTreeMap::from([("bank".to_owned(), standing)]);
        let made = deployed(&bank(&["1", "9"]), all, &Known::Values).expect("a design");
        let told = carry(&made, &[], TransferStep::Move(keys(&["1"], 0, 1)));
        let stage = &told.stages[0];
        let got = (stage.rollout.version.as_str(), stage.rollout.change, stage.forgets_ddl);
        assert_eq!(got, want, "{rollout} {blue:?} {green:?}");
        assert_eq!(stage.rollout.to, home("green"));
    }
    // Where nothing is yet, DDL of the version is kept; without any, it is said that tables are needed.
    for (rollout, says) in [(&ddl, false), (&to_red.to_owned(), true)] {
        let context = context(BID, "", &rollout.replace("\"red\"", "\"green\""));
        let made = deployed(&bank(&["1", "9"]), stands(&context, &[("bid=9", "green")]), &Known::Values);
        let made = made.expect("a design");
        let told = carry(&made, &[], TransferStep::Split(keys(&["1"], 0, 2)));
        let stage = &told.stages[0];
        assert_eq!((stage.rollout.to.clone(), stage.forgets_ddl), (home("red"), false), "{rollout}");
        assert_eq!(stage.before.iter().any(|line| line.contains("has no tables yet")), says, "{stage:?}");
    }
}
