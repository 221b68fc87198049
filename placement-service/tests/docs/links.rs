//! Every relative link leads to a file, and every anchor to a heading. Does not use the network.

use crate::pages::{self, Page};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The target of each link in the text, without those in code.
fn targets(page: &Page) -> Vec<String> {
    let mut targets = Vec::new();
    for line in page.prose() {
        let text: String = line.split('`').step_by(2).collect();
        for rest in text.split("](").skip(1) {
            targets.push(rest.split(')').next().unwrap().to_owned());
        }
    }
    targets
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(page: &Page) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, heading) in page.headings() {
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let mut unique = anchor.clone();
        let mut number = 0;
        while !anchors.insert(unique.clone()) {
            number += 1;
            unique = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// The file that a relative link leads to.
fn file(page: &Page, target: &str) -> PathBuf {
    let path = target.split('#').next().unwrap();
    if path.is_empty() {
        return page.path.clone();
    }
    page.path.parent().unwrap().join(path)
}

fn is_external(target: &str) -> bool {
    target.starts_with("https://") || target.starts_with("http://")
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages::all();
    let mut faults = Vec::new();
    for page in &pages {
        for target in targets(page).iter().filter(|target| !is_external(target)) {
            let fault = |what: &str| format!("{}: {target}: {what}", page.path.display());
            let Ok(path) = file(page, target).canonicalize() else {
                faults.push(fault("no such file"));
                continue;
            };
            let Some((_, anchor)) = target.split_once('#') else {
                continue;
            };
            match pages.iter().find(|page| page.path == path) {
                None => faults.push(fault("an anchor in a file that is not a page")),
                Some(page) if !anchors(page).contains(anchor) => {
                    faults.push(fault("no such heading"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages::all();
    let mut waiting = vec![pages::root().join("README.md")];
    let mut reached = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        let Some(page) = pages.iter().find(|page| page.path == path) else {
            continue;
        };
        if reached.insert(path) {
            let targets = targets(page);
            let files = targets.iter().filter(|target| !is_external(target));
            waiting.extend(files.filter_map(|target| file(page, target).canonicalize().ok()));
        }
    }
    let missing = pages.iter().filter(|page| !reached.contains(&page.path));
    let missing: Vec<_> = missing.map(|page| page.path.display()).collect();
    assert!(missing.is_empty(), "no link leads to {missing:?}");
}
