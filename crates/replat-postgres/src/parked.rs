//! Keys that could not be applied when their turn came are copied once more from the side that has the rows.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replat_engine::EngineError;
use replat_model::deploy::KeptBack;
use replat_model::ids::{Lsn, Side};
use replat_model::plan::TablePlan;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::apply::{Applier, OF_ANOTHER_TABLE, STRANGER, side_text};
use crate::changes::{Cell, Change};
use crate::copy::{copied_table, copied_tables};
use crate::ends::Ends;
use crate::error::on;
use crate::follow::{Shared, TouchedKey};
use crate::merge::keys;
use crate::slice::{key_name, key_text, members, table_name};
use crate::sql::quote_ident;

/// Keys that are copied at once.
const AT_ONCE: i64 = 1_000;

/// How many keys a message names.
const NAMED_MAX: usize = 3;

/// A key that is still parked after it was copied this often is told; before, it is what happens under load.
const TELL_AFTER: u32 = 3;

/// Copied this often in vain, for the same reason, and with the stream past what there was at first: for good.
const LASTS_AFTER: u32 = 6;

/// A parked key and why it is parked.
pub type Parked = (TouchedKey, String);

/// How often each key was copied in vain for the same reason, in a row.
#[derive(Default)]
pub struct Patience {
    keys: HashMap<TouchedKey, Vain>,
}

struct Vain {
    why: String,
    rounds: u32,
    /// The end of the sending side's log after the first round. What had made room by then has come when the stream is
    /// past it.
    since: Lsn,
}

impl Patience {
    /// Another round is over, and these keys are left. `end` is where the sending side's log ends, `through` where the
    /// stream stands. Returns those of which nobody can say that they will pass.
    fn round(&mut self, left: &[Parked], end: Lsn, through: Lsn) -> Vec<Parked> {
        let mut before = std::mem::take(&mut self.keys);
        for (key, why) in left {
            let vain = before.remove(key).filter(|vain| vain.why == *why);
            let vain = vain.unwrap_or(Vain { why: why.clone(), rounds: 0, since: end });
            self.keys.insert(key.clone(), Vain { rounds: vain.rounds + 1, ..vain });
        }
        let lasts = |(key, why): &&Parked| {
            is_anothers(why)
                || self.keys.get(key).is_some_and(|v| v.rounds >= LASTS_AFTER && v.since <= through)
        };
        left.iter().filter(lasts).cloned().collect()
    }

    fn is_to_be_told(&self) -> bool {
        self.keys.values().any(|vain| vain.rounds >= TELL_AFTER)
    }
}

/// Copies the parked keys of the stream from `from` once more. What still cannot be had stays parked. `told`: whether it
/// is in the work log that some lastingly cannot.
///
/// # Errors
///
/// [`EngineError::KeptBack`] if a key stays parked for longer than under load: because it is that of another partition's
/// row on the receiving side, or because such a row has one of its unique values. Only a person can say which of the two
/// rows is to have another.
pub async fn copy_parked(ends: &Ends, from: Side, shared: &Shared, told: bool) -> Result<(), EngineError> {
    let source = ends.connect(from, "parked").await?;
    let target = ends.connect_to_write(from.other(), "parked").await?;
    let parked: Vec<TouchedKey> = read(ends, &target, from).await?.into_iter().map(|(key, _)| key).collect();
    let mut applier = Applier::new(&ends.plan, ends.deployment.as_str(), from, target).await?;
    for (n, table) in copied_tables(&ends.plan).enumerate() {
        let wanted: Vec<&Vec<String>> = parked.iter().filter(|(t, _)| *t == n).map(|(_, k)| k).collect();
        if wanted.is_empty() {
            continue;
        }
        shared.touch(wanted.iter().map(|k| (n, (*k).clone())));
        applier.apply_copied(current(ends, &source, n, table, from, &wanted)).await?;
    }
    let mut left = read(ends, applier.client(), from).await?;
    // What was parked meanwhile has not had its turn.
    left.retain(|(key, _)| parked.contains(key));
    let end = crate::guard::current_lsn(&source, ends.database(from)).await?;
    let count = crate::follow::count_parked(applier.client(), ends, from).await?;
    let through = shared.standing(from).map_or(Lsn(0), |standing| standing.through);
    let (lasting, is_to_be_told) = shared.with_patience(from, |patience| {
        let lasting = patience.round(&left, end, through);
        (lasting, patience.is_to_be_told())
    });
    shared.set_parked(from, count);
    if !lasting.is_empty() {
        shared.set_kept_back(kept_back(ends, from, &lasting));
        return Err(refusal(ends, from, &lasting, told));
    }
    match is_to_be_told {
        true => Err(refusal(ends, from, &left, false)),
        false => Ok(()),
    }
}

