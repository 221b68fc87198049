//! Fills the first engine before the second, in the natural order of their names, so that the last ones
//! can be taken away. An engine is full at the pool's threshold, or when its memory or CPU runs short;
//! when all run short, the one with the most headroom takes more.

use crate::candidate::{Facts, Scale};
use crate::score::Scores;
use std::cmp::Ordering;

/// The free share of memory or CPU below which an engine counts as full.
const SHORT: f64 = 0.15;

pub(crate) fn scores(facts: &Facts, scale: &Scale) -> Scores {
    let free = facts.memory.unwrap_or(1.0).min(facts.cpu.unwrap_or(1.0));
    let value = if free < SHORT {
        0.5 * free
    } else {
        // Of the many that may be excluded, none takes a place: ranks go on beyond `engines`.
        let (rank, engines) = (f64::from(facts.rank), f64::from(scale.engines.max(1)));
        0.5 + 0.5 * engines / (engines + rank)
    };
    Scores::one("order", value)
}

/// The order that people expect of numbered names: `engine-9` before `engine-10`.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (text_a, text_b) = (until(&mut a, false), until(&mut b, false));
        let (number_a, number_b) = (until(&mut a, true), until(&mut b, true));
        let (short_a, short_b) = (
            number_a.trim_start_matches('0'),
            number_b.trim_start_matches('0'),
        );
        let order = text_a
            .cmp(text_b)
            .then(short_a.len().cmp(&short_b.len()))
            .then(short_a.cmp(short_b))
            .then(number_a.len().cmp(&number_b.len()));
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

/// Takes the characters off the front that are digits, or that are not.
fn until<'a>(text: &mut &'a str, digits: bool) -> &'a str {
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    let (front, rest) = text.split_at(end);
    *text = rest;
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
        names.sort_by(|a, b| natural(a, b));
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
        assert_eq!(natural("x1", "x1"), Ordering::Equal);
    }
}
