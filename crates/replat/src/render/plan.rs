//! Plans, and what can be said before there is one.

use replat_model::compatibility::{Compatibility, Fitness};
use replat_model::ids::Side;
use replat_model::plan::{Hazard, Path, Plan, Reversibility, TablePlan, ViewPlan};
use replat_model::spec::SwitchMode;

use super::prediction::prediction;
use super::{bytes, count};
use crate::planning::{self, Outlook, PlanFile};

/// A plan for people.
pub fn plan(file: &PlanFile, detail: bool) -> String {
    let p = &file.plan;
    let mut t = format!(
        "Plan {}  {}/{}  {} -> {}  epoch {}\n",
        &file.digest[..12],
        p.context,
        p.partition,
        p.blue.home,
        p.green.home,
        p.epoch
    );
    let mut row = |name: &str, text: String| t += &format!("  {name:<12} {text}\n");
    row("partition", p.region.describe(&p.dimensions));
    match &p.path {
        Path::Copy { because } => {
            let size = format!("about {} rows, {}", count(p.rows()), bytes(p.bytes()));
            row("moves", format!("{} tables, {size}", p.tables.len()));
            if let Some(because) = because {
                row("by", format!("a copy: {because}"));
            }
            for (n, line) in prediction(&p.prediction).into_iter().enumerate() {
                row(if n == 0 { "predicted" } else { "" }, line);
            }
        }
        Path::Views { views } => {
            row("moves", "no rows".into());
            row("by", format!("{} views of blue's tables: nothing is copied, nobody waits", views.len()));
        }
    }
    common(file, detail, t)
}

/// What all members of a cohort have in common, by the plan of one of them with the hazards of all.
pub fn cohort_plan(file: &PlanFile, members: usize, detail: bool) -> String {
    let p = &file.plan;
    let t = format!(
        "Plan {}  {}, {} partitions, each by itself  {} -> {}\n  {:<12} {}\n",
        &file.digest[..12],
        p.context,
        members,
        p.blue.home,
        p.green.home,
        "moves",
        names(&p.tables)
    );
    common(file, detail, t)
}

fn common(file: &PlanFile, detail: bool, mut t: String) -> String {
    let p = &file.plan;
    let mut row = |name: &str, text: String| t += &format!("  {name:<12} {text}\n");
    if !p.references.is_empty() {
        row("references", names(&p.references));
    }
    if !p.rebuild.is_empty() {
        row("not copied", p.rebuild.join(", "));
    }
    let there = if p.ddl.is_empty() { " (green has it already)" } else { "" };
    row("version", format!("{}{there}", step(p.version_before.as_deref(), &p.version)));
    let Compatibility { old_on_new, new_on_old } = &file.compatibility;
    for (name, fitness, place) in [("old code", old_on_new, "green"), ("new code", new_on_old, "blue")] {
        row(name, format!("on {place}: {}", fitness.summary()));
        for line in breaks(fitness, detail) {
            row("", line);
        }
    }
    for (n, line) in file.difference.iter().enumerate() {
        row(if n == 0 { "schema" } else { "" }, line.clone());
    }
    match &p.reversible {
        Reversibility::Lossless => row("reversible", "yes, lossless".into()),
        Reversibility::Lossy(why) => listed(&mut row, "reversible", "yes, but not all of it:", why),
        Reversibility::No(why) => listed(&mut row, "reversible", "no:", why),
    }
    let policy = &p.policy;
    let begins = if policy.switch == SwitchMode::Auto { "by itself" } else { "by hand" };
    let (pause, rest) = match p.path.shares_rows() {
        true => ("no writer is refused".to_owned(), "blue's tables hold the rows for good".to_owned()),
        false => (
            format!(
                "the partition's writers are refused for {} at most, nobody else's at all",
                policy.pause_max
            ),
            format!("blue's copy is kept for {}", policy.retain),
        ),
    };
    row("switch", format!("{begins}; {pause}"));
    row("afterwards", format!("a rollback stays possible for {}; {rest}", policy.soak));
    let hazards =
        if detail { p.hazards.iter().map(|hazard| vec![hazard]).collect() } else { by_check(&p.hazards) };
    for (n, alike) in hazards.iter().enumerate() {
        let first = alike[0];
        let must = if first.must_allow { format!("  needs --allow {}", first.name) } else { String::new() };
        row(if n == 0 { "hazards" } else { "" }, format!("{}: {}{must}", first.name, told_once(alike)));
    }
    if detail {
        t += &plan_detail(p);
    }
    t
}

