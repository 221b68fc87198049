//! The tables for people and the JSON line for programs.

use crate::Policy;
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::speed::Speed;
use serde_json::{Value, json};
use std::fmt::Write;

/// The header of the table of outcomes.
#[must_use]
pub fn header() -> String {
    format!(
        "{:>7}  {:<24} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "engines",
        "strategy",
        "sessions",
        "max/mean",
        "at worst",
        "p99/mean",
        "loads",
        "refused",
        "overfull"
    )
}

/// One row of the table of outcomes.
#[must_use]
pub fn row(scenario: &Scenario, outcome: &Outcome) -> String {
    format!(
        "{:>7}  {:<24} {:>8} {:>8.3} {:>8.3} {:>8.3} {:>9} {:>8} {:>8}",
        scenario.engines,
        outcome.policy,
        outcome.sessions,
        outcome.max_over_mean,
        outcome.worst_max_over_mean,
        outcome.p99_over_mean,
        outcome.document_loads,
        outcome.spurious_refusals,
        outcome.overfull
    )
}

/// The table of speeds.
#[must_use]
pub fn speed_table(speeds: &[(Policy, Speed)]) -> String {
    let mut text = format!(
        "\n{:>7}  {:<24} {:>12}\n",
        "engines", "strategy", "decisions/s"
    );
    for (policy, speed) in speeds {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>7}  {:<24} {:>12.0}",
            speed.engines,
            policy.name(),
            speed.decisions_per_s
        );
    }
    text
}

/// All results in one object. `default`: the strategy of a pool whose configuration names none. The targets refer to the
/// averages over time.
#[must_use]
pub fn json(
    default: Policy,
    outcomes: &[(Scenario, Outcome)],
    speeds: &[(Policy, Speed)],
    bytes_per_engine: Option<u64>,
) -> Value {
    let find = |engines: u32, policy: Policy| {
        let name = policy.name();
        let row = outcomes
            .iter()
            .find(|(s, o)| s.engines == engines && o.policy == name);
        row.map(|(_, outcome)| outcome)
    };
    let speed = |engines: u32| {
        let row = speeds
            .iter()
            .find(|(p, s)| *p == default && s.engines == engines);
        row.map(|(_, speed)| speed)
    };
    let default_outcome = find(100, default);
    let load_ratio = default_outcome.zip(find(100, Policy::NaiveRoundRobin)).map(
        |(default_outcome, naive_outcome)| {
            f64::from(naive_outcome.document_loads)
                / f64::from(default_outcome.document_loads.max(1))
        },
    );
    let rows = outcomes.iter().map(|(scenario, outcome)| {
        json!({
            "engines": scenario.engines,
            "strategy": outcome.policy,
            "sessions": outcome.sessions,
            "max_over_mean": outcome.max_over_mean,
            "worst_max_over_mean": outcome.worst_max_over_mean,
            "p99_over_mean": outcome.p99_over_mean,
            "document_loads": outcome.document_loads,
            "spurious_refusals": outcome.spurious_refusals,
            "overfull": outcome.overfull,
        })
    });
    json!({
        "default_strategy": default.name(),
        "max_over_mean_100_stale10s": default_outcome.map(|o| o.max_over_mean),
        "max_over_mean_100_stale10s_worst": default_outcome.map(|o| o.worst_max_over_mean),
        "doc_loads_vs_round_robin": load_ratio,
        "decisions_per_s_100": speed(100).map(|s| s.decisions_per_s),
        "decisions_per_s_10000": speed(10_000).map(|s| s.decisions_per_s),
        "bytes_per_engine_10000": bytes_per_engine,
        "outcomes": rows.collect::<Vec<_>>(),
    })
}
