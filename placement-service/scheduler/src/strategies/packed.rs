//! Fills the first engine before the second, in the natural order of their names, so that the last engines stay empty
//! and can be removed. An engine is full at the maximum number of sessions, or when its memory or CPU runs short; when
//! all run short, the one with the most headroom is picked.

use crate::candidate::{Candidate, PoolBaseline};
use crate::score::Scores;
use std::cmp::Ordering;

/// The free share of memory or CPU below which an engine counts as full.
const SHORT: f64 = 0.15;

pub(crate) fn scores(candidate: &Candidate, baseline: &PoolBaseline) -> Scores {
    let memory = candidate.memory.unwrap_or(1.0);
    let free_share = memory.min(candidate.cpu.unwrap_or(1.0));
    let value = if free_share < SHORT {
        0.5 * free_share
    } else {
        // Excluded engines have ranks too, so a rank may be higher than the number of eligible engines.
        let rank = f64::from(candidate.rank);
        let engines = f64::from(baseline.engines.max(1));
        0.5 + 0.5 * engines / (engines + rank)
    };
    Scores::single("order", value)
}

/// Orders names with their numbers as numbers: `engine-9` before `engine-10`.
pub(crate) fn compare_naturally(left: &str, right: &str) -> Ordering {
    let (mut left_rest, mut right_rest) = (left, right);
    loop {
        let (text_a, text_b) = (
            split_run(&mut left_rest, false),
            split_run(&mut right_rest, false),
        );
        let (number_a, number_b) = (
            split_run(&mut left_rest, true),
            split_run(&mut right_rest, true),
        );
        let (significant_a, significant_b) = (
            number_a.trim_start_matches('0'),
            number_b.trim_start_matches('0'),
        );
        let order = text_a
            .cmp(text_b)
            .then(significant_a.len().cmp(&significant_b.len()))
            .then(significant_a.cmp(significant_b))
            .then(number_a.len().cmp(&number_b.len()));
        if order != Ordering::Equal || (left_rest.is_empty() && right_rest.is_empty()) {
            return order;
        }
    }
}

/// Splits off the leading digits, or the leading characters that are no digits.
fn split_run<'a>(text: &mut &'a str, digits: bool) -> &'a str {
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    let (front, remaining) = text.split_at(end);
    *text = remaining;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_order_as_numbers() {
        let mut names = [
            "engine-10",
            "engine-9",
            "b",
            "engine-09",
            "engine",
            "a2b10",
            "a2b9",
            "engine-1",
        ];
        names.sort_by(|a, b| compare_naturally(a, b));
        assert_eq!(
            names,
            [
                "a2b9",
                "a2b10",
                "b",
                "engine",
                "engine-1",
                "engine-9",
                "engine-09",
                "engine-10"
            ]
        );
        assert_eq!(compare_naturally("x1", "x1"), Ordering::Equal);
    }
}
