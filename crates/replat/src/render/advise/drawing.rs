//! The pictures of the page, as SVG, each with what it shows in words.

use std::collections::BTreeMap;
use std::f64::consts::{PI, TAU};

use replat_advise::report::{Bond, Dot, Graph, LeafLoad, Matrix, TreeMap};

use super::page::safe;
use super::story::percent;
use crate::render::{count, counted};

/// So many bonds are drawn at most, the strongest…
const BONDS_MAX: usize = 160;

/// …and so many of those of cross-cutting tables.
const BONDS_OF_ALL_MAX: usize = 40;

/// A picture and what it shows in words.
pub type Drawn = (String, String);

/// A picture of this size that says what it is, and what it shows.
pub fn svg(width: f64, height: f64, title: &str, words: &str, inside: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\">\n<title>{}</title>\n<desc>{}</desc>\n{inside}</svg>",
        safe(title),
        safe(words)
    )
}

/// The beginning of a text that is too long.
pub fn shortened(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Each context's colour; those of no context have the last.
struct Palette(BTreeMap<String, usize>);

impl Palette {
    const COLOURS: usize = 7;

    fn of<'n>(contexts: impl Iterator<Item = &'n String>) -> Palette {
        let mut all = BTreeMap::new();
        for name in contexts {
            let next = all.len() % Palette::COLOURS;
            all.entry(name.clone()).or_insert(next);
        }
        Palette(all)
    }

    fn colour(&self, context: Option<&String>) -> String {
        let number = context.and_then(|name| self.0.get(name)).copied().unwrap_or(Palette::COLOURS);
        format!("var(--c{number})")
    }
}

/// The tables on a circle, context by context; lines bind what is worked on together.
pub fn graph(graph: &Graph) -> Drawn {
    let (width, height, radius) = (960.0, 720.0, 230.0);
    let (cx, cy) = (width / 2.0, height / 2.0);
    let palette = Palette::of(graph.tables.iter().filter_map(|dot| dot.context.as_ref()));
    let mut order: Vec<usize> = (0..graph.tables.len()).collect();
    order.sort_by(|a, b| graph.tables[*a].context.cmp(&graph.tables[*b].context).then(a.cmp(b)));
    // A gap of one place between contexts.
    let mut angle = vec![0.0; graph.tables.len()];
    let mut at: f64 = 0.0;
    let mut before: Option<&Dot> = None;
    for n in &order {
        let dot = &graph.tables[*n];
        if before.is_some_and(|last| last.context != dot.context) {
            at += 1.0;
        }
        angle[*n] = at;
        at += 1.0;
        before = Some(dot);
    }
    let places = (at + 1.0).max(2.0);
    angle.iter_mut().for_each(|place| *place = *place / places * TAU - PI / 2.0);
    let point = |n: usize, r: f64| (cx + r * angle[n].cos(), cy + r * angle[n].sin());
    let mut inside = String::new();
    let mut bonds: Vec<_> = graph.bonds.iter().filter(|bond| bond.share > 0.0).collect();
    // What cross-cutting tables are bound to says little: it lies under the rest.
    let is_of_all = |bond: &Bond| [bond.a, bond.b].iter().any(|place| graph.tables[*place].context.is_none());
    bonds.sort_by(|a, b| is_of_all(a).cmp(&is_of_all(b)).then(b.share.total_cmp(&a.share)));
    let strongest = bonds.iter().map(|bond| bond.share).fold(0.0, f64::max);
    let (over, under) = bonds.split_at(bonds.partition_point(|bond| !is_of_all(bond)));
    for bond in under.iter().take(BONDS_OF_ALL_MAX).chain(over.iter().take(BONDS_MAX)) {
        let ((ax, ay), (bx, by)) = (point(bond.a, radius), point(bond.b, radius));
        let broad = 0.6 + 6.0 * (bond.share / strongest).sqrt();
        let (colour, dashes) = if bond.cut {
            ("var(--cut)".to_owned(), " stroke-dasharray=\"7 5\"")
        } else if is_of_all(bond) {
            ("var(--line)".to_owned(), " stroke-dasharray=\"2 4\"")
        } else {
            (palette.colour(graph.tables[bond.a].context.as_ref()), "")
        };
        let (a, b) = (&graph.tables[bond.a].table, &graph.tables[bond.b].table);
        let told =
            format!("{a} and {b}: {} together, {} write to both", percent(bond.share), percent(bond.writes));
        inside += &format!(
            "<path d=\"M{ax:.1} {ay:.1} Q{:.1} {:.1} {bx:.1} {by:.1}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{broad:.1}\" stroke-opacity=\".5\"{dashes}><title>{}</title></path>\n",
            cx + ((ax + bx) / 2.0 - cx) * 0.35,
            cy + ((ay + by) / 2.0 - cy) * 0.35,
            safe(&told)
        );
    }
    for (n, dot) in graph.tables.iter().enumerate() {
        let (x, y) = point(n, radius);
        let (tx, ty) = point(n, radius + 14.0);
        let size = 4.0 + 8.0 * dot.share.sqrt();
        let left = angle[n].cos() < 0.0;
        let turn = if left { angle[n].to_degrees() + 180.0 } else { angle[n].to_degrees() };
        let anchor = if left { "end" } else { "start" };
        inside += &format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size:.1}\" fill=\"{}\"><title>{}</title></circle>\n\
             <text x=\"{tx:.1}\" y=\"{ty:.1}\" text-anchor=\"{anchor}\" dominant-baseline=\"middle\" \
             transform=\"rotate({turn:.1} {tx:.1} {ty:.1})\">{}</text>\n",
            palette.colour(dot.context.as_ref()),
            safe(&format!("{}: in {} of the transactions", dot.table, percent(dot.share))),
            safe(&shortened(&dot.table, 24))
        );
    }
    let cut: Vec<String> = bonds
        .iter()
        .filter(|bond| bond.cut)
        .take(3)
        .map(|bond| {
            let (a, b) = (&graph.tables[bond.a].table, &graph.tables[bond.b].table);
            format!("{a} and {b} ({})", percent(bond.share))
        })
        .collect();
    let of_all = match graph.tables.iter().any(|dot| dot.context.is_none()) {
        true => ", dotted ones to tables that are cross-cutting",
        false => "",
    };
    let across = match cut.is_empty() {
        true => "no bond is cut".to_owned(),
        false => format!("the strongest bonds that are cut: {}", cut.join(", ")),
    };
    let left_out = match graph.left_out {
        0 => String::new(),
        n => format!(" {} with less traffic left out.", counted(n, "table is", "tables are")),
    };
    let words = format!(
        "Tables by context; lines bind tables that transactions use together, broad ones often, dashed ones across \
         contexts{of_all}: {across}.{left_out}"
    );
    (svg(width, height, "Contexts and the bonds between their tables", &words, &inside), words)
}

