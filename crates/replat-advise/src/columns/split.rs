//! One table: which of its columns go together, and whether it pays to keep them apart.

use std::collections::{BTreeMap, BTreeSet};

use super::apart::{Cut, Together};
use super::cost::{Atoms, Ground, Job, Layout, Pieces, Price};
use super::group::layouts;
use super::matrix::{MatrixColumn, matrix};
use super::{
    Around, Carried, HEADER, Joining, Piece, PieceColumn, RUNS_MIN, Saving, Split, TABLE_MIN, TableColumns,
    Usage, Widths,
};
use crate::confidence::{Interval, confidence};
use crate::evidence::Tier;
use crate::schema::{Schema, Table, TableId};
use crate::trace::Op;

/// What is cut has to save this share at least…
const SAVED_MIN: f64 = 0.15;

/// …and this share under the least favourable draws of the evidence.
const SAVED_SURELY: f64 = 0.05;

/// A third table has to save so much more.
const MORE_MIN: f64 = 0.05;

/// A table is cut into no more tables than these.
const PIECES_MAX: usize = 3;

/// More groups of columns are not told apart: those that are used least are one.
const ATOMS_MAX: usize = 20;

/// A split is as good as another that saves no more than this share more.
const AS_GOOD: f64 = 0.02;

/// Widths by type alone make it less sure.
const GUESSED: f64 = 0.8;

/// A statement that joins is named if it has this share of the runs at least, and so many are named at most.
const NAMED_MIN: f64 = 0.001;
const NAMED_MAX: usize = 12;

/// The columns of a table that can go apart.
struct Columns {
    /// Those of each atom.
    atoms: Vec<Vec<String>>,
    ground: Ground,
}

/// What is said of one table.
pub(super) fn table(around: &Around<'_>, id: TableId, carried: &Carried) -> TableColumns {
    let (schema, trace) = (&around.system.schema, &around.system.trace);
    let table = schema.table(id);
    let widths = Widths::of(table);
    let usages = &around.uses.of[id.0];
    let runs: Vec<f64> = usages.iter().map(|usage| usage.runs(&around.uses.runs)).collect();
    let columns = Columns::of(table, &widths, usages, &runs, &carried.columns);
    let found = match why_not(table, &widths, &runs) {
        Some(why) => Err(why),
        None => chosen(around, usages, &columns, &runs),
    };
    let all: f64 = runs.iter().sum();
    let layout = found.as_ref().map_or(Layout::whole(columns.atoms.len()), |chosen| chosen.layout.clone());
    let pieces = Pieces::of(&columns.ground, &layout, &runs);
    let order = in_order(&pieces);
    let piece_of = |name: &String| {
        let atom = columns.atoms.iter().position(|atom| atom.contains(name))?;
        order.iter().position(|piece| *piece == layout.0[atom])
    };
    let of_matrix = widths.of.iter().map(|(name, bytes)| MatrixColumn {
        name: name.clone(),
        bytes: *bytes,
        piece: piece_of(name),
    });
    let with_runs: Vec<(&Usage, f64)> = usages.iter().zip(runs.iter().copied()).collect();
    let matrix = matrix(table, trace, &with_runs, of_matrix.collect());
    let whole_rows = whole_rows(table, usages, &runs);
    let (split, kept) = match found {
        Ok(chosen) => {
            let teller =
                Teller { around, id, table, widths: &widths, usages, runs: &runs, columns: &columns };
            (Some(teller.split(&chosen, &pieces, &order, carried)), None)
        }
        Err(_) if whole_rows > 0.999 => (None, Some("every statement reads whole rows".to_owned())),
        Err(why) => (None, Some(why)),
    };
    // Counts are small and whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let all_runs = all.round() as u64;
    TableColumns {
        table: table.name.clone(),
        columns: table.columns.len(),
        row_bytes: widths.of.values().sum::<f64>() + HEADER,
        runs: all_runs,
        whole_rows,
        split,
        kept,
        matrix,
    }
}

