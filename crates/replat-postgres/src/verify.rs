//! Verification: both sides hash the same rows, as transformed, and only counts and sums cross the wire.
//!
//! A key range that differs is halved until its rows can be looked at one by one. Since the stream goes on
//! meanwhile, a row that differs is looked at again after the stream has passed; what differs then, although nobody
//! touched it, is different.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use replat_engine::EngineError;
use replat_model::deploy::Certificate;
use replat_model::ids::Side;
use replat_model::plan::TablePlan;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::compared::compared;
use crate::copy::{boundaries, copied_tables};
use crate::culprit::{Rows, named};
use crate::ends::Ends;
use crate::error::on;
use crate::follow::{Shared, Touched, TouchedKey};
use crate::guard::current_lsn;
use crate::leaves::{self, Trees};
use crate::merge::keys;
use crate::parked;
use crate::pool::Session;
use crate::slice::{key_name, key_range, key_text, members, table_name};
use crate::sql::quote_ident;

/// Rows in a range that is compared at once: large enough to cost one statement little, small enough to be halved
/// quickly.
const RANGE_ROWS: u32 = 65_536;

/// A range of at most this many rows is compared row by row.
const LIST_ROWS: u64 = 2_048;

/// Looks at a row that differs before it is believed.
const RECHECKS: u32 = 20;

/// How long a stream in another process is given between two looks.
const STREAM_ELSEWHERE: Duration = Duration::from_millis(250);

/// Differences that a certificate shows.
const SAMPLES: usize = 10;

/// Two seeds, so that a collision must happen twice in the same rows.
const SEEDS: (i64, i64) = (0x5265_706C_6174_0001, 0x5265_706C_6174_0002);

/// One comparison, with a connection to each side.
pub struct Verifier {
    ends: Ends,
    shared: Arc<Shared>,
    from: Side,
    home: Side,
    original: Session,
    other: Session,
    progress: Arc<VerifyProgress>,
}

/// How far a comparison is, for those who watch.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Rows compared.
    pub rows: std::sync::atomic::AtomicU64,
}

/// Count and digest of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    one: String,
    two: String,
}

/// Both hashes of one row.
type RowHash = (i64, i64);

impl Verifier {
    /// Connects to both sides. `from` is the original; `home` the side that is written to, whose stream settles
    /// differences that are only late.
    pub async fn new(
        ends: &Ends,
        shared: &Arc<Shared>,
        from: Side,
        home: Side,
        progress: Arc<VerifyProgress>,
    ) -> Result<Verifier, EngineError> {
        let (original, other) =
            try_join(ends.connect(from, "verify"), ends.connect(from.other(), "verify")).await?;
        Ok(Verifier { ends: ends.clone(), shared: Arc::clone(shared), from, home, original, other, progress })
    }

    /// Compares all rows of all tables.
    pub async fn full(&self) -> Result<Certificate, EngineError> {
        let (blue, green) = try_join(self.trees(Side::Blue), self.trees(Side::Green)).await?;
        self.shared.begin_comparison(self.from, [blue, green]);
        let mut total = Certificate::default();
        let mut digest = Sha256::new();
        let mut suspects: Vec<TouchedKey> = Vec::new();
        for (n, table) in copied_tables(&self.ends.plan).enumerate() {
            let cuts =
                boundaries(&self.original, &self.ends.plan, table, self.from, "true", RANGE_ROWS).await?;
            let mut after = None;
            for upto in cuts.into_iter().map(Some).chain([None]) {
                let sum = match self.range(n, table, after.as_ref(), upto.as_ref(), &mut suspects).await {
                    Err(error @ EngineError::Row { .. }) => {
                        return Err(self.culprit(table, after.as_ref(), upto.as_ref(), error).await?);
                    }
                    sum => sum?,
                };
                total.rows += sum.rows;
                self.progress.rows.store(total.rows, std::sync::atomic::Ordering::Relaxed);
                digest.update(format!("{n} {} {} {}\n", sum.rows, sum.one, sum.two));
                after = upto;
            }
        }
        total.digest = hex(&digest.finalize());
        self.settle(suspects, &Touched::new(), &mut total).await?;
        if !self.shared.end_comparison(self.from) {
            return Err(EngineError::Superseded { what: "the count of touched rows".into() });
        }
        if total.different > 0 {
            self.shared.distrust(self.from);
        }
        Ok(total)
    }

