//! Effects that come late: whoever was overtaken changes nothing.

use replat_engine::EngineError;
use replat_model::deploy::{Phase, Token};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_postgres::apply::{Applier, Batch, Position};
use replat_postgres::guard;

use crate::harness::{Scene, Story, run, value};

async fn fence_row(story: &Story, side: Side) -> String {
    value(story.side(side), "select (f.open, f.epoch, f.term, f.seq)::text from replat.fence f").await
}

fn is_superseded<T: std::fmt::Debug>(outcome: &Result<T, EngineError>) -> bool {
    matches!(outcome, Err(EngineError::Superseded { .. }))
}

#[tokio::test]
async fn a_late_fence_opening_or_seal_changes_nothing() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let plan = &story.plan;
    let mut client = story.session(Side::Blue).await;
    let term = story.listed.serial;
    let (old, new) = (Token { term, seq: 500 }, Token { term, seq: 501 });
    let first = Epoch::FIRST;

    // A fence, its opening, and then the same fence once more, from a coordinator that slept.
    guard::close(&mut client, plan, Side::Blue, old, first, 1, 1_000).await.expect("closed");
    guard::open(&mut client, plan, Side::Blue, new, first).await.expect("opened");
    let before = fence_row(&story, Side::Blue).await;
    let late = guard::close(&mut client, plan, Side::Blue, old, first, 1, 1_000).await;
    assert!(is_superseded(&late), "{late:?}");
    for epoch in [first, first.next()] {
        assert!(is_superseded(&guard::open(&mut client, plan, Side::Blue, old, epoch).await));
        assert!(is_superseded(&guard::seal(&mut client, plan, Side::Blue, old, epoch).await));
    }
    // A term counts for more than any number within an older one.
    let older_term = Token { term: 0, seq: 9_000 };
    assert!(is_superseded(&guard::seal(&mut client, plan, Side::Blue, older_term, first).await));
    // The right token at the wrong epoch fences nothing either.
    let wrong_epoch = guard::close(&mut client, plan, Side::Blue, new, first.next(), 2, 1_000).await;
    assert!(is_superseded(&wrong_epoch), "{wrong_epoch:?}");
    assert_eq!(fence_row(&story, Side::Blue).await, before);
    run(&story.blue, "update accounts set note = 'still open' where tenant_id = 2 and id = 1").await;
    // The same token may say the same thing again: a crash can come between the deed and its entry.
    guard::open(&mut client, plan, Side::Blue, new, first).await.expect("opened twice");
}

#[tokio::test]
async fn of_two_appliers_the_slower_one_writes_nothing() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let id = story.listed.id.as_str();
    let applier = async || {
        let client = story.ends.connect_to_write(Side::Green, "apply").await.expect("a session");
        Applier::new(&story.plan, id, Side::Blue, client).await.expect("an applier")
    };
    let (mut fast, mut slow) = (applier().await, applier().await);
    assert_eq!(fast.position(), slow.position());
    let key: Vec<bytes::Bytes> = vec!["2".into(), "7".into()];
    let removing = |at: Lsn| Batch {
        changes: vec![replat_postgres::changes::Change::Remove { table: 1, key: key.clone() }],
        ends: vec![1],
        incidents: Vec::new(),
        reached: Some(Position { at, barrier: 0, open: true }),
    };
    let further: Lsn = "FF/0".parse().expect("a position");
    let empty = Batch { reached: removing(further).reached, ..Batch::default() };
    fast.apply(&empty).await.expect("the fast one applies");
    let outcome = slow.apply(&removing(further)).await;
    assert!(is_superseded(&outcome), "{outcome:?}");
    assert_eq!(value(&story.green, "select count(*) from moves where tenant_id = 2 and id = 7").await, "1");
}

#[tokio::test]
async fn an_applier_writes_nothing_to_a_side_that_is_open() {
    let story = Scene::default().begin().await;
    story.until_phase(Phase::Ready).await;
    let client = story.ends.connect_to_write(Side::Green, "apply").await.expect("a session");
    let mut stale =
        Applier::new(&story.plan, story.listed.id.as_str(), Side::Blue, client).await.expect("an applier");
    story.switch_to(Side::Green).await;
    let key: Vec<bytes::Bytes> = vec!["2".into(), "7".into()];
    let batch = Batch {
        changes: vec![replat_postgres::changes::Change::Remove { table: 1, key }],
        ends: vec![1],
        incidents: Vec::new(),
        reached: None,
    };
    let outcome = stale.apply(&batch).await;
    assert!(is_superseded(&outcome), "{outcome:?}");
    // Even one that knows the newest position.
    let client = story.ends.connect_to_write(Side::Green, "apply").await.expect("a session");
    let mut fresh =
        Applier::new(&story.plan, story.listed.id.as_str(), Side::Blue, client).await.expect("an applier");
    let outcome = fresh.apply(&batch).await;
    assert!(is_superseded(&outcome), "{outcome:?}");
    story.assert_equal().await;
}
