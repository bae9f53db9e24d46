//! Everything that is looked at before a deployment may begin: one table, one entry for each check.
//!
//! The table says what a check is called, how grave it is, what it looks at and what is so where it passes. The rules
//! themselves are in [`draft`](crate::draft) and, where only a server can tell, with those who ask it. Absent on
//! purpose: a check without an entry, since [`Check`] is the only name that a finding or a hazard can have. Each has
//! a section in `docs/preflight.md` and a test that provokes it.

mod bugs;
mod grants;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bugs::{SERVER_BUGS, ServerBug, server_bugs};
pub use grants::grants;
pub(crate) use grants::{may_create, may_read_the_log, may_skip_triggers, may_use_schema, membership};

/// How grave it is if a check does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nobody has to decide anything.
    Note,
    /// A person has to allow it by name, `--allow NAME`.
    Allow,
    /// No deployment begins before it is mended.
    Refusal,
}

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The spec, against what is there.
    Spec,
    /// The two servers and their settings.
    Servers,
    /// What replat's roles may do.
    Rights,
    /// The tables as they are.
    Tables,
    /// How a row is found again, and to which partition it belongs.
    Keys,
    /// How each column comes to its value, and what a rollback keeps.
    Columns,
    /// What else happens when rows are written.
    Effects,
}

impl Area {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Area; 7] =
        [Area::Spec, Area::Servers, Area::Rights, Area::Tables, Area::Keys, Area::Columns, Area::Effects];

    /// The area's name, for people.
    pub fn title(self) -> &'static str {
        match self {
            Area::Spec => "the spec",
            Area::Servers => "the servers",
            Area::Rights => "rights",
            Area::Tables => "tables",
            Area::Keys => "keys",
            Area::Columns => "columns",
            Area::Effects => "effects",
        }
    }
}

macro_rules! checks {
    ($($name:ident $code:literal $area:ident $severity:ident $holds:literal;)*) => {
        /// A check by its name. The order is that of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Check {
            $(#[doc = $holds] #[serde(rename = $code)] $name,)*
        }

        impl Check {
            /// Every check, in the order of the table.
            pub const ALL: &[Check] = &[$(Check::$name),*];

            /// The name that people and programs know it by, such as `NO_KEY`.
            pub fn code(self) -> &'static str {
                match self { $(Check::$name => $code),* }
            }

            /// What it looks at.
            pub fn area(self) -> Area {
                match self { $(Check::$name => Area::$area),* }
            }

            /// How grave it is at its worst if it does not pass.
            pub fn severity(self) -> Severity {
                match self { $(Check::$name => Severity::$severity),* }
            }

            /// What is so where it passes, as a sentence without its full stop.
            pub fn holds(self) -> &'static str {
                match self { $(Check::$name => $holds),* }
            }
        }
    };
}

