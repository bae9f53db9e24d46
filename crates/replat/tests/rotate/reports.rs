//! Where a run tells of itself: metrics in a file and pushed, and how long inserts are safe.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, daily};

/// A page of metrics, read as strictly as its readers do: each sample with its value.
fn parse(page: &str) -> Result<BTreeMap<String, f64>, String> {
    if !page.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut all = BTreeMap::new();
    for line in page.lines() {
        let bad = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, _)) = rest.split_once(' ') else { return bad("no help") };
            if !helped.insert(name) {
                return bad("a family stands in two places");
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return bad("no type") };
            if !["gauge", "counter", "histogram"].contains(&kind) || kinds.insert(name, kind).is_some() {
                return bad("a wrong type");
            }
            continue;
        }
        let Some((sample, value)) = line.rsplit_once(' ') else { return bad("no value") };
        let value: f64 = match value {
            "+Inf" => f64::INFINITY,
            value => value.parse().map_err(|_| format!("no number: {line}"))?,
        };
        let name = sample.split('{').next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|family| kinds.get(family) == Some(&"histogram")))
            .unwrap_or(name);
        if !kinds.contains_key(family) {
            return bad("a sample of no family");
        }
        labels(&sample[name.len()..]).map_err(|why| format!("{why}: {line}"))?;
        if all.insert(sample.to_owned(), value).is_some() {
            return bad("a sample stands twice");
        }
    }
    Ok(all)
}

/// `{name="value",…}` with its escapes.
fn labels(text: &str) -> Result<(), &'static str> {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return if text.is_empty() { Ok(()) } else { Err("labels without braces") };
    };
    let mut rest = inner;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a wrong name of a label");
        }
        let mut end = None;
        let mut chars = after.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if !matches!(chars.next(), Some((_, '\\' | '"' | 'n'))) => return Err("a wrong escape"),
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        rest = &after[end.ok_or("a value without an end")? + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(())
}

