//! The error codes: each has a page under `docs/errors/`, which `replat explain` prints.

use replat_model::preflight::Check;
#[cfg(test)]
use replat_model::preflight::Severity;
use serde::Serialize;

/// A code and its title.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Code {
    /// Such as `RP4003`.
    pub code: &'static str,
    /// What it means, in a few words.
    pub title: &'static str,
    /// The exit code of a command that ends with it; of what is only worth knowing, 0, and of warnings that of
    /// `--strict`.
    pub exit: u8,
    /// Its page.
    #[serde(skip)]
    pub page: &'static str,
}

macro_rules! codes {
    ($($code:ident $exit:literal $title:literal;)*) => {
        /// All codes, in order.
        pub const CODES: &[Code] = &[$(Code {
            code: stringify!($code),
            title: $title,
            exit: $exit,
            page: include_str!(concat!("../../../docs/errors/", stringify!($code), ".md")),
        }),*];
    };
}

codes! {
    RP1001 20 "A database does not answer";
    RP1002 20 "A lock could not be had in time";
    RP1003 4 "Something that must be so is not so";
    RP1004 4 "A database refused a statement";
    RP1005 3 "A connection is not described well";
    RP1006 20 "A message server cannot be used";
    RP2001 3 "The spec is invalid";
    RP2002 4 "Something stands in the way of the deployment";
    RP2003 3 "The plan is stale";
    RP2004 3 "A plan file cannot be used";
    RP2005 3 "A hazard was not allowed";
    RP2006 3 "A name or value was not understood";
    RP2007 3 "The partition is there already";
    RP2008 13 "Nobody agreed";
    RP2009 4 "An old guard keeps the partition out";
    RP3001 4 "A table cannot be looked after";
    RP3002 4 "A privilege is missing";
    RP3003 4 "How a table is cut cannot be told";
    RP3004 4 "Bounds do not fit together";
    RP3005 4 "A partition is missing";
    RP3006 14 "Rows lie in a catch-all partition";
    RP3007 14 "Rows in a catch-all partition cannot be moved out";
    RP3008 14 "A detach was broken off";
    RP3009 14 "An index is not complete";
    RP3010 14 "Partitions differ from their siblings";
    RP3011 14 "A publication has only some of the partitions";
    RP3012 14 "The partitions will not last";
    RP3013 0 "Old partitions are overdue";
    RP3014 14 "An old partition may not be retired";
    RP3015 14 "Tables were left over";
    RP3016 14 "Another tool manages the table";
    RP3017 4 "The clocks disagree";
    RP3018 0 "The database is read-only";
    RP3019 22 "A quota is used up";
    RP3020 22 "A breaker is open";
    RP3021 4 "The policy does not fit the table";
    RP3022 4 "No name can be given";
    RP3023 4 "Too many partitions would be needed";
    RP3024 14 "It is not known how fast keys come";
    RP3025 0 "Old bounds have a hole";
    RP3026 0 "Work is switched off";
    RP3027 4 "A request cannot be carried out";
    RP3028 11 "A query reads too many partitions";
    RP3029 0 "A partition is a foreign table";
    RP3030 22 "The stall budget is spent";
    RP3031 20 "A unit was taken back";
    RP3032 21 "Another run is at work";
    RP3033 0 "An index is not used";
    RP3034 11 "The catalogue is not as it was left";
    RP3035 14 "The key's type ends";
    RP3101 4 "Nothing can be captured there";
    RP3102 21 "Another capture is at work";
    RP3103 3 "A file of a capture cannot be used";
    RP3104 30 "A capture's setting could not be put back";
    RP4001 30 "A replication slot is lost";
    RP4002 11 "A row cannot be stored in its new shape";
    RP4003 11 "The sides differ";
    RP4004 11 "A contract is broken";
    RP5001 12 "Every attempt to switch was given up";
    RP5002 3 "Not possible where the deployment is";
    RP5003 20 "A phase was not reached in time";
    RP5004 20 "The deployment waits for a person";
    RP5005 12 "The deployment was aborted";
    RP5006 30 "Some of a cohort did not get through";
    RP5007 4 "Tables cannot be exchanged yet";
    RP6001 21 "Another runner is at work";
    RP6002 21 "The partition is being deployed already";
    RP6003 30 "The control store failed";
    RP6004 30 "The work log makes no sense";
    RP7001 20 "The registry does not answer";
    RP7002 3 "The registry cannot be used";
    RP7003 11 "What the registry keeps is not what was published";
    RP7004 30 "The registry is ahead of the store";
    RP7005 4 "The server may not listen there";
    RP7006 2 "The request is not understood";
    RP7007 4 "The request shows no valid token";
    RP7008 20 "The server has enough to do";
    RP7009 20 "HAProxy does not have its map";
    RP8001 3 "Evidence cannot be read";
    RP8002 3 "Evidence contradicts itself";
    RP8003 3 "A design does not fit the evidence";
    RP8004 4 "No plan is ready";
    RP9001 1 "An internal error";
    RP9002 130 "Stopped from the keyboard";
}

