//! Names follow the names that are there.

use std::collections::BTreeSet;

use proptest::prelude::*;
use replat_model::lifecycle::axis::{Axis, Position};
use replat_model::lifecycle::facts::{Bound, Edge};
use replat_model::lifecycle::grid::Grid;
use replat_model::lifecycle::name::Pattern;

fn edge(text: &str) -> Edge {
    match text {
        "MINVALUE" => Edge::Min,
        "MAXVALUE" => Edge::Max,
        text => Edge::At(text.into()),
    }
}

fn key(text: &str) -> Vec<Edge> {
    text.split(", ").map(edge).collect()
}

fn range(from: &str, to: &str) -> Bound {
    Bound::Range { from: key(from), to: key(to) }
}

fn list(values: &[&str]) -> Bound {
    Bound::List(values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect())
}

fn hash(modulus: u32, remainder: u32) -> Bound {
    Bound::Hash { modulus, remainder }
}

fn grid(type_name: &str, interval: &str, origin: Option<&str>, zone: Option<&str>) -> Grid {
    let axis = Axis::of(type_name, None, None).unwrap();
    Grid::new(axis, interval.parse().unwrap(), origin, zone).unwrap()
}

/// The cell of `grid` that begins at `from`.
fn cell(grid: &Grid, from: &str) -> Bound {
    let at = grid.axis.bound(from).unwrap();
    let to = grid.next(at).unwrap();
    range(&grid.axis.text(at).unwrap(), &grid.axis.text(to).unwrap())
}

fn free(_: &str) -> bool {
    false
}

/// Names of cells that begin at the first bounds, and what the cell of the last one is called.
fn follows(grid: &Grid, parent: &str, names: &[(&str, &str)], next: &str) -> String {
    let parts: Vec<_> = names.iter().map(|(from, name)| ((*name).to_owned(), cell(grid, from))).collect();
    let pattern = Pattern::learn(parent, &parts, Some(grid));
    for (name, bound) in &parts {
        assert_eq!(pattern.name(bound, Some(grid), &free).as_ref(), Ok(name), "{pattern:?}");
    }
    pattern.name(&cell(grid, next), Some(grid), &free).unwrap()
}

