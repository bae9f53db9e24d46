//! The JSON Schema of the spec, for editors and for the parser alike.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value as Json, json};

use super::Spec;

/// The JSON Schema (draft 2020-12) of a spec, with the meaning, unit and default of every key.
///
/// An editor takes it from a first line such as `#:schema replat.schema.json`; [`parse`](super::parse) measures
/// texts by it.
pub fn json_schema() -> Json {
    SCHEMA.clone()
}

/// Made once: it is the same for every text.
pub(super) static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(in_plain_words));
    settings.into_generator().into_root_schema_for::<Spec>().to_value()
});

/// TOML has no null: what is absent is left out.
fn without_null(schema: &mut Schema) {
    if schema.get("default") == Some(&Json::Null) {
        schema.remove("default");
    }
    if let Some(Json::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Json::Array(branches)) = schema.get_mut("anyOf") {
        branches.retain(|branch| *branch != json!({ "type": "null" }));
        if let [only] = branches.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only.as_object().into_iter().flatten() {
                // A key's own description says more than its type's.
                schema.ensure_object().entry(key).or_insert_with(|| value.clone());
            }
        }
    }
}

/// Doc comments are broken into lines and link to items; a description does neither.
fn in_plain_words(schema: &mut Schema) {
    if let Some(Json::String(description)) = schema.get_mut("description") {
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n").replace("[`", "`").replace("`]", "`");
    }
}
