//! The collector of configuration faults, and the checks that sections share: ranges, counts, names. Knows no
//! section.

use super::fault::Fault;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub(super) struct FaultCollector(pub(super) Vec<Fault>);

impl FaultCollector {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault::new(path, message));
    }

    pub(super) fn check_range(
        &mut self,
        path: &str,
        value: Duration,
        min: Duration,
        max: Duration,
    ) {
        if value < min || value > max {
            let (min, max) = (format_duration(min), format_duration(max));
            self.add(
                path,
                format!("must be {min} to {max}, not {}", format_duration(value)),
            );
        }
    }

    pub(super) fn check_count(&mut self, path: &str, value: u32, max: u32) {
        if value < 1 || value > max {
            self.add(path, format!("must be 1 to {max}, not {value}"));
        }
    }

    pub(super) fn check_unique_names<'a>(
        &mut self,
        list: &str,
        names: impl Iterator<Item = &'a str>,
    ) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let message = format!("the name {name:?} is already used");
                self.add(format!("{list}[{index}].name"), message);
            }
        }
    }

    pub(super) fn check_name(&mut self, path: &str, text: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 128 || !text.chars().all(fine) {
            self.add(path, "must be 1 to 128 letters, digits and - _ .");
        }
    }
}

pub(super) fn format_duration(
    duration: Duration,
) -> humantime_serde::re::humantime::FormattedDuration {
    humantime_serde::re::humantime::format_duration(duration)
}