#[test]
fn times_are_written_as_they_were() {
    let daily = grid("date", "1 day", None, None);
    let monthly = grid("date", "1 month", None, None);
    let weekly = grid("date", "1 week", None, None);
    let quarterly = grid("date", "3 months", None, None);
    let yearly = grid("date", "1 year", None, None);
    let hourly = grid("timestamp", "1 hour", None, None);
    let quarters = grid("timestamp", "15 minutes", None, None);
    let odd = grid("timestamp", "1 day", Some("2026-01-01 06:00:00"), None);
    let cases: &[(&Grid, &[(&str, &str)], &str, &str)] = &[
        (
            &daily,
            &[("2026-01-30", "events_2026_01_30"), ("2026-01-31", "events_2026_01_31")],
            "2026-02-01",
            "events_2026_02_01",
        ),
        (&daily, &[("2026-01-31", "events_p20260131")], "2026-02-01", "events_p20260201"),
        (&daily, &[("2026-01-31", "events_20260131")], "2026-02-01", "events_20260201"),
        (&daily, &[("2026-01-31", "events_p2026_01_31")], "2026-02-01", "events_p2026_02_01"),
        (&daily, &[("2026-01-31", "events-2026-01-31")], "2026-02-01", "events-2026-02-01"),
        (&daily, &[("2026-01-31", "y2026m01d31")], "2026-02-01", "y2026m02d01"),
        (&daily, &[("2026-01-31", "events_260131")], "2026-02-01", "events_260201"),
        (&daily, &[("2026-01-31", "events_31_01_2026")], "2026-02-01", "events_01_02_2026"),
        (&daily, &[("2026-01-31", "part_20260131_of_events")], "2026-02-01", "part_20260201_of_events"),
        // pg_partman before and after its fifth version.
        (
            &hourly,
            &[("2026-01-31 06:00:00", "events_p2026_01_31_0600")],
            "2026-01-31 07:00:00",
            "events_p2026_01_31_0700",
        ),
        (
            &hourly,
            &[("2026-01-31 06:00:00", "events_p20260131_060000")],
            "2026-01-31 07:00:00",
            "events_p20260131_070000",
        ),
        (
            &hourly,
            &[("2026-01-31 06:00:00", "events_2026013106")],
            "2026-01-31 07:00:00",
            "events_2026013107",
        ),
        (
            &hourly,
            &[("2026-01-31 06:00:00", "events_20260131t06")],
            "2026-01-31 07:00:00",
            "events_20260131t07",
        ),
        (
            &quarters,
            &[("2026-01-31 06:15:00", "events_20260131_0615")],
            "2026-01-31 06:30:00",
            "events_20260131_0630",
        ),
        (&monthly, &[("2025-12-01", "events_2025_12")], "2026-01-01", "events_2026_01"),
        (&monthly, &[("2025-12-01", "events_202512")], "2026-01-01", "events_202601"),
        (&monthly, &[("2025-12-01", "events_y2025m12")], "2026-01-01", "events_y2026m01"),
        (&monthly, &[("2026-01-01", "events_jan2026")], "2026-02-01", "events_feb2026"),
        (&monthly, &[("2025-12-01", "events_p2025_12_01")], "2026-01-01", "events_p2026_01_01"),
        (&weekly, &[("2025-12-22", "events_p2025w52")], "2025-12-29", "events_p2026w01"),
        (&weekly, &[("2025-12-22", "events_2025_w52")], "2025-12-29", "events_2026_w01"),
        (&weekly, &[("2025-12-22", "events_20251222")], "2025-12-29", "events_20251229"),
        (&quarterly, &[("2025-10-01", "events_2025q4")], "2026-01-01", "events_2026q1"),
        (&quarterly, &[("2025-10-01", "events_2025_Q4")], "2026-01-01", "events_2026_Q1"),
        (&yearly, &[("2025-01-01", "events_2025")], "2026-01-01", "events_2026"),
        // By the upper bound, by both, and by the first and the last day.
        (
            &daily,
            &[("2026-01-30", "events_20260131"), ("2026-01-31", "events_20260201")],
            "2026-02-28",
            "events_20260301",
        ),
        (&monthly, &[("2025-12-01", "events_20251201_20260101")], "2026-01-01", "events_20260101_20260201"),
        (
            &monthly,
            &[("2025-12-01", "events_2025_12_01_to_2025_12_31")],
            "2026-01-01",
            "events_2026_01_01_to_2026_01_31",
        ),
        // By counting.
        (&monthly, &[("2025-11-01", "events_7"), ("2025-12-01", "events_8")], "2026-02-01", "events_10"),
        (
            &daily,
            &[("2026-01-01", "events_part_007"), ("2026-01-02", "events_part_008")],
            "2026-01-04",
            "events_part_010",
        ),
        // A day that begins at six is called by its date.
        (
            &odd,
            &[("2026-01-30 06:00:00", "events_20260130"), ("2026-01-31 06:00:00", "events_20260131")],
            "2026-02-01 06:00:00",
            "events_20260201",
        ),
    ];
    for (grid, names, next, name) in cases {
        assert_eq!(follows(grid, "events", names, next), *name, "{names:?}");
    }
}

#[test]
fn the_wall_clock_that_gives_the_names_again_is_used() {
    let berlin = grid("timestamptz", "1 day", None, Some("Europe/Berlin"));
    let local = [("2026-01-30 23:00:00+00", "events_20260131")];
    assert_eq!(follows(&berlin, "events", &local, "2026-07-31 22:00:00+00"), "events_20260801");
    let utc =
        [("2026-01-30 23:00:00+00", "events_2026013023"), ("2026-01-31 23:00:00+00", "events_2026013123")];
    assert_eq!(follows(&berlin, "events", &utc, "2026-07-31 22:00:00+00"), "events_2026073122");
}