/// Why a table is not looked at any further.
fn why_not(table: &Table, widths: &Widths, runs: &[f64]) -> Option<String> {
    let bytes = (widths.of.values().sum::<f64>() + HEADER) * table.rows.unwrap_or(u64::MAX) as f64;
    if table.primary_key.is_empty() {
        Some("it has no primary key, which two tables would have to share".to_owned())
    } else if bytes < TABLE_MIN {
        Some(format!("it takes about {:.0} MiB, and is in memory as a whole", (bytes / 1_048_576.0).max(1.0)))
    } else if runs.iter().sum::<f64>() < RUNS_MIN {
        Some("it was hardly used".to_owned())
    } else {
        None
    }
}

/// The share of the runs that look at rows which read all columns.
fn whole_rows(table: &Table, usages: &[Usage], runs: &[f64]) -> f64 {
    let (mut whole, mut all) = (0.0, 0.0);
    for (usage, runs) in usages.iter().zip(runs).filter(|(usage, _)| usage.op == Op::Read) {
        all += runs;
        whole += if table.columns.keys().all(|column| usage.looks_at(column)) { *runs } else { 0.0 };
    }
    if all > 0.0 { whole / all } else { 0.0 }
}

impl Columns {
    fn of(
        table: &Table,
        widths: &Widths,
        usages: &[Usage],
        runs: &[f64],
        carried: &BTreeSet<String>,
    ) -> Columns {
        // Columns that no statement tells apart are one.
        let mut alike: BTreeMap<Vec<(bool, bool)>, Vec<String>> = BTreeMap::new();
        for name in table.columns.keys().filter(|name| !carried.contains(*name)) {
            let signature = usages.iter().map(|usage| (usage.looks_at(name), usage.set.contains(name)));
            alike.entry(signature.collect()).or_default().push(name.clone());
        }
        let mut atoms: Vec<Vec<String>> = alike.into_values().collect();
        // So are those of one key.
        let keys = table.unique.iter().chain(table.references.iter().map(|reference| &reference.columns));
        for key in keys {
            let (of_key, others): (Vec<Vec<String>>, Vec<Vec<String>>) =
                atoms.into_iter().partition(|atom| atom.iter().any(|column| key.contains(column)));
            atoms = others;
            atoms.extend((!of_key.is_empty()).then(|| of_key.into_iter().flatten().collect()));
        }
        let used = |atom: &Vec<String>| -> f64 {
            let uses =
                |usage: &Usage| atom.iter().any(|name| usage.looks_at(name) || usage.set.contains(name));
            usages.iter().zip(runs).filter(|(usage, _)| uses(usage)).map(|(_, runs)| runs).sum()
        };
        let bytes = |atom: &Vec<String>| atom.iter().map(|name| widths.of[name]).sum::<f64>();
        // By what they are like before what they are called.
        atoms.sort_by(|a, b| {
            used(b).total_cmp(&used(a)).then(bytes(b).total_cmp(&bytes(a))).then_with(|| a.cmp(b))
        });
        if atoms.len() > ATOMS_MAX {
            let rest = atoms.split_off(ATOMS_MAX - 1);
            atoms.push(rest.into_iter().flatten().collect());
        }
        let mask = |is_in: &dyn Fn(&String) -> bool| -> Atoms {
            let having = atoms.iter().enumerate().filter(|(_, atom)| atom.iter().any(is_in));
            having.map(|(place, _)| 1 << place).sum()
        };
        let jobs = usages.iter().map(|usage| Job {
            op: usage.op,
            looks: mask(&|name| usage.looks_at(name)),
            sets: mask(&|name| usage.set.contains(name)),
            sets_key: usage.op == Op::Update && usage.set.iter().any(|name| carried.contains(name)),
            rows: usage.rows,
        });
        let carried = carried.iter().filter_map(|name| widths.of.get(name)).sum::<f64>();
        let ground = Ground {
            carried: HEADER + carried,
            atoms: atoms.iter().map(bytes).collect(),
            jobs: jobs.collect(),
        };
        Columns { atoms, ground }
    }
}

/// A split that pays.
struct Chosen {
    layout: Layout,
    saved: Interval,
    stability: f64,
}

