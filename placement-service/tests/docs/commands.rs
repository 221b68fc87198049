//! Blocks of commands: those marked `sh` are run in an empty folder; of those marked `sh not-run`, the names of commands,
//! options, targets and scripts are checked.

use crate::pages::{self, Page};
use std::path::Path;
use std::process::Command;

const BERTH: &str = env!("CARGO_BIN_EXE_berth");
const LANGUAGES: [&str; 8] = [
    "js",
    "mermaid",
    "proto",
    "python",
    "sh",
    "sh not-run",
    "text",
    "yaml",
];
/// What a reader of the pages has.
const CONFIG: &str = "
store: { kind: sqlite, path: berth.db }
";

/// A folder with `my.yaml`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("my.yaml"), CONFIG).unwrap();
    folder
}

fn search_path() -> String {
    let bin = Path::new(BERTH).parent().unwrap();
    let others = std::env::var("PATH").unwrap();
    format!("{}:{others}", bin.display())
}

#[test]
fn commands_run() {
    let mut ran = 0;
    for page in pages::all() {
        for block in page.blocks().iter().filter(|block| block.info == "sh") {
            let folder = folder();
            let mut bash = Command::new("bash");
            bash.args(["-euo", "pipefail", "-c", &block.text])
                .current_dir(folder.path())
                .env("PATH", search_path())
                .env("BERTH_CONFIG", "my.yaml")
                .env("BERTH_TOKEN_KEY", "0123456789abcdef0123456789abcdef")
                .env("PASSWORD", "a-long-password-of-ada");
            let output = bash.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            let path = page.path.display();
            assert!(output.status.success(), "{path}:\n{}{error}", block.text);
            ran += 1;
        }
    }
    assert!(ran > 0);
}

#[test]
fn blocks_have_a_known_language() {
    for page in pages::all() {
        for block in page.blocks() {
            let known = LANGUAGES.contains(&block.info);
            assert!(known, "{}: {:?}", page.path.display(), block.info);
        }
    }
}

#[test]
fn commands_that_are_not_run_exist() {
    let makefile = std::fs::read_to_string(pages::root().join("Makefile")).unwrap();
    for page in pages::all() {
        let blocks = page.blocks();
        let blocks = blocks.iter().filter(|block| block.info == "sh not-run");
        for line in blocks.flat_map(|block| block.text.lines()) {
            let command = line.split(" #").next().unwrap();
            check(&page, command, &makefile);
        }
    }
}

fn check(page: &Page, command: &str, makefile: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let fault = || format!("{}: {command}", page.path.display());
    match words[..] {
        ["make", target, ..] => {
            assert!(makefile.contains(&format!("\n{target}:")), "{}", fault());
        }
        [script, ..] if script.starts_with("tests/") => {
            assert!(pages::root().join(script).is_file(), "{}", fault());
        }
        _ => {}
    }
    // The last one: a namespace of Kubernetes may have the same name.
    if let Some(at) = words.iter().rposition(|word| *word == "berth") {
        let words = &words[at + 1..];
        let is_name = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase());
        // A subcommand has at most two words; a further one is an argument.
        let names: Vec<&str> = words.iter().take(2).take_while(is_name).copied().collect();
        let help = help(&names).unwrap_or_else(|| panic!("{}", fault()));
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{}: {option}", fault());
        }
    }
}

/// The help of a subcommand.
fn help(names: &[&str]) -> Option<String> {
    let mut berth = Command::new(BERTH);
    let output = berth.args(names).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}