/// The code as it is listed. What is not listed is a precondition that is not met: an engine may find faults that are
/// newer than this list.
pub fn known(code: &str) -> &'static str {
    CODES.iter().find(|c| c.code == code).map_or("RP1003", |c| c.code)
}

/// A code's page.
pub fn page(code: &str) -> Option<&'static str> {
    CODES.iter().find(|c| c.code == code).map(|c| c.page)
}

const PREFLIGHT: &str = include_str!("../../../docs/preflight.md");

/// A check's section of `docs/preflight.md`, from its heading on.
pub fn section(check: Check) -> Option<&'static str> {
    let heading = format!("### {check}\n");
    let (_, rest) = PREFLIGHT.split_once(&heading)?;
    let end = rest.find("\n#").unwrap_or(rest.len());
    let begin = PREFLIGHT.len() - rest.len() - heading.len();
    PREFLIGHT.get(begin..begin + heading.len() + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_section_that_says_how_grave_it_is() {
        let mut at = 0;
        for check in Check::ALL {
            let section = section(*check).unwrap_or_else(|| panic!("{check} has no section"));
            let severity = match check.severity() {
                Severity::Refusal => "Refusal.",
                Severity::Allow => "Allow",
                Severity::Note => "Note.",
            };
            let text = section.lines().nth(2).unwrap_or_default();
            assert!(text.starts_with(severity), "{check}: {text}");
            let place = PREFLIGHT.find(&format!("### {check}\n")).expect("found before");
            assert!(place > at, "{check} is out of order");
            at = place;
        }
        assert_eq!(PREFLIGHT.matches("\n### ").count(), Check::ALL.len(), "a section is about no check");
    }

    #[test]
    fn every_code_has_a_page_that_says_state_and_remedy() {
        for code in CODES {
            assert!(code.page.starts_with(&format!("# {}", code.code)), "{}", code.code);
            for part in ["## What it means", "## State of the traffic", "## What to do"] {
                assert!(code.page.contains(part), "{} lacks {part}", code.code);
            }
        }
    }

    #[test]
    fn every_finding_about_partitions_has_a_page_of_the_same_title() {
        for (code, title) in replat_model::lifecycle::health::codes::CODES {
            let known =
                CODES.iter().find(|c| c.code == *code).unwrap_or_else(|| panic!("{code} is not listed"));
            assert_eq!(known.title, *title, "{code}");
            assert!(known.page.starts_with(&format!("# {code}: {title}\n")), "{code}");
        }
    }

    #[test]
    fn every_code_that_the_program_uses_is_known() {
        let sources =
            concat!(include_str!("deploy.rs"), include_str!("failure.rs"), include_str!("planning.rs"))
                .to_owned()
                + include_str!("main.rs")
                + include_str!("advise.rs")
                + include_str!("advise/reading.rs")
                + include_str!("advise/spec.rs")
                + include_str!("capture/mod.rs")
                + include_str!("project.rs")
                + include_str!("self_description.rs")
                + include_str!("serve.rs")
                + include_str!("route.rs")
                + include_str!("../../replat-server/src/answer.rs")
                + include_str!("../../replat-server/src/haproxy.rs")
                + include_str!("verbs.rs")
                + include_str!("rotate.rs")
                + include_str!("rotate/adopt.rs")
                + include_str!("rotate/eject.rs")
                + include_str!("rotate/engines.rs")
                + include_str!("rotate/plan_file.rs")
                + include_str!("rotate/reach.rs")
                + include_str!("rotate/reshape.rs")
                + include_str!("rotate/watch.rs")
                + include_str!("rotate/wish.rs")
                + include_str!("verify.rs")
                + include_str!("watch.rs")
                + include_str!("../../replat-engine/src/lib.rs");
        for piece in sources.split("\"RP").skip(1) {
            let code = format!("RP{}", &piece[..4]);
            assert!(page(&code).is_some(), "{code} is used and has no page");
        }
    }
}
