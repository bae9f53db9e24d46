//! `advise layout`: in which blocks rows should lie, from rows and the queries that read them.

use replat_advise::layout::{BadLayout, Rows, Wanted, layout, read_queries};
use serde_json::json;

use super::reading::{Text, files, text};
use super::written;
use crate::cli::AdviseArgs;
use crate::failure::{Exit, Failure};
use crate::render::{self, Style};

/// Reads `layout.json`, `rows.csv` and queries, and says what was found.
pub fn advise(style: Style, args: &AdviseArgs) -> Result<(), Failure> {
    if args.evidence.is_empty() {
        let what = "a layout is made of recorded rows and queries, which no counter of a database tells";
        return Err(Failure::new("RP8001", Exit::Usage, what).remedy(
            "Name them: --evidence DIR, with layout.json, rows.csv and queries.jsonl; docs/advise.md",
        ));
    }
    let mut texts = Vec::new();
    for path in &args.evidence {
        for file in files(path, &|_| true)? {
            texts.push(text(&file)?);
        }
    }
    let wanted = Wanted::read(&find(&texts, "layout.json")?.text).map_err(bad)?;
    let rows = Rows::read(&find(&texts, "rows.csv")?.text, &wanted.columns).map_err(bad)?;
    let queries = find(&texts, "queries_train.jsonl").or_else(|_| find(&texts, "queries.jsonl"))?;
    let queries = read_queries(&queries.text).map_err(bad)?;
    let found = layout(&rows, &queries, args.blocks as usize, wanted.min_rows_per_block).map_err(bad)?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|e| {
            Failure::new("RP9001", Exit::Usage, format!("{} cannot be made: {e}", folder.display()))
        })?;
        let tree = serde_json::to_string_pretty(&found.tree).expect("JSON can be written");
        written(&folder.join("tree.json"), &(tree + "\n"))?;
    }
    style.result(&render::advise::layout(&found, args.detail), &json!(found));
    Ok(())
}

fn find<'t>(texts: &'t [Text], name: &str) -> Result<&'t Text, Failure> {
    texts.iter().find(|text| text.name == name).ok_or_else(|| {
        Failure::new("RP8001", Exit::Invalid, format!("there is no {name}")).remedy(
            "Name a folder with layout.json, rows.csv and queries.jsonl; docs/advise.md describes them.",
        )
    })
}

fn bad(error: BadLayout) -> Failure {
    Failure::new("RP8001", Exit::Invalid, error.to_string()).remedy("Correct what is named, or leave it out.")
}