/// The split that pays best, or why none does.
fn chosen(around: &Around<'_>, usages: &[Usage], columns: &Columns, runs: &[f64]) -> Result<Chosen, String> {
    let ground = &columns.ground;
    let one = ground.cost(&Layout::whole(columns.atoms.len()), runs);
    if one <= 0.0 {
        return Err("nobody was seen looking at it".to_owned());
    }
    let found = layouts(ground, runs, PIECES_MAX);
    let saved_by = |pieces: usize| {
        let found = found.iter().find(|(layout, _)| layout.pieces() == pieces);
        found.map(|(layout, cost)| (layout, 1.0 - cost / one))
    };
    let Some((layout, saved)) = saved_by(2) else {
        return Err("no statement tells its columns apart".to_owned());
    };
    let (layout, saved) = match saved_by(3) {
        Some((three, more)) if more >= saved + MORE_MIN => (three, more),
        _ => (layout, saved),
    };
    if saved < SAVED_MIN {
        return Err(match saved > 0.0 {
            true => format!("no split pays: the best one saves {:.0} %, joins counted", 100.0 * saved),
            false => "no split pays: joins would cost more than narrower rows save".to_owned(),
        });
    }
    let (mut off, mut kept) = (Vec::new(), 0.0);
    for draw in &around.draws {
        let runs: Vec<f64> = usages.iter().map(|usage| usage.runs(draw)).collect();
        let one = ground.cost(&Layout::whole(columns.atoms.len()), &runs);
        if one <= 0.0 {
            off.push(saved);
            continue;
        }
        let own = 1.0 - ground.cost(layout, &runs) / one;
        let best = layouts(ground, &runs, layout.pieces()).into_iter().map(|(_, cost)| 1.0 - cost / one);
        kept += f64::from(u8::from(best.fold(0.0, f64::max) <= own + AS_GOOD));
        off.push((own - saved).abs());
    }
    off.sort_by(f64::total_cmp);
    let place = (off.len() * 95).div_ceil(100).saturating_sub(1);
    // The next evidence is a draw as well, and may have what nobody has seen yet.
    let unseen = 3.0 / runs.iter().sum::<f64>().max(1.0);
    let spread = off.get(place).copied().unwrap_or(saved) * std::f64::consts::SQRT_2 + unseen;
    let saved = Interval { value: saved, low: (saved - spread).max(-1.0), high: (saved + spread).min(1.0) };
    if saved.low < SAVED_SURELY {
        return Err(format!(
            "no split surely pays: the best one saves {:.0} % on this evidence, and {:.0} to {:.0} % on more of it",
            100.0 * saved.value,
            100.0 * saved.low,
            100.0 * saved.high
        ));
    }
    Ok(Chosen { layout: layout.clone(), saved, stability: kept / around.draws.len().max(1) as f64 })
}

/// The pieces in the order in which they are told: the main one first.
fn in_order(pieces: &Pieces) -> Vec<usize> {
    let others = (0..pieces.masks.len()).filter(|piece| *piece != pieces.main);
    std::iter::once(pieces.main).chain(others).collect()
}

/// Puts a split into words.
struct Teller<'a> {
    around: &'a Around<'a>,
    id: TableId,
    table: &'a Table,
    widths: &'a Widths,
    usages: &'a [Usage],
    runs: &'a [f64],
    columns: &'a Columns,
}

