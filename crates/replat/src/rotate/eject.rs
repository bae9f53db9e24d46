//! `eject`: the plain SQL to live without replat.
//!
//! What is printed can be run by hand, by cron with psql, or by whatever comes after: the partitions of the time to
//! come, what is due, and how replat's own records are removed. Nothing is changed by printing it.

use replat_control::rotate::Rotation;
use replat_engine::lifecycle::Script;
use replat_model::lifecycle::facts::{Facts, LooseState};
use replat_model::lifecycle::plan::Unit;
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
            wanted: Wanted { buffer_days: Some(args.days), ..Wanted::default() },
            switches: Switches { only: vec![KindWord::Create], ..Switches::default() },
            ..Run::default()
        };
        let settings = wish::settings(&run, &place.lifecycles, true)?;
        let engines = engines(place, 1).await?;
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
         -- 1. Partitions for the next {days} days. Run it with psql, once; or keep it as FILE and run it from cron:\n\
         --      0 3 1 * *  psql --no-psqlrc --set ON_ERROR_STOP=1 --file FILE \"$DB_URL\"\n\
         --    NOWAIT and lock_timeout are there so that nobody waits behind it; run it again where it fails of them.\n",
        render::rotate::word(name)
    );
    if scripts.is_empty() {
        text += "--    They are all there already.\n";
    }
    for (unit, script) in scripts {
        text += "\n";
        text += &sql(unit, script);
    }
    let kept = facts.loose.iter().filter(|l| l.state == LooseState::Detached);
    let kept: Vec<String> = kept.map(|l| l.table.to_string()).collect();
    text += "\n-- 2. Retired tables that are kept; drop them when you no longer want them.\n";
    for table in &kept {
        text += &format!("--    {}\n", render::rotate::word(table));
    }
    if kept.is_empty() {
        text += "--    There are none.\n";
    }
    text += "\n-- 3. replat's own records. The partitions stay as they are.\n";
    if removal.is_empty() {
        text += "--    There are none.\n";
    }
    for statement in removal {
        text += &format!("{statement};\n");
    }
    text
}

/// A unit as plain SQL: what only concerns replat's records is left out.
fn sql(unit: &Unit, script: &Script) -> String {
    let mut text = format!("-- {}\n", render::rotate::work(unit));
    for transaction in &script.transactions {
        let statements: Vec<&str> =
            transaction.statements.iter().filter(|s| !s.records).map(|s| s.sql.trim_end()).collect();
        if statements.is_empty() {
            continue;
        }
        let lone = transaction.alone
            || statements.first().is_some_and(|s| s.to_ascii_uppercase().starts_with("BEGIN"));
        if !lone {
            text += "BEGIN;\n";
        }
        for statement in statements {
            text += statement.trim_end_matches(';');
            text += ";\n";
        }
        if !lone {
            text += "COMMIT;\n";
        }
    }
    text
}
