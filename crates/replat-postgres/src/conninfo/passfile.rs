//! Passwords from the pass file: lines of `host:port:database:user:password`.

use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, Place, Secret};

/// A pass file that may be used.
pub(super) struct PassFile {
    text: String,
    /// The directory whose sockets the file calls `localhost`.
    socket_directory: Option<PathBuf>,
}

impl PassFile {
    /// Reads the file, or says in one sentence why it is ignored. A file that is not there says nothing.
    pub(super) fn read(path: &Path, environment: &Environment) -> Result<Option<PassFile>, String> {
        let file = match (environment.read_file)(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("The pass file {} is ignored: {error}.", path.display())),
        };
        if !file.plain {
            return Err(format!(
                "The pass file {} is ignored, because it is not a plain file.",
                path.display()
            ));
        }
        if file.mode & 0o077 != 0 {
            return Err(format!(
                "The pass file {path} is ignored, because others may read it (mode {mode:04o}); run: chmod 0600 {path}",
                path = path.display(),
                mode = file.mode,
            ));
        }
        Ok(Some(PassFile { text: file.text, socket_directory: environment.socket_directory.clone() }))
    }

    /// The password of the first line that fits.
    pub(super) fn password(&self, place: &Place, port: u16, dbname: &str, user: &str) -> Option<Secret> {
        let host = self.host(place);
        let port = port.to_string();
        let wanted = [host.as_str(), &port, dbname, user];
        self.text.lines().filter(|line| !line.starts_with('#')).find_map(|line| password_if(line, wanted))
    }

    /// What the file calls a place.
    fn host(&self, place: &Place) -> String {
        match place {
            Place::Name(name) | Place::Address { name: Some(name), .. } => name.clone(),
            Place::Address { name: None, ip } => ip.to_string(),
            Place::UnixDirectory(path) if Some(path) == self.socket_directory.as_ref() => {
                "localhost".to_owned()
            }
            Place::UnixDirectory(path) => path.to_string_lossy().into_owned(),
        }
    }
}

fn password_if(line: &str, wanted: [&str; 4]) -> Option<Secret> {
    let mut rest = line;
    for want in wanted {
        let (field, after) = split_field(rest)?;
        if field != "*" && unescape(field) != want {
            return None;
        }
        rest = after;
    }
    let password = unescape(split_field(rest).map_or(rest, |(field, _)| field));
    (!password.is_empty()).then(|| Secret::new(password))
}

/// The text before the first `:` that no backslash escapes, and the text behind it.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b':' if !escaped => return Some((&text[..at], &text[at + 1..])),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn unescape(field: &str) -> String {
    let mut chars = field.chars();
    let mut plain = String::with_capacity(field.len());
    while let Some(next) = chars.next() {
        plain.push(if next == '\\' { chars.next().unwrap_or('\\') } else { next });
    }
    plain
}
