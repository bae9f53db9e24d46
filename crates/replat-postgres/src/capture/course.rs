//! The course of a capture: lines come from all that is read at once, until it is time; then what was set is put back.

use std::pin::pin;

use replat_advise::evidence::{Line, Tier};
use replat_engine::EngineError;
use replat_model::ids::Lsn;
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;

use super::log_file::{Followed, Reader};
use super::pace::{Pace, Progress};
use super::writes::{AGAIN_EVERY, Read};
use super::{
    Ask, Capture, CaptureError, Captured, Lacking, Room, Sink, alone, counted, log_file, pace, rate, session,
};
use super::{statements, writes};
use crate::error::on;

/// How many lines may wait to be written.
const QUEUE: usize = 1_024;

/// What became of all that was read.
#[derive(Debug, Default)]
struct Done {
    read: Read,
    followed: Followed,
    /// The session that counts, if it had to be made again.
    client: Option<Client>,
}

impl Capture {
    /// Hands lines to `sink` until `until` comes true or there is no more room; then takes in what was done before that,
    /// puts back what was set, and looks for the last time.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Write`]; what was set is put back all the same. What else fails is told as lacking.
    pub async fn run(
        mut self,
        sink: &mut dyn Sink,
        until: impl Future<Output = ()>,
    ) -> Result<Captured, CaptureError> {
        let opened = self.open(sink);
        let (lines, mut came) = mpsc::channel(QUEUE);
        let (end_writes, writes_end) = watch::channel(None);
        let (end_sample, sample_end) = watch::channel(false);
        let (reading, following) = (self.reading.take(), self.following.take());
        let mut pace = self.pace.take();
        let has_writes = reading.is_some();
        let (done, failed) = {
            let progress = Progress::default();
            let (for_sample, for_statements) = (lines.clone(), lines.clone());
            let statements_end = end_sample.subscribe();
            let info = &self.ask.info;
            let (list, secret, database) = (&self.list, &self.secret, self.database_there.as_str());
            let reading = async {
                match reading {
                    Some(reading) => writes::read(reading, info, list, secret, lines, writes_end).await,
                    None => Read::default(),
                }
            };
            let following = async {
                let reader = Reader { info, list, secret, database, progress: &progress };
                match following {
                    Some(following) => log_file::follow(following, reader, for_sample, sample_end).await,
                    None => Followed::default(),
                }
            };
            let counting = self.count(&mut pace, &progress, for_statements, statements_end);
            let mut tiers = pin!(async {
                let (read, followed, client) = tokio::join!(reading, following, counting);
                Done { read, followed, client }
            });
            let mut until = pin!(until);
            let (mut done, mut ending) = (None, false);
            let mut taking = Taking { sink, full: false, failed: None };
            taking.note(opened);
            let mut over = false;
            loop {
                if (over || taking.is_over()) && !ending {
                    ending = true;
                    end_sample.send_replace(true);
                    let last = if has_writes { now(&self.client, &self.ask).await } else { None };
                    end_writes.send_replace(Some(last.unwrap_or(Lsn(0))));
                }
                if ending && done.is_some() {
                    break;
                }
                if taking.is_over() {
                    // Who sends learns of it at once.
                    came.close();
                }
                tokio::select! {
                    all = &mut tiers, if done.is_none() => done = Some(all),
                    Some(line) = came.recv() => taking.take(&line),
                    () = &mut until, if !ending => over = true,
                }
            }
            while let Ok(line) = came.try_recv() {
                taking.take(&line);
            }
            (done.unwrap_or_default(), taking.failed)
        };
        self.sampled = pace.map_or(self.sampled, |pace| Some(pace.mean()));
        self.client = done.client.unwrap_or(self.client);
        let not_restored = self.put_back(has_writes).await;
        if let Some(error) = failed {
            return Err(CaptureError::Write(error));
        }
        self.note(done.read, done.followed);
        Ok(self.captured(not_restored).await)
    }

    /// Counts statements, and keeps the share at what is needed, until `over`. Gives the session by which it did, if that
    /// is another one than at the beginning, since the first was lost.
    async fn count(
        &self,
        pace: &mut Option<Pace>,
        progress: &Progress,
        lines: mpsc::Sender<Line>,
        mut over: watch::Receiver<bool>,
    ) -> Option<Client> {
        let mut again = None;
        loop {
            let client = again.as_ref().unwrap_or(&self.client);
            let telling = async {
                if let Some(before) = &self.statements {
                    statements::tell(client, before, lines.clone(), over.clone()).await;
                }
            };
            let keeping = async {
                if let Some(pace) = pace {
                    pace::keep(client, &self.ask.database, pace, progress, over.clone()).await;
                }
            };
            let mut until = over.clone();
            let all = async {
                tokio::join!(telling, keeping);
                drop(until.wait_for(|over| *over).await);
            };
            tokio::select! {
                () = all => return again,
                () = is_lost(client) => {}
            }
            // It holds the lock that tells others of this capture.
            while again.as_ref().unwrap_or(&self.client).is_closed() {
                tokio::select! {
                    _ = over.wait_for(|over| *over) => return again,
                    () = tokio::time::sleep(AGAIN_EVERY) => {}
                }
                if let Ok(client) = alone(&self.ask).await {
                    again = Some(client);
                }
            }
        }
    }

