//! Advice for a terminal.

use replat_advise::layout::Layout;
use replat_advise::report::Report;

use super::story::{Block, Rows, Section, blocks, story};
use crate::cli::Advise;

/// So many rows and items are shown unless all are asked for.
const SHOWN: usize = 12;

/// A cell is cut off after so many letters unless everything is asked for.
const CELL: usize = 56;

/// Lines are broken here.
const WIDTH: usize = 110;

/// The parts that are wanted.
pub fn terminal(report: &Report, wanted: Advise, detail: bool) -> String {
    let mut sections = story(report);
    sections.retain(|section| wanted == Advise::All || section.of.contains(&wanted));
    told(&sections, detail)
}

/// A layout of rows in blocks.
pub fn layout(found: &Layout, detail: bool) -> String {
    told(&[blocks(found)], detail)
}

fn told(sections: &[Section], detail: bool) -> String {
    let mut text = String::new();
    for section in sections {
        let shown: Vec<&Block> =
            section.blocks.iter().filter(|block| !matches!(block, Block::Picture(_))).collect();
        if shown.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &section.title.to_uppercase();
        text.push('\n');
        for block in shown {
            match block {
                Block::Text(words) => text += &folded(words, "  ", "  "),
                Block::List(items) => list(items, detail, &mut text),
                Block::Table(rows) => table(rows, detail, &mut text),
                Block::Code(code) => code.lines().for_each(|line| text += &format!("    {line}\n")),
                Block::Picture(_) => {}
            }
        }
    }
    text
}

fn list(items: &[String], detail: bool, text: &mut String) {
    let shown = if detail { items.len() } else { SHOWN };
    for item in items.iter().take(shown) {
        *text += &folded(item, "  - ", "    ");
    }
    more(items.len(), shown, text);
}

fn more(all: usize, shown: usize, text: &mut String) {
    if all > shown {
        *text += &format!("    and {} more (--detail)\n", all - shown);
    }
}

fn table(table: &Rows, detail: bool, text: &mut String) {
    let shown = if detail { table.rows.len() } else { SHOWN };
    let cells: Vec<Vec<String>> = table
        .rows
        .iter()
        .take(shown)
        .map(|row| {
            row.iter().map(|cell| if detail { one_line(cell) } else { cut_off(&one_line(cell)) }).collect()
        })
        .collect();
    // A column that says nothing is left out.
    let speaks: Vec<bool> =
        (0..table.head.len()).map(|n| cells.iter().any(|row| !row[n].is_empty())).collect();
    let widths: Vec<usize> = table
        .head
        .iter()
        .enumerate()
        .map(|(n, (title, _))| {
            cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0).max(title.chars().count())
        })
        .collect();
    let mut line = |row: &mut dyn Iterator<Item = &str>| {
        let mut whole = String::from("  ");
        for (n, cell) in row.enumerate().filter(|(n, _)| speaks[*n]) {
            let pad = " ".repeat(widths[n].saturating_sub(cell.chars().count()));
            whole += &if table.head[n].1 { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        *text += whole.trim_end();
        text.push('\n');
    };
    line(&mut table.head.iter().map(|(title, _)| *title));
    for row in &cells {
        line(&mut row.iter().map(String::as_str));
    }
    more(table.rows.len(), shown, text);
}

/// Text of others without what moves a terminal's cursor.
fn one_line(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut_off(cell: &str) -> String {
    match cell.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

/// A paragraph in lines that are not too long.
fn folded(words: &str, first: &str, further: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in one_line(words).split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text += line.trim_end();
            text.push('\n');
            line = further.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    text + line.trim_end() + "\n"
}