impl Teller<'_> {
    fn split(&self, chosen: &Chosen, pieces: &Pieces, order: &[usize], carried: &Carried) -> Split {
        let all: f64 = self.runs.iter().sum();
        let system = self.around.system;
        let told = self.pieces(pieces, order, &carried.columns);
        let together = self.together(pieces, order);
        let surroundings = together.with.into_iter().zip(together.context);
        let told: Vec<Piece> = told
            .into_iter()
            .zip(surroundings)
            .map(|(piece, (used_with, context))| Piece { used_with, context, ..piece })
            .collect();
        let joins = self.joins(pieces, order, &told);
        let known: f64 =
            self.usages.iter().zip(self.runs).filter(|(usage, _)| usage.known).map(|(_, runs)| runs).sum();
        // Counts are small and whole.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let seen = all.round() as u64;
        let sure = confidence(system.tier, chosen.stability, &chosen.saved, seen)
            * if self.widths.guessed { GUESSED } else { 1.0 }
            * (known / all.max(1e-9));
        let nullable_first =
            told[1..].iter().flat_map(|piece| &piece.columns).filter(|column| column.required);
        let writes_several = (system.tier > Tier::Statements).then_some(together.writes_several);
        Split {
            nullable_first: nullable_first.map(|column| column.name.clone()).collect(),
            carried: carried.columns.iter().map(|name| self.column(name)).collect(),
            dimension: carried.dimension.clone(),
            key: self.table.primary_key.clone(),
            saved: chosen.saved,
            bytes: self.saving(pieces),
            stability: chosen.stability,
            confidence: sure,
            because: self.because(pieces, order, &told, together.apart),
            price: self.price(&joins, writes_several, &told),
            assumed: self.assumed(known / all.max(1e-9)),
            pieces: told,
            joins,
            writes_several,
        }
    }

    fn column(&self, name: &str) -> PieceColumn {
        PieceColumn {
            name: name.to_owned(),
            data_type: self.table.columns.get(name).cloned().unwrap_or_default(),
            required: self.table.required.contains(name),
        }
    }

    /// The columns of a piece, by their names.
    fn names(&self, mask: Atoms) -> Vec<String> {
        let atoms = self.columns.atoms.iter().enumerate().filter(|(atom, _)| mask & (1 << atom) != 0);
        let mut names: Vec<String> = atoms.flat_map(|(_, columns)| columns.iter().cloned()).collect();
        names.sort();
        names
    }

    fn pieces(&self, pieces: &Pieces, order: &[usize], carried: &BTreeSet<String>) -> Vec<Piece> {
        let schema = &self.around.system.schema;
        let all: f64 = self.runs.iter().sum();
        let mut taken: Vec<String> = vec![self.table.name.clone()];
        let mut told = Vec::new();
        for (place, piece) in order.iter().enumerate() {
            let mask = pieces.masks[*piece];
            let names = self.names(mask);
            if place > 0 {
                taken.push(name_of(schema, &self.table.name, &names, &taken));
            }
            let own = |key: &Vec<String>| {
                key.iter().all(|column| carried.contains(column) || names.contains(column))
                    && (place == 0 || key.iter().any(|column| names.contains(column)))
            };
            let jobs = self.columns.ground.jobs.iter().zip(self.runs);
            let used: f64 =
                jobs.filter(|(job, _)| (job.looks | job.sets) & mask != 0).map(|(_, runs)| runs).sum();
            let references = self.table.references.iter().filter(|reference| own(&reference.columns));
            told.push(Piece {
                table: taken[place].clone(),
                columns: names.iter().map(|name| self.column(name)).collect(),
                row_bytes: self.columns.ground.width(mask),
                used: used / all.max(1e-9),
                used_with: Vec::new(),
                context: Vec::new(),
                unique: self.table.unique.iter().filter(|key| own(key)).cloned().collect(),
                references: references
                    .map(|r| {
                        (r.columns.clone(), schema.table(r.parent).name.clone(), r.parent_columns.clone())
                    })
                    .collect(),
            });
        }
        told
    }

    fn saving(&self, pieces: &Pieces) -> Saving {
        let ground = &self.columns.ground;
        let all: f64 = self.runs.iter().sum();
        let whole = Pieces::of(ground, &Layout::whole(self.columns.atoms.len()), self.runs);
        let mean = |pieces: &Pieces, of: fn(Price) -> f64| {
            let jobs = ground.jobs.iter().zip(self.runs);
            jobs.map(|(job, runs)| of(pieces.price(job)) * runs).sum::<f64>() / all.max(1e-9)
        };
        let both = |of: fn(Price) -> f64| (mean(&whole, of), mean(pieces, of));
        Saving { looked: both(|price| price.looked), written: both(|price| price.written) }
    }

    fn joins(&self, pieces: &Pieces, order: &[usize], told: &[Piece]) -> Vec<Joining> {
        let all: f64 = self.runs.iter().sum();
        let mut joins: Vec<Joining> = Vec::new();
        let jobs = self.usages.iter().zip(&self.columns.ground.jobs).zip(self.runs);
        for ((usage, job), runs) in jobs.filter(|((usage, _), _)| matches!(usage.op, Op::Read | Op::Update)) {
            let (needed, _) = pieces.needed(job);
            if needed.len() < 2 || runs / all.max(1e-9) < NAMED_MIN {
                continue;
            }
            let tables = order.iter().enumerate().filter(|(_, piece)| needed.contains(piece));
            joins.push(Joining {
                statement: self.around.system.trace.templates[usage.template].short(),
                share: runs / all.max(1e-9),
                writes: usage.op == Op::Update,
                tables: tables.map(|(place, _)| told[place].table.clone()).collect(),
            });
        }
        joins.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.statement.cmp(&b.statement)));
        joins.truncate(NAMED_MAX);
        joins
    }

    fn together(&self, pieces: &Pieces, order: &[usize]) -> Together {
        let mut jobs: BTreeMap<usize, Vec<&Job>> = BTreeMap::new();
        for (usage, job) in self.usages.iter().zip(&self.columns.ground.jobs) {
            jobs.entry(usage.counted_by).or_default().push(job);
        }
        Cut { system: self.around.system, id: self.id, jobs, pieces, order }.together()
    }

    fn because(&self, pieces: &Pieces, order: &[usize], told: &[Piece], apart: bool) -> Vec<String> {
        let mut said = Vec::new();
        let row = self.columns.ground.width(Atoms::MAX);
        let all: f64 = self.runs.iter().sum();
        let main = &told[0];
        said.push(format!(
            "{:.0} % of its runs use {}, which is {:.0} of the {row:.0} bytes of a row: {:.0} rows in a page instead of {:.0}",
            100.0 * main.used,
            listed(&main.columns),
            main.row_bytes,
            rows_in_page(main.row_bytes),
            rows_in_page(row),
        ));
        let updates: f64 = self.of_updates(|_| true);
        for (place, piece) in order.iter().enumerate() {
            let (mask, told) = (pieces.masks[*piece], &told[place]);
            let only = self.of_updates(|job| !job.sets_key && job.sets & !mask == 0 && job.sets != 0);
            if updates > 0.02 * all && only > 0.5 * updates && told.row_bytes < 0.5 * row {
                said.push(format!(
                    "{:.0} % of the updates set {} alone, and write {:.0} bytes a row instead of {row:.0}",
                    100.0 * only / updates,
                    listed(&told.columns),
                    told.row_bytes
                ));
            }
            if place > 0 && told.used < 0.5 && told.row_bytes > 0.3 * row {
                said.push(format!(
                    "{} take {:.0} % of the row, and {:.1} % of the runs need them",
                    listed(&told.columns),
                    100.0 * (told.row_bytes - self.columns.ground.carried)
                        / (row - self.columns.ground.carried),
                    100.0 * told.used
                ));
            }
        }
        if apart {
            let of_piece = told.iter().filter(|piece| !piece.context.is_empty());
            let said_of = of_piece.map(|piece| format!("{} with {}", piece.table, piece.context.join(", ")));
            said.push(format!(
                "apart, they belong to different contexts: {}",
                said_of.collect::<Vec<_>>().join("; ")
            ));
        }
        said
    }

    /// How often updates of some kind ran.
    fn of_updates(&self, is: impl Fn(&Job) -> bool) -> f64 {
        let jobs = self.columns.ground.jobs.iter().zip(self.runs);
        jobs.filter(|(job, _)| job.op == Op::Update && is(job)).map(|(_, runs)| runs).sum()
    }

    fn price(&self, joins: &[Joining], writes_several: Option<f64>, told: &[Piece]) -> Vec<String> {
        let all: f64 = self.runs.iter().sum();
        let mut said = Vec::new();
        let share: f64 = joins.iter().filter(|join| !join.writes).map(|join| join.share).sum();
        said.push(match share > 0.0 {
            true => format!("{:.1} % of its runs have to join", 100.0 * share),
            false => "no statement that was seen has to join".to_owned(),
        });
        let of = |op: Op| -> f64 {
            let usages = self.usages.iter().zip(self.runs);
            usages.filter(|(usage, _)| usage.op == op).map(|(_, runs)| runs).sum::<f64>() / all.max(1e-9)
        };
        let made = of(Op::Insert) + of(Op::Delete);
        if made > 0.0 {
            said.push(format!(
                "a row is made and taken away in {} tables, which is {:.1} % of the runs",
                told.len(),
                100.0 * made
            ));
        }
        let both: f64 = joins.iter().filter(|join| join.writes).map(|join| join.share).sum();
        if both > 0.0 {
            said.push(format!("{:.1} % are updates that need several of them", 100.0 * both));
        }
        if let Some(several) = writes_several.filter(|several| *several > 0.0) {
            said.push(format!(
                "{:.1} % of the transactions that use it write to several of them, so they have to stay in one database",
                100.0 * several
            ));
        }
        said
    }

    fn assumed(&self, known: f64) -> Vec<String> {
        let mut said = vec![
            "the table is larger than memory; where all of it is in memory, who looks up single rows gains little".to_owned(),
        ];
        if self.widths.guessed {
            said.push(match self.table.row_bytes {
                Some(_) => {
                    "how wide its columns are follows from their types and from what a row takes".to_owned()
                }
                None => "how wide its columns are follows from their types alone".to_owned(),
            });
        }
        if self.table.rows.is_none() {
            said.push("how many rows it has is not known; it is taken to be large".to_owned());
        }
        if !self.widths.out_of_line.is_empty() {
            said.push(format!(
                "{} lie out of line already as far as can be told, and are only read by who asks for them: of these \
                 nothing but a pointer is saved",
                self.widths.out_of_line.join(", ")
            ));
        }
        if known < 0.999 {
            said.push(format!(
                "{:.1} % of its runs are of statements that could not be read; they are taken to use whole rows",
                100.0 * (1.0 - known)
            ));
        }
        if self.around.system.tier <= Tier::Statements {
            said.push("which statements run in one transaction is not known".to_owned());
        }
        said
    }
}

