//! The two ways to write a connection string, read as libpq reads them.
//!
//! Two things are stricter than in libpq, because there a misread password ends up in a host name and from there
//! in messages and logs: a second `@` before the path, and a port that is not a number, are refused without
//! being shown.

use super::ConnInfoError;

/// Parameters in the order in which they stand in the string.
type Pairs = Vec<(String, String)>;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Reads a connection string into its parameters; which names there are is not looked at.
pub(super) fn parse(text: &str) -> Result<Pairs, ConnInfoError> {
    match SCHEMES.iter().find(|scheme| text.starts_with(**scheme)) {
        Some(scheme) => Uri { text }.parse(scheme.len()),
        None => KeyValue { text, at: 0 }.parse(),
    }
}

/// `text` with everything but unreserved characters written as `%XX`.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn bad(at: usize, problem: &'static str) -> ConnInfoError {
    ConnInfoError::Syntax { at, problem }
}

/// `scheme://user:password@host:port,host:port/dbname?name=value&name=value`, every part optional.
struct Uri<'a> {
    text: &'a str,
}

impl Uri<'_> {
    fn parse(&self, scheme_end: usize) -> Result<Pairs, ConnInfoError> {
        let mut pairs = Pairs::new();
        let hosts_start = self.credentials(scheme_end, &mut pairs)?;
        let hosts_end = self.first_of(hosts_start, &['/', '?']);
        self.hosts(hosts_start, hosts_end, &mut pairs)?;

        let query = self.first_of(hosts_end, &['?']);
        if query > hosts_end + 1 {
            pairs.push(("dbname".to_owned(), self.decode(hosts_end + 1, query)?));
        }
        if query < self.text.len() {
            self.query(query + 1, &mut pairs)?;
        }
        Ok(pairs)
    }

    /// The position of the first of `stops` from `start` on, or the end of the text.
    fn first_of(&self, start: usize, stops: &[char]) -> usize {
        self.text[start..].find(stops).map_or(self.text.len(), |offset| start + offset)
    }

    /// Reads `user:password@` and returns where the hosts begin.
    fn credentials(&self, start: usize, pairs: &mut Pairs) -> Result<usize, ConnInfoError> {
        let at = self.first_of(start, &['@', '/']);
        if !self.text[at..].starts_with('@') {
            return Ok(start);
        }
        let user_end = self.first_of(start, &[':', '@']);
        if user_end > start {
            pairs.push(("user".to_owned(), self.decode(start, user_end)?));
        }
        if user_end < at {
            pairs.push(("password".to_owned(), self.decode(user_end + 1, at)?));
        }
        Ok(at + 1)
    }

    fn hosts(&self, start: usize, end: usize, pairs: &mut Pairs) -> Result<(), ConnInfoError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        let mut at = start;
        for one in self.text[start..end].split(',') {
            let (host, port) = self.host(at, at + one.len())?;
            hosts.push(host);
            ports.push(port);
            at += one.len() + 1;
        }
        for (name, list) in [("host", hosts), ("port", ports)] {
            // A lone empty entry says nothing, and must not stand in the way of a weaker source.
            if list.iter().any(|entry| !entry.is_empty()) {
                pairs.push((name.to_owned(), list.join(",")));
            }
        }
        Ok(())
    }

    /// Reads `host:port` or `[ipv6]:port`.
    fn host(&self, start: usize, end: usize) -> Result<(String, String), ConnInfoError> {
        let text = &self.text[start..end];
        if let Some(extra) = text.find('@') {
            return Err(bad(
                start + extra,
                "a second @ before the path; in a user name or password write it as %40",
            ));
        }
        let (host_start, host_end, after) = match text.strip_prefix('[') {
            Some(inner) => {
                let close =
                    inner.find(']').ok_or_else(|| bad(start, "an IPv6 address without its closing ]"))?;
                (start + 1, start + 1 + close, start + close + 2)
            }
            None => {
                let colon = text.find(':').map_or(end, |offset| start + offset);
                (start, colon, colon)
            }
        };
        let port = match self.text[after..end].strip_prefix(':') {
            Some(_) => self.port(after + 1, end)?,
            None if after == end => String::new(),
            None => return Err(bad(after, "something else than a port follows an IPv6 address")),
        };
        if host_end == host_start && after > start + 1 {
            return Err(bad(start, "an empty IPv6 address"));
        }
        Ok((self.decode(host_start, host_end)?, port))
    }

    fn port(&self, start: usize, end: usize) -> Result<String, ConnInfoError> {
        let port = self.decode(start, end)?;
        match port.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(port),
            false => Err(bad(
                start,
                "a port that is not a number; in a password write / as %2F, : as %3A and @ as %40",
            )),
        }
    }

    fn query(&self, start: usize, pairs: &mut Pairs) -> Result<(), ConnInfoError> {
        let mut at = start;
        for pair in self.text[start..].split('&') {
            // `?` alone, as some programs write it.
            if !(pair.is_empty() && start == self.text.len()) {
                pairs.push(self.pair(at, at + pair.len())?);
            }
            at += pair.len() + 1;
        }
        Ok(())
    }

    fn pair(&self, start: usize, end: usize) -> Result<(String, String), ConnInfoError> {
        let equals = self.text[start..end].find('=').ok_or_else(|| bad(start, "a parameter without ="))?;
        let value_start = start + equals + 1;
        if let Some(extra) = self.text[value_start..end].find('=') {
            return Err(bad(value_start + extra, "a second = in a parameter; in a value write it as %3D"));
        }
        let name = self.decode(start, start + equals)?;
        let value = self.decode(value_start, end)?;
        // The way JDBC says it.
        match (name.as_str(), value.as_str()) {
            ("ssl", "true") => Ok(("sslmode".to_owned(), "require".to_owned())),
            _ => Ok((name, value)),
        }
    }

    fn decode(&self, start: usize, end: usize) -> Result<String, ConnInfoError> {
        let bytes = &self.text.as_bytes()[start..end];
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let (byte, width) = match bytes[at] {
                b'%' => (self.escape(start + at)?, 3),
                byte => (byte, 1),
            };
            decoded.push(byte);
            at += width;
        }
        String::from_utf8(decoded).map_err(|_| bad(start, "percent-encoded bytes that are not UTF-8"))
    }

    /// The byte that the `%XX` at `at` stands for.
    fn escape(&self, at: usize) -> Result<u8, ConnInfoError> {
        let digit = |offset: usize| {
            let byte = self.text.as_bytes().get(at + offset)?;
            char::from(*byte).to_digit(16)
        };
        match (digit(1), digit(2)) {
            (Some(0), Some(0)) => Err(bad(at, "%00, which no parameter can contain")),
            (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
            _ => Err(bad(at, "a % without two hexadecimal digits; a plain % is written %25")),
        }
    }
}

