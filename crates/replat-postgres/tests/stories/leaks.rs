//! Writes that reach the closed side past its guard: refused as far as it goes, and kept and counted beyond that.

use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, Story, refused, run, value};

fn leaks(story: &Story) -> u64 {
    let leaks = |e: &Event| if let Event::LeakSeen { rows, .. } = e { Some(*rows) } else { None };
    story.events().iter().filter_map(leaks).max().unwrap_or(0)
}

/// What a superuser can do to blue's guard by hand.
async fn set_guard(story: &Story, how: &str) {
    let sql = format!(
        "do $$ declare t record; begin \
           for t in select tgrelid::regclass as of_table, tgname from pg_trigger where tgname like 'zz_replat_%' loop \
             execute format('alter table %s {how} trigger %I', t.of_table, t.tgname); \
           end loop; end $$"
    );
    run(&story.blue, &sql).await;
}

async fn incidents(story: &Story, kept_on: Side) -> Vec<(String, String, String)> {
    let rows = story
        .side(kept_on)
        .query(
            "select tbl || ' ' || op, array_to_string(key, ','), coalesce(row_kept::text, '') \
             from replat.incident order by id",
            &[],
        )
        .await
        .expect("incidents");
    rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect()
}

#[tokio::test]
async fn truncate_is_refused_while_the_guard_is_armed() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    for sql in ["truncate moves", "truncate accounts cascade", "truncate currencies"] {
        assert_eq!(refused(&story.blue, sql).await.0, "25006", "{sql}");
    }
    run(&story.blue, "set session_replication_role = replica").await;
    assert_eq!(refused(&story.blue, "truncate moves").await.0, "25006", "for replication sessions, too");
    story.settle().await;
    story.assert_equal().await;
}

#[tokio::test]
async fn a_superuser_who_takes_the_guard_away_is_noticed_and_the_rows_are_kept() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    run(&story.blue, "set session_replication_role = replica").await;
    let write = "insert into accounts values (2, 8001, 'lost@t2', 5, 'kept', 'body')";
    let (code, detail) = refused(&story.blue, write).await;
    assert!(code == "25006" && detail.contains("moved"), "{code} {detail}");
    run(&story.blue, "set session_replication_role = origin").await;

    set_guard(&story, "disable").await;
    run(&story.blue, write).await;
    run(&story.blue, "update accounts set note = 'also kept' where tenant_id = 2 and id = 5").await;
    run(&story.blue, "delete from moves where tenant_id = 2 and id = 9").await;
    run(&story.blue, "insert into accounts values (1, 8002, null, 1, 'a neighbour', null)").await;
    run(&story.blue, "truncate moves").await;
    set_guard(&story, "enable always").await;
    story.watched().await;

    let seen = incidents(&story, Side::Green).await;
    let heads: Vec<(&str, &str)> = seen.iter().map(|(what, key, _)| (what.as_str(), key.as_str())).collect();
    assert_eq!(
        heads,
        [
            ("accounts put", "2,8001"),
            ("accounts put", "2,5"),
            ("moves remove", "2,9"),
            ("moves truncate", "")
        ]
    );
    for part in ["lost@t2", "kept", "8001"] {
        assert!(seen[0].2.contains(part), "{} says {part}", seen[0].2);
    }
    assert!(seen[1].2.contains("also kept"), "{}", seen[1].2);
    assert_eq!(leaks(&story), 4);
    // Green is home, and nothing of it was touched.
    assert_eq!(value(&story.green, "select count(*) from accounts where id = 8001").await, "0");
    assert_eq!(value(&story.green, "select count(*) from moves where tenant_id = 2").await, "250");
}

/// Invariant: nothing is switched unverified. What leaked makes the sides differ, and no way back leads over it.
#[tokio::test]
async fn a_leak_stands_in_the_way_of_the_next_switch() {
    let story = Scene { policy: "attempts = 2", ..Scene::default() }.begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    set_guard(&story, "disable").await;
    run(&story.blue, "insert into accounts values (2, 8001, null, 5, 'leaked', 'body')").await;
    set_guard(&story, "enable always").await;
    story.watched().await;
    story.say(&Event::SwitchAsked { to: Side::Blue, why: "back".into() });
    story.run_until_difference("blue is not as green is").await;
    assert_eq!(story.state().home, Side::Green);

    // A person removes the row where it does not belong, and says that it may go on.
    set_guard(&story, "disable").await;
    run(&story.blue, "delete from accounts where tenant_id = 2 and id = 8001").await;
    set_guard(&story, "enable always").await;
    story.say(&Event::Resumed);
    story.switch_to(Side::Blue).await;
    story.assert_equal().await;
}