    async fn trees(&self, side: Side) -> Result<Trees, EngineError> {
        let client = if side == self.from { &self.original } else { &self.other };
        leaves::trees(client, &self.ends.plan, side).await
    }

    /// Forgets the comparison if leaves have come or gone on either side since. No question is asked where there are
    /// none.
    pub async fn look_at_trees(&self) -> Result<(), EngineError> {
        for side in [Side::Blue, Side::Green] {
            if self.shared.has_leaves(side) {
                self.shared.see_trees(side, &self.trees(side).await?);
            }
        }
        Ok(())
    }

    /// Compares the keys that were touched since, takes the equal ones off the list, and says what is different
    /// although nobody touched it again.
    pub async fn touched(&self) -> Result<Certificate, EngineError> {
        let seen = self.shared.touched(self.from).unwrap_or_default();
        let mut total = Certificate { rows: seen.len() as u64, ..Certificate::default() };
        let suspects = self.differing(seen.keys().cloned().collect()).await?;
        self.settle(suspects, &seen, &mut total).await?;
        if total.different > 0 {
            self.shared.distrust(self.from);
        } else {
            self.shared.found_equal(self.from, seen);
        }
        Ok(total)
    }

    /// The side that is the original.
    pub fn from(&self) -> Side {
        self.from
    }

    /// Whether a connection is gone.
    pub fn is_closed(&self) -> bool {
        self.original.is_closed() || self.other.is_closed()
    }

    /// Right before a pause: compares the touched keys once and takes the equal ones off the list, so that the
    /// proof has only those left that are touched in the next instant. It also warms both servers up for it.
    pub async fn shrink(&self) -> Result<(), EngineError> {
        let mut seen = self.shared.touched(self.from).unwrap_or_default();
        let different = self.differing(seen.keys().cloned().collect()).await?;
        for key in &different {
            seen.remove(key);
        }
        self.shared.found_equal(self.from, seen);
        Ok(())
    }

    /// Inside a pause: compares the touched keys once. Nothing is in flight any more, so there is nothing to wait
    /// for. The keys stay on the list.
    pub async fn prove(&self) -> Result<Certificate, EngineError> {
        let touched = self
            .shared
            .touched(self.from)
            .ok_or_else(|| EngineError::Superseded { what: "the count of touched rows".into() })?;
        let mut proof = Certificate { rows: touched.len() as u64, ..Certificate::default() };
        let different = self.differing(touched.into_keys().collect()).await?;
        proof.different = different.len() as u64;
        for (n, key) in different.iter().take(SAMPLES) {
            if let Some(table) = copied_tables(&self.ends.plan).nth(*n) {
                proof.samples.push(self.describe(table, key).await?);
            }
        }
        Ok(proof)
    }

