//! What went wrong, for a person and for a program: a code, the state of the traffic, a remedy, an exit code.

use replat_control::ControlError;
use replat_engine::{EngineError, LogError, Verdict};
use serde::Serialize;

/// Exit codes by class: below 10 the caller's fault, 1x decided and safe, 2x try again, 3x a person is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A bug.
    Internal = 1,
    /// Wrong usage.
    Usage = 2,
    /// Spec, configuration or plan invalid or stale.
    Invalid = 3,
    /// A precondition is missing.
    Precondition = 4,
    /// There is something to do, and it was asked to say so.
    Changes = 10,
    /// The sides differ; the traffic was not touched.
    Different = 11,
    /// A switch was undone.
    Undone = 12,
    /// A person did not agree.
    NotApproved = 13,
    /// There are warnings, and it was asked to say so.
    Warnings = 14,
    /// Temporary.
    Temporary = 20,
    /// Somebody else has it.
    Busy = 21,
    /// A breaker, a budget or a quota stands back.
    Throttled = 22,
    /// A person is needed now.
    Person = 30,
    /// Broken off from the keyboard.
    Interrupted = 130,
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// A stable code that `replat explain` takes.
    pub code: &'static str,
    /// What went wrong, in one line.
    pub what: Box<str>,
    /// The chain of causes, or a list of findings.
    pub because: Vec<String>,
    /// The findings as a list of values, where they have more to say to a program than a line, such as a position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<serde_json::Value>>,
    /// Where the traffic is and whose rows are safe.
    pub state: String,
    /// What to do, in order.
    pub remedy: Vec<String>,
    /// The exit code.
    #[serde(serialize_with = "exit_number")]
    pub exit: Exit,
}

fn exit_number<S: serde::Serializer>(exit: &Exit, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u8(*exit as u8)
}

/// What holds when nothing was begun.
pub const UNTOUCHED: &str = "SAFE: nothing was changed.";

impl Failure {
    /// A failure before anything was changed.
    pub fn new(code: &'static str, exit: Exit, what: impl Into<Box<str>>) -> Failure {
        Failure {
            code,
            what: what.into(),
            because: Vec::new(),
            details: None,
            state: UNTOUCHED.into(),
            remedy: Vec::new(),
            exit,
        }
    }

    /// With causes.
    #[must_use]
    pub fn because(mut self, causes: impl IntoIterator<Item = impl Into<String>>) -> Failure {
        self.because.extend(causes.into_iter().map(Into::into));
        self
    }

    /// With findings as values.
    #[must_use]
    pub fn details(mut self, details: &impl Serialize) -> Failure {
        self.details = serde_json::to_value(details).ok().map(Box::new);
        self
    }

    /// With a remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy.push(remedy.into());
        self
    }

    /// With the state of the traffic.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Failure {
        self.state = state.into();
        self
    }
}

/// The causes below an error, outermost first.
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Failure {
        let exit = match (error.code(), error.verdict()) {
            ("RP4001", _) => Exit::Person,
            ("RP4002", _) => Exit::Different,
            (_, Verdict::TryAgain) => Exit::Temporary,
            (_, Verdict::StandDown) => Exit::Busy,
            (_, Verdict::AskAPerson) => Exit::Precondition,
        };
        Failure::new(error.code(), exit, error.to_string()).because(causes(error)).remedy(error.remedy())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::from(&error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        let (code, exit, remedy) = match &error {
            LogError::Conflict { .. } => ("RP6001", Exit::Busy, "Try again.".to_owned()),
            LogError::OutOfPlace { .. } => {
                ("RP5002", Exit::Invalid, "See where it is: replat deploy get".to_owned())
            }
            LogError::Busy { by, .. } => (
                "RP6002",
                Exit::Busy,
                format!("Look after that one: replat deploy get {by}; finish or abort it first."),
            ),
            LogError::NoSuch(_) => ("RP2006", Exit::Invalid, "See: replat deploy list".to_owned()),
            LogError::Stale { .. } => ("RP2003", Exit::Invalid, "Plan again.".to_owned()),
            LogError::NoMap(_) => {
                ("RP2006", Exit::Invalid, "Publish it first, or deploy a partition of it.".to_owned())
            }
            LogError::Routes { context, .. } => (
                "RP2001",
                Exit::Invalid,
                format!("Describe every database that holds partitions of {context} in the spec."),
            ),
            LogError::Store { path, .. } => {
                ("RP6003", Exit::Person, format!("Check that {path} can be read and written."))
            }
        };
        Failure::new(code, exit, error.to_string()).because(causes(&error)).remedy(remedy)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::Log(error) => error.into(),
            ControlError::OutOfPlace(error) => Failure::new("RP6004", Exit::Person, error.to_string())
                .state("UNKNOWN: the databases still refuse what is not allowed; no router is asked to move.")
                .remedy("Restore the control store from its newest backup."),
        }
    }
}
