//! What the program says without any server: specs, codes, completion, manual, wrong usage.

use std::process::{Command, Stdio};

use replat_testkit::saas::example_directory;
use serde_json::Value;

use crate::program::Program;
use crate::world::Folder;

fn example() -> String {
    std::fs::read_to_string(example_directory().join("replat.toml")).expect("the example")
}

#[tokio::test]
async fn the_example_is_valid_and_found_from_a_folder_below() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("replat.toml"), example()).expect("a spec");
    let below = folder.path().join("a/b");
    std::fs::create_dir_all(&below).expect("folders");
    let program = Program::in_folder(&below);
    program.line("validate").await.succeeds().prints("replat.toml is valid: 2 databases, 1 context");
    let said = program.line("validate --json").await.succeeds().json();
    assert_eq!(said["valid"], true);
    assert_eq!(said["contexts"][0], "saas");
    assert!(!folder.path().join(".replat").exists(), "validate writes nothing");
}

#[tokio::test]
async fn a_bad_spec_is_shown_where_it_is_bad_with_what_was_meant() {
    let cases = [
        ("version = 1", "version = 1\nprojct = \"x\"", "replat.toml:5:1", "did you mean `project`?"),
        ("type = \"bigint\"", "type = \"bigit\"", ":16:46", "did you mean `bigint`?"),
        ("soak = \"1h\"", "soak = \"1x\"", "replat.toml:64:8", "use one of ms, s, m, h, d"),
        ("database = \"green\"", "database = \"gren\"", "declared: blue, green", "did you mean"),
        ("project = \"saas\"", "project = [", "this is not TOML", "has 3 errors"),
    ];
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    for (right, wrong, place, help) in cases {
        assert!(example().contains(right), "{right} is in the example");
        std::fs::write(folder.path().join("replat.toml"), example().replacen(right, wrong, 1)).expect("spec");
        let ran = program.line("validate").await.fails("RP2001", 3).remarks(place).remarks(help);
        assert!(ran.out.is_empty(), "{}", ran.told());
        let said = program.line("validate --json").await.exits(3).json();
        assert_eq!(said["error"]["code"], "RP2001");
        assert_eq!(said["error"]["exit"], 3);
        assert!(said["error"]["details"][0]["message"].is_string(), "{said:#}");
    }
}

#[tokio::test]
async fn a_spec_that_is_not_there_is_said_with_the_way_to_name_one() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    program.line("validate").await.fails("RP2001", 3).remarks("-c FILE");
    program.line("validate -c other.toml").await.fails("RP2001", 3).remarks("other.toml").remarks("-c FILE");
    program.line("deploy list").await.fails("RP2001", 3);
}

#[tokio::test]
async fn every_code_is_explained_and_a_slip_is_forgiven() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let codes = program.line("explain --json").await.succeeds().json();
    let codes = codes.as_array().expect("a list");
    assert!(codes.len() > 20);
    for code in codes.iter().filter_map(|c| c["code"].as_str()) {
        let page = program.run(&["explain", code]).await.succeeds();
        assert!(page.out.starts_with(&format!("# {code}: ")), "{}", page.told());
    }
    program.line("explain").await.succeeds().prints("RP4003  The sides differ");
    program.line("explain rp4003").await.succeeds().prints("# RP4003");
    program.line("explain RP4030").await.fails("RP2006", 2).remarks("did you mean RP3030");
}

#[tokio::test]
async fn completion_scripts_name_the_verbs_and_are_scripts() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    for shell in ["bash", "zsh", "fish"] {
        program.run(&["completion", shell]).await.succeeds().prints("rollback").prints("dry-run");
    }
    let script = program.line("completion bash").await.out;
    std::fs::write(folder.path().join("replat.bash"), script).expect("a file");
    let checked = Command::new("bash").args(["-n", "replat.bash"]).current_dir(folder.path()).status();
    assert!(checked.expect("bash runs").success());
    program.line("completion ksh").await.exits(2).remarks("bash");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    for words in ["completion bash", "man", "schema", "explain RP4003"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_replat"))
            .args(words.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && err.is_empty(), "{words}: {err}");
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_every_verb() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    program.line("man").await.succeeds().prints(".TH replat 1");
    program.line("man --dir pages").await.succeeds();
    for page in ["replat.1", "replat-plan-deploy.1", "replat-deploy-rollback.1", "replat-verify.1"] {
        assert!(folder.path().join("pages").join(page).is_file(), "{page} is missing");
    }
}