/// Statements against tables: what each reads and writes.
pub fn matrix(matrix: &Matrix) -> Drawn {
    let (side, left, top) = (20.0, 380.0, 150.0);
    let (columns, rows) = (matrix.tables.len() as f64, matrix.rows.len() as f64);
    let (width, height) = (left + columns * side + 120.0, top + rows * side + 10.0);
    let palette = Palette::of(matrix.contexts.iter().map(|(_, name)| name));
    let context_of = |column: usize| {
        matrix.contexts.iter().rev().find(|(begin, _)| *begin <= column).map(|(_, name)| name)
    };
    let mut inside = String::new();
    for (n, table) in matrix.tables.iter().enumerate() {
        let x = left + (n as f64 + 0.5) * side;
        inside += &format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" transform=\"rotate(-60 {x:.1} {:.1})\">{}</text>\n",
            top - 8.0,
            top - 8.0,
            safe(&shortened(table, 22))
        );
    }
    for (n, row) in matrix.rows.iter().enumerate() {
        let y = top + n as f64 * side;
        inside += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} <tspan class=\"faint\">{}</tspan></text>\n",
            left - 8.0,
            y + 14.0,
            safe(&shortened(&row.statement, 44)),
            percent(row.share)
        );
        for column in 0..matrix.tables.len() {
            let x = left + column as f64 * side;
            let touch = row.touches.get(&column);
            let (fill, solid) = match touch {
                Some('w') => (palette.colour(context_of(column)), "1"),
                Some(_) => (palette.colour(context_of(column)), ".35"),
                None => ("var(--panel)".to_owned(), "1"),
            };
            inside += &format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" fill-opacity=\"{solid}\"/>\n",
                x + 1.0,
                y + 1.0,
                side - 2.0,
                side - 2.0
            );
            if let Some(touch) = touch {
                inside += &format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" style=\"fill: var(--paper); font-weight: 700\">{}</text>\n",
                    x + side / 2.0,
                    y + 14.0,
                    touch.to_ascii_uppercase()
                );
            }
        }
    }
    let left_out = match matrix.left_out {
        0 => String::new(),
        n => format!(" {} seldom run and left out.", counted(n, "statement is", "statements are")),
    };
    let words = format!(
        "{} against {}, by context: R reads, W writes; behind each its share of all executions.{left_out}",
        counted(matrix.rows.len(), "statement", "statements"),
        counted(matrix.tables.len(), "table", "tables")
    );
    (svg(width, height, "Statements against tables", &words, &inside), words)
}