#[test]
fn numbers_are_written_as_they_were() {
    let millions = grid("bigint", "1000000", None, None);
    let from_one = grid("bigint", "1000000", Some("1"), None);
    let decimals = grid("numeric(10,2)", "99.5", None, None);
    let epoch =
        Grid::new(Axis::of("bigint", Some("epoch-s"), None).unwrap(), "1 day".parse().unwrap(), None, None)
            .unwrap();
    let cases: &[(&Grid, &[(&str, &str)], &str, &str)] = &[
        (&millions, &[("0", "ids_p0"), ("1000000", "ids_p1000000")], "2000000", "ids_p2000000"),
        (&millions, &[("1000000", "ids_p1000000")], "2000000", "ids_p2000000"),
        (&millions, &[("1000000", "ids_0001000000")], "12000000", "ids_0012000000"),
        (&millions, &[("1000000", "ids_1000000_1999999")], "2000000", "ids_2000000_2999999"),
        (&millions, &[("1000000", "ids_1000000_2000000")], "2000000", "ids_2000000_3000000"),
        (&millions, &[("16000000", "ids_16"), ("17000000", "ids_17")], "20000000", "ids_20"),
        (&millions, &[("16000000", "ids_16m"), ("17000000", "ids_17m")], "20000000", "ids_20m"),
        (&from_one, &[("1", "ids_1"), ("1000001", "ids_2")], "2000001", "ids_3"),
        (&decimals, &[("0.00", "ids_p0_00"), ("99.50", "ids_p99_50")], "199.00", "ids_p199_00"),
        (&epoch, &[("1767225600", "ids_20260101")], "1767312000", "ids_20260102"),
        (&epoch, &[("1767225600", "ids_p1767225600")], "1767312000", "ids_p1767312000"),
    ];
    for (grid, names, next, name) in cases {
        assert_eq!(follows(grid, "ids", names, next), *name, "{names:?}");
    }
}

#[test]
fn lists_and_hashes_are_written_as_they_were() {
    let cases: &[(&[(&str, Bound)], Bound, &str)] = &[
        (&[("t_de", list(&["de"])), ("t_fr", list(&["fr"]))], list(&["it"]), "t_it"),
        (&[("t_de", list(&["DE"])), ("t_fr", list(&["FR"]))], list(&["IT"]), "t_it"),
        (&[("t_DE", list(&["de"])), ("t_FR", list(&["fr"]))], list(&["it"]), "t_IT"),
        (&[("tenant_17_data", list(&["17"]))], list(&["18"]), "tenant_18_data"),
        (&[("t_a_b", list(&["a", "b"]))], list(&["c", "NULL"]), "t_c_null"),
        (&[("t_h0", hash(4, 0)), ("t_h1", hash(4, 1))], hash(4, 3), "t_h3"),
        (&[("t_p00", hash(16, 0)), ("t_p10", hash(16, 10))], hash(16, 3), "t_p03"),
        (&[("t_1", hash(4, 0)), ("t_2", hash(4, 1))], hash(4, 3), "t_4"),
        // Another modulus must not look like the old one.
        (&[("t_h0", hash(4, 0)), ("t_h1", hash(4, 1))], hash(8, 3), "t_h3of8"),
        (&[("t_de", list(&["de"]))], Bound::Default, "t_default"),
        // Nothing to follow.
        (&[("north", list(&["1"])), ("south", list(&["2"]))], list(&["3"]), "t_3"),
        (&[], list(&["New York"]), "t_new_york"),
        (&[], list(&["-1"]), "t_n1"),
        (&[], list(&["NULL"]), "t_null"),
        (&[], hash(8, 3), "t_h3"),
        (&[], Bound::Default, "t_default"),
    ];
    for (parts, bound, name) in cases {
        let parts: Vec<_> = parts.iter().map(|(name, bound)| ((*name).to_owned(), bound.clone())).collect();
        let pattern = Pattern::learn("t", &parts, None);
        assert_eq!(pattern.name(bound, None, &free).as_deref(), Ok(*name), "{parts:?}");
    }
}

#[test]
fn hundreds_of_hashes_keep_their_zeros() {
    let parts: Vec<_> = (0..300).filter(|r| *r != 7).map(|r| (format!("t_{r:03}"), hash(300, r))).collect();
    assert_eq!(Pattern::learn("t", &parts, None).name(&hash(300, 7), None, &free).as_deref(), Ok("t_007"));
}