/// What is parked of the rows of `from`, if anything is, for those who look.
pub async fn seen(ends: &Ends, target: &Client, from: Side) -> Result<Option<KeptBack>, EngineError> {
    let keys = crate::follow::count_parked(target, ends, from).await?;
    if keys == 0 {
        return Ok(None);
    }
    let parked = read(ends, target, from).await?;
    Ok(Some(KeptBack { keys, ..kept_back(ends, from, &parked) }))
}

/// All keys of the rows of `from` that are parked.
///
/// # Errors
///
/// What the server says.
pub async fn keys_of(ends: &Ends, target: &Client, from: Side) -> Result<HashSet<TouchedKey>, EngineError> {
    let sql = "SELECT tbl, key FROM replat.parked WHERE deployment = $1 AND source = $2";
    let rows = target
        .query(sql, &[&ends.deployment.as_str(), &side_text(from)])
        .await
        .map_err(on(ends.database(from.other()), "reading the parked keys"))?;
    let table = |n: i32| usize::try_from(n).unwrap_or_default();
    Ok(rows.iter().map(|row| (table(row.get(0)), row.get(1))).collect())
}

fn kept_back(ends: &Ends, from: Side, parked: &[Parked]) -> KeptBack {
    let samples = parked.iter().take(NAMED_MAX).map(|((n, key), why)| {
        let name = copied_table(&ends.plan, *n).map_or("?", |table| table.shape(from).name.as_str());
        format!("{name} ({}): {why}", key.join(", "))
    });
    KeptBack { from, keys: parked.len() as u64, samples: samples.collect() }
}

fn refusal(ends: &Ends, from: Side, parked: &[Parked], lasting: bool) -> EngineError {
    let KeptBack { keys, samples, .. } = kept_back(ends, from, parked);
    let (rows, more) = (if keys == 1 { "row" } else { "rows" }, if keys > 3 { "; …" } else { "" });
    let (home, strangers) = (ends.database(from), parked.iter().any(|(_, why)| is_anothers(why)));
    EngineError::KeptBack {
        what: format!(
            "{keys} {rows} of the partition on {from} cannot be stored on {}: {}{more}",
            from.other(),
            samples.join("; ")
        ),
        remedy: match strangers {
            true => "Neither row was changed. Give the rows on one of the two sides other keys; and let ids be handed \
                     out so that both sides never give the same one: a sequence that replat knows of, or ranges of \
                     their own."
                .into(),
            false => format!(
                "Neither row was changed. On one of the two sides, give the row another value or delete it, \
                 preferably on {home}; a runner then carries it over by itself, and does what was asked for."
            ),
        },
        lasting,
    }
}

/// Whether a row has its key on the receiving side that is not this one, so that waiting does not help.
fn is_anothers(why: &str) -> bool {
    [STRANGER, OF_ANOTHER_TABLE].contains(&why)
}

async fn read(ends: &Ends, target: &Client, from: Side) -> Result<Vec<Parked>, EngineError> {
    let rows = target
        .query(
            "SELECT tbl, key, why FROM replat.parked WHERE deployment = $1 AND source = $2 ORDER BY tbl, key LIMIT $3",
            &[&ends.deployment.as_str(), &side_text(from), &AT_ONCE],
        )
        .await
        .map_err(on(ends.database(from.other()), "reading the parked keys"))?;
    let table = |n: i32| usize::try_from(n).unwrap_or_default();
    Ok(rows.iter().map(|r| ((table(r.get(0)), r.get(1)), r.get(2))).collect())
}