/// `name=value name = 'a value' name='it\'s'`.
struct KeyValue<'a> {
    text: &'a str,
    at: usize,
}

impl KeyValue<'_> {
    fn parse(mut self) -> Result<Pairs, ConnInfoError> {
        let mut pairs = Pairs::new();
        self.skip_space();
        while self.peek().is_some() {
            let name = self.name()?;
            let value = match self.peek() {
                Some('\'') => self.quoted()?,
                _ => self.plain(),
            };
            pairs.push((name, value));
            self.skip_space();
        }
        Ok(pairs)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.bump();
        }
    }

    /// Reads a name and its `=`, and the space around them.
    fn name(&mut self) -> Result<String, ConnInfoError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c != '=' && !is_space(c)) {
            self.bump();
        }
        let name = self.text[start..self.at].to_owned();
        self.skip_space();
        match self.bump() {
            Some('=') => {
                self.skip_space();
                Ok(name)
            }
            _ => Err(bad(start, "a word without =; expected postgres://… or name=value")),
        }
    }

    fn plain(&mut self) -> String {
        let mut value = String::new();
        while let Some(next) = self.peek().filter(|c| !is_space(*c)) {
            self.bump();
            match next {
                // A backslash at the very end stands for nothing, as in libpq.
                '\\' => value.extend(self.bump()),
                other => value.push(other),
            }
        }
        value
    }

    fn quoted(&mut self) -> Result<String, ConnInfoError> {
        let start = self.at;
        self.bump();
        let mut value = String::new();
        while let Some(next) = self.bump() {
            match next {
                '\'' => return Ok(value),
                '\\' => value.extend(self.bump()),
                other => value.push(other),
            }
        }
        Err(bad(start, "a quoted value without its closing quote"))
    }
}

/// What C's `isspace` takes for a space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}
