//! Lines of the server's log, as JSON or as CSV, from pieces of a file.

use serde::Deserialize;

use super::secret::{day, days};

/// The longest record. Unit: bytes. A longer one is passed over.
const RECORD_MAX: usize = 4 << 20;

/// The form of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `jsonlog`, from release 15 on.
    Json,
    /// `csvlog`.
    Csv,
}

impl Form {
    /// The form of a file that begins so.
    pub fn of(beginning: &[u8]) -> Form {
        match beginning.first() {
            Some(b'{') => Form::Json,
            _ => Form::Csv,
        }
    }
}

/// What is read of a record.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When, by the server's clock and in its time zone for logs.
    pub timestamp: String,
    /// The database.
    pub dbname: String,
    /// The process.
    pub pid: i64,
    /// The virtual transaction, such as `3/147`; `3/0` outside of any.
    pub vxid: String,
    /// The transaction; 0 before its first write.
    pub txid: u64,
    /// LOG, ERROR and so on.
    pub error_severity: String,
    /// What is said.
    pub message: String,
    /// More of it: the parameters.
    pub detail: String,
    /// What the session is called.
    pub application_name: String,
    /// The statement's identifier; 0 if the server does not compute it.
    pub query_id: i64,
}

impl Record {
    /// When. Unit: seconds, as if the time zone of the log was UTC.
    pub fn local_seconds(&self) -> Option<f64> {
        let (year, month, day) = day(&self.timestamp)?;
        let (_, clock) = self.timestamp.split_once(' ')?;
        let clock = clock.split(' ').next()?;
        let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
        let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
        Some(days(year, month, day) as f64 * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds)
    }

    fn of_json(line: &[u8]) -> Option<Record> {
        serde_json::from_slice(line).ok()
    }

    fn of_csv(fields: &[String]) -> Option<Record> {
        let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
        (fields.len() >= 23).then(|| Record {
            timestamp: field(0),
            dbname: field(2),
            pid: number(3).unwrap_or_default(),
            vxid: field(9),
            txid: fields[10].parse().unwrap_or_default(),
            error_severity: field(11),
            message: field(13),
            detail: field(14),
            application_name: field(22),
            query_id: number(25).unwrap_or_default(),
        })
    }
}

/// Pieces of a file to records.
#[derive(Debug)]
pub struct Records {
    form: Form,
    rest: Vec<u8>,
    /// How much of the rest is known to hold no end of a record, and whether it ends within quotes.
    looked: usize,
    quoted: bool,
    /// The present record is too long; the rest of it is passed over.
    skipping: bool,
    /// Records that were passed over.
    pub passed_over: u64,
}

impl Records {
    /// From the beginning of a record on.
    pub fn new(form: Form) -> Records {
        Records { form, rest: Vec::new(), looked: 0, quoted: false, skipping: false, passed_over: 0 }
    }

    /// Takes a piece; the records that end in it.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.end() {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            (self.looked, self.quoted) = (0, false);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let record = match self.form {
                Form::Json => Record::of_json(&line),
                Form::Csv => Record::of_csv(&fields(&line)),
            };
            match record {
                Some(record) => records.push(record),
                None => self.passed_over += 1,
            }
        }
        if self.rest.len() > RECORD_MAX {
            self.passed_over += u64::from(!std::mem::replace(&mut self.skipping, true));
            self.rest.clear();
            self.looked = 0;
        }
        records
    }

    fn end(&mut self) -> Option<usize> {
        let found = self.rest[self.looked..].iter().position(|byte| {
            if self.form == Form::Csv && *byte == b'"' {
                self.quoted = !self.quoted;
            }
            *byte == b'\n' && !self.quoted
        });
        match found {
            Some(at) => Some(self.looked + at),
            None => {
                self.looked = self.rest.len();
                None
            }
        }
    }
}

/// The fields of a record of CSV.
fn fields(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().expect("there is one").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is one").push(c),
        }
    }
    fields
}

/// The statement that a message tells of, if it is one that ran: its text.
pub fn executed(message: &str) -> Option<&str> {
    let told = match message.strip_prefix("duration: ") {
        Some(rest) => rest.split_once(" ms  ")?.1,
        None => message,
    };
    if let Some(text) = told.strip_prefix("statement: ") {
        return Some(text);
    }
    // A name of a prepared statement may have a colon in it; the text behind is not understood then.
    let (_, text) = told.strip_prefix("execute ")?.split_once(": ")?;
    Some(text)
}

