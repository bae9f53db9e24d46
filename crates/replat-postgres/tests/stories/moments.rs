//! The moments of a deployment in which a change can fall between the copy and the stream.

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;

use crate::harness::{Scene, Story, run};

/// A thousand rows a moment would be too few for ids that move by hundreds; ten are enough.
const STEP: i64 = 10;

/// Makes `changes` (transactions, in their order; the number keeps the rows of one moment apart from those of another)
/// at every moment of a deployment of `scene`, whose tenant has the ids 1 to 250 in its first table
/// and so three chunks of it, and asks after each stage whether the sides are equal. `back` says whether the
/// changes make sense on green, too.
pub async fn at_every_moment(scene: Scene, changes: impl Fn(i64) -> Vec<String>, back: bool) {
    let story = scene.begin().await;
    let mut moment = 0;
    let mut next = || {
        moment += STEP;
        changes(moment)
    };
    until_planned(&story).await;
    apply(&story, Side::Blue, &next()).await;
    copy_chunk(&story, 0).await;
    apply(&story, Side::Blue, &next()).await;
    copy_chunk(&story, 2).await;
    apply(&story, Side::Blue, &next()).await;
    copy_chunk(&story, 1).await;
    apply(&story, Side::Blue, &next()).await;
    story.until_phase(Phase::Ready).await;
    story.settle().await;
    story.assert_equal().await;

    apply(&story, Side::Blue, &next()).await;
    story.settle().await;
    story.assert_equal().await;
    apply(&story, Side::Blue, &next()).await;
    story.switch_to(Side::Green).await;
    story.assert_equal().await;
    if back {
        apply(&story, Side::Green, &next()).await;
        story.settle().await;
        story.assert_equal().await;
    }
    story.switch_to(Side::Blue).await;
    apply(&story, Side::Blue, &next()).await;
    story.settle().await;
    story.assert_equal().await;
    let failed = story.events().into_iter().find(|e| matches!(e, Event::VerifyFailed { .. }));
    assert_eq!(failed, None, "no comparison ever found a difference");
}

/// Runs until the stream keeps everything and the chunks are known, and none of them is copied.
pub async fn until_planned(story: &Story) {
    story.run_until("chunks", |_, p| matches!(p, Pulse::Moved(Event::CopyPlanned { .. }))).await;
}

/// Copies one chunk, as the runner will not do again.
pub async fn copy_chunk(story: &Story, n: usize) {
    let chunks = story.state().chunks.expect("chunks are planned");
    let blue = story.ends.connect(Side::Blue, "copy").await.expect("a session");
    let mut green = story.ends.connect_to_write(Side::Green, "copy").await.expect("a session");
    let id = story.listed.id.as_str();
    replat_postgres::copy::copy_chunk(&blue, &mut green, &story.plan, id, n, &chunks[n])
        .await
        .unwrap_or_else(|e| panic!("chunk {n}: {e:?}"));
}

async fn apply(story: &Story, side: Side, transactions: &[String]) {
    for transaction in transactions {
        run(story.side(side), &format!("begin; {transaction}; commit")).await;
    }
}