#[test]
fn without_names_to_follow_they_have_as_many_fields_as_needed() {
    let cases = [
        ("date", "1 year", "2026-01-01", "t_p2026"),
        ("date", "3 months", "2026-04-01", "t_p202604"),
        ("date", "1 month", "2026-01-01", "t_p202601"),
        ("date", "1 week", "2026-01-05", "t_p20260105"),
        ("date", "1 day", "2026-01-01", "t_p20260101"),
        ("timestamp", "6 hours", "2026-01-01 00:00:00", "t_p20260101_00"),
        ("timestamp", "15 minutes", "2026-01-01 06:00:00", "t_p20260101_0600"),
        ("timestamp", "10 seconds", "2026-01-01 06:00:00", "t_p20260101_060000"),
        ("date", "1 day", "0044-03-15 BC", "t_pbc00440315"),
        ("bigint", "1000", "-5000", "t_pn5000"),
        ("bigint", "1000", "5000", "t_p5000"),
        ("numeric(6,1)", "0.5", "1.5", "t_p1_5"),
        ("uuid", "1 day", "019b76da-a800-0000-0000-000000000000", "t_p20260101"),
    ];
    for (type_name, interval, from, name) in cases {
        let grid = grid(type_name, interval, None, None);
        let pattern = Pattern::learn("t", &[], Some(&grid));
        assert!(!pattern.is_learned());
        assert_eq!(pattern.name(&cell(&grid, from), Some(&grid), &free).as_deref(), Ok(name));
    }
    // Without a grid, and at open ends.
    let pattern = Pattern::learn("t", &[], None);
    for (from, to, name) in [
        ("2026-01-01", "2026-02-01", "t_p2026"),
        ("2026-01-15", "2026-02-01", "t_p20260115"),
        ("2026-01-01 06:30:00+00", "2026-02-01", "t_p20260101_0630"),
        ("17", "42", "t_p17"),
        ("apple", "pear", "t_papple"),
        ("MINVALUE", "17", "t_pmin"),
        ("17", "MAXVALUE", "t_pmax"),
        ("MINVALUE", "MAXVALUE", "t_pmax"),
    ] {
        let found = pattern.name(&range(from, to), None, &free).unwrap();
        assert_eq!(found, name, "{from} {to}");
    }
}

#[test]
fn a_key_that_the_pattern_would_blur_gets_more_fields() {
    let daily = grid("date", "1 day", None, None);
    let monthly = grid("date", "1 month", None, None);
    // Months so far, days from now on.
    let parts = [
        ("events_2025_11".to_owned(), cell(&monthly, "2025-11-01")),
        ("events_2025_12".to_owned(), cell(&monthly, "2025-12-01")),
    ];
    let pattern = Pattern::learn("events", &parts, Some(&daily));
    for (from, name) in [("2026-01-01", "events_2026_01_01"), ("2026-01-02", "events_2026_01_02")] {
        assert_eq!(pattern.name(&cell(&daily, from), Some(&daily), &free).as_deref(), Ok(name));
    }
    // The end of a month that began as days.
    let pattern = Pattern::learn("events", &parts, Some(&monthly));
    let bridge = range("2026-01-15", "2026-02-01");
    assert_eq!(pattern.name(&bridge, Some(&monthly), &free).as_deref(), Ok("events_2026_01_15"));
    // The hour that comes twice.
    let hourly = grid("timestamptz", "1 hour", None, Some("Europe/Berlin"));
    let pattern = Pattern::learn("t", &[], Some(&hourly));
    for (from, name) in
        [("2026-10-25 00:00:00+00", "t_p20261025_02"), ("2026-10-25 01:00:00+00", "t_p20261025_02_2")]
    {
        assert_eq!(pattern.name(&cell(&hourly, from), Some(&hourly), &free).as_deref(), Ok(name));
    }
    // The day whose midnight does not exist.
    let daily = grid("timestamptz", "1 day", None, Some("America/Sao_Paulo"));
    let pattern = Pattern::learn("t", &[], Some(&daily));
    let bound = cell(&daily, "2018-11-04 03:00:00+00");
    assert_eq!(pattern.name(&bound, Some(&daily), &free).as_deref(), Ok("t_p20181104"));
}

#[test]
fn new_ways_outweigh_old_ones() {
    let daily = grid("date", "1 day", None, None);
    let mut parts: Vec<_> = (1..=20)
        .map(|day| (format!("events_2026_01_{day:02}"), cell(&daily, &format!("2026-01-{day:02}"))))
        .collect();
    let name = |parts: &[(String, Bound)]| {
        Pattern::learn("events", parts, Some(&daily))
            .name(&cell(&daily, "2026-01-25"), Some(&daily), &free)
            .unwrap()
    };
    // One by hand changes nothing, two by another way do.
    parts.push(("events_special".into(), cell(&daily, "2026-01-21")));
    assert_eq!(name(&parts), "events_2026_01_25");
    parts.push(("events_p20260122".into(), cell(&daily, "2026-01-22")));
    parts.push(("events_p20260123".into(), cell(&daily, "2026-01-23")));
    assert_eq!(name(&parts), "events_p20260125");
}