#[test]
fn the_reader_of_metrics_is_strict() {
    let fine = "# HELP a b\n# TYPE a gauge\na{x=\"y\\\"\\n\"} 1\n";
    assert_eq!(parse(fine).map(|all| all.len()), Ok(1));
    for bad in [
        "a 1\n",
        "# TYPE a gauge\na 1",
        "# TYPE a gauge\na x\n",
        "# TYPE a gauge\na{x=\"\"\"} 1\n",
        "# TYPE a gauge\na 1\na 1\n",
        "# TYPE a gauge\na{x=\"\\d\"} 1\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_whole_at_every_moment_and_counters_only_grow() {
    let world = World::with(&format!(
        "{} create table \"od\"\"d \\ né\" (id bigint) partition by hash (id); \
         create table odd_0 partition of \"od\"\"d \\ né\" for values with (modulus 2, remainder 0)",
        daily("events", -3, 1)
    ))
    .await;
    let file = world.path("replat.prom");
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (file, done) = (file.clone(), std::sync::Arc::clone(&done));
        move || {
            let mut whole = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(page) = std::fs::read_to_string(&file) {
                    parse(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
                    whole += 1;
                }
                std::thread::yield_now();
            }
            whole
        }
    });
    world.rotate("--buffer-days=5 --metrics-file replat.prom").await.succeeds();
    let page = std::fs::read_to_string(&file).expect("metrics");
    let first = parse(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
    let of = format!("database=\"{}\"", world.database);
    let at = |all: &BTreeMap<String, f64>, sample: &str| {
        *all.get(sample).unwrap_or_else(|| panic!("{sample} is missing: {all:#?}"))
    };
    assert_eq!(at(&first, &format!("replat_rotate_units_total{{{of},kind=\"create\",state=\"done\"}}")), 2.0);
    assert_eq!(
        at(&first, &format!("replat_lifecycle_children{{{of},table=\"public.events\",state=\"attached\"}}")),
        9.0
    );
    // The hash lasts for ever.
    let odd = "table=\"public.od\\\"d \\\\ né\"";
    assert_eq!(at(&first, &format!("replat_lifecycle_runway_seconds{{{of},{odd}}}")), f64::INFINITY);
    let runway = at(&first, &format!("replat_lifecycle_runway_seconds{{{of},table=\"public.events\"}}"));
    let wanted = world.number("select extract(epoch from current_date + 6 - now())::bigint").await as f64;
    assert!((runway - wanted).abs() < 120.0, "{runway} and {wanted}");
    let success = format!("replat_rotate_last_success_timestamp_seconds{{{of}}}");
    let ended = at(&first, &success);

    // Twice without work: once looked at, once known to be as it was.
    for _ in 0..2 {
        world.rotate("--buffer-days=5 --metrics-file replat.prom").await.succeeds().prints("nothing to do");
    }
    let page = std::fs::read_to_string(&file).expect("metrics");
    let second = parse(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
    for (sample, value) in &first {
        let now = at(&second, sample);
        if sample.contains("_total") || sample.contains("_bucket") || sample.contains("_count") {
            assert!(now >= *value, "{sample} fell from {value} to {now}");
        }
    }
    let runs: f64 =
        second.iter().filter(|(s, _)| s.starts_with("replat_rotate_runs_total")).map(|(_, n)| n).sum();
    assert_eq!(runs, 3.0, "{second:#?}");

    // A run that fails is counted, and the last success stays where it was.
    let nowhere = "--metrics-file replat.prom --buffer-days=5 -t nothing";
    world.rotate(nowhere).await.exits(4);
    let page = std::fs::read_to_string(&file).expect("metrics");
    let third = parse(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
    assert!(at(&third, &success) >= ended);
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().expect("every page was whole") > 0);
    let left: Vec<_> = std::fs::read_dir(world.folder.path())
        .expect("the folder")
        .flatten()
        .map(|f| f.file_name())
        .collect();
    assert_eq!(left, ["replat.prom"], "something was left beside it");

    // A file that cannot be written is said, and is no failure of the run.
    world
        .rotate("--buffer-days=5 --metrics-file nowhere/x.prom")
        .await
        .succeeds()
        .remarks("warning: nowhere/x.prom");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_pushed_and_a_gateway_that_is_gone_fails_no_run() {
    let world = World::with(&daily("events", -3, 1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let gateway = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a caller");
        let mut request = Vec::new();
        let (head, length) = loop {
            request.push(stream.read_u8().await.expect("a head"));
            if let Some(head) = request.strip_suffix(b"\r\n\r\n") {
                let head = String::from_utf8(head.to_vec()).expect("text");
                let length =
                    head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
                let length: usize = length.parse().expect("a number");
                break (head, length);
            }
        };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("an answer");
        (head, String::from_utf8(body).expect("text"))
    });
    let line = format!("--buffer-days=5 --metrics-push http://127.0.0.1:{port}");
    let ran = world.rotate(&line).await.succeeds();
    assert!(ran.err.is_empty(), "{}", ran.told());
    let (head, body) = gateway.await.expect("the gateway ends");
    assert!(head.starts_with("POST /metrics/job/replat_rotate HTTP/1.1"), "{head}");
    let all = parse(&body).unwrap_or_else(|why| panic!("{why}\n{body}"));
    assert!(all.keys().any(|sample| sample.contains("table=\"public.events\"")), "{body}");
    // Nobody listens any more.
    world.rotate(&line).await.succeeds().remarks("warning: metrics could not be pushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runway_is_how_long_inserts_are_safe() {
    let world = World::with(
        &format!(
            "{}{} create table hashed (id int) partition by hash (id); \
         create table hashed_0 partition of hashed for values with (modulus 2, remainder 0); \
         create table hashed_1 partition of hashed for values with (modulus 2, remainder 1); \
         drop table gap_$",
            daily("events", -3, 9),
            daily("gap", -3, 9)
        )
        .replace(
            "gap_$",
            "gap_x; do $$ begin execute 'drop table gap_' || to_char(current_date + 2, 'YYYYMMDD'); end $$",
        )
        .replace("drop table gap_x;", ""),
    )
    .await;
    let ran = world.verb("runway", "--json").await.succeeds();
    let seconds: BTreeMap<String, Option<i64>> = ran.json()["databases"][0]["runways"]
        .as_array()
        .expect("runways")
        .iter()
        .map(|r| (r["set"]["name"].as_str().unwrap_or_default().to_owned(), r["seconds"].as_i64()))
        .collect();
    // Up to the first gap, and not up to the last bound.
    for (table, days) in [("events", 10), ("gap", 2)] {
        let wanted =
            world.number(&format!("select extract(epoch from current_date + {days} - now())::bigint")).await;
        let found = seconds[table].unwrap_or_else(|| panic!("{table}: {}", ran.told()));
        assert!((found - wanted).abs() < 120, "{table}: {found} and {wanted}");
    }
    assert_eq!(seconds["hashed"], None, "{}", ran.told());

    let ran = world.verb("runway", "").await.succeeds();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.told());
    assert!(
        lines[0].contains("public.gap") && lines[1].contains("public.events"),
        "the shortest first: {}",
        ran.told()
    );
    assert!(lines[2].trim_start().starts_with("for ever  public.hashed"), "{}", ran.told());
    world.verb("runway", "--runway-min=5d").await.exits(14).remarks("public.gap");
    world.verb("runway", "--runway-min=5d -t events").await.succeeds();
    world.rotate("--check --runway-min=20d -t events").await.succeeds().prints("RP3012");
    world.rotate("--check --runway-min=20d -t events --strict").await.exits(14);
}
