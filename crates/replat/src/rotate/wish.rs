//! From arguments to what a run is to do.

use std::time::Duration;

use replat_control::rotate::Settings;
use replat_control::rotate::report::Reason;
use replat_engine::lifecycle::{Look, Retiring};
use replat_model::lifecycle::breaker::BreakerLimits;
use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::patience::Budgets;
use replat_model::lifecycle::plan::Kind;
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle, Retire};
use replat_model::spec::DurationText;

use crate::cli::{Care, Run, Wanted};
use crate::failure::{Exit, Failure};

/// How many old partitions of a level are asked whether they may go, beyond those that one run retires.
const ASKED_BEYOND: u32 = 2;

/// What a run over `lifecycles` is to do.
pub fn settings(run: &Run, lifecycles: &[(String, Lifecycle)], dry_run: bool) -> Result<Settings, Failure> {
    let overrides = overrides(&run.wanted, &run.reach.tables)?;
    // The first of two lifecycles that are about a table is the one that counts, and so are its levels; what the
    // command line says of them goes there, and not over them.
    let overrides =
        if lifecycles.is_empty() { overrides } else { Lifecycle { levels: Vec::new(), ..overrides } };
    let lifecycles: Vec<(String, Lifecycle)> =
        lifecycles.iter().map(|(name, lifecycle)| (name.clone(), recut(lifecycle, &run.wanted))).collect();
    let wish = Wish { lifecycles, overrides, allow: run.switches.allow(), ..Wish::default() };
    Ok(Settings {
        run: replat_control::rotate::name(jiff::Timestamp::now().as_microsecond()),
        reason: Reason::Call,
        look: look(&wish, &run.reach.tables),
        budgets: budgets(&run.care),
        breaker: breaker(&run.care),
        patience: run.care.patience.map_or(Duration::from_secs(60), DurationText::as_duration),
        runway_min: run.reports.runway_min.map(DurationText::as_duration),
        // A run that was asked to explain itself, or to show something, looks.
        quick: !run.reports.explain && run.reach.tables.is_empty(),
        dry_run,
        wish,
    })
}

/// What the command line wants of every table that it is about.
fn overrides(wanted: &Wanted, tables: &[String]) -> Result<Lifecycle, Failure> {
    let usage = |what: &str, remedy: &str| Failure::new("RP2006", Exit::Usage, what).remedy(remedy);
    if wanted.retire == Some(crate::cli::RetireWord::Archive) && wanted.archive.is_none() {
        return Err(usage("--retire archive does not say where to", "Name the folder: --archive DIR"));
    }
    if wanted.max_retire == Some(0) {
        return Err(usage("--max-retire 0 retires nothing", "Say so by its switch: --no-retire"));
    }
    let ahead = wanted.buffer_days.map(days_text).transpose()?;
    let asks = wanted.keep.is_some()
        || wanted.retire.is_some()
        || wanted.archive.is_some()
        || wanted.drop_after.is_some()
        || wanted.max_retire.is_some();
    let retire = asks.then(|| Retire {
        keep: wanted.keep,
        how: wanted.retire.map(Into::into).unwrap_or_default(),
        archive: wanted.archive.clone(),
        drop_after: wanted.drop_after,
        max_per_run: wanted.max_retire,
        ..Retire::default()
    });
    Ok(Lifecycle {
        tables: tables.to_vec(),
        levels: cut(wanted).into_iter().collect(),
        ahead,
        ahead_count: wanted.ahead,
        until: wanted.until.clone(),
        forecast: wanted.no_forecast.then_some(false),
        overflow: wanted.overflow.map(Into::into),
        adopt: wanted.adopt.then_some(true),
        retire,
        ..Lifecycle::default()
    })
}

fn days_text(days: u32) -> Result<DurationText, Failure> {
    format!("{days}d").parse().map_err(|e| {
        Failure::new("RP2006", Exit::Usage, format!("--buffer-days {days}: {e}"))
            .remedy("Write a number of days, such as 30.")
    })
}

