//! `eject`: the plain SQL to live without replat.
//!
//! What is printed can be run by hand, by cron with psql, or by whatever comes after: the partitions of the time to
//! come, what is due, and how replat's own records are removed. Nothing is changed by printing it.

use replat_control::rotate::Rotation;
use replat_engine::lifecycle::Script;
use replat_model::lifecycle::facts::{Facts, LooseState};
use replat_model::lifecycle::plan::{Kind, Unit, Work};
use replat_postgres::lifecycle::ledger::quoted;
use replat_postgres::sql::quote_literal;
use serde_json::json;

use super::engines::{engines, records};
use super::reach::places;
use super::{failed, teller, wish};
use crate::cli::{EjectArgs, Global, KindWord, Run, Switches, Wanted};
use crate::failure::{Exit, Failure};
use crate::render::{self, Style};

/// `eject`.
pub async fn eject(global: &Global, style: Style, args: &EjectArgs) -> Result<Exit, Failure> {
    let mut text = String::new();
    let mut values = Vec::new();
    for place in &places(global, &args.reach, true)? {
        let run = Run {
            reach: args.reach.clone(),
            wanted: Wanted { buffer_days: Some(args.days), no_forecast: true, ..Wanted::default() },
            switches: Switches {
                only: vec![KindWord::Create, KindWord::Retire, KindWord::Drop],
                ..Switches::default()
            },
            ..Run::default()
        };
        let settings = wish::settings(&run, &place.lifecycles, true)?;
        let engines = engines(place, &settings, 1);
        let rotation = Rotation { engines: &engines, settings: &settings, heard: &teller::Mute };
        let drafted = rotation.draft().await.map_err(failed)?;
        let mut scripts = Vec::new();
        for unit in &drafted.plan.units {
            scripts.push((unit.clone(), engines[0].script(unit).await.map_err(failed)?));
        }
        let removal = records(place).await?;
        let sql = page(&place.name, args.days, &drafted.facts, &scripts, &removal);
        values.push(json!({
            "database": place.name,
            "sql": sql,
            "understood": drafted.plan.understood,
            "findings": drafted.plan.findings,
        }));
        text += &sql;
        for finding in &drafted.plan.findings {
            style.remark(&render::rotate::finding(finding));
        }
    }
    style.result(&text, &json!({ "kind": "Eject", "databases": values }));
    Ok(Exit::Done)
}

fn page(name: &str, days: u32, facts: &Facts, scripts: &[(Unit, Script)], removal: &[String]) -> String {
    let mut text = format!(
        "-- {} without replat. Printed only; nothing was changed.\n\
         --\n\
         -- Run it with psql:\n\
         --   psql --no-psqlrc --set ON_ERROR_STOP=1 --file FILE \"$DB_URL\"\n\
         -- NOWAIT and lock_timeout are there so that nobody waits behind it. Where it fails of them, run it again: what\n\
         -- is there already is passed over.\n\
         \\set ON_ERROR_STOP on\n\
         SET search_path = pg_catalog; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';\n\
         SET lock_timeout = '50ms'; SET client_min_messages = warning;\n\
         \n\
         -- 1. Partitions for the next {days} days.\n",
        render::rotate::word(name)
    );
    let (making, parting): (Vec<_>, Vec<_>) =
        scripts.iter().partition(|(unit, _)| unit.work.kind() == Kind::Create);
    for (unit, script) in &making {
        text += "\n";
        text += &sql(unit, script);
    }
    if making.is_empty() {
        text += "--    They are all there already.\n";
    }
    text += "\n-- 2. What is due now. Remove the dashes of what you want.\n";
    for (unit, script) in &parting {
        let commented: Vec<String> = sql(unit, script).lines().map(|line| format!("-- {line}\n")).collect();
        text += &commented.concat();
    }
    if parting.is_empty() {
        text += "--    Nothing.\n";
    }
    let kept = facts.loose.iter().filter(|l| matches!(l.state, LooseState::Detached | LooseState::Replaced));
    let kept: Vec<String> = kept.map(|l| format!("DROP TABLE {}", quoted(&l.table))).collect();
    text += "\n-- 3. Retired tables that are kept. Remove the dashes when you no longer want them.\n";
    for statement in &kept {
        text += &format!("-- {};\n", one_line(statement));
    }
    if kept.is_empty() {
        text += "--    There are none.\n";
    }
    text += "\n-- 4. replat's own records. The partitions stay as they are.\n";
    if removal.is_empty() {
        text += "--    There are none.\n";
    } else {
        text += &format!("BEGIN;\n{};\nCOMMIT;\n", removal.join(";\n"));
    }
    text
}

/// A unit as plain SQL: what only concerns replat's records is left out.
///
/// New partitions are made in one transaction that is passed over if they are there; only a default partition that
/// has to prove by its rows that it is in nobody's way needs several.
fn sql(unit: &Unit, script: &Script) -> String {
    let transactions: Vec<(bool, Vec<String>)> = script
        .transactions
        .iter()
        .map(|transaction| {
            let statements = transaction.statements.iter().filter(|s| !s.records);
            (transaction.alone, statements.map(|s| line(&s.sql)).collect::<Vec<_>>())
        })
        .filter(|(_, statements)| !statements.is_empty())
        .collect();
    let together = transactions.len() == 2 && transactions.iter().all(|(alone, _)| !alone);
    let mut text = format!("-- {}\n", one_line(&render::rotate::work(unit)));
    let last = match &unit.work {
        Work::Create { parts, .. } => parts.last(),
        _ => None,
    };
    if let Some(last) = last {
        text += &format!(
            "SELECT pg_catalog.to_regclass({}) IS NULL AS missing \\gset\n\\if :missing\n",
            quote_literal(&quoted(&last.table))
        );
    }
    if together && last.is_some() {
        let all: String = transactions.into_iter().flat_map(|(_, statements)| statements).collect();
        text += &format!("BEGIN;\n{all}COMMIT;\n");
    } else {
        for (alone, statements) in transactions {
            let all = statements.concat();
            text += &if alone { all } else { format!("BEGIN;\n{all}COMMIT;\n") };
        }
    }
    if last.is_some() {
        text += "\\endif\n";
    }
    text
}

/// A statement with its end. One whose answer psql keeps has its own.
fn line(statement: &str) -> String {
    let statement = statement.trim().trim_end_matches(';');
    if statement.ends_with("\\gset") { format!("{statement}\n") } else { format!("{statement};\n") }
}

/// On one line, for a remark: what follows a line's end would be run.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
