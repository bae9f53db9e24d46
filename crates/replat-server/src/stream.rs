//! Server-sent events: routes as they come, and the holds that are called for.
//!
//! Nothing waits in a queue for a client. The stream knows which version its client was sent last, and when the client has
//! taken that, asks the board what leads from there to the newest: deltas, or whole routes if these are less.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replat_engine::registry::HoldCall;
use replat_model::ids::PartitionId;
use replat_registry::Held;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::board::Topic;

/// A client that hears nothing for three times as long takes the stream for broken.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A stream ends after this and up to a sixth more, so that clients spread over servers anew, and not all at once.
const LIFE: Duration = Duration::from_secs(3600);
/// How often it is looked whether the registry is still heard of.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What begins a stream: after how many milliseconds a client may come again.
const GREETING: &[u8] = b"retry: 1000\n: replat\n\n";

/// One client's stream.
pub struct Stream {
    pub topic: Arc<Topic>,
    /// The version that the client has.
    pub have: u64,
    pub stale_max: Duration,
    /// Where events go, one at a time.
    pub events: mpsc::Sender<Bytes>,
    /// True once the server stops.
    pub stop: watch::Receiver<bool>,
}

/// The client is gone.
struct Gone;

impl Stream {
    /// Tells until the client goes, the server stops, the registry is not heard of any more, or the time is over.
    pub async fn run(mut self) {
        let mut board = self.topic.board();
        let mut told = BTreeMap::new();
        let ends = Instant::now() + LIFE + jitter();
        let mut quiet_since = Instant::now();
        if self.send(Bytes::from_static(GREETING)).await.is_err() {
            return;
        }
        loop {
            let now = board.borrow_and_update().clone();
            let mut news: Vec<Bytes> = Vec::new();
            for parcel in now.chain.since(self.have) {
                self.have = parcel.version;
                news.push(parcel.event());
            }
            news.extend(holds(&mut told, &now.holds, Instant::now()));
            if news.is_empty() && quiet_since.elapsed() >= KEEP_ALIVE_EVERY {
                news.push(Bytes::from_static(b": keep-alive\n\n"));
            }
            for event in news {
                if self.send(event).await.is_err() {
                    return;
                }
                quiet_since = Instant::now();
            }
            let fresh = self.topic.standing().age.is_some_and(|age| age <= self.stale_max);
            if !fresh || Instant::now() >= ends || *self.stop.borrow() {
                return;
            }
            tokio::select! {
                changed = board.changed() => if changed.is_err() { return },
                _ = self.stop.changed() => {}
                () = self.events.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Waits until the client has taken what came before; but not beyond the server's end.
    async fn send(&mut self, event: Bytes) -> Result<(), Gone> {
        let mut stop = self.stop.clone();
        tokio::select! {
            sent = self.events.send(event) => sent.map_err(|_| Gone),
            _ = stop.wait_for(|stopped| *stopped) => Err(Gone),
        }
    }
}

/// The events that make of the holds that a client was told of those that there are.
fn holds(told: &mut BTreeMap<PartitionId, HoldCall>, now: &[Held], at: Instant) -> Vec<Bytes> {
    let mut events = Vec::new();
    told.retain(|partition, call| {
        let stands = now.iter().any(|held| held.call.partition == *partition);
        if !stands {
            let data = json!({ "partition": partition, "attempt": call.attempt });
            events.push(format!("event: release\ndata: {data}\n\n").into());
        }
        stands
    });
    for Held { call, ends } in now {
        let left = ends.saturating_duration_since(at);
        if told.get(&call.partition) == Some(call) || left.is_zero() {
            continue;
        }
        let mut data = json!({
            "partition": call.partition,
            "epoch": call.epoch,
            "attempt": call.attempt,
            "deployment": call.deployment,
            "reads": call.reads,
            "for_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        });
        if let (Some(to), Some(data)) = (&call.to, data.as_object_mut()) {
            data.insert("to".to_owned(), json!(to));
        }
        events.push(format!("event: hold\ndata: {data}\n\n").into());
        told.insert(call.partition.clone(), call.clone());
    }
    events
}

fn jitter() -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_millis(random % (u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX) / 6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use replat_model::deploy::Timestamp;
    use replat_model::ids::Epoch;

    #[test]
    fn a_client_is_told_of_each_hold_once_and_of_its_end() {
        let at = Instant::now();
        let held = |attempt: u32, seconds: u64| Held {
            call: HoldCall {
                context: "tenants".into(),
                partition: "acme".parse().expect("a name"),
                deployment: "d1".into(),
                attempt,
                epoch: Epoch::FIRST,
                reads: false,
                to: None,
                until: Timestamp(seconds),
            },
            ends: at + Duration::from_secs(seconds),
        };
        let mut told = BTreeMap::new();
        let mut says = |now: &[Held]| -> String {
            let events = holds(&mut told, now, at);
            events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect()
        };
        let first = concat!(
            "event: hold\ndata: {\"attempt\":1,\"deployment\":\"d1\",\"epoch\":1,\"for_ms\":3000,",
            "\"partition\":\"acme\",\"reads\":false}\n\n"
        );
        assert_eq!(says(&[held(1, 3)]), first);
        assert_eq!(says(&[held(1, 3)]), "", "it is known");
        assert!(says(&[held(2, 3)]).contains("\"attempt\":2"));
        assert_eq!(says(&[]), "event: release\ndata: {\"attempt\":2,\"partition\":\"acme\"}\n\n");
        assert_eq!(says(&[held(3, 0)]), "", "it has ended already");
        assert_eq!(says(&[]), "");
    }
}
