//! `berth check` accepts each `berth.yaml` of the pages about engines. It warns of nothing but what depends on the reader's
//! hosts and network.

use crate::pages;
use std::process::Command;

const FOLDER: &str = "placement-service/docs/engines";
/// That pages of engines are on the host of the login, and that engines may be on other machines.
const EXPECTED: [&str; 2] = ["on the host of /login", "tls is null and engines may be"];

#[test]
fn configurations_of_engine_pages_pass_the_check() {
    let mut checked = 0;
    for page in pages::all() {
        if !page.path.starts_with(pages::root().join(FOLDER)) {
            continue;
        }
        for block in page.text.split("\n`berth.yaml`:\n\n```yaml\n").skip(1) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("berth.yaml");
            std::fs::write(&file, block.split("```").next().unwrap()).unwrap();
            let mut berth = Command::new(env!("CARGO_BIN_EXE_berth"));
            let output = berth.args(["check", "--without-secrets"]).arg(&file);
            let output = output.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            let path = page.path.display();
            assert!(output.status.success(), "{path}: {error}");
            let text = String::from_utf8_lossy(&output.stdout);
            let warnings = text.lines().filter(|line| line.contains("warning"));
            for warning in warnings {
                let expected = EXPECTED.iter().any(|text| warning.contains(text));
                assert!(expected, "{path}: {warning}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 7, "{checked} configurations");
}
