//! Time for leases: it goes on while the process, or its machine, sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment by two clocks of this machine.
///
/// `running` never goes back, and on Linux counts suspension (`CLOCK_BOOTTIME`). `wall` may be set by anybody, but
/// also notices what `running` cannot: a virtual machine that was frozen and has had its clock set since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed moment in the past.
    pub running: Duration,
    /// Since 1970-01-01 00:00 UTC.
    pub wall: Duration,
}

impl Moment {
    /// How long after `earlier` this is, by the clock that says more: a lease that may be over is over.
    pub fn since(self, earlier: Moment) -> Duration {
        let running = self.running.saturating_sub(earlier.running);
        running.max(self.wall.saturating_sub(earlier.wall))
    }
}

/// Where a router has the time from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Moment {
        // A wall clock before 1970 is one that nobody has set yet.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { running: running(), wall }
    }
}

#[cfg(target_os = "linux")]
fn running() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The time since boot is positive, and less than a second is left over.
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn running() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(running: u64, wall: u64) -> Moment {
        Moment { running: Duration::from_secs(running), wall: Duration::from_secs(wall) }
    }

    #[test]
    fn the_clock_that_says_more_is_believed() {
        let rows = [
            ("both go", at(10, 110), at(15, 115), 5),
            ("the wall clock was set forward", at(10, 110), at(15, 700), 590),
            ("the wall clock was set back", at(10, 110), at(15, 50), 5),
            ("frozen and set", at(10, 110), at(10, 710), 600),
            ("the other way round", at(15, 115), at(10, 110), 0),
        ];
        for (case, earlier, later, seconds) in rows {
            assert_eq!(later.since(earlier), Duration::from_secs(seconds), "{case}");
        }
    }

    #[test]
    fn the_machines_clocks_go_on() {
        let first = MachineClock.now();
        let second = MachineClock.now();
        assert!(second.running >= first.running && first.wall > Duration::ZERO);
    }
}
