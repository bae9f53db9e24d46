//! Advice as Markdown.

use replat_advise::report::Report;

use super::story::{Block, Rows, name, story};

/// All of it.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Advice on {}\n", plain(name(report)));
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
                Block::Code(code) => text += &format!("\n{}\n", fenced(code)),
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

/// Code between fences that are longer than any that it has itself.
fn fenced(code: &str) -> String {
    let mut fence = "```".to_owned();
    while code.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{}\n{fence}", code.trim_end())
}
