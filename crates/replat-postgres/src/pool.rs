//! Connections that the members of a cohort share.
//!
//! One member after the other uses a connection, so their number does not grow with the number of members. What a
//! session was told for one member is taken back before another one gets it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replat_model::ids::Side;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Client;

/// How long a connection that was used before is given to say that it is free. One that is not, because what was asked
/// of it was broken off and goes on at the server, is not waited for.
const FREE_WITHIN: Duration = Duration::from_secs(2);

/// How long somebody waits for a connection. Nobody holds one for long without working with it; this is for the case
/// that all who hold one wait for another one.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything but the rows of a partition.
    Plain,
    /// Rows of a partition: ordinary triggers do not fire, and the closed guard lets it through.
    Writing,
}

/// The connections of a cohort to both sides.
pub struct Pool {
    sides: [Shelf; 2],
}

struct Shelf {
    /// How many connections there may be.
    limit: usize,
    room: Arc<Semaphore>,
    /// Those that nobody uses, by kind.
    idle: Mutex<[Vec<Client>; 2]>,
}

/// A connection, of one's own or lent by a pool.
pub struct Session {
    /// `None` only while it is being given back.
    client: Option<Client>,
    lent: Option<Lent>,
}

struct Lent {
    pool: Arc<Pool>,
    side: Side,
    kind: Kind,
    _room: OwnedSemaphorePermit,
}

/// A place for one connection, and perhaps one that was used before.
pub(crate) struct Place {
    lent: Lent,
    used: Option<Client>,
}

impl Pool {
    /// A pool of at most so many connections to blue and to green. At least one each.
    pub fn new([blue, green]: [usize; 2]) -> Arc<Pool> {
        let shelf = |limit: usize| Shelf {
            limit: limit.max(1),
            room: Arc::new(Semaphore::new(limit.max(1))),
            idle: Mutex::default(),
        };
        Arc::new(Pool { sides: [shelf(blue), shelf(green)] })
    }

    fn shelf(&self, side: Side) -> &Shelf {
        &self.sides[usize::from(side == Side::Green)]
    }

    /// Waits for room for one more connection; `None` if there is none for a long time.
    pub(crate) async fn place(self: &Arc<Pool>, side: Side, kind: Kind) -> Option<Place> {
        let shelf = self.shelf(side);
        let room = tokio::time::timeout(ROOM_WITHIN, Arc::clone(&shelf.room).acquire_owned()).await.ok()?;
        let room = room.ok()?;
        let mut idle = shelf.idle.lock().expect("no holder of the lock panics");
        let (mine, other) = match kind {
            Kind::Plain => (0, 1),
            Kind::Writing => (1, 0),
        };
        let mut used = idle[mine].pop();
        while used.as_ref().is_some_and(Client::is_closed) {
            used = idle[mine].pop();
        }
        let in_use = shelf.limit - shelf.room.available_permits();
        if used.is_none() && in_use + idle[mine].len() + idle[other].len() > shelf.limit {
            drop(idle[other].pop());
        }
        drop(idle);
        Some(Place { lent: Lent { pool: Arc::clone(self), side, kind, _room: room }, used })
    }
}

impl Place {
    /// The connection that was used before, if there is one and it is free.
    pub(crate) async fn free(&mut self) -> Option<Client> {
        let client = self.used.take()?;
        // The pass of one partition is of no use with another one, but nobody needs to know that.
        let pass = match self.lent.kind {
            Kind::Plain => "",
            Kind::Writing => "SET replat.pass = ''; ",
        };
        let reset = format!("ROLLBACK; {pass}RESET lock_timeout; SELECT pg_advisory_unlock_all()");
        match tokio::time::timeout(FREE_WITHIN, client.batch_execute(&reset)).await {
            Ok(Ok(())) => Some(client),
            _ => None,
        }
    }

    /// The session, with this connection.
    pub(crate) fn with(self, client: Client) -> Session {
        Session { client: Some(client), lent: Some(self.lent) }
    }
}

impl From<Client> for Session {
    fn from(client: Client) -> Session {
        Session { client: Some(client), lent: None }
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a session has its connection until it is given back")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("a session has its connection until it is given back")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(client), Some(lent)) = (self.client.take(), &self.lent) else { return };
        if client.is_closed() {
            return;
        }
        let kind = usize::from(lent.kind == Kind::Writing);
        if let Ok(mut idle) = lent.pool.shelf(lent.side).idle.lock() {
            idle[kind].push(client);
        }
    }
}