    /// One range: compared as a whole, halved while it differs, looked at row by row in the end.
    async fn range(
        &self,
        n: usize,
        table: &TablePlan,
        after: Option<&Vec<String>>,
        upto: Option<&Vec<String>>,
        suspects: &mut Vec<TouchedKey>,
    ) -> Result<Sum, EngineError> {
        let (a, b) = try_join(
            self.sum(&self.original, table, self.from, after, upto),
            self.sum(&self.other, table, self.from.other(), after, upto),
        )
        .await?;
        if a == b {
            return Ok(a);
        }
        if a.rows.max(b.rows) <= LIST_ROWS {
            let (mine, theirs) = try_join(
                self.list(&self.original, table, self.from, after, upto),
                self.list(&self.other, table, self.from.other(), after, upto),
            )
            .await?;
            suspects.extend(differences(&mine, &theirs).into_iter().map(|key| (n, key)));
            return Ok(a);
        }
        let (client, side, rows) = if a.rows >= b.rows {
            (&self.original, self.from, a.rows)
        } else {
            (&self.other, self.from.other(), b.rows)
        };
        let part = u32::try_from(rows.div_ceil(16)).unwrap_or(RANGE_ROWS).max(64);
        let inside = key_range(table, side, after, upto);
        let cuts = boundaries(client, &self.ends.plan, table, side, &inside, part).await?;
        let mut lower = after.cloned();
        for cut in cuts.into_iter().map(Some).chain([upto.cloned()]) {
            Box::pin(self.range(n, table, lower.as_ref(), cut.as_ref(), suspects)).await?;
            lower = cut;
        }
        Ok(a)
    }

    /// The error with the row of which an expression has no value.
    async fn culprit(
        &self,
        table: &TablePlan,
        after: Option<&Vec<String>>,
        upto: Option<&Vec<String>>,
        error: EngineError,
    ) -> Result<EngineError, EngineError> {
        for (client, side) in [(&self.original, self.from), (&self.other, self.from.other())] {
            let rows = Rows { plan: &self.ends.plan, table, side, client };
            let columns: Vec<_> = table.columns_from(side).iter().collect();
            if let Some(culprit) = rows.without_value(&columns, (after, upto)).await? {
                return Ok(named(error, &table.shape(side).name, Some(culprit)));
            }
        }
        Ok(error)
    }