/// From which version to which.
pub fn step(before: Option<&str>, version: &str) -> String {
    match before {
        Some(before) if before != version => format!("{before} -> {version}"),
        _ => version.to_owned(),
    }
}

/// The most reasons that are told of why code of one version does not run on the other's schema.
const BREAKS_MAX: usize = 3;

fn breaks(fitness: &Fitness, detail: bool) -> Vec<String> {
    let told = if detail { fitness.breaks.len() } else { BREAKS_MAX };
    let mut lines: Vec<String> = Vec::new();
    for found in fitness.breaks.iter().take(told) {
        let column = found.column.as_ref().map(|column| format!(".{column}")).unwrap_or_default();
        let works: Vec<String> = found.works.iter().map(ToString::to_string).collect();
        lines.push(format!("{}{column}: {} ({})", found.table, found.why, works.join(", ")));
        if detail {
            lines.push(format!("  {}", found.instead));
        }
    }
    match fitness.breaks.len().saturating_sub(told) {
        0 => {}
        more => {
            lines.push(format!("and {more} more; `plan deploy --detail` shows all, and what to do instead"))
        }
    }
    lines
}

/// Hazards of one name together, in the order in which they come first.
pub fn by_check<'a>(hazards: impl IntoIterator<Item = &'a Hazard>) -> Vec<Vec<&'a Hazard>> {
    let mut groups: Vec<Vec<&Hazard>> = Vec::new();
    for hazard in hazards {
        match groups.iter_mut().find(|group| group[0].name == hazard.name) {
            Some(group) => group.push(hazard),
            None => groups.push(vec![hazard]),
        }
    }
    groups
}

/// The most places that are named for hazards of one name.
const PLACES_MAX: usize = 4;

/// Hazards of one name in one line: the first in full, the places of the next.
pub fn told_once(alike: &[&Hazard]) -> String {
    let first = &alike[0].what;
    if alike.len() == 1 {
        return first.clone();
    }
    let mut places: Vec<&str> = Vec::new();
    for hazard in &alike[1..] {
        // What a hazard is about stands first: a table or a column.
        let end = hazard.what.find([' ', ':']).unwrap_or(hazard.what.len());
        if !places.contains(&&hazard.what[..end]) {
            places.push(&hazard.what[..end]);
        }
    }
    let more = if places.len() > PLACES_MAX { ", …" } else { "" };
    places.truncate(PLACES_MAX);
    format!(
        "{} times: {first}; also {}{more} (`plan deploy --detail` shows all)",
        alike.len(),
        places.join(", ")
    )
}