/// The parameters that a detail tells of, in order, as text; `None` within for NULL. `None` if it tells of none, or of
/// some only in part.
pub fn parameters(detail: &str) -> Option<Vec<Option<String>>> {
    let (title, mut rest) = detail.split_once(": ")?;
    if !title.eq_ignore_ascii_case("parameters") {
        return None;
    }
    let mut values = Vec::new();
    loop {
        rest = rest.strip_prefix(&format!("${} = ", values.len() + 1))?;
        if let Some(behind) = rest.strip_prefix("NULL") {
            values.push(None);
            rest = behind;
        } else {
            let (value, behind) = quoted(rest.strip_prefix('\'')?)?;
            values.push(Some(value));
            rest = behind;
        }
        if rest.is_empty() {
            return Some(values);
        }
        rest = rest.strip_prefix(", ")?;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('\'')?;
        value += before;
        match behind.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: &str = "2026-01-02 03:04:05.678 UTC,\"app\",\"shop\",77,\"127.0.0.1:1\",6789.4d,3,\"SELECT\",\
        2026-01-02 03:04:00 UTC,3/147,801,LOG,00000,\"duration: 0.1 ms  execute <unnamed>: select \"\"a\"\"\nfrom t\",\
        \"parameters: $1 = 'it''s'\",,,,,,,,\"web\",\"client backend\",,-42\n";
    const JSON: &str = "{\"timestamp\":\"2026-01-02 03:04:05.678 UTC\",\"user\":\"app\",\"dbname\":\"shop\",\"pid\":77,\
        \"vxid\":\"3/147\",\"txid\":801,\"error_severity\":\"LOG\",\
        \"message\":\"duration: 0.1 ms  execute <unnamed>: select \\\"a\\\"\\nfrom t\",\
        \"detail\":\"parameters: $1 = 'it''s'\",\"application_name\":\"web\",\"query_id\":-42}\n";

    #[test]
    fn both_forms_say_the_same() {
        let read = |form, text: &str| Records::new(form).take(text.as_bytes());
        let (csv, json) = (read(Form::Csv, CSV), read(Form::Json, JSON));
        assert_eq!(csv, json);
        assert_eq!(csv.len(), 1);
        assert_eq!(executed(&csv[0].message), Some("select \"a\"\nfrom t"));
        assert_eq!(csv[0].local_seconds(), Some(1_767_323_045.678));
        assert_eq!(Form::of(JSON.as_bytes()), Form::Json);
        assert_eq!(Form::of(CSV.as_bytes()), Form::Csv);
    }

    #[test]
    fn what_ran_is_told_from_what_did_not() {
        let rows = [
            ("duration: 1.5 ms  statement: select 1", Some("select 1")),
            ("statement: select 1", Some("select 1")),
            ("duration: 1.5 ms  execute s1: select $1", Some("select $1")),
            ("execute <unnamed>/c: select $1", Some("select $1")),
            ("duration: 1.5 ms  parse s1: select $1", None),
            ("duration: 1.5 ms  bind s1: select $1", None),
            ("duration: 1.5 ms", None),
            ("connection received", None),
        ];
        for (message, want) in rows {
            assert_eq!(executed(message), want, "{message}");
        }
    }

    #[test]
    fn parameters_are_whole_or_none() {
        let some =
            |values: &[Option<&str>]| Some(values.iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>());
        let rows = [
            ("parameters: $1 = '42', $2 = NULL", some(&[Some("42"), None])),
            ("Parameters: $1 = 'a, $2 = ''b'''", some(&[Some("a, $2 = 'b'")])),
            ("parameters: $1 = 'abc", None),
            ("parameters: $2 = 'abc'", None),
            ("prepare: PREPARE x AS select 1", None),
            ("", None),
        ];
        for (detail, want) in rows {
            assert_eq!(parameters(detail), want, "{detail}");
        }
    }

    #[test]
    fn a_record_too_long_is_passed_over_and_the_next_is_read() {
        let mut records = Records::new(Form::Json);
        let long = format!("{{\"message\":\"{}\"}}\n", "x".repeat(2 * RECORD_MAX));
        for piece in long.as_bytes().chunks(1 << 16) {
            assert!(records.take(piece).is_empty());
        }
        assert_eq!(records.take(JSON.as_bytes()).len(), 1);
        assert_eq!(records.passed_over, 1);
    }

    proptest! {
        #[test]
        fn pieces_of_any_length_are_the_same_records(cut in 1_usize..40, csv in any::<bool>()) {
            let (form, text) = if csv { (Form::Csv, CSV.repeat(3)) } else { (Form::Json, JSON.repeat(3)) };
            let mut records = Records::new(form);
            let read: usize = text.as_bytes().chunks(cut).map(|piece| records.take(piece).len()).sum();
            prop_assert_eq!(read, 3);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), csv in any::<bool>()) {
            let mut records = Records::new(if csv { Form::Csv } else { Form::Json });
            for record in records.take(&bytes) {
                drop((record.local_seconds(), executed(&record.message).map(str::len), parameters(&record.detail)));
            }
            let text = String::from_utf8_lossy(&bytes);
            drop((executed(&text).map(str::len), parameters(&text)));
        }

        #[test]
        fn values_are_read_as_they_were_written(values in proptest::collection::vec(proptest::option::of("\\PC{0,12}"), 1..5)) {
            let shown: Vec<String> = values.iter().enumerate().map(|(n, value)| match value {
                Some(value) => format!("${} = '{}'", n + 1, value.replace('\'', "''")),
                None => format!("${} = NULL", n + 1),
            }).collect();
            prop_assert_eq!(parameters(&format!("parameters: {}", shown.join(", "))), Some(values));
        }
    }
}
