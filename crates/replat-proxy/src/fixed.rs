//! Doors for partitions that are listed: each can be held, sent elsewhere, and released.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use replat_wire::backend::Complaint;
use tokio::sync::watch;

use crate::doors::{Ask, Doors, Home, Knock, Pass, Ticket};

/// A table of partitions by name, and perhaps a place for sessions that name none.
#[derive(Debug, Default)]
pub struct FixedDoors {
    gates: RwLock<HashMap<String, Arc<Gate>>>,
    default: Option<Arc<Home>>,
}

/// There is no partition of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no partition {0}")]
pub struct NoPartition(pub String);

#[derive(Debug)]
struct Gate {
    /// How many passes are out, and how many are being asked for.
    busy: AtomicUsize,
    sign: watch::Sender<Sign>,
    /// Rings when `busy` falls to zero.
    quiet: tokio::sync::Notify,
}

#[derive(Clone, Debug)]
struct Sign {
    held: bool,
    home: Arc<Home>,
    next: Option<Arc<Home>>,
}

impl FixedDoors {
    /// Doors that lead nowhere yet. Sessions that name no partition go to `default`, or are refused.
    pub fn new(default: Option<Home>) -> FixedDoors {
        FixedDoors { gates: RwLock::default(), default: default.map(Arc::new) }
    }

    /// Lists a partition, open, or changes the home of one that is listed.
    pub fn put(&self, partition: &str, home: Home) {
        let sign = Sign { held: false, home: Arc::new(home), next: None };
        let gate =
            Gate { busy: AtomicUsize::new(0), sign: watch::Sender::new(sign), quiet: Default::default() };
        let mut gates = self.gates.write().unwrap_or_else(PoisonError::into_inner);
        gates.insert(partition.to_owned(), Arc::new(gate));
    }

    /// Lets nobody begin any more, and waits until everybody has ended who has begun. Whoever waits is told that
    /// `next` is likely.
    ///
    /// # Errors
    ///
    /// [`NoPartition`] if it is not listed.
    pub async fn hold(&self, partition: &str, next: Option<Home>) -> Result<(), NoPartition> {
        let gate = self.gate(partition)?;
        gate.sign.send_modify(|sign| {
            sign.held = true;
            sign.next = next.map(Arc::new);
        });
        loop {
            let quiet = gate.quiet.notified();
            if gate.busy.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            quiet.await;
        }
    }

    /// Gives the partition another home, at the next epoch; sessions follow at their next boundary.
    ///
    /// # Errors
    ///
    /// [`NoPartition`] if it is not listed.
    pub fn retarget(&self, partition: &str, home: Home) -> Result<(), NoPartition> {
        let gate = self.gate(partition)?;
        gate.sign.send_modify(|sign| {
            sign.home = Arc::new(Home { epoch: sign.home.epoch + 1, ..home });
            sign.next = None;
        });
        Ok(())
    }

    /// Lets everybody go on.
    ///
    /// # Errors
    ///
    /// [`NoPartition`] if it is not listed.
    pub fn release(&self, partition: &str) -> Result<(), NoPartition> {
        self.gate(partition)?.sign.send_modify(|sign| sign.held = false);
        Ok(())
    }

    fn gate(&self, partition: &str) -> Result<Arc<Gate>, NoPartition> {
        let gates = self.gates.read().unwrap_or_else(PoisonError::into_inner);
        gates.get(partition).cloned().ok_or_else(|| NoPartition(partition.to_owned()))
    }
}

/// A pass that is counted.
#[derive(Debug)]
struct Counted(Arc<Gate>);

impl Counted {
    fn new(gate: &Arc<Gate>) -> Counted {
        gate.busy.fetch_add(1, Ordering::SeqCst);
        Counted(gate.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

impl Ticket for Counted {
    fn is_recalled(&self) -> bool {
        self.0.sign.borrow().held
    }
}

impl Gate {
    /// A pass, if the gate is open. Counted first, looked second.
    fn enter(self: &Arc<Gate>) -> Result<Pass, Sign> {
        let counted = Counted::new(self);
        let sign = self.sign.borrow().clone();
        match sign.held {
            false => Ok(Pass::new(sign.home, counted)),
            true => Err(sign),
        }
    }
}

impl Doors for FixedDoors {
    fn knock(&self, ask: &Ask<'_>) -> Knock {
        let Some(partition) = ask.partition else {
            return match &self.default {
                Some(home) => Knock::Open(Pass::new(home.clone(), ())),
                None => Knock::Refused(nameless()),
            };
        };
        let Ok(gate) = self.gate(partition) else { return Knock::Refused(unknown(partition)) };
        match gate.enter() {
            Ok(pass) => Knock::Open(pass),
            Err(sign) => Knock::Held { answer: Box::pin(wait(gate)), next: sign.next },
        }
    }
}

async fn wait(gate: Arc<Gate>) -> Result<Pass, Complaint> {
    let mut signs = gate.sign.subscribe();
    loop {
        if let Ok(pass) = gate.enter() {
            return Ok(pass);
        }
        if signs.wait_for(|sign| !sign.held).await.is_err() {
            return Err(Complaint::fatal("57P01", "the proxy ends"));
        }
    }
}

fn nameless() -> Complaint {
    Complaint::error("3D000", "no partition is named, and there is no place for sessions without one")
        .hint("Set replat.partition, at start-up (options=-c replat.partition=...) or by SET.")
}

fn unknown(partition: &str) -> Complaint {
    Complaint::error("3D000", format!("there is no partition \"{partition}\""))
}

#[cfg(test)]
mod tests {
    use replat_postgres::conninfo::{ConnInfo, Environment};

    use super::*;

    fn home(port: u16) -> Home {
        let text = format!("postgres://127.0.0.1:{port}/app?user=app");
        let server = ConnInfo::resolve(Some(&text), &Environment::empty()).expect("a legal address");
        let (database, partition) = ("app".to_owned(), Some("acme".to_owned()));
        Home { server: Arc::new(server), database, settings: Vec::new(), pooled: false, partition, epoch: 1 }
    }

    fn ask(partition: Option<&str>) -> Ask<'_> {
        Ask {
            user: "app",
            database: "app",
            parameters: &[],
            partition,
            current: None,
            statements: None,
            reading: crate::doors::Reading::USUAL,
        }
    }

    #[tokio::test]
    async fn a_hold_waits_for_passes_and_passes_wait_for_the_release() {
        let doors = Arc::new(FixedDoors::new(None));
        doors.put("acme", home(1));
        let Knock::Open(pass) = doors.knock(&ask(Some("acme"))) else { panic!("open at first") };
        let hold = tokio::spawn({
            let doors = doors.clone();
            async move { doors.hold("acme", None).await }
        });
        while !pass.is_recalled() {
            tokio::task::yield_now().await;
        }
        assert!(!hold.is_finished(), "a pass is still out");
        let Knock::Held { answer, .. } = doors.knock(&ask(Some("acme"))) else { panic!("held") };
        drop(pass);
        hold.await.expect("no panic").expect("it is listed");
        doors.retarget("acme", home(2)).expect("it is listed");
        doors.release("acme").expect("it is listed");
        let pass = answer.await.expect("released");
        assert_eq!((pass.home.server.hosts[0].port, pass.home.epoch), (2, 2));
    }

    #[test]
    fn who_names_no_partition_or_an_unknown_one_is_refused() {
        let doors = FixedDoors::new(None);
        for partition in [None, Some("acme")] {
            let Knock::Refused(complaint) = doors.knock(&ask(partition)) else { panic!("refused") };
            assert_eq!(complaint.sqlstate, "3D000");
        }
    }
}
