//! What is said of columns: which are used together, which tables should be two, and statements against columns.

use std::collections::BTreeSet;

use replat_advise::columns::{ColumnMatrix, MatrixColumn, Split, TableColumns};
use replat_advise::confidence::Interval;
use replat_advise::report::Report;

use super::drawing::{Drawn, shortened, svg};
use super::page::safe;
use super::story::{Block, Picture, Rows, Section, percent};
use crate::advise::spec::SOME_DATABASE;
use crate::advise::split::piece;
use crate::cli::Advise;
use crate::render::{count, counted};

/// The part about columns.
pub fn columns(report: &Report) -> Section {
    let said = &report.columns;
    let mut blocks = Vec::new();
    let mut has_spec = false;
    for (place, table) in said.tables.iter().enumerate() {
        let Some(split) = &table.split else { continue };
        blocks.push(Block::Text(advised(table, split)));
        blocks.push(pieces(split));
        let mut facts = split.because.clone();
        facts.extend(split.price.iter().map(|what| format!("the price: {what}")));
        facts.extend(split.assumed.iter().map(|what| format!("assumed: {what}")));
        blocks.push(Block::List(facts));
        if !split.joins.is_empty() {
            blocks.push(Block::Text("Statements that need several of these tables:".to_owned()));
            blocks.push(joins(split));
        }
        blocks.push(Block::Text(format!("The statements of {} against its columns:", table.table)));
        blocks.push(grid(&table.matrix));
        blocks.push(Block::Picture(Picture::Columns(place)));
        match piece(table, split) {
            Ok(piece) => {
                has_spec = true;
                if !piece.before.is_empty() {
                    blocks.push(Block::Text(
                        "First, since a second table may have no row for these columns:".to_owned(),
                    ));
                    blocks.push(Block::Code(piece.before));
                }
                blocks.push(Block::Text(format!(
                    "What brings it about, with {} beside the spec:",
                    piece.ddl_name
                )));
                blocks.push(Block::Code(piece.spec.trim_end().to_owned()));
                blocks.push(Block::Text(format!("{}:", piece.ddl_name)));
                blocks.push(Block::Code(piece.ddl.trim_end().to_owned()));
                let parents: BTreeSet<&str> = split
                    .pieces
                    .iter()
                    .flat_map(|piece| piece.references.iter().map(|(_, parent, _)| parent.as_str()))
                    .filter(|parent| *parent != table.table)
                    .collect();
                if !parents.is_empty() {
                    let parents: Vec<&str> = parents.into_iter().collect();
                    blocks.push(Block::Text(format!(
                        "It refers to tables that the piece leaves where they are: name {} in the context, or allow FK_OUTSIDE.",
                        parents.join(", ")
                    )));
                }
            }
            Err(failure) => blocks.push(Block::Text(format!("A deployment cannot do it: {}.", failure.what))),
        }
    }
    if has_spec {
        blocks.push(Block::Text(format!(
            "{SOME_DATABASE} stands for what your spec calls the database. Where a context of your spec has the table \
             already, its rollout takes the tables of the piece."
        )));
    }
    let kept = said.tables.iter().filter_map(|table| Some((table, table.kept.as_ref()?)));
    let kept: Vec<Vec<String>> = kept
        .map(|(table, why)| {
            vec![
                table.table.clone(),
                table.columns.to_string(),
                format!("{:.0}", table.row_bytes),
                percent(table.whole_rows),
                why.clone(),
            ]
        })
        .collect();
    if !kept.is_empty() {
        blocks.push(Block::Text("Tables with wide rows that should stay whole:".to_owned()));
        let head = vec![
            ("table", false),
            ("columns", true),
            ("bytes", true),
            ("read whole rows", true),
            ("because", false),
        ];
        blocks.push(Block::Table(Rows { head, rows: kept }));
    }
    if !said.cold.is_empty() {
        blocks.push(Block::Text(
            "Columns that nobody was seen looking at or changing. Evidence is a sample: they need not be without use."
                .to_owned(),
        ));
        let cold = said.cold.iter().map(|cold| {
            format!("{}: {} ({} runs seen)", cold.table, cold.columns.join(", "), count(cold.runs))
        });
        blocks.push(Block::List(cold.collect()));
    }
    Section { title: "Columns", of: &[Advise::Columns], blocks }
}

fn advised(table: &TableColumns, split: &Split) -> String {
    let Interval { value, low, high } = split.saved;
    let saving = &split.bytes;
    format!(
        "{}: make {} of it, which saves {} ({} to {}) of what its statements cost, joins and second rows counted. A run looks \
         through {:.0} bytes of rows instead of {:.0} and writes {:.0} instead of {:.0}. {} of the draws find nothing better; \
         confidence {:.2}.",
        table.table,
        counted(split.pieces.len(), "table", "tables"),
        percent(value),
        percent(low),
        percent(high),
        saving.looked.1,
        saving.looked.0,
        saving.written.1,
        saving.written.0,
        percent(split.stability),
        split.confidence
    )
}

