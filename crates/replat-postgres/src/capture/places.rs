//! In which partition a key is: told where its value is seen, since nobody can tell it later of a hash.
//!
//! Neither the value is told nor the partition's name, which may be made of one: what stands for the name is known to
//! those only who know the name ([`place_name`]).

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use replat_advise::evidence::{PlaceSeen, Tier};
use replat_advise::value::Value;
use replat_model::ids::PartitionId;
use replat_model::map::Map;
use sha2::Sha256;

use super::Lacking;
use super::columns::WatchList;

/// How much of a name's hash is kept. Unit: bytes.
const KEPT: usize = 8;

/// A context, and where its partitions are.
#[derive(Clone)]
pub struct Placing {
    /// The context.
    pub context: String,
    /// Its map.
    pub map: Map,
    /// The columns that hold such keys: schema, table and column.
    pub columns: Vec<[String; 3]>,
}

impl Placing {
    /// Has the keys of this context placed, of which this is the number; what is lacking if that cannot be.
    pub(super) fn watch(&self, number: usize, list: &mut WatchList) -> Option<Lacking> {
        let why = match self.map.dimensions() {
            [_] if list.place(number, self) > 0 => return None,
            [_] => "no column of its key is here and is hashed",
            _ => "its key has several columns, and a hash is of one",
        };
        Some(Lacking::of(Tier::Catalogue, format!("the partitions of {}: {why}", self.context)))
    }
}

/// A map has keys in it.
impl fmt::Debug for Placing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placing").field("context", &self.context).finish_non_exhaustive()
    }
}

/// What stands for a partition's name in the evidence that was hashed with a secret of this name. Whoever has the map can
/// find the partition; others would have to guess its name.
pub fn place_name(secret: &str, context: &str, partition: &PartitionId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in ["partition", context, partition.as_str()] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    let digest = mac.finalize().into_bytes();
    digest.iter().take(KEPT).map(|byte| format!("{byte:02x}")).collect()
}

/// Where the keys are that a capture sees.
#[derive(Debug, Default)]
pub struct Places {
    placings: Vec<Placing>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    known: HashSet<(usize, String)>,
    fresh: Vec<PlaceSeen>,
}

impl Places {
    /// Of these contexts.
    pub fn of(placings: Vec<Placing>) -> Places {
        Places { placings, told: Mutex::default() }
    }

    /// Takes note of where the key of a context is that reads `text` and is kept as `key`.
    pub fn see(&self, placing: usize, text: &str, key: &Value, secret: &str) {
        let (Some(Placing { context, map, .. }), Value::Text(key)) = (self.placings.get(placing), key) else {
            return;
        };
        // What is kept of it is a hash in any case, so a lock that somebody died with does no harm.
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.known.contains(&(placing, key.clone())) {
            return;
        }
        let [dimension] = map.dimensions() else { return };
        let Ok(value) = dimension.key_type.parse(text) else { return };
        let Ok(leaf) = map.lookup(std::slice::from_ref(&value)) else { return };
        told.known.insert((placing, key.clone()));
        told.fresh.push(PlaceSeen {
            context: context.clone(),
            key: key.clone(),
            secret: String::new(),
            partition: place_name(secret, context, &leaf.partition),
        });
    }

    /// What was seen since this was asked last.
    pub fn fresh(&self) -> Vec<PlaceSeen> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fresh)
    }
}

#[cfg(test)]
mod tests {
    use replat_model::ids::Home;
    use replat_model::key::{KeyLiteral, KeyType};
    use replat_model::map::{Dimension, Tree};

    use super::super::secret::{Kept, Secret};
    use super::*;

    fn placing() -> Placing {
        let dimensions = vec![Dimension { column: "tenant".into(), key_type: KeyType::BigInt }];
        let list = [("acme".to_owned(), vec![KeyLiteral::Int(7_700_881_199)])];
        let tree = Tree {
            split: "tenant".into(),
            list: Some(list.into()),
            hash: None,
            cuts: None,
            names: None,
            rest: None,
            under: std::collections::BTreeMap::new(),
        };
        let home = Home { database: "blue".into(), schema: "public".into() };
        let map = Map::build("saas", dimensions, Some(&tree), home).expect("a map");
        Placing { context: "saas".into(), map, columns: Vec::new() }
    }

    #[test]
    fn a_key_is_told_once_with_its_partition_and_neither_by_its_name() {
        let secret = Secret::new([1; 32]).placing(vec![placing()]);
        for text in ["7700881199", "07700881199", "8", "7700881199", "nonsense"] {
            Kept::Placed(0).keep(&secret, text).expect("it is hashed");
        }
        let fresh = secret.places().fresh();
        let name = |partition: &str| place_name(&secret.name(), "saas", &partition.parse().expect("a name"));
        let told: Vec<(String, String)> =
            fresh.iter().map(|place| (place.key.clone(), place.partition.clone())).collect();
        let key = |text: &str| secret.hashed(text).text();
        assert_eq!(told, [(key("7700881199"), name("acme")), (key("8"), name("rest"))]);
        assert!(secret.places().fresh().is_empty(), "it is told once");
        let shown = format!("{fresh:?} {:?} {:?}", secret.places(), placing());
        assert!(!shown.contains("7700881199") && !shown.contains("acme"), "{shown}");
        // Another capture calls the same partition by something else.
        assert_ne!(name("acme"), place_name("other", "saas", &"acme".parse().expect("a name")));
    }
}