/// What the command line says of the outermost level, whatever its column.
fn cut(wanted: &Wanted) -> Option<LevelPolicy> {
    (wanted.interval.is_some() || wanted.zone.is_some()).then(|| LevelPolicy {
        column: "*".into(),
        by: Cut::Range,
        interval: wanted.interval.clone(),
        origin: None,
        zone: wanted.zone.clone(),
        encoding: None,
        snowflake: None,
        modulus: None,
        values: Vec::new(),
        grow: None,
    })
}

/// A lifecycle of the spec whose levels the command line says something of: theirs is the column, its the interval.
fn recut(lifecycle: &Lifecycle, wanted: &Wanted) -> Lifecycle {
    let mut lifecycle = lifecycle.clone();
    if let Some(level) = lifecycle.levels.iter_mut().find(|level| level.by == Cut::Range) {
        level.interval = wanted.interval.clone().or(level.interval.take());
        level.zone = wanted.zone.clone().or(level.zone.take());
    } else if lifecycle.levels.is_empty() {
        lifecycle.levels = cut(wanted).into_iter().collect();
    }
    lifecycle
}

/// What has to be looked at for the wish.
pub fn look(wish: &Wish, tables: &[String]) -> Look {
    let all: Vec<&Lifecycle> = wish.lifecycles.iter().map(|(_, l)| l).chain([&wish.overrides]).collect();
    let sized = |l: &&Lifecycle| {
        l.partition_size.is_some()
            || l.quota.is_some()
            || l.retire.as_ref().is_some_and(|r| r.keep_bytes.is_some())
    };
    // Even without conditions it is to be known whether rows of other tables refer to what is retired.
    let asked = |l: &&&Lifecycle| l.retire.is_some();
    let retiring = |l: &&Lifecycle| {
        let retire = l.retire.clone().unwrap_or_default();
        let oldest = retire.max_per_run.unwrap_or(3).saturating_add(ASKED_BEYOND);
        let tables = l.tables.clone();
        Retiring { tables, when: retire.when, legal_hold: retire.legal_hold, oldest }
    };
    let retires = wish.allow.contains(&Kind::Retire);
    Look {
        // With lifecycles, what none of them is about need not be looked at.
        tables: match (tables.is_empty(), wish.lifecycles.is_empty()) {
            (false, _) | (true, true) => tables.to_vec(),
            (true, false) => wish.lifecycles.iter().flat_map(|(_, l)| l.tables.clone()).collect(),
        },
        sizes: all.iter().any(sized),
        indexes: wish.allow.contains(&Kind::Align),
        retiring: if retires { all.iter().filter(asked).map(retiring).collect() } else { Vec::new() },
        ..Look::default()
    }
}

fn budgets(care: &Care) -> Budgets {
    let shipped = Budgets::default();
    let span = |given: Option<DurationText>, shipped| given.map_or(shipped, DurationText::as_duration);
    let per_table = span(care.stall_table, shipped.per_table);
    Budgets {
        each: span(care.stall_each, shipped.each),
        per_table,
        // A table that others refer to is shared by all of them: it never bears more than one of them may.
        per_referenced: shipped.per_referenced.min(per_table),
        per_run: span(care.stall_run, shipped.per_run),
    }
}

fn breaker(care: &Care) -> BreakerLimits {
    let shipped = BreakerLimits::default();
    BreakerLimits {
        // An ordinary role may not see how far a replica is behind. Inserts that find no partition are worse than a replica
        // that lags, so only who asks for a bound is kept from working by one that cannot be checked.
        replica_unknown_ok: care.max_lag.is_none(),
        replica_lag: care.max_lag.map_or(shipped.replica_lag, DurationText::as_duration),
        transaction_age: care.max_transaction.map(DurationText::as_duration).or(shipped.transaction_age),
        ..shipped
    }
}