    /// Puts back the setting, and drops what was published; what went wrong, if something did.
    async fn put_back(&mut self, has_published: bool) -> Option<EngineError> {
        if self.client.is_closed()
            && let Ok(client) = session(&self.ask.info).await
        {
            self.client = client;
        }
        let database = &self.ask.database;
        let restored = match &self.rate {
            Some(before) => rate::restore(&self.client, database, before).await,
            None => Ok(()),
        };
        let dropped = match has_published {
            true => {
                writes::drop_publications(&self.client).await.map_err(on(database, "dropping publications"))
            }
            false => Ok(()),
        };
        restored.and(dropped).err()
    }

    fn note(&mut self, read: Read, followed: Followed) {
        let mut lacks = |tier, why: String| self.lacking.push(Lacking::of(tier, why));
        if read.cut > 0 {
            let of = counted(usize::try_from(read.cut).unwrap_or(usize::MAX), "transaction", "transactions");
            lacks(Tier::Writes, format!("of {of} only the first {} rows were kept", writes::ROWS_MAX));
        }
        for (tier, gaps) in [(Tier::Writes, read.gaps), (Tier::Sample, followed.gaps)] {
            if gaps > 0 {
                let times = counted(usize::try_from(gaps).unwrap_or(usize::MAX), "time", "times");
                lacks(
                    tier,
                    format!(
                        "the connection was lost {times} and made again; what was done in between is not known"
                    ),
                );
            }
        }
        if followed.passed_over > 0 {
            let why =
                format!("{} lines of the log were not understood, and passed over", followed.passed_over);
            lacks(Tier::Sample, why);
        }
        if followed.untold > 0 {
            let why = format!("the log does not tell the parameters of {} statements", followed.untold);
            lacks(Tier::Sample, why);
        }
        self.lacking.extend(read.broke.into_iter().chain(followed.broke));
    }

    async fn captured(mut self, not_restored: Option<EngineError>) -> Captured {
        let mut statements = Vec::new();
        if let Some(before) = self.statements.take() {
            match statements::end(&self.client, &before).await {
                Ok((seen, lacking)) => {
                    statements = seen;
                    self.lacking.extend(lacking);
                }
                Err(why) => self.lacking.push(why),
            }
        }
        let clock = "select extract(epoch from pg_catalog.clock_timestamp())::float8";
        // A server that is gone does not say; by our clock it is as long.
        let until = match self.client.query_one(clock, &[]).await {
            Ok(row) => row.get(0),
            Err(_) => self.since + self.began.elapsed().as_secs_f64(),
        };
        Captured { head: self.head(until), statements, not_restored }
    }
}

/// Comes back when a session is lost.
async fn is_lost(client: &Client) {
    while !client.is_closed() {
        tokio::time::sleep(AGAIN_EVERY).await;
    }
}

/// Lines on their way to a sink, for as long as it takes them.
struct Taking<'a> {
    sink: &'a mut dyn Sink,
    full: bool,
    failed: Option<std::io::Error>,
}

impl Taking<'_> {
    fn is_over(&self) -> bool {
        self.full || self.failed.is_some()
    }

    fn take(&mut self, line: &Line) {
        if !self.is_over() {
            let taken = self.sink.take(line);
            self.note(taken);
        }
    }

    fn note(&mut self, taken: std::io::Result<Room>) {
        match taken {
            Ok(Room::Left) => {}
            Ok(Room::Full) => self.full = true,
            Err(error) => self.failed = Some(error),
        }
    }
}

/// How far the log is now. What was written last is a message of ours, so that the stream gets there even if nobody
/// else writes.
async fn now(client: &Client, ask: &Ask) -> Option<Lsn> {
    let message = "select pg_catalog.pg_logical_emit_message(true, 'replat.capture', 'end')::text";
    let said = match client.is_closed() {
        false => client.query_one(message, &[]).await,
        true => session(&ask.info).await.ok()?.query_one(message, &[]).await,
    };
    said.ok()?.get::<_, String>(0).parse().ok()
}
