//! Advice as Markdown.

use replat_advise::report::Report;

use super::story::{Block, Rows, story};

/// All of it.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Advice on {}\n", plain(&report.advice.system));
    for section in story(report) {
        if section.blocks.iter().all(|block| matches!(block, Block::Picture(_))) {
            continue;
        }
        text += &format!("\n## {}\n", section.title);
        for block in &section.blocks {
            match block {
                Block::Text(words) => text += &format!("\n{}\n", plain(words)),
                Block::List(items) => {
                    text.push('\n');
                    items.iter().for_each(|item| text += &format!("- {}\n", plain(item)));
                }
                Block::Table(rows) => table(rows, &mut text),
                Block::Code(code) => text += &format!("\n{}\n", indented(code)),
                Block::Picture(_) => {}
            }
        }
    }
    text
}

fn table(table: &Rows, text: &mut String) {
    let titles: Vec<&str> = table.head.iter().map(|(title, _)| *title).collect();
    let marks: Vec<&str> = table.head.iter().map(|(_, number)| if *number { "--:" } else { "---" }).collect();
    *text += &format!("\n| {} |\n| {} |\n", titles.join(" | "), marks.join(" | "));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
        *text += &format!("| {} |\n", cells.join(" | "));
    }
}

/// Text of others that cannot be taken for markup, on one line.
fn plain(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => safe.extend(['\\', c]),
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Code is indented rather than fenced: no text can end it.
fn indented(code: &str) -> String {
    code.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end_matches('\n').to_owned()
}
