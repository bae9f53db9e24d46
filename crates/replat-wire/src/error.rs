//! Why bytes are not a message.

/// A message could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of {what}: {problem}")]
pub struct DecodeError {
    /// The kind of message that was being read, such as `Update`.
    pub what: &'static str,
    /// Where reading stopped. Unit: bytes from the start of the message, its tag included.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message ends inside a field.
    #[error("the message ends {missing} bytes too early for its {field}")]
    EndsEarly {
        /// The field that does not fit.
        field: &'static str,
        /// How many bytes more it needs, at least.
        missing: usize,
    },
    /// A text has no terminating zero byte.
    #[error("the {field} has no end")]
    Unterminated {
        /// The field that does not end.
        field: &'static str,
    },
    /// A text is not UTF-8. The session asked for UTF-8, so the bytes are not what they seem.
    #[error("the {field} is not UTF-8")]
    NotUtf8 {
        /// The field that is not text.
        field: &'static str,
    },
    /// A count or length is negative.
    #[error("the {field} is negative ({value})")]
    Negative {
        /// The field that counts.
        field: &'static str,
        /// What it says.
        value: i32,
    },
    /// A tag or flag has a value that the protocol does not define.
    #[error("{value:#04x} is no {field}")]
    Unknown {
        /// The field that has the value.
        field: &'static str,
        /// The value.
        value: u8,
    },
    /// The message belongs to a protocol feature that was not asked for.
    #[error("{message} belongs to {feature}, which is not supported; do not ask for it in START_REPLICATION")]
    Unsupported {
        /// The message's name in PostgreSQL's documentation.
        message: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the end of the message")]
    Trailing {
        /// How many.
        count: usize,
    },
}
