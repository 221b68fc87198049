//! The threat model names existing tests, at least one for each attack.

use crate::pages::{files, page, quoted, root, rows};
use std::collections::BTreeSet;
use std::path::Path;

const THREAT_MODEL: &str = "placement-service/docs/threat-model.md";

/// The names of all tests: functions of Rust, titles of JavaScript.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    files(&root(), "rs", &mut |_, text| {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                // Further attributes may stand between.
                let function = lines.find_map(|line| line.split_once("fn "));
                let (_, name) = function.unwrap_or_default();
                names.insert(name.split('(').next().unwrap_or_default().to_owned());
            }
        }
    });
    files(&root().join("tests"), "mjs", &mut |_, text| {
        let titles = text.split("test('").skip(1);
        names.extend(titles.filter_map(|rest| Some(rest.split_once('\'')?.0.to_owned())));
    });
    names
}

fn is_fuzz_target(root: &Path, name: &str) -> bool {
    root.join(format!("tests/fuzz/src/{name}.rs")).is_file()
}

#[test]
fn every_attack_names_tests_that_exist() {
    let (root, tests) = (root(), tests());
    let page = page(THREAT_MODEL);
    let sections = page.headings().into_iter();
    let attacks = sections.filter(|(_, heading)| heading.starts_with("Attacks "));
    let mut named = 0;
    for (_, section) in attacks {
        for row in rows(page.section(section)) {
            let [attack, _, shown_by] = row.as_slice() else {
                panic!("{section}: a row without three cells: {row:?}");
            };
            let (functions, targets) = match shown_by.split_once("fuzz target") {
                Some((functions, targets)) => (functions, targets),
                None => (shown_by.as_str(), ""),
            };
            assert!(quoted(functions).count() > 0, "no test shows: {attack}");
            for test in quoted(functions) {
                assert!(tests.contains(test), "{attack}: there is no test {test}");
                named += 1;
            }
            for target in quoted(targets) {
                let exists = is_fuzz_target(&root, target);
                assert!(exists, "{attack}: there is no fuzz target {target}");
            }
        }
    }
    assert!(named > 80, "the tables are not found: {named}");
}