fn pieces(split: &Split) -> Block {
    let names = |columns: &[replat_advise::columns::PieceColumn]| {
        columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let rows = split.pieces.iter().map(|piece| {
        let with = piece.used_with.iter().map(|(context, share)| format!("{context} {}", percent(*share)));
        vec![
            piece.table.clone(),
            format!("{:.0}", piece.row_bytes),
            percent(piece.used),
            with.collect::<Vec<_>>().join(", "),
            format!("{} | {}", names(&split.carried), names(&piece.columns)),
        ]
    });
    let head = vec![
        ("table", false),
        ("bytes", true),
        ("runs need it", true),
        ("used with", false),
        ("columns", false),
    ];
    Block::Table(Rows { head, rows: rows.collect() })
}

fn joins(split: &Split) -> Block {
    let rows = split.joins.iter().map(|join| {
        let does = if join.writes { "changes" } else { "reads" };
        vec![percent(join.share), does.to_owned(), join.tables.join(", "), join.statement.clone()]
    });
    let head = vec![("runs", true), ("it", false), ("tables", false), ("statement", false)];
    Block::Table(Rows { head, rows: rows.collect() })
}

/// The matrix in letters: for each statement what it reads, chooses by, sets and adds.
fn grid(matrix: &ColumnMatrix) -> Block {
    let of = |marks: &str, mark: char| {
        let having = matrix.columns.iter().zip(marks.chars()).filter(|(_, own)| *own == mark);
        let names: Vec<&str> = having.map(|(column, _)| column.name.as_str()).collect();
        match names.len() == matrix.columns.len() && names.len() > 1 {
            true => "all".to_owned(),
            false => names.join(", "),
        }
    };
    let rows = matrix.runs.iter().map(|run| {
        let marks = |mark| of(&run.marks, mark);
        vec![percent(run.share), run.statement.clone(), marks('r'), marks('f'), marks('w'), marks('a')]
    });
    let head = vec![
        ("runs", true),
        ("statement", false),
        ("reads", false),
        ("chooses by", false),
        ("sets", false),
        ("adds", false),
    ];
    Block::Table(Rows { head, rows: rows.collect() })
}

/// Statements against the columns of a table, piece by piece.
pub fn picture(table: &TableColumns) -> Drawn {
    let matrix = &table.matrix;
    let (side, left, top) = (22.0, 380.0, 150.0);
    let (columns, rows) = (matrix.columns.len() as f64, matrix.runs.len() as f64);
    let (width, height) = (left + columns * side + 120.0, top + rows * side + 10.0);
    let colour = |column: &MatrixColumn| match column.piece {
        Some(piece) => format!("var(--c{})", piece % 7),
        None => "var(--c7)".to_owned(),
    };
    let mut inside = String::new();
    for (n, column) in matrix.columns.iter().enumerate() {
        let x = left + (n as f64 + 0.5) * side;
        inside += &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" transform=\"rotate(-60 {x:.1} {y:.1})\">{}<title>{}</title></text>\n",
            safe(&shortened(&column.name, 22)),
            safe(&format!("{}: {:.0} bytes", column.name, column.bytes)),
            y = top - 8.0,
        );
    }
    for (n, run) in matrix.runs.iter().enumerate() {
        let y = top + n as f64 * side;
        inside += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} <tspan class=\"faint\">{}</tspan></text>\n",
            left - 8.0,
            y + 15.0,
            safe(&shortened(&run.statement, 44)),
            percent(run.share)
        );
        for (place, (column, mark)) in matrix.columns.iter().zip(run.marks.chars()).enumerate() {
            let x = left + place as f64 * side;
            let (fill, solid) = match mark {
                'w' => (colour(column), "1"),
                'r' => (colour(column), ".55"),
                ' ' => ("var(--panel)".to_owned(), "1"),
                _ => (colour(column), ".3"),
            };
            inside += &format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" fill-opacity=\"{solid}\"/>\n",
                x + 1.0,
                y + 1.0,
                side - 2.0,
                side - 2.0
            );
            if mark != ' ' {
                inside += &format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                    x + side / 2.0,
                    y + 15.0,
                    mark.to_ascii_uppercase()
                );
            }
        }
    }
    let left_out = match matrix.left_out {
        (0, 0) => String::new(),
        (runs, columns) => format!(
            " {} and {} left out.",
            counted(runs, "statement is", "statements are"),
            counted(columns, "column is", "columns are")
        ),
    };
    let words = format!(
        "Statements against the columns of {}, by the table that each column would be in: R reads, F chooses rows by, W sets, A \
         gives to new rows; behind each statement its share of the runs.{left_out}",
        table.table
    );
    (
        svg(width, height, &format!("Statements against the columns of {}", table.table), &words, &inside),
        words,
    )
}
