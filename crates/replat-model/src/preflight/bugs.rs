//! What was wrong with releases of PostgreSQL that a deployment relies on: one table.

/// A mistake of the server that can cost a deployment rows, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerBug {
    /// What may happen, as a sentence without its full stop.
    pub what: &'static str,
    /// The first minor release without it, for each major release that had it. A major release that is not named
    /// never had it.
    pub fixed: &'static [(u32, u32)],
}

/// Every mistake that is looked for, the oldest first. From the release notes of the releases that mended them.
pub const SERVER_BUGS: &[ServerBug] = &[
    ServerBug {
        what: "an index that was made CONCURRENTLY may lack rows, and what is copied by it lacks them too",
        fixed: &[(14, 4)],
    },
    ServerBug {
        what: "a new slot may begin in the middle of a transaction, whose first half is then lost",
        fixed: &[(14, 13), (15, 8), (16, 4)],
    },
    ServerBug {
        what: "changes that were under way while tables or publications were altered may be read by the old \
               catalogue, and lost",
        fixed: &[(14, 18), (15, 13), (16, 9), (17, 5)],
    },
    ServerBug {
        what: "reading the log may never end after a crash, or run out of memory after tables were altered",
        fixed: &[(14, 19), (15, 14), (16, 10), (17, 6)],
    },
];

impl ServerBug {
    /// The minor release of `major` that mended it; `None` if that major release never had it.
    pub fn fixed_in(&self, major: u32) -> Option<u32> {
        self.fixed.iter().find(|(of, _)| *of == major).map(|(_, minor)| *minor)
    }

    /// Whether a server of this version has it, such as 150018 for 15.18.
    pub fn is_in(&self, version_num: u32) -> bool {
        let (major, minor) = (version_num / 10_000, version_num % 10_000);
        self.fixed_in(major).is_some_and(|fixed| minor < fixed)
    }
}

/// The mistakes of a server of this version, and the minor release of its major one that has none of them; `None`
/// if it has none.
pub fn server_bugs(version_num: u32) -> Option<(Vec<&'static ServerBug>, u32)> {
    let bugs: Vec<_> = SERVER_BUGS.iter().filter(|bug| bug.is_in(version_num)).collect();
    let sound = bugs.iter().filter_map(|bug| bug.fixed_in(version_num / 10_000)).max()?;
    Some((bugs, sound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_bugs_that_later_minors_of_its_major_mended() {
        let cases = [
            (140_003, 4, Some(19)),
            (140_004, 3, Some(19)),
            (140_018, 1, Some(19)),
            (140_019, 0, None),
            (150_007, 3, Some(14)),
            (150_018, 0, None),
            (160_003, 3, Some(10)),
            (160_004, 2, Some(10)),
            (170_000, 2, Some(6)),
            (170_006, 0, None),
            (180_000, 0, None),
            (190_000, 0, None),
        ];
        for (version, count, sound) in cases {
            let found = server_bugs(version);
            assert_eq!(found.as_ref().map_or(0, |(bugs, _)| bugs.len()), count, "{version}");
            assert_eq!(found.map(|(_, sound)| sound), sound, "{version}");
        }
    }

    #[test]
    fn each_major_is_mended_once_and_no_later_bug_earlier() {
        for bug in SERVER_BUGS {
            assert!(bug.fixed.is_sorted_by(|a, b| a.0 < b.0), "{bug:?}");
        }
    }
}