fn names(tables: &[TablePlan]) -> String {
    tables.iter().map(|t| t.blue.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn listed(row: &mut impl FnMut(&str, String), name: &str, first: &str, rest: &[String]) {
    row(name, first.to_owned());
    for line in rest {
        row("", line.clone());
    }
}

fn plan_detail(p: &Plan) -> String {
    let mut t = String::new();
    if let Path::Views { views } = &p.path {
        t.extend(views.iter().map(view_detail));
    }
    for table in p.tables.iter().chain(&p.references) {
        t += &format!(
            "\n  {} -> {}   about {} rows, {}, key ({})\n",
            table.blue.name,
            table.green.name,
            count(table.rows),
            bytes(table.bytes),
            table.key_on(Side::Blue).collect::<Vec<_>>().join(", ")
        );
        for (arrow, columns) in [("->", &table.forward), ("<-", &table.backward)] {
            for c in columns {
                t += &format!("    {arrow} {} {}  =  {}\n", c.target, c.target_type, c.expression);
            }
        }
    }
    t
}

fn view_detail(view: &ViewPlan) -> String {
    let mut t = format!("\n  {} -> {}   a view\n", view.table, view.stands_for.name);
    for column in &view.columns {
        let default = column.default.as_ref().map(|d| format!("  default {d}")).unwrap_or_default();
        let added = match &column.added {
            Some(added) => {
                let default = added.default.as_ref().map(|d| format!(" default {d}")).unwrap_or_default();
                format!("  (new on blue: {}{default})", added.type_name)
            }
            None => String::new(),
        };
        t += &format!("    -> {}  =  {}{default}{added}\n", column.name, column.of);
    }
    t
}

/// What a dry run can say.
pub fn outlook(o: &Outlook) -> String {
    let mut t = format!("{}  {} -> {}   nothing will be changed\n", o.partition, o.from, o.to);
    t += &format!("  partition    {}\n  version      {}\n", o.region, o.version);
    for (n, (table, size)) in o.tables.iter().enumerate() {
        let name = if n == 0 { "moves" } else { "" };
        t += &format!("  {name:<12} {table}: about {} rows, {}\n", count(size.rows), bytes(size.bytes));
    }
    for (n, line) in prediction(&o.prediction).into_iter().enumerate() {
        t += &format!("  {:<12} {line}\n", if n == 0 { "predicted" } else { "" });
    }
    t += &format!(
        "  schema       {}\n",
        if o.green_has_tables {
            "green has tables there already"
        } else {
            "green has no tables yet; `replat plan deploy` rehearses the DDL and shows the difference"
        }
    );
    t
}

/// What to say after a plan.
pub fn plan_next(file: &PlanFile, out: Option<&str>) -> String {
    let allow = match planning::to_be_allowed(&file.plan).join(",") {
        names if names.is_empty() => String::new(),
        names => format!(" --allow {names}"),
    };
    match out {
        Some(out) => format!("Next:  replat show {out}     replat apply {out}{allow}\n"),
        None => {
            format!("Next:  replat deploy -C {} -p '{}'{allow}\n", file.plan.context, file.selection)
        }
    }
}

/// The steps that a deployment will take.
pub fn steps(p: &Plan) -> String {
    let (blue, green) = (&p.blue.home, &p.green.home);
    if let Path::Views { views } = &p.path {
        let added = views.iter().flat_map(ViewPlan::added).count();
        return numbered(&[
            format!("columns    {added} are added to tables of {blue}"),
            format!("views      {green} gets {} of them; both versions can be used from here", views.len()),
            format!(
                "switch     {} -> {}: routes say {green}; no row moves, nobody waits",
                p.epoch,
                p.epoch.next()
            ),
            format!("soak       a rollback says {blue} again, for {}", p.policy.soak),
            format!("finish     the rows stay in {blue}"),
        ]);
    }
    let mut lines = vec![
        format!("prepare    guards on {blue} and {green}; {green} gets its tables, closed to everybody"),
        format!("slot       on {}; it keeps WAL there until finish", blue.database),
        format!("copy       {} rows, {}", count(p.rows()), bytes(p.bytes())),
        "catch up   replay what changed, then build indexes and constraints".to_owned(),
        "verify     every row as transformed, on both sides".to_owned(),
        format!("fence      writers of the partition are refused from here, {} at most", p.policy.pause_max),
        format!("switch     {} -> {}: the point of no return", p.epoch, p.epoch.next()),
        format!("soak       changes flow back for {}", p.policy.soak),
        "finish     the way back ends; blue's copy is kept read-only".to_owned(),
    ];
    if !p.has_way_back() {
        lines[7] = "soak       no changes flow back: this cannot be rolled back".to_owned();
    }
    numbered(&lines)
}

fn numbered(lines: &[String]) -> String {
    lines.iter().enumerate().map(|(n, line)| format!("  {}  {line}\n", n + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use replat_model::preflight::Check;

    #[test]
    fn hazards_of_one_name_are_one_line() {
        let hazard = |name, what: &str| Hazard { name, what: what.into(), must_allow: false };
        let into = |table: &str| hazard(Check::FkInto, &format!("{table}: foreign key k points here"));
        let hazards = [
            into("blue.a"),
            hazard(Check::Triggers, "green.a: t does not fire"),
            into("green.a"),
            hazard(Check::NullKeys, "blue.a.t can be null"),
            hazard(Check::NullKeys, "blue.b.t can be null"),
            into("green.a"),
            into("green.b"),
            into("green.c"),
            into("green.d"),
            into("green.e"),
        ];
        let lines: Vec<String> = by_check(&hazards).iter().map(|alike| told_once(alike)).collect();
        assert_eq!(
            lines,
            [
                "7 times: blue.a: foreign key k points here; also green.a, green.b, green.c, green.d, … \
                 (`plan deploy --detail` shows all)",
                "green.a: t does not fire",
                "2 times: blue.a.t can be null; also blue.b.t (`plan deploy --detail` shows all)",
            ]
        );
    }
}
