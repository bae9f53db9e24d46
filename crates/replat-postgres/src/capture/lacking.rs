//! What a capture could not have.

use std::fmt;

use replat_advise::evidence::Tier;

/// What could not be had, and how it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Of which tier.
    pub tier: Tier,
    /// Why not.
    pub why: String,
    /// The statement, setting or word that would give it, if there is one.
    pub by: Option<String>,
}

impl Lacking {
    /// Something of a tier, for this reason.
    pub(super) fn of(tier: Tier, why: impl Into<String>) -> Lacking {
        Lacking { tier, why: why.into(), by: None }
    }

    /// The same, with what would give it.
    pub(super) fn by(self, by: impl Into<String>) -> Lacking {
        Lacking { by: Some(by.into()), ..self }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tier = match self.tier {
            Tier::Catalogue => "T0 catalogue",
            Tier::Statements => "T1 statements",
            Tier::Writes => "T2 writes",
            Tier::Sample => "T3 sample",
            Tier::Trace => "T4 trace",
        };
        write!(f, "{tier}: {}", self.why)?;
        self.by.as_ref().map_or(Ok(()), |by| write!(f, "; {by}"))
    }
}
