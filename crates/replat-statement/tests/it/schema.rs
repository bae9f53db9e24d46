//! The tables that the tests' statements name.

use replat_model::key::KeyType;
use replat_model::map::Dimension;
use replat_statement::{Keys, TableName, Tables};

pub fn dimension(column: &str, key_type: KeyType) -> Dimension {
    Dimension { column: column.into(), key_type }
}

/// `crm` has a whole number as its key, `log` a text and a day, `doc` a UUID, `metric` a moment.
pub fn tables() -> Tables {
    let public = |name| TableName::new("public", name);
    Tables::new(["public", "extra"])
        .with_context("crm", &[dimension("tenant_id", KeyType::BigInt)])
        .with_partitioned(public("orders"))
        .with_partitioned(public("customers"))
        .with_partitioned(TableName::new("app", "invoices"))
        .with_partitioned_by(public("tenants"), &["id"])
        .with_partitioned_by(public("Mixed Case"), &["TenantId"])
        .with_partitioned(TableName::new("extra", "notes"))
        .with_context("log", &[dimension("tenant", KeyType::Text), dimension("day", KeyType::Date)])
        .with_partitioned(public("events"))
        .with_partitioned(public("visits"))
        .with_context("doc", &[dimension("owner", KeyType::Uuid)])
        .with_partitioned(public("docs"))
        .with_context("metric", &[dimension("at", KeyType::TimestampTz)])
        .with_partitioned(public("metrics"))
        .with_reference(public("countries"))
        .with_other(public("order_totals"))
}

/// Keys on one line.
pub fn shown(keys: &Keys) -> String {
    match keys {
        Keys::Exact { context, keys } => {
            let keys =
                keys.iter().map(|key| key.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
            format!("{context} {}", keys.collect::<Vec<_>>().join(" | "))
        }
        Keys::Partial { context, values } => {
            let values = values.iter().map(|values| match values {
                Some(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
                None => "any".into(),
            });
            format!("part of {context} {}", values.collect::<Vec<_>>().join(","))
        }
        Keys::Reference => "reference".into(),
        Keys::Unknown(why) => format!("? {why}"),
        Keys::NotData => "-".into(),
    }
}