fn rows_in_page(row: f64) -> f64 {
    /// A page without its header. Unit: bytes.
    const PAGE: f64 = 8_168.0;
    (PAGE / row.max(1.0)).floor().max(1.0)
}

/// Some columns by their names; if they are many, the first of them.
fn listed(columns: &[PieceColumn]) -> String {
    const FEW: usize = 5;
    let names: Vec<&str> = columns.iter().take(FEW).map(|column| column.name.as_str()).collect();
    match columns.len() {
        0 => "nothing but the key".to_owned(),
        n if n > FEW + 1 => format!("{} and {} more", names.join(", "), n - FEW),
        _ => columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// A name for a second table that no other has.
fn name_of(schema: &Schema, table: &str, columns: &[String], taken: &[String]) -> String {
    /// Longer names are cut off by the server. Unit: bytes.
    const NAME_MAX: usize = 63;
    let word = match columns {
        [only] => only.as_str(),
        _ => "more",
    };
    let (schema_name, own) = match table.split_once('.') {
        Some((schema_name, own)) => (format!("{schema_name}."), own),
        None => (String::new(), table),
    };
    let named = (1..).map(|number| {
        let end = if number == 1 { format!("_{word}") } else { format!("_{word}_{number}") };
        let mut begin = own;
        while begin.len() + end.len() > NAME_MAX && !begin.is_empty() {
            begin = &begin[..begin.char_indices().last().map_or(0, |(last, _)| last)];
        }
        format!("{schema_name}{begin}{end}")
    });
    let mut free = named.filter(|name| super::is_free(schema, name) && !taken.contains(name));
    free.next().unwrap_or_else(|| table.to_owned())
}