checks! {
    UnknownContext "UNKNOWN_CONTEXT" Spec Refusal "the context is in the spec";
    NoRollout "NO_ROLLOUT" Spec Refusal "the context has a rollout";
    UnknownTable "UNKNOWN_TABLE" Spec Refusal "every table that the spec names is there";
    UnknownColumn "UNKNOWN_COLUMN" Spec Refusal "every column that the spec names is there";
    VersionGap "VERSION_GAP" Spec Refusal "the rollout brings the version that comes next";
    SameHome "SAME_HOME" Spec Refusal "blue and green are two places";
    DownTwice "DOWN_TWICE" Spec Refusal "each column has one way back at most";
    PathNotOpen "PATH_NOT_OPEN" Spec Refusal "the way that the spec asks for can be gone";

    ServerVersion "VERSION" Servers Refusal "the servers' versions have what is needed";
    ServerBug "SERVER_BUG" Servers Allow "the servers' minor releases have no known bug that loses rows";
    Encoding "ENCODING" Servers Refusal "both sides write text alike";
    WalLevel "WAL_LEVEL" Servers Refusal "the log says what changed";
    NoSlot "NO_SLOT" Servers Refusal "there are free replication slots";
    NoSender "NO_SENDER" Servers Refusal "there are free senders of the log";
    SlotTimeout "SLOT_TIMEOUT" Servers Note "no slot is given up because replat rests";
    SlotFailover "SLOT_FAILOVER" Servers Note "no standby may take over without replat's slots";
    PreparedTransactions "PREPARED_TRANSACTIONS" Servers Note "no prepared transaction waits";

    Privilege "PRIVILEGE" Rights Refusal "replat's role may read the log and make what it needs";
    NotOwner "NOT_OWNER" Rights Refusal "replat's role owns the tables";
    RowsHidden "ROWS_HIDDEN" Rights Refusal "no row is hidden from replat's role";

    NotATable "NOT_A_TABLE" Tables Refusal "what moves are tables";
    PartitionLeaf "PARTITION_LEAF" Tables Refusal "partitioned tables go by the name of their root";
    Inheritance "INHERITANCE" Tables Refusal "no table inherits";
    Unlogged "UNLOGGED" Tables Refusal "every table is in the log";
    GreenNotEmpty "GREEN_NOT_EMPTY" Tables Refusal "green holds no row of the partition";
    ReservedName "RESERVED_NAME" Tables Refusal "no column has a name that replat gives itself";
    CatalogueNumbers "CATALOGUE_NUMBERS" Tables Refusal "no column points into a server's catalogue";
    RowsStay "ROWS_STAY" Tables Note "all rows of the partition move";
    LargeObjects "LARGE_OBJECTS" Tables Allow "no column names large objects";

    NoKey "NO_KEY" Keys Refusal "every table has a key";
    KeyNotUnique "KEY_NOT_UNIQUE" Keys Refusal "keys are unique on both sides";
    KeyChanges "KEY_CHANGES" Keys Refusal "keys cross unchanged";
    NoDimension "NO_DIMENSION" Keys Refusal "every table carries the partition key";
    DimensionType "DIMENSION_TYPE" Keys Refusal "the partition key has the type that the spec says";
    DimensionGenerated "DIMENSION_GENERATED" Keys Refusal "the partition key is no generated column";
    UniqueAcross "UNIQUE_ACROSS" Keys Note "unique values hold the partition key";
    NullKeys "NULL_KEYS" Keys Note "no row can be without a partition";
    ReplicaIdentity "REPLICA_IDENTITY" Keys Refusal "changes say which row they were made to";
    GeneratedIdentity "GENERATED_IDENTITY" Keys Refusal "the replica identity has no generated column";

    Expression "EXPRESSION" Columns Refusal "both servers understand every expression";
    NoSource "NO_SOURCE" Columns Refusal "every column of green has a value";
    TypeDiffers "TYPE_DIFFERS" Columns Refusal "no value is lost between two types";
    GeneratedTarget "GENERATED_TARGET" Columns Refusal "nothing is written to generated columns";
    IdentityAlways "IDENTITY_ALWAYS" Columns Refusal "identity columns take the values they are given";
    UnsaidPart "UNSAID_PART" Columns Refusal "changes say all that a value is made of";
    NotNull "NOT_NULL" Columns Note "both sides take null alike";
    PartNotNull "PART_NOT_NULL" Columns Refusal "what another part of a row gives back may be null on blue";
    NullValues "NULL_VALUES" Columns Refusal "every row has what must not be null on green";
    ValueUnfit "VALUE_UNFIT" Columns Refusal "every row has a value that green's column takes";
    CheckViolated "CHECK_VIOLATED" Columns Refusal "every row satisfies green's constraints";
    Duplicates "DUPLICATES" Columns Refusal "no two rows are one for green's unique indexes";
    GoesTwice "GOES_TWICE" Columns Refusal "no row goes to two tables";
    RowsUnseen "ROWS_UNSEEN" Columns Note "all rows were looked at";
    DerivedOnly "DERIVED_ONLY" Columns Note "what green's application writes has a way back";
    Irreversible "IRREVERSIBLE" Columns Allow "there is a way back";
    LossyRollback "LOSSY_ROLLBACK" Columns Allow "a rollback loses no value";

    FkOutside "FK_OUTSIDE" Effects Allow "foreign keys point at what moves too";
    FkInto "FK_INTO" Effects Allow "no foreign key from elsewhere points at rows that move";
    FkLeaves "FK_LEAVES" Effects Refusal "no row of the partition refers to one of another";
    FkEnters "FK_ENTERS" Effects Allow "no row that stays refers to one that moves";
    FkUnsettled "FK_UNSETTLED" Effects Note "every foreign key was looked at across the partition's edge";
    Triggers "TRIGGERS" Effects Note "no trigger is passed over";
    TriggersFire "TRIGGERS_FIRE" Effects Allow "no trigger fires a second time";
    Subscribed "SUBSCRIBED" Effects Allow "no subscription writes to the tables";
    RowSecurityGone "ROW_SECURITY_GONE" Effects Allow "row level security is the same on green";
    RowsShared "ROWS_SHARED" Effects Allow "green has rows of its own";
    GrantsGone "GRANTS_GONE" Effects Note "whoever may use blue's rows may use green's";
    SequenceNew "SEQUENCE_NEW" Effects Note "green's sequences go on where blue's are";
    SequenceUnknown "SEQUENCE_UNKNOWN" Effects Allow "numbers come from sequences that can be told";
    SequenceMissing "SEQUENCE_MISSING" Effects Note "green has the sequences that blue's applications may draw from";
    SequenceRoom "SEQUENCE_ROOM" Effects Note "numbers last for many switches";
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A name that no check has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no check {0}")]
pub struct UnknownCheck(pub String);

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(code: &str) -> Result<Check, UnknownCheck> {
        Check::ALL.iter().copied().find(|check| check.code() == code).ok_or_else(|| UnknownCheck(code.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::Check;

    #[test]
    fn a_check_has_one_name_everywhere() {
        for check in Check::ALL {
            assert_eq!(check.code().parse(), Ok(*check));
            assert_eq!(serde_json::to_value(check).expect("plain"), check.code());
        }
    }
}
