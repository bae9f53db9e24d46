//! The tables of databases, in every registry: what is newer is never lost to what is older.

use std::sync::atomic::{AtomicU64, Ordering};

use replat_engine::registry::Registry;
use replat_model::deploy::Timestamp;
use replat_model::lifecycle::tables::TablesDocument;
use replat_registry::{TablesError, tables_context};

use crate::servers::Place;

fn now() -> Timestamp {
    Timestamp(1)
}

fn document(outbox: u64) -> TablesDocument {
    TablesDocument { outbox, sets: Vec::new() }
}

/// What is there already is published once; what has changed takes the next version; what is older is refused.
pub async fn tables_only_rise(place: &Place) {
    let registry = place.registry();
    assert_eq!(registry.tables("blue").await.expect("an answer"), None);
    for (outbox, version) in [(0, 1), (0, 1), (3, 2), (3, 2)] {
        let published = registry.bring_tables("blue", now, async || Ok(document(outbox))).await;
        assert_eq!(published.expect("published").version, version, "outbox {outbox}");
    }
    let older = registry.bring_tables("blue", now, async || Ok(document(2))).await;
    assert!(matches!(older, Err(TablesError::Ahead { published: 3, made: 2, .. })), "{older:?}");
    let there = registry.tables("blue").await.expect("an answer").expect("tables");
    assert_eq!((there.version, there.document), (2, document(3)));
    assert_eq!(registry.databases().await.expect("databases"), ["blue"]);
    assert_eq!(registry.contexts().await.expect("contexts"), Vec::<String>::new());
}

/// Whoever looked at the database before somebody else published looks again.
pub async fn a_late_look_is_taken_again(place: &Place) {
    let (late, quick) = (place.registry(), place.registry());
    let looks = AtomicU64::new(0);
    let look = async || {
        if looks.fetch_add(1, Ordering::SeqCst) > 0 {
            return Ok(document(9));
        }
        // Between the look and the publication of the one, the other does both.
        quick.bring_tables("blue", now, async || Ok(document(9))).await?;
        Ok(document(8))
    };
    let published = late.bring_tables("blue", now, look).await.expect("published");
    assert_eq!((published.version, published.document), (1, document(9)));
    assert_eq!(late.head(&tables_context("blue")).await.expect("a head"), 1);
    assert!(looks.load(Ordering::SeqCst) >= 2);
}
