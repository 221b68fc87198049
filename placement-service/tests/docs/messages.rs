//! The runbook has every warning and error that the service logs, with its level.

use crate::pages::{files, page, quoted, root, rows};

/// One call of `warn!` or `error!`: its level, and the longest part of its message without values.
fn logged(text: &str) -> Vec<(&'static str, String)> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    for (name, level) in [("warn!(", "WARN"), ("error!(", "ERROR")] {
        for call in code.split(name).skip(1) {
            let literals = literals(call);
            let Some(message) = literals.last() else {
                continue;
            };
            // Configuration warnings have texts of their own; audit lines have a table of their own.
            let parts = message.split(['{', '}']).step_by(2);
            let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
            let longest = longest.trim_matches([' ', ':']);
            if !longest.is_empty() && literals.first().is_none_or(|l| l != "berth::audit") {
                found.push((level, longest.to_owned()));
            }
        }
    }
    found
}

/// The string literals up to the end of a call.
fn literals(call: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let (mut depth, mut open) = (1, None::<String>);
    let mut chars = call.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut open, c) {
            (Some(text), '\\') => {
                // A line that continues: the spaces that follow are not part of the text.
                match chars.next() {
                    Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                    other => text.extend(other),
                }
            }
            (Some(_), '"') => literals.extend(open.take()),
            (Some(text), _) => text.push(c),
            (None, '"') => open = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    literals
}

#[test]
fn the_runbook_has_every_warning_and_error_with_its_level() {
    let runbook = page("placement-service/docs/runbook.md");
    let mut documented = Vec::new();
    for row in rows(runbook.section("Log messages")) {
        let level = row[0].clone();
        let messages = quoted(&row[1]).map(|message| (level.clone(), message.to_owned()));
        documented.extend(messages);
    }
    let mut all = Vec::new();
    for folder in ["src", "store/src", "scheduler/src"] {
        let folder = root().join("placement-service").join(folder);
        files(&folder, "rs", &mut |path, text| {
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            if !is_test && !path.ends_with("tests.rs") {
                all.extend(logged(&text));
            }
        });
    }
    assert!(all.len() > 50, "the messages are not found: {}", all.len());
    for (level, message) in &all {
        let entry = documented.iter().find(|(_, entry)| entry == message);
        let (documented_level, _) =
            entry.unwrap_or_else(|| panic!("not in the runbook: {message}"));
        assert_eq!(documented_level, level, "{message}");
    }
    for (_, entry) in &documented {
        let exists = all.iter().any(|(_, message)| message == entry);
        assert!(exists, "the service does not log: {entry}");
    }
}
