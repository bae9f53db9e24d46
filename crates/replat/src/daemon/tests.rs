use std::time::Duration;

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
    fn what_is_written_is_read(table in "[a-z.\"*]{1,20}", days in 0u32..5000) {
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
    assert!(Schedule::new("* * * * *", "UTC").expect("every minute").wait() <= Some(Duration::from_secs(60)));
}
