//! Loads the configuration: parses strictly, applies the defaults, checks, and reports the faults of all sections
//! at once with their paths. Reads no secret: `app::secrets` does.

use super::fault::{Fault, Faults};
use super::tree::{self, PathStep};
use super::{Config, SettingsTree, check};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

/// Every setting with its default and a comment.
pub const DEFAULT: &str = include_str!("../../config/default.yaml");

/// Names that are less similar are different names.
const MIN_SIMILARITY: f64 = 0.85;
/// Names are also similar if at least this number of first characters, and half of the given name, are equal:
/// `drain_over`.
const MIN_SAME_START: usize = 5;

/// The parsed defaults.
static DEFAULTS: LazyLock<Result<Value, String>> = LazyLock::new(|| parse(DEFAULT));

/// A valid configuration, and its warnings for the operator.
#[derive(Debug)]
pub struct LoadedConfig {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// A configuration whose readable sections are checked. Its unreadable sections have their defaults.
#[derive(Debug)]
pub struct CheckedConfig {
    pub config: Config,
    faults: Vec<Fault>,
    unreadable: BTreeSet<String>,
}

impl CheckedConfig {
    /// Adds the faults of another check of the configuration, except those of unreadable sections, which are faults of
    /// the defaults.
    pub fn add_faults(&mut self, Faults(faults): Faults) {
        let is_readable = |fault: &Fault| {
            let mut section = fault.path.split(['.', '[']);
            !section
                .next()
                .is_some_and(|name| self.unreadable.contains(name))
        };
        self.faults.extend(faults.into_iter().filter(is_readable));
    }

    /// The configuration, if it has no fault.
    ///
    /// # Errors
    /// Every fault.
    pub fn finish(mut self) -> Result<LoadedConfig, Faults> {
        self.faults.sort();
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        let warnings = check::warnings(&self.config);
        Ok(LoadedConfig {
            config: self.config,
            warnings,
        })
    }
}

/// Loads a file over the defaults.
pub fn from_file(path: &Path) -> Result<LoadedConfig, Faults> {
    check_file(path)?.finish()
}

/// Loads a file over the defaults, and checks it as far as it can be read.
///
/// # Errors
/// When no section can be read.
pub fn check_file(path: &Path) -> Result<CheckedConfig, Faults> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Faults(vec![Fault::new("", format!("cannot read the file: {e}"))]))?;
    check_text(&text)
}

/// Loads a YAML text over the defaults. An empty text gives the defaults.
pub fn from_text(text: &str) -> Result<LoadedConfig, Faults> {
    check_text(text)?.finish()
}

/// Loads settings that already include the defaults.
pub fn from_settings(settings: SettingsTree) -> Result<LoadedConfig, Faults> {
    let config = deserialize(settings.value(), 0).map_err(|fault| Faults(vec![fault]))?;
    let unreadable = BTreeSet::new();
    let checked = CheckedConfig {
        faults: check::check_all(&config, &unreadable),
        config: Config { settings, ..config },
        unreadable,
    };
    checked.finish()
}

/// Loads a YAML text over the defaults. Each section is deserialized by itself, so that an error in one hides no fault
/// of another.
fn check_text(text: &str) -> Result<CheckedConfig, Faults> {
    let fault = |message: String| Faults(vec![Fault::new("", message)]);
    let defaults = DEFAULTS.as_ref().map_err(|m| fault(m.clone()))?;
    let sections = match parse(text).map_err(fault)? {
        Value::Null => Map::new(),
        Value::Object(sections) => sections,
        _ => return Err(fault("expected a map of settings".to_owned())),
    };
    let mut tree = defaults.clone();
    let mut faults = Vec::new();
    let mut unreadable = BTreeSet::new();
    for (name, section) in sections {
        let found = type_faults(defaults, &name, &section);
        if found.is_empty() {
            tree::overlay_section(&mut tree, &name, section);
        } else {
            faults.extend(found);
            unreadable.insert(name);
        }
    }
    let mut config = deserialize(&tree, 0).map_err(|fault| Faults(vec![fault]))?;
    faults.extend(check::check_all(&config, &unreadable));
    config.settings = SettingsTree::new(tree);
    Ok(CheckedConfig {
        config,
        faults,
        unreadable,
    })
}

