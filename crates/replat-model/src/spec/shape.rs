//! Whether a text has the shape of a spec: known keys, right kinds of values, numbers within their limits.
//!
//! The JSON Schema that editors use is the measure here too, so the two cannot disagree, and all that is wrong is
//! found in one walk. What follows from several values together is checked in `check`.

use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::document::{Document, Path};
use super::error::SpecError;
use super::hook::{HookUrl, SecretRef};
use super::nearest::{did_you_mean, quoted};
use super::registry::RegistryUrl;
use super::secret::SecretText;
use super::units::{ByteSize, DurationText, TEXT_KIND};

/// Everything in which `document` differs from what `schema` asks for, in no particular order.
pub(super) fn differences(document: &Document<'_>, schema: &Json) -> Vec<SpecError> {
    let mut walk = Walk { document, root: schema, errors: Vec::new() };
    let top = Place { path: Path::default(), span: None };
    walk.table(schema, document.root(), &top);
    walk.errors
}

struct Walk<'a> {
    document: &'a Document<'a>,
    root: &'a Json,
    errors: Vec<SpecError>,
}

/// A node of the document: its path, and its bytes unless it is the whole text.
struct Place {
    path: Path,
    span: Option<Range<usize>>,
}

impl<'a> Walk<'a> {
    fn refuse(&mut self, place: &Place, message: String, suggestion: Option<String>) {
        let at = place.span.clone().map(|span| self.document.position(span));
        self.errors.push(SpecError { at, path: place.path.to_string(), message, suggestion });
    }

