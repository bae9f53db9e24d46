use jiff::Zoned;

use super::*;

#[test]
fn a_message_is_understood_or_refused_with_a_reason() {
    let understood = [
        ("", Ask::default()),
        ("  \n", Ask::default()),
        ("{}", Ask::default()),
        (
            r#"{"table":"public.events","buffer_days":60}"#,
            Ask { table: Some("public.events".into()), buffer_days: Some(60), ..Ask::default() },
        ),
        (
            r#"{"tables":["a.b","a.c"],"until":"2027-01-31","ahead":3}"#,
            Ask {
                tables: vec!["a.b".into(), "a.c".into()],
                until: Some("2027-01-31".into()),
                ahead: Some(3),
                ..Ask::default()
            },
        ),
    ];
    for (text, ask) in understood {
        assert_eq!(text.parse(), Ok(ask), "{text}");
    }
    let refused = [
        ("public.events", "expected nothing, or an object"),
        (r#"{"tabel":"x"}"#, "unknown field"),
        (r#"{"buffer_days":-1}"#, "invalid value"),
        (r#"{"buffer_days":100000}"#, "at most 3660"),
        (r#"{"ahead":100000}"#, "at most 1000"),
        (r#"{"until":"tomorrow"}"#, "not a day"),
        (r#"{"until":"2027-02-30"}"#, "not a day"),
        (r#"{"table":" "}"#, "a table has a name"),
        (&"x".repeat(20_000), "at most"),
    ];
    for (text, why) in refused {
        let error = text.parse::<Ask>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_message_does_harm(text in ".{0,200}") {
        // Any answer will do, as long as there is one.
        drop(text.parse::<Ask>());
    }

    #[test]
    fn what_is_written_is_read(table in "[a-z.\"*]{1,20}", days in 0u32..=3_660) {
        let ask = Ask { table: Some(table), buffer_days: Some(days), ..Ask::default() };
        let text = serde_json::to_string(&ask).expect("an ask is JSON");
        proptest::prop_assert_eq!(text.parse(), Ok(ask));
    }
}

#[test]
fn a_schedule_follows_the_clocks_of_its_zone() {
    let rows = [
        ("0 3 * * *", "UTC", "2026-03-28T12:00:00+00:00[UTC]", "2026-03-29T03:00:00+00:00[UTC]"),
        // 02:30 does not exist on this day in Berlin, and exists twice on the other.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00[Europe/Berlin]",
            "2026-03-29T03:00:00+02:00[Europe/Berlin]",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T02:30:00+02:00[Europe/Berlin]",
            "2026-10-26T02:30:00+01:00[Europe/Berlin]",
        ),
    ];
    for (cron, zone, now, due) in rows {
        let schedule = Schedule::new(cron, zone).expect(cron);
        let now: Zoned = now.parse().expect(now);
        let due: Zoned = due.parse().expect(due);
        assert_eq!(schedule.next(&now).map(|z| z.timestamp()), Some(due.timestamp()), "{cron} {zone} {now}");
    }
    assert!(Schedule::new("0 25 * * *", "UTC").is_err());
    assert!(Schedule::new("0 3 * * *", "Europe/Nowhere").is_err());
}

#[test]
fn a_schedule_may_name_its_zone_and_its_seconds() {
    let now: Zoned = "2026-07-01T00:00:10+00:00[UTC]".parse().expect("a moment");
    let rows = [
        ("0 3 * * *", Some("2026-07-01T03:00:00+00:00")),
        (" TZ=Europe/Berlin 0 3 * * * ", Some("2026-07-01T01:00:00+00:00")),
        ("CRON_TZ=Europe/Berlin\t0 3 * * *", Some("2026-07-01T01:00:00+00:00")),
        ("*/15 * * * * *", Some("2026-07-01T00:00:15+00:00")),
        ("TZ=Europe/Berlin", None),
        ("TZ=Mars/Base 0 3 * * *", None),
        ("* *", None),
        ("", None),
    ];
    for (text, due) in rows {
        let found = text.parse::<Schedule>().ok().and_then(|schedule| schedule.after(now.timestamp()));
        let due = due.map(|due| due.parse().expect("a moment"));
        assert_eq!(found, due, "{text}");
    }
}

#[test]
fn a_message_asks_for_days_whatever_its_words() {
    let now: jiff::Timestamp = "2026-07-01T12:00:00Z".parse().expect("a moment");
    let rows = [
        ("{}", None),
        (r#"{"table":"a.b"}"#, None),
        (r#"{"buffer_days":60}"#, Some((Some(60), None))),
        (r#"{"ahead":3}"#, Some((None, Some(3)))),
        // Over the end of the day, in whatever zone.
        (r#"{"until":"2026-07-11"}"#, Some((Some(12), None))),
        (r#"{"until":"2026-07-11","buffer_days":90}"#, Some((Some(90), None))),
        (r#"{"until":"2020-01-01"}"#, Some((Some(0), None))),
        (r#"{"until":"9999-12-31"}"#, Some((Some(3660), None))),
    ];
    for (text, wanted) in rows {
        let more = text.parse::<Ask>().expect(text).more(now);
        let found = more.map(|m| (m.ahead.map(|a| a.millis() / 86_400_000), m.ahead_count));
        assert_eq!(found, wanted, "{text}");
    }
}

/// Work that ends as it is told, and remembers its occasions.
struct Told {
    ends: VecDeque<RunEnd>,
    runs: Vec<Vec<Occasion>>,
    over: tokio::sync::mpsc::Sender<()>,
}

impl Work for Told {
    async fn run(&mut self, occasions: &[Occasion]) -> Vec<RunEnd> {
        self.runs.push(occasions.to_vec());
        let end = self.ends.pop_front();
        if self.ends.is_empty() {
            self.over.try_send(()).unwrap_or_default();
        }
        vec![end.unwrap_or(RunEnd::Done); occasions.len()]
    }

    async fn surges(&mut self) -> Vec<(PlaceNumber, Surge)> {
        Vec::new()
    }
}

#[tokio::test]
async fn what_did_not_succeed_is_tried_again_more_and_more_seldom_and_what_was_refused_is_not() {
    use RunEnd::{Done, NotYet, Refused};
    // How the runs end, and how many there are.
    let rows: [(&[RunEnd], usize); 3] = [(&[Done], 1), (&[NotYet, Done], 2), (&[Refused], 1)];
    for (ends, runs) in rows {
        let (over, mut ended) = tokio::sync::mpsc::channel(1);
        let mut work = Told { ends: ends.iter().copied().collect(), runs: Vec::new(), over };
        let watch = Watch { schedules: Vec::new(), velocity_every: None, listen: Vec::new(), jet: None };
        watch.run(&mut work, async { ended.recv().await.unwrap_or_default() }).await;
        assert_eq!(work.runs.len(), runs, "{ends:?}");
        assert!(work.runs.iter().all(|occasions| *occasions == [Occasion::Start]), "{ends:?}");
    }
    let rests: Vec<u64> = (1..9).map(|failures| rest(failures).as_secs()).collect();
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test]
async fn what_waits_is_renewed_and_bounded() {
    let surge = |set: &str, ahead| Occasion::Surge {
        place: 0,
        surge: Surge {
            set: replat_model::lifecycle::facts::TableName::new("app", set),
            ratio: Some(5.0),
            ahead: Some(ahead),
        },
    };
    let mut waiting: VecDeque<Waiting> =
        [surge("a", 1), Occasion::Start, surge("b", 1), Occasion::Start, surge("a", 9)]
            .into_iter()
            .map(Waiting::of)
            .collect();
    settle(&mut waiting, &[RunEnd::NotYet; 5]).await;
    let left: Vec<Occasion> = waiting.iter().map(|w| w.occasion.clone()).collect();
    assert_eq!(left, [surge("b", 1), Occasion::Start, surge("a", 9)]);
    let asked = |n| Ask { ahead: Some(n), ..Ask::default() };
    let asked = |n| Waiting::of(Occasion::Asked { by: "notify", place: None, ask: asked(n) });
    let mut flood: VecDeque<Waiting> = (0..1_000).map(asked).collect();
    settle(&mut flood, &[RunEnd::NotYet; 1_000]).await;
    assert_eq!(flood.len(), REMEMBERED);
    assert!(matches!(&flood[0].occasion, Occasion::Asked { ask, .. } if ask.ahead == Some(744)));
}
