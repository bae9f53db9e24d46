//! What the databases do when an order reaches them.

use replat_model::deploy::{Certificate, Token};
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::{Action, Evidence, Scope};

use crate::rules::{Flaw, Rules, moment};
use crate::world::{Database, Entry, Guard, Stream, World, index};

/// What a database says to an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The token was too low, or nothing is there to act on.
    Refused,
    /// It did what it could.
    Came {
        /// What came of it.
        evidence: Evidence,
        /// Whether it is a proof that left a row out.
        unproved: bool,
    },
}

fn came(evidence: Evidence) -> Answer {
    Answer::Came { evidence, unproved: false }
}

fn not_now(why: &str) -> Answer {
    came(Evidence::NotNow { why: why.into() })
}

impl Database {
    fn obeys(&self, token: Token, rules: &Rules) -> bool {
        if self.guard == Guard::NoTables {
            return false;
        }
        match rules.flaw {
            Some(Flaw::TokensIgnored) => true,
            Some(Flaw::TermOnly) => token.term >= self.fence.token.term,
            _ => token >= self.fence.token,
        }
    }

    fn open(&mut self, epoch: Epoch, token: Token) {
        if !self.fence.open {
            self.log.push(Entry::Opening);
        }
        self.fence.open = true;
        self.fence.closed_by = None;
        self.fence.since = 0;
        self.fence.epoch = epoch;
        self.fence.token = token;
    }

    fn close(&mut self, attempt: u8, now: u8) {
        self.log.push(Entry::Barrier(attempt));
        self.fence.open = false;
        self.fence.closed_by = Some(attempt);
        self.fence.since = now;
    }
}

impl World {
    /// Carries out an order of `runner`; of none, if it comes late. All of it is one transaction in each database.
    pub fn act(&mut self, action: &Action, token: Token, runner: Option<usize>, rules: &Rules) -> Answer {
        match (action, runner) {
            (Action::Fence { side, attempt, epoch }, _) => {
                let attempt = u8::try_from(*attempt).expect("few attempts");
                self.fence(*side, attempt, *epoch, token, rules)
            }
            (Action::Open { side, epoch }, _) => self.open(*side, *epoch, token, rules),
            (Action::Seal { side, epoch }, _) => self.seal(*side, *epoch, token, rules),
            (Action::HandOver { to, epoch }, _) => self.hand_over(*to, *epoch, token, rules),
            (Action::Retire, _) => self.retire(token, rules),
            (Action::Clean, _) => self.clean(token, rules),
            (Action::Follow { from }, Some(runner)) => self.follow(*from, runner),
            (Action::Verify { from, scope: Scope::Full }, Some(runner)) => self.compare_all(*from, runner),
            (Action::Prove { from, .. }, Some(runner)) => self.prove(*from, runner),
            (action, _) => unreachable!("{action:?} is not for a prepared deployment"),
        }
    }

    /// A fence waits for the writers that were let in; here that means to come back another time.
    fn is_held_by_a_writer(&self, side: Side, rules: &Rules) -> bool {
        self.clients.in_flight == Some(side) && !rules.is_flawed_by(Flaw::WritersInFlightForgotten)
    }

    fn fence(&mut self, side: Side, attempt: u8, epoch: Epoch, token: Token, rules: &Rules) -> Answer {
        let (held, now) = (self.is_held_by_a_writer(side, rules), self.now);
        let database = self.database_mut(side);
        if !database.obeys(token, rules) {
            return Answer::Refused;
        }
        let (open, closed_by) = (database.fence.open, database.fence.closed_by);
        if database.fence.epoch != epoch || !open && closed_by != Some(attempt) {
            return not_now("the fence is not open at this epoch");
        }
        if open && held {
            return not_now("a writer holds it");
        }
        if open {
            database.close(attempt, now);
        }
        database.fence.token = token;
        came(Evidence::Fenced { at: Lsn(0), since: moment(database.fence.since) })
    }

    fn open(&mut self, side: Side, epoch: Epoch, token: Token, rules: &Rules) -> Answer {
        let database = self.database_mut(side);
        if !database.obeys(token, rules) {
            return Answer::Refused;
        }
        database.open(epoch, token);
        came(Evidence::Done)
    }