/// A tree over two dimensions as a map: areas by load, or load over time where there is one dimension.
pub fn tree(map: &TreeMap) -> Drawn {
    let (width, height, left, top) = (860.0, 300.0, 70.0, 20.0);
    let most = match map.axes.1 {
        Some(_) => map.cells.iter().map(|cell| cell.rows).max(),
        None => map.cells.iter().flat_map(|cell| cell.windows.iter().copied()).max(),
    };
    let most = most.unwrap_or(0).max(1) as f64;
    let mut inside = String::new();
    for cell in &map.cells {
        let [x, y, w, h] = cell.place;
        let (x, y, w, h) = (left + x * width, top + y * height, w * width, h * height);
        let told = format!("{}: {} rows", cell.leaf, count(cell.rows));
        inside += &format!("<g><title>{}</title>\n", safe(&told));
        let shades: Vec<u64> = if map.axes.1.is_some() { vec![cell.rows] } else { cell.windows.clone() };
        let step = h / shades.len().max(1) as f64;
        for (n, rows) in shades.iter().enumerate() {
            let shade = 0.06 + 0.84 * (*rows as f64 / most);
            inside += &format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{step:.1}\" fill=\"var(--heat)\" \
                 fill-opacity=\"{shade:.2}\"/>\n",
                y + n as f64 * step
            );
        }
        inside += &format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"none\" stroke=\"var(--ink)\"/>\n"
        );
        if w > 7.0 * cell.leaf.chars().count() as f64 {
            inside += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" style=\"paint-order: stroke; stroke: var(--paper); \
                 stroke-width: 3px\">{}</text>\n",
                x + w / 2.0,
                y + h / 2.0 + 4.0,
                safe(&cell.leaf)
            );
        }
        inside += "</g>\n";
    }
    let (across, down) = (&map.axes.0, map.axes.1.as_deref().unwrap_or("time"));
    inside += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"faint\">{} →</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"faint\">{} ↓</text>\n",
        left + width / 2.0,
        top + height + 20.0,
        safe(across),
        left - 8.0,
        top + 14.0,
        safe(&shortened(down, 9))
    );
    let busiest = map.cells.iter().max_by_key(|cell| cell.rows);
    let busiest = busiest.map_or_else(String::new, |cell| format!("; the busiest is {}", cell.leaf));
    let words = format!(
        "The key space of {} as {}: {across} along the width, {down} along the height, darker where more rows are handled{busiest}.",
        map.family,
        counted(map.cells.len(), "partition", "partitions"),
    );
    (
        svg(
            left + width + 20.0,
            top + height + 36.0,
            &format!("The tree of {}", map.family),
            &words,
            &inside,
        ),
        words,
    )
}

/// What each leaf has to do, and the mean.
pub fn load(load: &[LeafLoad]) -> Drawn {
    let (width, height, left, top) = (860.0, 220.0, 70.0, 20.0);
    let most = load.iter().map(|leaf| leaf.rows).max().unwrap_or(0).max(1) as f64;
    let partitions: Vec<&LeafLoad> = load.iter().filter(|leaf| leaf.leaf.is_some()).collect();
    let all: u64 = load.iter().map(|leaf| leaf.rows).sum();
    let mean = all as f64 / load.len().max(1) as f64;
    let broad = width / load.len().max(1) as f64;
    let mut inside = String::new();
    for (n, leaf) in load.iter().enumerate() {
        let tall = leaf.rows as f64 / most * height;
        let name = leaf.leaf.map_or_else(|| "one place".to_owned(), |leaf| leaf.to_string());
        let x = left + n as f64 * broad;
        inside += &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"var(--c0)\"><title>{}</title></rect>\n",
            x + broad * 0.1,
            top + height - tall,
            broad * 0.8,
            safe(&format!(
                "{name}: {} rows, {:.2} times the mean",
                count(leaf.rows),
                leaf.rows as f64 / mean.max(1e-9)
            ))
        );
        if load.len() <= 32 {
            inside += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                x + broad / 2.0,
                top + height + 16.0,
                safe(&name)
            );
        }
    }
    let y = top + height - mean / most * height;
    inside += &format!(
        "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"var(--cut)\" stroke-dasharray=\"6 4\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">mean</text>\n",
        left + width,
        left - 6.0,
        y + 4.0
    );
    let words = format!(
        "Rows handled by each of {}; the dashed line is the mean, and the busiest does {:.2} times that.",
        counted(partitions.len(), "partition", "partitions"),
        most / mean.max(1e-9)
    );
    (svg(left + width + 20.0, top + height + 28.0, "Load by partition", &words, &inside), words)
}
