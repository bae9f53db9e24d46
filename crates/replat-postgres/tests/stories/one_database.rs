//! Both homes are schemas of one database: each has its own fence, lock, marks and publication.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;
use replat_postgres::freshness;
use replat_postgres::guard::lock_key;

use crate::harness::{Scene, Story, TENANT, refused, run, value};
use crate::moments::until_planned;

fn scene() -> Scene {
    Scene { one_database: true, ..Scene::default() }
}

/// A client of the partition that is never told where it lives: it goes where it is let in, and remembers what was
/// acknowledged.
struct Writer {
    sessions: [tokio_postgres::Client; 2],
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

/// Where the ids of what writers insert begin.
const WRITTEN: u64 = 100_000;

impl Writer {
    async fn of(story: &Story) -> Writer {
        let sessions = [story.session(Side::Blue).await, story.session(Side::Green).await];
        Writer { sessions, acknowledged: AtomicU64::new(0), stop: AtomicBool::new(false) }
    }

    async fn write(&self) {
        let mut at = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let id = WRITTEN + self.acknowledged.load(Ordering::Relaxed);
            let sql = format!(
                "begin; insert into accounts values ({TENANT}, {id}, null, 1, 'written', null); \
                 update accounts set note = note || '.' where tenant_id = {TENANT} and id = {id} % 200 + 1; commit"
            );
            match self.sessions[at].batch_execute(&sql).await {
                Ok(()) => drop(self.acknowledged.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    assert_eq!(code.as_deref(), Some("25006"), "{error:?}");
                    run(&self.sessions[at], "rollback").await;
                    at = 1 - at;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Until a few more writes were acknowledged, wherever.
    async fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        while self.acknowledged.load(Ordering::Relaxed) < before + 5 {
            tokio::task::yield_now().await;
        }
    }

    async fn assert_kept(&self, story: &Story, side: Side) {
        let kept =
            value(story.side(side), &format!("select count(*) from accounts where id >= {WRITTEN}")).await;
        assert_eq!(
            kept,
            self.acknowledged.load(Ordering::Relaxed).to_string(),
            "acknowledged writes on {side}"
        );
    }
}

#[tokio::test]
async fn a_partition_moves_to_another_schema_and_back_and_there_again_under_writes() {
    let story = scene().begin().await;
    let writer = Writer::of(&story).await;
    let telling = async {
        story.until_phase(Phase::Ready).await;
        for side in [Side::Green, Side::Blue, Side::Green] {
            writer.goes_on().await;
            story.switch_to(side).await;
        }
        writer.goes_on().await;
        writer.stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(telling, writer.write());
    story.settle().await;
    story.assert_equal().await;
    for side in [Side::Blue, Side::Green] {
        writer.assert_kept(&story, side).await;
    }
    let wrong =
        story.events().into_iter().find(|e| matches!(e, Event::VerifyFailed { .. } | Event::LeakSeen { .. }));
    assert_eq!(wrong, None);
    // The neighbours stayed where they were.
    assert_eq!(value(&story.blue, "select count(*) from accounts where tenant_id <> 2").await, "500");
    assert_eq!(value(&story.green, "select count(*) from accounts where tenant_id <> 2").await, "0");
}

#[tokio::test]
async fn after_a_finish_the_old_home_is_closed_and_the_new_one_is_free() {
    let story = scene().begin().await;
    story.until_phase(Phase::Ready).await;
    story.switch_to(Side::Green).await;
    story.say(&Event::FinishAsked { why: "the story goes so".into() });
    story.run_until("the finish", |d, _| d.finished.is_some()).await;
    let write = "insert into accounts values (2, 7001, null, 1, 'x', 'x')";
    let (code, detail) = refused(&story.blue, write).await;
    assert!(code == "25006" && detail.contains("blue.shop") && detail.contains("moved"), "{code} {detail}");
    run(&story.green, write).await;
    run(&story.green, "truncate moves").await;
    for (what, sql) in [
        ("slots", "select count(*) from pg_replication_slots where database = current_database()"),
        ("publications", "select count(*) from pg_publication"),
        (
            "guards",
            "select count(*) from pg_trigger where tgname like 'zz_replat%' and tgrelid::regclass::text like 'shop.%'",
        ),
        ("open fences", "select count(*) from replat.fence where open or schema_name <> 'public'"),
    ] {
        // Names without a schema must not be taken for those of the session's own.
        let elsewhere = story.session(Side::Blue).await;
        assert_eq!(value(&elsewhere, sql).await, "0", "{what}");
    }
}

/// A moment by its name, and whether an event is it.
type Moment = (&'static str, fn(&Event) -> bool);

#[tokio::test]
async fn an_abort_at_any_moment_leaves_the_old_home_as_it_was() {
    let moments: [Moment; 3] = [
        ("prepared", |e| matches!(e, Event::Prepared)),
        ("copied", |e| matches!(e, Event::Copied { .. })),
        ("verified", |e| matches!(e, Event::Verified { .. })),
    ];
    for (moment, wanted) in moments {
        let story = scene().begin().await;
        let things = "select string_agg(n, ', ' order by n) from (
            select nspname::text n from pg_namespace where nspname !~ '^pg_'
            union all select pubname::text from pg_publication
            union all select slot_name::text from pg_replication_slots where database = current_database()
            union all select tgname::text from pg_trigger where not tgisinternal
            union all select relname::text from pg_class where relnamespace::regnamespace::text !~ '^pg_|^information') x";
        let before = value(&story.blue, things).await;
        story.run_until(moment, |_, p| matches!(p, Pulse::Moved(event) if wanted(event))).await;
        story.abort().await;
        assert_eq!(value(&story.blue, things).await, before, "{moment}");
        run(&story.blue, "update accounts set note = 'free' where tenant_id = 2; truncate moves").await;
    }
}

/// A fence waits for the writers of its own home, and for nobody at the other one.
#[tokio::test]
async fn what_holds_one_homes_lock_does_not_hold_up_the_others_fence() {
    let story = scene().begin().await;
    until_planned(&story).await;
    let keys = ["public", "shop"].map(|schema| lock_key(&story.plan.partition, schema));
    assert_ne!(keys[0], keys[1]);
    story.until_phase(Phase::Ready).await;
    let holder = story.session(Side::Green).await;
    run(&holder, &format!("begin; select pg_advisory_xact_lock_shared({})", keys[1])).await;
    let mut client = story.session(Side::Blue).await;
    let closing = replat_postgres::guard::close(
        &mut client,
        &story.plan,
        Side::Blue,
        story.token(),
        story.state().epoch,
        1,
        500,
    )
    .await;
    assert!(matches!(closing, Ok(replat_postgres::guard::Closing::Stands(_))), "{closing:?}");
    run(&holder, "rollback").await;
    assert_eq!(refused(&story.blue, "delete from moves where tenant_id = 2").await.0, "25006");
    // Nobody intended this fence, so the runner opens it again.
    story.settle().await;
    run(&story.blue, "delete from moves where tenant_id = 2").await;
    story.settle().await;
    story.assert_equal().await;
}

/// Whoever reads a copy is told of the closed home, wherever that is now, and never of the open one.
#[tokio::test]
async fn the_copy_that_may_be_read_is_the_one_of_the_closed_home() {
    let story = scene().begin().await;
    story.until_phase(Phase::Ready).await;
    for (home, copy) in [(Side::Blue, "shop"), (Side::Green, "public"), (Side::Blue, "shop")] {
        if story.state().home != home {
            story.switch_to(home).await;
        }
        story.watched().await;
        let copies = freshness::copies(&story.blue, "blue").await.expect("an answer");
        let copies: Vec<(&str, &str)> =
            copies.iter().map(|c| (c.partition.as_str(), c.schema.as_str())).collect();
        assert_eq!(copies, [(story.plan.partition.as_str(), copy)]);
    }
}