    fn seal(&mut self, side: Side, epoch: Epoch, token: Token, rules: &Rules) -> Answer {
        let (held, now) = (self.is_held_by_a_writer(side, rules), self.now);
        let database = self.database_mut(side);
        if !database.obeys(token, rules) {
            return Answer::Refused;
        }
        if database.fence.open && held {
            return not_now("a writer holds it");
        }
        if database.fence.open {
            database.close(0, now);
        }
        database.fence.epoch = epoch;
        database.fence.token = token;
        database.fence.closed_by = None;
        database.fence.since = 0;
        came(Evidence::Done)
    }

    /// Both sides are in one database: all of it, or nothing.
    fn hand_over(&mut self, to: Side, epoch: Epoch, token: Token, rules: &Rules) -> Answer {
        let before = self.databases;
        let sealed = self.seal(to.other(), epoch, token, rules);
        if !matches!(sealed, Answer::Came { evidence: Evidence::Done, .. }) {
            return sealed;
        }
        if rules.is_flawed_by(Flaw::HandedOverByHalves) {
            self.databases = before;
        }
        let opened = self.open(to, epoch, token, rules);
        if opened == Answer::Refused {
            self.databases = before;
        }
        opened
    }

    /// The slots go, so every stream ends; blue's guard stays closed for ever.
    fn retire(&mut self, token: Token, rules: &Rules) -> Answer {
        if !self.databases.iter().all(|database| database.obeys(token, rules)) {
            return Answer::Refused;
        }
        self.end_streams();
        self.database_mut(Side::Green).guard = Guard::Disarmed;
        came(Evidence::Done)
    }

    fn clean(&mut self, token: Token, rules: &Rules) -> Answer {
        let blue_obeys = self.database(Side::Blue).obeys(token, rules);
        let green = self.database_mut(Side::Green);
        if !blue_obeys || green.guard != Guard::NoTables && !green.obeys(token, rules) {
            return Answer::Refused;
        }
        green.guard = Guard::NoTables;
        green.rows = 0;
        self.database_mut(Side::Blue).guard = Guard::Disarmed;
        self.end_streams();
        came(Evidence::Done)
    }

    fn end_streams(&mut self) {
        for runner in &mut self.runners {
            runner.streams = [None; 2];
        }
    }

    /// Begins where the other side has recorded that the last stream ended.
    fn follow(&mut self, from: Side, runner: usize) -> Answer {
        let cursor = self.database(from.other()).received;
        let streams = &mut self.runners[runner].streams;
        if streams[index(from)].is_none() {
            // While it did not run, somebody else may have carried rows that this runner never counted.
            for known in streams.iter_mut().flatten() {
                known.touched = None;
            }
            streams[index(from)] = Some(Stream { cursor, touched: None });
        }
        came(Evidence::Done)
    }

    /// What is still on its way is compared again once it has been carried over, as touched.
    fn compare_all(&mut self, from: Side, runner: usize) -> Answer {
        let (original, copy) = (self.database(from), self.database(from.other()));
        let on_its_way = original.log.changes_from(copy.received);
        let different = (original.rows ^ copy.rows) & !on_its_way;
        let alike = original.rows & copy.rows;
        let Some(stream) = &mut self.runners[runner].streams[index(from)] else {
            return not_now("the stream broke");
        };
        if different == 0 {
            stream.touched = Some(0);
            self.database_mut(from).compared |= alike;
        }
        came(Evidence::Compared(certificate(different)))
    }

    fn prove(&mut self, from: Side, runner: usize) -> Answer {
        let streams = self.runners[runner].streams;
        let Some(touched) = streams[index(from)]
            .filter(|_| streams.iter().all(Option::is_some))
            .and_then(|stream| stream.touched)
        else {
            return not_now("the stream broke");
        };
        let (original, copy) = (*self.database(from), *self.database(from.other()));
        let evidence = Evidence::Compared(certificate(touched & (original.rows ^ copy.rows)));
        Answer::Came { evidence, unproved: original.rows & !(original.compared | touched) != 0 }
    }
}

fn certificate(different: u8) -> Certificate {
    Certificate { different: u64::from(different.count_ones()), ..Certificate::default() }
}