/// The rows with these keys as they are now; a key without a row is a row that is gone.
async fn current(
    ends: &Ends,
    source: &Client,
    n: usize,
    table: &TablePlan,
    from: Side,
    wanted: &[&Vec<String>],
) -> Result<Vec<Change>, EngineError> {
    let shape = table.shape(from);
    let carried: Vec<String> = shape
        .columns
        .iter()
        .filter(|c| c.generated.is_none())
        .map(|c| match (c.stage_type.as_str(), quote_ident(&c.name)) {
            // A cast to text takes trailing blanks off.
            ("bpchar", name) => format!("textin(bpcharout(t.{name}))"),
            (_, name) => format!("t.{name}::text"),
        })
        .collect();
    let matching: Vec<String> = table
        .key
        .iter()
        .enumerate()
        .map(|(i, k)| format!("t.{} = e.replat_k{i}", quote_ident(key_name(k, from))))
        .collect();
    let sql = format!(
        "SELECT ARRAY[{}], ARRAY[{}] FROM {} t JOIN {} ON {} WHERE {}",
        key_text(table, from, "t."),
        carried.join(", "),
        table_name(&ends.plan, table, from),
        keys(table, 1),
        matching.join(" AND "),
        members(&ends.plan, table, from, "t."),
    );
    let columns: Vec<Vec<&str>> =
        (0..table.key.len()).map(|i| wanted.iter().map(|key| key[i].as_str()).collect()).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
    let rows =
        source.query(&sql, &parameters).await.map_err(on(ends.database(from), "copying parked rows"))?;
    let bytes = |key: &[String]| key.iter().map(|v| Bytes::from(v.clone())).collect::<Vec<_>>();
    let mut found = HashSet::new();
    let mut there = Vec::new();
    for row in rows {
        let key: Vec<String> = row.get(0);
        let cells = row
            .get::<_, Vec<Option<String>>>(1)
            .into_iter()
            .map(|v| v.map_or(Cell::Null, |v| Cell::Text(Bytes::from(v))))
            .collect();
        there.push(Change::Put { table: n, old_key: None, key: bytes(&key), cells, arrived: false });
        found.insert(key);
    }
    // First what is gone: its key may be another way to write that of a row that is there.
    let gone = wanted.iter().filter(|key| !found.contains(**key));
    let mut changes: Vec<Change> = gone.map(|key| Change::Remove { table: n, key: bytes(key) }).collect();
    changes.append(&mut there);
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(key: &str, why: &str) -> Parked {
        ((0, vec![key.to_owned()]), why.to_owned())
    }

    #[test]
    fn a_key_lasts_when_the_stream_has_brought_what_could_make_room() {
        let mut patience = Patience::default();
        let (one, other) = (parked("1", "a"), parked("2", "b"));
        for round in 1..LASTS_AFTER {
            assert_eq!(patience.round(&[one.clone(), other.clone()], Lsn(100), Lsn(100)), []);
            assert_eq!(patience.is_to_be_told(), round >= TELL_AFTER);
        }
        // One has another reason now, so it begins anew, and from where the log ends now.
        let changed = parked("2", "c");
        assert_eq!(patience.round(&[one.clone(), changed.clone()], Lsn(200), Lsn(100)), [one]);
        for _ in 1..LASTS_AFTER {
            assert_eq!(patience.round(std::slice::from_ref(&changed), Lsn(900), Lsn(199)), []);
        }
        let lasting = patience.round(std::slice::from_ref(&changed), Lsn(900), Lsn(200));
        assert_eq!(lasting, std::slice::from_ref(&changed));
        // What was gone for a round begins anew.
        assert_eq!(patience.round(&[], Lsn(900), Lsn(900)), []);
        assert!(!patience.is_to_be_told());
        assert_eq!(patience.round(&[changed], Lsn(900), Lsn(900)), []);
    }

    #[test]
    fn a_row_of_another_partition_lasts_from_the_first_time() {
        let stranger = parked("1", STRANGER);
        assert_eq!(Patience::default().round(std::slice::from_ref(&stranger), Lsn(9), Lsn(0)), [stranger]);
    }
}
