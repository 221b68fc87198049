//! Parses the Prometheus text exposition format 0.0.4 into families, for readers that want all of them. Skips lines that
//! are not in the format. Does not know what a family means.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum number of samples: an engine has a few dozen.
const MAX_SAMPLES: usize = 10_000;
/// The suffixes of the samples of a histogram or a summary.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// One family with its samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricFamily {
    pub name: String,
    pub help: String,
    /// `counter`, `gauge`, `histogram`, `summary` or `untyped`.
    #[serde(rename = "type")]
    pub kind: String,
    pub metrics: Vec<MetricSample>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// The name of the sample, where it differs from that of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `null` when it is no finite number.
    pub value: Option<f64>,
    pub labels: BTreeMap<String, String>,
}

/// The families of a text, in its order.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<MetricFamily> {
    let mut families = Families::default();
    let mut samples = 0;
    for line in String::from_utf8_lossy(text).lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            families.add_comment(comment);
        } else if let Some((name, labels, value)) = parse_sample(line)
            && samples < MAX_SAMPLES
        {
            samples += 1;
            families.add_sample(name, labels, value);
        }
    }
    let mut list = families.list;
    list.retain(|family| !family.metrics.is_empty());
    list
}

#[derive(Default)]
struct Families {
    list: Vec<MetricFamily>,
    /// The position of each family in the list.
    positions: BTreeMap<String, usize>,
}

impl Families {
    fn get_or_add(&mut self, name: &str) -> Option<&mut MetricFamily> {
        let next = self.list.len();
        let position = *self.positions.entry(name.to_owned()).or_insert(next);
        if position == next {
            self.list.push(MetricFamily {
                name: name.to_owned(),
                kind: "untyped".to_owned(),
                ..MetricFamily::default()
            });
        }
        self.list.get_mut(position)
    }

    /// `HELP name text` or `TYPE name kind`
    fn add_comment(&mut self, comment: &str) {
        let mut words = comment.trim_start().splitn(3, [' ', '\t']);
        let (Some(kind @ ("HELP" | "TYPE")), Some(name)) = (words.next(), words.next()) else {
            return;
        };
        let text = words.next().unwrap_or_default().trim().to_owned();
        match self.get_or_add(name) {
            Some(family) if kind == "HELP" => family.help = text,
            Some(family) => family.kind = text,
            None => {}
        }
    }

    fn add_sample(&mut self, name: &str, labels: BTreeMap<String, String>, value: f64) {
        let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        let stem = stem.filter(|stem| self.positions.contains_key(*stem));
        let sample = MetricSample {
            name: stem.map(|_| name.to_owned()),
            value: Some(value).filter(|value| value.is_finite()),
            labels,
        };
        if let Some(family) = self.get_or_add(stem.unwrap_or(name)) {
            family.metrics.push(sample);
        }
    }
}

/// `name[{labels}] value [timestamp]`
fn parse_sample(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let (name, rest) = line.split_at(line.find(|c| !is_name(c))?);
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(labels) => parse_labels(labels)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some((name, labels, value))
}

/// The labels after the opening brace, and the text after the closing one.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.trim_start().strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                c => value.push(c),
            }
        }
        labels.insert(name.trim().to_owned(), value);
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn every_family_is_parsed_with_its_samples() {
        let text = b"# HELP up Whether it is up.\n# TYPE up gauge\nup 1\nplain{a=\"x\\\"y\",b=\"}\"} 2.5 1700000000000\n\
            # TYPE t histogram\nt_bucket{le=\"1\"} 3\nt_bucket{le=\"+Inf\"} 4\nt_sum 9\nt_count 4\n\
            # TYPE nothing gauge\nnot a sample\nn NaN\nu_count 7\n";
        let families = serde_json::to_value(parse(text)).unwrap();
        assert_eq!(
            families,
            json!([
                {"name": "up", "help": "Whether it is up.", "type": "gauge", "metrics": [{"value": 1.0, "labels": {}}]},
                {"name": "plain", "help": "", "type": "untyped", "metrics": [{"value": 2.5, "labels": {"a": "x\"y", "b": "}"}}]},
                {"name": "t", "help": "", "type": "histogram", "metrics": [
                    {"name": "t_bucket", "value": 3.0, "labels": {"le": "1"}},
                    {"name": "t_bucket", "value": 4.0, "labels": {"le": "+Inf"}},
                    {"name": "t_sum", "value": 9.0, "labels": {}},
                    {"name": "t_count", "value": 4.0, "labels": {}}]},
                {"name": "n", "help": "", "type": "untyped", "metrics": [{"value": null, "labels": {}}]},
                {"name": "u_count", "help": "", "type": "untyped", "metrics": [{"value": 7.0, "labels": {}}]},
            ])
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