#[tokio::test]
async fn schemas_are_json_and_describe_what_the_spec_has() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let schema = program.line("schema").await.succeeds().json();
    assert!(schema["properties"]["databases"].is_object(), "{schema:#}");
    let errors = program.line("schema errors").await.succeeds().json();
    let exit = |code: &str| {
        let found = errors.as_array().expect("a list").iter().find(|e| e["code"] == code);
        found.map(|e| e["exit"].clone())
    };
    assert_eq!(exit("RP2003"), Some(Value::from(3)));
    assert_eq!(exit("RP6002"), Some(Value::from(21)));
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_names_what_was_meant() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    for (line, hint) in [
        ("verfy", "'verify'"),
        ("deploy lst", "'list'"),
        ("plan deply", "'deploy'"),
        ("deploy", "--partition"),
        ("deploy list --jsn", "'--json'"),
        ("plan deploy", "--partition"),
        ("deploy set d1", "<CHANGES>"),
        ("validate --color sometimes", "always"),
        ("", "Usage: replat"),
    ] {
        let ran = program.line(line).await.exits(2).remarks(hint);
        assert!(ran.out.is_empty(), "{}", ran.told());
    }
    program.line("--help").await.succeeds().prints("Examples:").prints("Exit codes:");
    program.line("--version").await.succeeds().prints("replat ");
}

#[tokio::test]
async fn colour_comes_on_demand_and_never_into_json() {
    let folder = Folder::new();
    let program = Program::in_folder(folder.path());
    let is_coloured = |text: &str| text.contains('\x1b');
    for (line, variable, coloured) in [
        ("validate", ("X", "1"), false),
        ("validate", ("FORCE_COLOR", "1"), true),
        ("validate", ("CLICOLOR_FORCE", "1"), true),
        ("validate --color always", ("X", "1"), true),
        ("validate --color always", ("NO_COLOR", "1"), true),
        ("validate --color never", ("FORCE_COLOR", "1"), false),
    ] {
        let program = program.clone().with(variable.0, variable.1);
        let ran = program.line(line).await.exits(3);
        assert_eq!(is_coloured(&ran.err), coloured, "{variable:?} {}", ran.told());
        let ran = program.line(&format!("{line} --json")).await.exits(3);
        assert!(!is_coloured(&ran.out), "{}", ran.told());
    }
    let both = program.clone().with("FORCE_COLOR", "1").with("NO_COLOR", "1");
    assert!(!is_coloured(&both.line("validate").await.err), "NO_COLOR wins over FORCE_COLOR");
}

/// All Rust files below a folder, by the name that a test's module has, with their texts.
fn rust_files(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push((stem, std::fs::read_to_string(&path).expect("a source")));
        }
    }
}

#[test]
fn every_test_that_the_page_of_traps_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/traps.md")).expect("the page");
    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files);
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| trap")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "a trap, what replat does, and a test: {row}");
        let tests: Vec<(&str, &str)> = cells[2].split('`').filter_map(|word| word.split_once("::")).collect();
        for (file, test) in &tests {
            let declared = format!("fn {test}(");
            let is_there = files.iter().any(|(stem, text)| stem == file && text.contains(&declared));
            assert!(is_there, "no file {file}.rs has a test {test}");
        }
        let is_said = ["Open:", "Does not apply", "nothing to get wrong"].iter().any(|why| row.contains(why));
        assert!(!tests.is_empty() || is_said, "neither a test nor a reason: {row}");
        named += tests.len();
    }
    assert!(named > 40, "the page is read as it is written");
}