    async fn sum(
        &self,
        client: &Client,
        table: &TablePlan,
        side: Side,
        after: Option<&Vec<String>>,
        upto: Option<&Vec<String>>,
    ) -> Result<Sum, EngineError> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(hash_record_extended(x.r, {})), 0)::text, \
             coalesce(sum(hash_record_extended(x.r, {})), 0)::text \
             FROM (SELECT ROW({}) AS r FROM {} WHERE {} AND {}) x",
            SEEDS.0,
            SEEDS.1,
            self.values(table, side),
            table_name(&self.ends.plan, table, side),
            members(&self.ends.plan, table, side, ""),
            key_range(table, side, after, upto),
        );
        let row =
            client.query_one(&sql, &[]).await.map_err(on(self.ends.database(side), "comparing rows"))?;
        Ok(Sum {
            rows: u64::try_from(row.get::<_, i64>(0)).unwrap_or_default(),
            one: row.get(1),
            two: row.get(2),
        })
    }

    async fn list(
        &self,
        client: &Client,
        table: &TablePlan,
        side: Side,
        after: Option<&Vec<String>>,
        upto: Option<&Vec<String>>,
    ) -> Result<HashMap<Vec<String>, RowHash>, EngineError> {
        let condition = format!(
            "{} AND {}",
            members(&self.ends.plan, table, side, ""),
            key_range(table, side, after, upto)
        );
        self.hashes(client, table, side, &format!("t WHERE {condition}"), &[]).await
    }

    /// The rows with these keys.
    async fn by_key(
        &self,
        client: &Client,
        table: &TablePlan,
        side: Side,
        wanted: &[Vec<String>],
    ) -> Result<HashMap<Vec<String>, RowHash>, EngineError> {
        let columns = key_arrays(table, wanted);
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
        self.hashes(client, table, side, &self.matching(table, side), &parameters).await
    }

    /// The rows whose keys are the parameters. A key that was touched may have left the partition.
    fn matching(&self, table: &TablePlan, side: Side) -> String {
        let matching: Vec<String> = table
            .key
            .iter()
            .enumerate()
            .map(|(n, k)| format!("t.{} = e.replat_k{n}", quote_ident(key_name(k, side))))
            .collect();
        format!(
            "t JOIN {} ON {} WHERE {}",
            keys(table, 1),
            matching.join(" AND "),
            members(&self.ends.plan, table, side, "t.")
        )
    }

    /// The hash of each value that is compared, of the row with this key; empty if there is none.
    async fn each_by_key(
        &self,
        client: &Client,
        table: &TablePlan,
        side: Side,
        wanted: &[Vec<String>],
    ) -> Result<Vec<i64>, EngineError> {
        let hashes: Vec<String> = compared(table, self.from)
            .iter()
            .map(|value| format!("hash_record_extended(ROW({}), {})", value.on(side), SEEDS.0))
            .collect();
        let sql = format!(
            "SELECT ARRAY[{}]::bigint[] FROM {} {}",
            hashes.join(", "),
            table_name(&self.ends.plan, table, side),
            self.matching(table, side)
        );
        let columns = key_arrays(table, wanted);
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
        let row = client
            .query_opt(&sql, &parameters)
            .await
            .map_err(on(self.ends.database(side), "comparing a row"))?;
        Ok(row.map(|row| row.get(0)).unwrap_or_default())
    }

    async fn hashes(
        &self,
        client: &Client,
        table: &TablePlan,
        side: Side,
        rest: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<HashMap<Vec<String>, RowHash>, EngineError> {
        let sql = format!(
            "SELECT hash_record_extended(x.r, {}), hash_record_extended(x.r, {}), x.k FROM \
             (SELECT ROW({}) AS r, ARRAY[{}] AS k FROM {} {rest}) x",
            SEEDS.0,
            SEEDS.1,
            self.values(table, side),
            key_text(table, side, "t."),
            table_name(&self.ends.plan, table, side),
        );
        let rows =
            client.query(&sql, parameters).await.map_err(on(self.ends.database(side), "comparing rows"))?;
        Ok(rows.iter().map(|r| (r.get(2), (r.get(0), r.get(1)))).collect())
    }

    /// The values that are hashed.
    fn values(&self, table: &TablePlan, side: Side) -> String {
        let values: Vec<String> = compared(table, self.from).iter().map(|value| value.on(side)).collect();
        values.join(", ")
    }

    /// Which of these keys differ now.
    async fn differing(&self, suspects: Vec<TouchedKey>) -> Result<Vec<TouchedKey>, EngineError> {
        let mut by_table: BTreeMap<usize, Vec<Vec<String>>> = BTreeMap::new();
        for (table, key) in suspects {
            by_table.entry(table).or_default().push(key);
        }
        let mut different = Vec::new();
        for (n, wanted) in by_table {
            let Some(table) = copied_tables(&self.ends.plan).nth(n) else { continue };
            for wanted in wanted.chunks(5_000) {
                let (mine, theirs) = try_join(
                    self.by_key(&self.original, table, self.from, wanted),
                    self.by_key(&self.other, table, self.from.other(), wanted),
                )
                .await?;
                different.extend(differences(&mine, &theirs).into_iter().map(|key| (n, key)));
            }
        }
        Ok(different)
    }

    /// Waits for the stream and looks again, until nothing differs but what was touched anew since `seen`; that
    /// stays on the list for the proof inside the pause.
    async fn settle(
        &self,
        mut suspects: Vec<TouchedKey>,
        seen: &Touched,
        total: &mut Certificate,
    ) -> Result<(), EngineError> {
        let looked_at = suspects.len();
        let mut parked = Vec::new();
        for _ in 0..RECHECKS {
            if suspects.is_empty() {
                break;
            }
            self.wait_for_stream().await?;
            // The stream has passed them, and they are copied once more when this comparison is over.
            // Whoever only compares, and has no stream, says of such a row what is so.
            let waiting = match self.shared.standing(self.home).is_some() {
                true => parked::keys_of(&self.ends, self.receiver(), self.home).await?,
                false => HashSet::new(),
            };
            let (set_aside, rest): (Vec<_>, Vec<_>) =
                suspects.into_iter().partition(|key| waiting.contains(key));
            parked.extend(set_aside);
            suspects = self.differing(rest).await?;
        }
        self.shared.touch(parked);
        let touched = self.shared.touched(self.from).unwrap_or_default();
        let anew = |key: &TouchedKey| touched.get(key).is_some_and(|touch| seen.get(key) != Some(touch));
        let (late, different): (Vec<_>, Vec<_>) = suspects.into_iter().partition(anew);
        self.shared.touch(late);
        total.different = different.len() as u64;
        for (n, key) in different.iter().take(SAMPLES) {
            let Some(table) = copied_tables(&self.ends.plan).nth(*n) else { continue };
            total.samples.push(self.describe(table, key).await?);
        }
        tracing::debug!(looked_at, different = total.different, "comparison settled");
        Ok(())
    }

    /// The session on the side that the home's stream writes to.
    fn receiver(&self) -> &Client {
        if self.home == self.from { &self.other } else { &self.original }
    }

    /// Until the home's stream has passed where its log ends now. A home without a stream settles nothing.
    async fn wait_for_stream(&self) -> Result<(), EngineError> {
        let home = if self.home == self.from { &self.original } else { &self.other };
        let end = current_lsn(home, self.ends.database(self.home)).await?;
        let mut changed = self.shared.subscribe();
        let passed = async {
            loop {
                match self.shared.standing(self.home) {
                    // Another process has the stream; it is given the time that a stream usually needs.
                    None => return tokio::time::sleep(STREAM_ELSEWHERE).await,
                    Some(s) if s.through >= end => return,
                    Some(_) => {}
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        // An idle server may write no more; the next look then says the same as this one.
        drop(tokio::time::timeout(Duration::from_secs(10), passed).await);
        Ok(())
    }

    /// What is wrong with one row. Its values stay out of it: only its key is shown.
    async fn describe(&self, table: &TablePlan, key: &[String]) -> Result<String, EngineError> {
        let wanted = [key.to_vec()];
        let (mine, theirs) = try_join(
            self.by_key(&self.original, table, self.from, &wanted),
            self.by_key(&self.other, table, self.from.other(), &wanted),
        )
        .await?;
        let what = match (mine.is_empty(), theirs.is_empty()) {
            (false, true) => format!("missing on {}", self.from.other()),
            (true, false) => format!("only on {}", self.from.other()),
            _ => self.unlike(table, key).await?,
        };
        Ok(format!("{} ({}) is {what}", table.shape(self.from).name, key.join(", ")))
    }

    /// Which columns of a row that both sides have are not alike.
    async fn unlike(&self, table: &TablePlan, key: &[String]) -> Result<String, EngineError> {
        let wanted = [key.to_vec()];
        let (mine, theirs) = try_join(
            self.each_by_key(&self.original, table, self.from, &wanted),
            self.each_by_key(&self.other, table, self.from.other(), &wanted),
        )
        .await?;
        let values = compared(table, self.from);
        let unlike: Vec<String> = values
            .iter()
            .zip(mine.iter().zip(&theirs))
            .filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(value, _)| value.describe())
            .collect();
        // Somebody may have mended it since.
        Ok(if unlike.is_empty() { "different".into() } else { format!("different in {}", unlike.join(", ")) })
    }
}

/// One array for each column of the key.
fn key_arrays<'k>(table: &TablePlan, wanted: &'k [Vec<String>]) -> Vec<Vec<&'k str>> {
    (0..table.key.len()).map(|n| wanted.iter().map(|key| key[n].as_str()).collect()).collect()
}

/// Keys whose row is not the same in both.
fn differences(
    mine: &HashMap<Vec<String>, RowHash>,
    theirs: &HashMap<Vec<String>, RowHash>,
) -> Vec<Vec<String>> {
    let changed = mine.iter().filter(|(key, hash)| theirs.get(*key) != Some(hash)).map(|(key, _)| key);
    let extra = theirs.keys().filter(|key| !mine.contains_key(*key));
    changed.chain(extra).cloned().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