#[test]
fn columns_before_the_growing_one_are_in_the_name() {
    let monthly = grid("date", "1 month", None, None);
    let parts = [
        ("t_17_2026_01".to_owned(), range("17, 2026-01-01", "17, 2026-02-01")),
        ("t_18_2026_01".to_owned(), range("18, 2026-01-01", "18, 2026-02-01")),
    ];
    let pattern = Pattern::learn("t", &parts, Some(&monthly));
    let next = range("19, 2026-02-01", "19, 2026-03-01");
    assert_eq!(pattern.name(&next, Some(&monthly), &free).as_deref(), Ok("t_19_2026_02"));
    // One tenant so far, whose number is in no name.
    let parts = [("t_2026_01".to_owned(), range("17, 2026-01-01", "17, 2026-02-01"))];
    let pattern = Pattern::learn("t", &parts, Some(&monthly));
    let same = range("17, 2026-02-01", "17, 2026-03-01");
    assert_eq!(pattern.name(&same, Some(&monthly), &free).as_deref(), Ok("t_2026_02"));
    assert_eq!(pattern.name(&next, Some(&monthly), &free).as_deref(), Ok("t_19_2026_02"));
    let pattern = Pattern::learn("t", &[], Some(&monthly));
    assert_eq!(pattern.name(&next, Some(&monthly), &free).as_deref(), Ok("t_p19_202602"));
    let behind = range("2026-02-01, MINVALUE", "2026-03-01, MINVALUE");
    assert_eq!(pattern.name(&behind, Some(&monthly), &free).as_deref(), Ok("t_p202602"));
}

#[test]
fn open_ranges_do_not_take_the_name_of_a_neighbour() {
    let monthly = grid("date", "1 month", None, None);
    let parts = [("events_2025_12".to_owned(), cell(&monthly, "2025-12-01"))];
    let pattern = Pattern::learn("events", &parts, Some(&monthly));
    for (from, to, name) in
        [("2026-01-01", "MAXVALUE", "events_pmax"), ("MINVALUE", "2025-12-01", "events_pmin")]
    {
        assert_eq!(pattern.name(&range(from, to), Some(&monthly), &free).as_deref(), Ok(name));
    }
}

#[test]
fn sisters_are_called_alike() {
    let daily = grid("date", "1 day", None, None);
    let parts = [("t_eu_2026_01_31".to_owned(), cell(&daily, "2026-01-31"))];
    let pattern = Pattern::learn("t_eu", &parts, Some(&daily)).for_parent("t_us");
    assert_eq!(
        pattern.name(&cell(&daily, "2026-02-01"), Some(&daily), &free).as_deref(),
        Ok("t_us_2026_02_01")
    );
}

#[test]
fn taken_names_get_a_number() {
    let daily = grid("date", "1 day", None, None);
    let pattern = Pattern::learn("t", &[], Some(&daily));
    let bound = cell(&daily, "2026-01-31");
    let taken = ["t_p20260131", "t_p20260131_2"];
    assert_eq!(
        pattern.name(&bound, Some(&daily), &|name| taken.contains(&name)).as_deref(),
        Ok("t_p20260131_3")
    );
    assert!(pattern.name(&bound, Some(&daily), &|_| true).is_err());
    let same = Pattern::learn("t", &[], None).names(&[list(&["a-b"]), list(&["A_B"])], None, &free).unwrap();
    assert_eq!(same, ["t_a_b", "t_a_b_2"]);
}

#[test]
fn long_names_are_cut_in_front() {
    let daily = grid("date", "1 day", None, None);
    let parent = "a_very_long_name_of_a_table_that_nobody_should_have_but_some_do";
    assert_eq!(parent.len(), 63);
    let name = |parent: &str, bound: &Bound| {
        Pattern::learn(parent, &[], Some(&daily)).name(bound, Some(&daily), &free).unwrap()
    };
    let first = name(parent, &cell(&daily, "2026-01-31"));
    assert_eq!((first.len(), first.ends_with("_p20260131")), (63, true), "{first}");
    assert!(first.starts_with("a_very_long_name_of_a_table_that_nobody_sho"), "{first}");
    // Another table that begins alike has other names.
    let other = name(&parent.replace("some_do", "some_d0"), &cell(&daily, "2026-01-31"));
    assert_ne!(first, other);
    // Whole characters only.
    let wide = name(&"ü".repeat(31), &cell(&daily, "2026-01-31"));
    assert!(wide.len() <= 63 && wide.starts_with("üü") && wide.ends_with("_p20260131"), "{wide}");
    // A long value is cut, and told apart from another.
    let pattern = Pattern::learn("t", &[], None);
    let long = |end: &str| pattern.name(&list(&[&format!("{}{end}", "x".repeat(100))]), None, &free).unwrap();
    assert!(long("a").len() <= 63 && long("a") != long("b"));
    // A taken one keeps its number.
    let taken = pattern_taken(&daily, parent, &first);
    assert!(taken.len() <= 63 && taken.ends_with("_p20260131_2"), "{taken}");
}