/// The type errors of one section, laid over the defaults without the other sections of the file. Deserializing
/// stops at the first error, hence one at most; of a list of sections, such as `pools`, one for each item.
fn type_faults(defaults: &Value, name: &str, section: &Value) -> Vec<Fault> {
    let fault = |section: Value, item: usize| {
        let mut tree = defaults.clone();
        tree::overlay_section(&mut tree, name, section);
        deserialize(&tree, item).err()
    };
    match section {
        Value::Array(items) if defaults.get(name).is_some_and(Value::is_array) => {
            let items = items.iter().enumerate();
            items
                .filter_map(|(index, item)| fault(Value::Array(vec![item.clone()]), index))
                .collect()
        }
        section => fault(section.clone(), 0).into_iter().collect(),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text
        .lines()
        .all(|l| l.trim().is_empty() || l.trim().starts_with('#'))
    {
        return Ok(Value::Null);
    }
    // Without snippets of the text in errors: it may contain a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

/// Deserializes a tree. `first_item` is the index, in the file, of the first item of the tree's list.
fn deserialize(tree: &Value, first_item: usize) -> Result<Config, Fault> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let mut place = tree::path_steps(error.path());
        if let Some(PathStep::Item(index)) = place.get_mut(1) {
            *index += first_item;
        }
        let message = error.inner().to_string();
        if let Some(field) = quoted_field(&message, "missing field `") {
            place.push(PathStep::Field(field));
        } else if let Some(field) = quoted_field(&message, "unknown field `") {
            // The path of an unknown field ends at the field or at its map.
            let field = PathStep::Field(field);
            if place.last() != Some(&field) {
                place.push(field);
            }
        }
        let message = operator_message(&message);
        Fault::new(tree::format_path(&place), message)
    })
}

fn quoted_field(message: &str, before: &str) -> Option<String> {
    let rest = message.strip_prefix(before)?;
    rest.split('`').next().map(str::to_owned)
}

/// The message of a type error for an operator.
fn operator_message(message: &str) -> String {
    if message.starts_with("missing field") {
        return "is missing".to_owned();
    }
    let unknown = |name| message.strip_prefix(name)?.split_once("`, expected ");
    if let Some((given, known)) = unknown("unknown field `") {
        let known = known_names(known);
        let suggestion = similar_name(given, &known);
        let suggestion = suggestion.map_or_else(String::new, |n| format!(" did you mean {n}?"));
        return format!(
            "unknown field;{suggestion} known here: {}",
            known.join(", ")
        );
    }
    if message.starts_with("unknown field `") {
        return "unknown field".to_owned();
    }
    if let Some((given, known)) = unknown("unknown variant `") {
        let suggestion = similar_name(given, &known_names(known));
        let suggestion = suggestion.map_or_else(String::new, |n| format!("; did you mean {n}?"));
        return format!("{message}{suggestion}");
    }
    if message.ends_with("expected a duration") {
        return format!("{message} with its unit, such as 500ms, 20s or 10m");
    }
    message.to_owned()
}

/// The names in the list of a type error: `` `a`, `b` or `c` ``.
fn known_names(expected: &str) -> Vec<&str> {
    expected.split('`').skip(1).step_by(2).collect()
}

/// The known name that a wrong one was probably meant to be.
fn similar_name<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &&&str| strsim::jaro_winkler(given, name);
    let same_start = |name: &str| {
        let pairs = given.chars().zip(name.chars());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let length = given.chars().count();
    let is_similar = |name: &&&str| {
        let start = same_start(name);
        similarity(name) >= MIN_SIMILARITY
            || strsim::damerau_levenshtein(given, name) <= (length / 4).max(1)
            || (start >= MIN_SAME_START && 2 * start >= length)
    };
    let order = |a: &&&str, b: &&&str| {
        let by_similarity = similarity(a).total_cmp(&similarity(b));
        same_start(a).cmp(&same_start(b)).then(by_similarity)
    };
    known.iter().filter(is_similar).max_by(order).copied()
}

#[cfg(test)]
mod tests;
