//! A cursor over one message that knows what it is reading and where it stands.

use bytes::{Buf, Bytes};
use replat_model::ids::Lsn;

use crate::{DecodeError, PgTimestamp, Problem};

pub(crate) struct Reader {
    rest: Bytes,
    total: usize,
    what: &'static str,
}

impl Reader {
    pub(crate) fn new(message: Bytes, what: &'static str) -> Reader {
        Reader { total: message.len(), rest: message, what }
    }

    /// Names the message once its tag is known, so that errors say more.
    pub(crate) fn is_now(&mut self, what: &'static str) {
        self.what = what;
    }

    pub(crate) fn problem(&self, problem: Problem) -> DecodeError {
        DecodeError { what: self.what, at: self.total - self.rest.len(), problem }
    }

    pub(crate) fn take(&mut self, count: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        self.need(count, field)?;
        Ok(self.rest.split_to(count))
    }

    fn need(&self, count: usize, field: &'static str) -> Result<(), DecodeError> {
        match count.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(self.problem(Problem::EndsEarly { field, missing })),
        }
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.need(4, field)?;
        Ok(self.rest.get_u32())
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.need(4, field)?;
        Ok(self.rest.get_i32())
    }

    pub(crate) fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.need(8, field)?;
        Ok(Lsn(self.rest.get_u64()))
    }

    pub(crate) fn time(&mut self, field: &'static str) -> Result<PgTimestamp, DecodeError> {
        self.need(8, field)?;
        Ok(PgTimestamp(self.rest.get_i64()))
    }

    /// A count of 16 bits. The error points at the count itself.
    pub(crate) fn count16(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        self.need(2, field)?;
        let value = i16::from_be_bytes([self.rest[0], self.rest[1]]);
        self.not_negative(value.into(), 2, field)
    }

    /// A count or length of 32 bits. The error points at the count itself.
    pub(crate) fn count32(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        self.need(4, field)?;
        let value = i32::from_be_bytes([self.rest[0], self.rest[1], self.rest[2], self.rest[3]]);
        self.not_negative(value, 4, field)
    }

    fn not_negative(&mut self, value: i32, width: usize, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(value).map_err(|_| self.problem(Problem::Negative { field, value }))?;
        self.rest.advance(width);
        Ok(count)
    }

    /// A text that ends with a zero byte.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| self.problem(Problem::Unterminated { field }))?;
        let text = std::str::from_utf8(&self.rest[..end]);
        let text = text.map_err(|_| self.problem(Problem::NotUtf8 { field }))?.to_owned();
        self.rest.advance(end + 1);
        Ok(text)
    }

    /// Everything that is left.
    pub(crate) fn remainder(self) -> Bytes {
        self.rest
    }

    /// Complains about bytes that no field has claimed.
    pub(crate) fn finish<T>(self, message: T) -> Result<T, DecodeError> {
        match self.rest.len() {
            0 => Ok(message),
            count => Err(self.problem(Problem::Trailing { count })),
        }
    }

    /// How many items of at least `width` bytes can still follow: a bound for allocations, so that a message
    /// of ten bytes cannot ask for gigabytes.
    pub(crate) fn at_most(&self, count: usize, width: usize) -> usize {
        count.min(self.rest.len() / width)
    }
}