fn pattern_taken(grid: &Grid, parent: &str, taken: &str) -> String {
    let bound = cell(grid, "2026-01-31");
    Pattern::learn(parent, &[], Some(grid)).name(&bound, Some(grid), &|name| name == taken).unwrap()
}

#[test]
fn other_peoples_letters_stay_in_the_name_of_the_parent() {
    let daily = grid("date", "1 day", None, None);
    for parent in ["Täglich \"quoted\"", "事件", "with.dot", "UPPER", " "] {
        let pattern = Pattern::learn(parent, &[], Some(&daily));
        let name = pattern.name(&cell(&daily, "2026-01-31"), Some(&daily), &free).unwrap();
        assert_eq!(name, format!("{parent}_p20260131"));
        let parts = [(name.clone(), cell(&daily, "2026-01-31"))];
        let next = Pattern::learn(parent, &parts, Some(&daily)).name(
            &cell(&daily, "2026-02-01"),
            Some(&daily),
            &free,
        );
        assert_eq!(next, Ok(format!("{parent}_p20260201")));
    }
    let values = Pattern::learn("t", &[], None)
        .names(&[list(&["Müller"]), list(&["事件"]), list(&[""])], None, &free)
        .unwrap();
    assert!(
        values
            .iter()
            .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    );
    assert!(values[0].starts_with("t_m_ller_"), "{values:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn names_are_short_and_no_two_are_alike(
        parent in "\\PC{1,40}", unit in 0usize..5, from in 1_500_000_000i128..1_900_000_000, learned in 0usize..6, style in 0usize..4
    ) {
        prop_assume!(parent.len() <= 63 && !parent.contains('\0'));
        let interval = ["1 month", "1 day", "1 hour", "1 week", "15 minutes"][unit];
        let grid = grid("timestamptz", interval, None, Some("Europe/Berlin"));
        let bounds: Vec<Bound> = grid
            .cells(Position(from * 1_000_000), Position(from * 1_000_000 + 86_400_000_000 * 30), 5_000).unwrap()
            .into_iter().take(200)
            .map(|(from, to)| range(&grid.axis.text(from).unwrap(), &grid.axis.text(to).unwrap()))
            .collect();
        // Some way of naming, of which none need fit the interval.
        let seen: Vec<(String, Bound)> = bounds.iter().take(learned).map(|bound| {
            let Bound::Range { from, .. } = bound else { unreachable!("only ranges") };
            let Edge::At(text) = &from[0] else { unreachable!("only values") };
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let key = match style {
                0 => format!("{}_{}_{}", &digits[..4], &digits[4..6], &digits[6..8]),
                1 => digits[..10].to_owned(),
                2 => format!("{}_{}", &digits[..4], &digits[4..6]),
                _ => "same".to_owned(),
            };
            (format!("{parent}_{key}"), bound.clone())
        }).collect();
        let pattern = Pattern::learn(&parent, &seen, Some(&grid));
        let mut given = BTreeSet::new();
        for bound in &bounds {
            // Nothing is taken: names differ by themselves.
            let name = pattern.name(bound, Some(&grid), &free).unwrap();
            prop_assert!(name.len() <= 63, "{name}");
            prop_assert!(given.insert(name.clone()), "{} twice: {:?}", name, pattern);
            prop_assert_eq!(pattern.name(bound, Some(&grid), &free), Ok(name));
        }
    }

    #[test]
    fn no_names_break_a_pattern(parent in "\\PC{0,20}", name in "\\PC{0,70}", value in "\\PC{0,80}", from in "\\PC{0,20}") {
        let parts = [
            (name.clone(), Bound::List(vec![Some(value.clone()), None])),
            (format!("{parent}{name}"), Bound::Range { from: vec![Edge::At(from)], to: vec![Edge::At(value)] }),
            (name, Bound::Hash { modulus: 3, remainder: 1 }),
        ];
        let pattern = Pattern::learn(&parent, &parts, None);
        for (_, bound) in &parts {
            let name = pattern.name(bound, None, &free).unwrap();
            prop_assert!(name.len() <= 63);
        }
    }
}