    /// The schema itself, if this one only refers to it.
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.root.pointer(pointer).expect("a schema refers only to its own definitions"),
            None => schema,
        }
    }

    fn value(&mut self, schema: &'a Json, value: &Spanned<DeValue<'_>>, path: Path) {
        let place = Place { path, span: Some(value.span()) };
        let schema = self.resolve(schema);
        if let Some(branches) = schema["anyOf"].as_array() {
            return self.any_of(branches, value, place);
        }
        if let Some(words) = words(schema) {
            return self.word(&words, value, &place);
        }
        match (schema["type"].as_str(), value.get_ref()) {
            (Some("object"), DeValue::Table(table)) => self.table(schema, table, &place),
            (Some("array"), DeValue::Array(list)) => {
                self.length(schema, "minItems", list.len(), &place);
                for (index, item) in list.iter().enumerate() {
                    self.value(&schema["items"], item, place.path.index(index));
                }
            }
            (Some("string"), DeValue::String(text)) => self.text(schema, text, &place),
            (Some("integer"), DeValue::Integer(number)) => self.number(schema, number, &place),
            (Some("boolean"), DeValue::Boolean(_)) => {}
            (_, other) => {
                let message = format!("this must be {}, not {}", wanted(schema), found(other));
                self.refuse(&place, message, None);
            }
        }
    }

    /// Values of several kinds are told apart by their kind.
    fn any_of(&mut self, branches: &'a [Json], value: &Spanned<DeValue<'_>>, place: Place) {
        let branches: Vec<&Json> = branches.iter().map(|branch| self.resolve(branch)).collect();
        match branches.iter().find(|branch| branch["type"] == kind(value.get_ref())) {
            Some(branch) => self.value(branch, value, place.path),
            None => {
                let wanted: Vec<&str> = branches.iter().map(|branch| wanted(branch)).collect();
                let message = format!("this must be {}, not {}", wanted.join(" or "), found(value.get_ref()));
                self.refuse(&place, message, None);
            }
        }
    }

    fn table(&mut self, schema: &'a Json, table: &DeTable<'_>, place: &Place) {
        for (key, value) in table.iter() {
            let at_key = Place { path: place.path.key(key.get_ref().as_ref()), span: Some(key.span()) };
            self.entry(schema, key.get_ref(), value, at_key);
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(required) {
                let meaning = first_sentence(self.property(schema, required));
                self.refuse(place, format!("`{required}` is missing: {meaning}"), None);
            }
        }
    }

    fn entry(&mut self, schema: &'a Json, key: &str, value: &Spanned<DeValue<'_>>, at_key: Place) {
        let names = &schema["additionalProperties"];
        if let Some(property) = schema["properties"].get(key) {
            self.value(property, value, at_key.path);
        } else if !names.is_object() {
            self.unknown_key(schema, key, &at_key);
        } else {
            if key.trim().is_empty() {
                self.refuse(&at_key, "a name must not be empty".into(), None);
            }
            self.value(names, value, at_key.path);
        }
    }

    /// The schema that describes `key`: what it says of itself goes before what its type says.
    fn property(&self, schema: &'a Json, key: &str) -> &'a Json {
        let property = &schema["properties"][key];
        if property["description"].is_string() { property } else { self.resolve(property) }
    }

    /// A key that nobody would read is a mistake that nobody would see.
    fn unknown_key(&mut self, schema: &'a Json, key: &str, place: &Place) {
        let known: Vec<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let message = format!("unknown key {}; allowed here: {}", quoted(key), known.join(", "));
        let suggestion = did_you_mean(key, known).or_else(|| self.elsewhere(key));
        self.refuse(place, message, suggestion);
    }

    /// In TOML a key belongs to the header above it, so a known key is easily written in the wrong table.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let tops = self.root["properties"].as_object()?;
        if tops.contains_key(key) {
            return Some(format!("`{key}` belongs to the top of the file, before the first [table]"));
        }
        let owner = tops.iter().find(|(_, top)| self.resolve(top)["properties"].get(key).is_some());
        owner.map(|(name, _)| format!("`{key}` belongs to [{name}]"))
    }

    fn word(&mut self, words: &[&str], value: &Spanned<DeValue<'_>>, place: &Place) {
        let allowed = words.join(", ");
        match value.get_ref() {
            DeValue::String(text) if words.contains(&text.as_ref()) => {}
            DeValue::String(text) => {
                let message = format!("unknown value {}; allowed here: {allowed}", quoted(text));
                self.refuse(place, message, did_you_mean(text, words.iter().copied()));
            }
            other => self.refuse(place, format!("this must be one of {allowed}, not {}", found(other)), None),
        }
    }

    fn text(&mut self, schema: &Json, text: &str, place: &Place) {
        let problem = match schema[TEXT_KIND].as_str() {
            Some("duration") => {
                text.parse::<DurationText>().err().map(|e| format!("{} is not a duration: {e}", quoted(text)))
            }
            Some("size") => {
                text.parse::<ByteSize>().err().map(|e| format!("{} is not a size: {e}", quoted(text)))
            }
            // The text may be a password, so it is not repeated.
            Some("connection") => {
                SecretText::new(text).source().err().map(|e| format!("this does not say how to connect: {e}"))
            }
            Some("registry") => {
                RegistryUrl::new(text).source().err().map(|e| format!("this names no registry: {e}"))
            }
            Some("hook") => HookUrl::new(text).source().err().map(|e| format!("this names no hook: {e}")),
            Some("secret") => {
                SecretRef::new(text).source().err().map(|e| format!("this names no secret: {e}"))
            }
            _ if schema["minLength"] == 1 && text.trim().is_empty() => {
                Some("this must not be empty".to_owned())
            }
            _ => None,
        };
        if let Some(message) = problem {
            self.refuse(place, message, None);
        }
    }

    fn length(&mut self, schema: &Json, limit: &str, length: usize, place: &Place) {
        if schema[limit].as_u64().is_some_and(|min| (length as u64) < min) {
            self.refuse(place, "this list must not be empty".into(), None);
        }
    }

    fn number(&mut self, schema: &Json, number: &DeInteger<'_>, place: &Place) {
        // What does not even fit here is beyond every limit that a schema can name.
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let (min, max) = limits(schema);
        if let Some(only) = schema["const"].as_i64() {
            if value != Some(only.into()) {
                self.refuse(place, format!("this must be {only}"), None);
            }
        } else if !value.is_some_and(|value| (min..=max).contains(&value)) {
            self.refuse(place, format!("{number} is out of range; allowed here: {min} to {max}"), None);
        }
    }
}

/// The smallest and the largest whole number that `schema` allows.
fn limits(schema: &Json) -> (i128, i128) {
    let (min, max) = match schema["format"].as_str() {
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64") => (0, i64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    };
    let stated = |key: &str| schema[key].as_i64().map(i128::from);
    (
        stated("minimum").map_or(min, |stated| stated.max(min)),
        stated("maximum").map_or(max, |stated| stated.min(max)),
    )
}

/// The words that an enumeration allows; `None` if `schema` is none.
fn words(schema: &Json) -> Option<Vec<&str>> {
    let plain = schema["enum"].as_array().map(|words| words.iter().filter_map(Json::as_str).collect());
    plain.or_else(|| {
        let described = schema["oneOf"].as_array()?;
        Some(described.iter().filter_map(|word| word["const"].as_str()).collect())
    })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wanted(schema: &Json) -> &'static str {
    match (schema[TEXT_KIND].as_str(), schema["type"].as_str()) {
        (Some("duration"), _) => "a duration in quotes, such as \"2s\"",
        (Some("size"), _) => "a size in quotes, such as \"1MiB\"",
        (_, Some("object")) => "a table",
        (_, Some("array")) => "a list",
        (_, Some("integer")) => "a whole number",
        (_, Some("boolean")) => "true or false",
        _ => "text in quotes",
    }
}

fn first_sentence(schema: &Json) -> String {
    let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let text = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
