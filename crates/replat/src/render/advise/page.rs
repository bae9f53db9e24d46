//! Advice as one HTML page that loads nothing and runs nothing.

use replat_advise::report::Report;

use super::story::{Block, Picture, Rows, headline, name, story};
use super::{columns, drawing};

/// The page's looks. Colours are chosen so that both themes have enough contrast, and none carries meaning alone.
const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1d2126; --faint: #5b6470; --line: #d5d9df; --panel: #f3f4f1;
  --cut: #c02a2a; --c0: #2f6fb3; --c1: #2f855a; --c2: #a15c10; --c3: #7a4fb5; --c4: #0f7d8a; --c5: #a8376f; --c6: #66702a;
  --c7: #4a5568; --heat: #2f6fb3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e8ea; --faint: #9aa4b0; --line: #363d46; --panel: #1e2329; --cut: #ff7b72;
    --c0: #6cb0f5; --c1: #63c794; --c2: #e0a458; --c3: #b795f0; --c4: #56c5d3; --c5: #f08ab8; --c6: #b7c25f; --c7: #a3aebd;
    --heat: #6cb0f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.verdict { border-left: .35rem solid var(--c0); padding: .6rem 1rem; background: var(--panel); font-size: 1.05rem; }
.verdict.no { border-color: var(--cut); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; min-width: 50%; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: var(--panel); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
figure { margin: 1rem 0; } figcaption { color: var(--faint); font-size: .9rem; margin-top: .3rem; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg text.faint { fill: var(--faint); }
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; }
nav a { color: inherit; margin-right: 1rem; }
@media print { body { max-width: none; } nav { display: none; } }
";

/// The whole page.
pub fn page(report: &Report) -> String {
    let title = format!("Advice on {}", name(report));
    let sections = story(report);
    let mut body = String::new();
    for (n, section) in sections.iter().enumerate() {
        body +=
            &format!("<section aria-labelledby=\"s{n}\">\n<h2 id=\"s{n}\">{}</h2>\n", safe(section.title));
        for block in &section.blocks {
            body += &shown(report, block, n == 0);
        }
        body += "</section>\n";
    }
    let links: String = sections
        .iter()
        .enumerate()
        .map(|(n, section)| format!("<a href=\"#s{n}\">{}</a>\n", safe(section.title)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <nav aria-label=\"Parts\">\n{links}</nav>\n</header>\n<main>\n{body}</main>\n<footer>{}, made by replat from \
         evidence of tier {}.</footer>\n</body>\n</html>\n",
        safe(&report.format),
        safe(&tier(report)),
        title = safe(&title),
    )
}

fn tier(report: &Report) -> String {
    serde_json::to_value(report.advice.tier)
        .ok()
        .and_then(|tier| tier.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn shown(report: &Report, block: &Block, first: bool) -> String {
    match block {
        Block::Text(words) if first && *words == headline(report) => {
            let stance = if report.partitions() { "yes" } else { "no" };
            format!("<p class=\"verdict {stance}\">{}</p>\n", safe(words))
        }
        Block::Text(words) => format!("<p>{}</p>\n", safe(words)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", safe(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(rows) => table(rows),
        Block::Code(code) => format!("<pre><code>{}</code></pre>\n", safe(code)),
        Block::Picture(picture) => figure(report, *picture),
    }
}

fn table(table: &Rows) -> String {
    let class = |number: bool| if number { " class=\"n\"" } else { "" };
    let head: String = table
        .head
        .iter()
        .map(|(title, number)| format!("<th scope=\"col\"{}>{}</th>", class(*number), safe(title)))
        .collect();
    let mut rows = String::new();
    for row in &table.rows {
        let cells: String = row
            .iter()
            .zip(&table.head)
            .map(|(cell, (_, number))| format!("<td{}>{}</td>", class(*number), safe(cell)))
            .collect();
        rows += &format!("<tr>{cells}</tr>\n");
    }
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn figure(report: &Report, picture: Picture) -> String {
    let pictures = &report.pictures;
    let drawn = match picture {
        Picture::Contexts => vec![drawing::graph(&pictures.graph)],
        Picture::Matrix => vec![drawing::matrix(&pictures.matrix)],
        Picture::Tree => pictures.trees.iter().map(drawing::tree).collect(),
        Picture::Load => vec![drawing::load(&pictures.load)],
        Picture::Columns(place) => {
            report.columns.tables.get(place).map(columns::picture).into_iter().collect()
        }
    };
    let drawn = drawn.into_iter().map(|(svg, caption)| {
        format!("<figure class=\"wide\">\n{svg}\n<figcaption>{}</figcaption>\n</figure>\n", safe(&caption))
    });
    drawn.collect()
}

/// Text of others that cannot be taken for markup.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            // No document may have these at all.
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
