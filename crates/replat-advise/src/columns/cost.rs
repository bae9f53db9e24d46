//! What a table costs the statements that use it, as one table or as several.
//!
//! The unit is bytes of rows, for tables that are larger than memory: a row is a part of a page that has to be fetched, or
//! kept, and a narrow one is a smaller part. A page is taken to be fetched in 100 µs, so a microsecond is 80 bytes. What is
//! not bytes is measured in microseconds and said in bytes; `docs/advise.md` has the numbers.

use crate::trace::Op;

/// To find a row's other piece by its key: some 6 µs, and its part of another index that wants to be in memory. Unit: bytes.
pub const JOIN: f64 = 1_000.0;

/// To make or take away a row in one more table: some 3 µs, and one more page each of the table and of its index that is
/// changed, logged and written. Unit: bytes.
pub const ONE_MORE_ROW: f64 = 2_000.0;

/// A byte that is written goes to the page, often to the log, and has to be cleaned up. Unit: bytes that are looked at.
pub const WRITTEN: f64 = 3.0;

/// Some columns, by their places: bit `n` is the atom `n`.
pub type Atoms = u64;

/// What one statement does with one table, as far as it costs anything.
#[derive(Clone, Debug)]
pub struct Job {
    /// What happens to the rows.
    pub op: Op,
    /// What it looks at.
    pub looks: Atoms,
    /// What it sets in rows that are there.
    pub sets: Atoms,
    /// Whether it sets a column that every piece has to carry.
    pub sets_key: bool,
    /// How many rows a run has to do with.
    pub rows: f64,
}

/// A table as columns that can go apart.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// What every piece carries: the row's header and the key. Unit: bytes.
    pub carried: f64,
    /// How wide each atom is: columns that are always used together. Unit: bytes.
    pub atoms: Vec<f64>,
    /// What is done with it.
    pub jobs: Vec<Job>,
}

/// Which piece each atom is in; the pieces are numbered from 0 in the order of their first atoms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<usize>);

impl Layout {
    /// All in one piece.
    pub fn whole(atoms: usize) -> Layout {
        Layout(vec![0; atoms])
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.0.iter().max().map_or(1, |last| last + 1)
    }

    /// The atoms of each piece.
    pub fn masks(&self) -> Vec<Atoms> {
        let mut masks = vec![0; self.pieces()];
        for (atom, piece) in self.0.iter().enumerate() {
            masks[*piece] |= 1 << atom;
        }
        masks
    }

    /// The same with its pieces numbered by their first atoms.
    pub fn in_order(self) -> Layout {
        let mut numbers: Vec<usize> = Vec::new();
        let place = |piece: usize, numbers: &mut Vec<usize>| {
            numbers.iter().position(|known| *known == piece).unwrap_or_else(|| {
                numbers.push(piece);
                numbers.len() - 1
            })
        };
        Layout(self.0.into_iter().map(|piece| place(piece, &mut numbers)).collect())
    }
}

/// What one run of a job costs, and what of it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Price {
    /// Bytes that are passed over.
    pub looked: f64,
    /// Bytes that are written.
    pub written: f64,
    /// What is done besides.
    pub besides: f64,
}

impl Price {
    /// All of it in one number.
    pub fn sum(self) -> f64 {
        self.looked + WRITTEN * self.written + self.besides
    }
}

impl Ground {
    /// How wide a piece is, with what it carries. Unit: bytes.
    pub fn width(&self, piece: Atoms) -> f64 {
        let own = self.atoms.iter().enumerate().filter(|(atom, _)| piece & (1 << atom) != 0);
        self.carried + own.map(|(_, bytes)| bytes).sum::<f64>()
    }

    /// What all jobs cost, each of which runs `runs` times.
    pub fn cost(&self, layout: &Layout, runs: &[f64]) -> f64 {
        let pieces = Pieces::of(self, layout, runs);
        self.jobs.iter().zip(runs).map(|(job, runs)| runs * pieces.price(job).sum()).sum()
    }
}

/// A table in pieces.
pub struct Pieces {
    /// Their atoms.
    pub masks: Vec<Atoms>,
    widths: Vec<f64>,
    /// The one that keeps the table's name.
    pub main: usize,
}

impl Pieces {
    /// The pieces of a layout. The one that is used most often, or is the wider of several, keeps the table's name.
    pub fn of(ground: &Ground, layout: &Layout, runs: &[f64]) -> Pieces {
        let masks = layout.masks();
        let widths: Vec<f64> = masks.iter().map(|mask| ground.width(*mask)).collect();
        let used = |piece: usize| -> f64 {
            let uses = |job: &Job| (job.looks | job.sets) & masks[piece] != 0;
            let of_jobs = ground.jobs.iter().zip(runs).filter(|(job, _)| uses(job));
            of_jobs.map(|(job, runs)| job.rows * runs).sum()
        };
        let order = |a: &usize, b: &usize| {
            used(*a).total_cmp(&used(*b)).then(widths[*a].total_cmp(&widths[*b])).then(b.cmp(a))
        };
        let main = (0..masks.len()).max_by(order).unwrap_or(0);
        Pieces { masks, widths, main }
    }

    /// The pieces that a job needs, and those of them that it writes.
    pub fn needed(&self, job: &Job) -> (Vec<usize>, Vec<usize>) {
        let all = 0..self.masks.len();
        let having = |atoms: Atoms| all.clone().filter(move |piece| self.masks[*piece] & atoms != 0);
        let written: Vec<usize> = match job.op {
            Op::Read => Vec::new(),
            Op::Insert | Op::Delete => all.clone().collect(),
            Op::Update if job.sets_key || job.sets == 0 => all.clone().collect(),
            Op::Update => having(job.sets).collect(),
        };
        let mut needed: Vec<usize> = match job.op {
            Op::Insert => all.clone().collect(),
            _ => having(job.looks).chain(written.iter().copied()).collect(),
        };
        needed.sort_unstable();
        needed.dedup();
        if needed.is_empty() {
            needed.push(self.main);
        }
        (needed, written)
    }

    /// What one run costs.
    pub fn price(&self, job: &Job) -> Price {
        let (needed, written) = self.needed(job);
        let width = |pieces: &[usize]| pieces.iter().map(|piece| self.widths[*piece]).sum::<f64>();
        let more = |pieces: &[usize]| pieces.len().saturating_sub(1) as f64;
        let one = match job.op {
            Op::Read => Price { looked: width(&needed), written: 0.0, besides: JOIN * more(&needed) },
            Op::Update => Price {
                looked: width(&needed),
                written: width(&written),
                besides: JOIN * more(&needed) + ONE_MORE_ROW * more(&written),
            },
            Op::Insert => {
                Price { looked: 0.0, written: width(&written), besides: ONE_MORE_ROW * more(&written) }
            }
            // What is taken away is marked, not written.
            Op::Delete => {
                Price { looked: width(&needed), written: 0.0, besides: ONE_MORE_ROW * more(&written) }
            }
        };
        Price {
            looked: one.looked * job.rows,
            written: one.written * job.rows,
            besides: one.besides * job.rows,
        }
    }
}
