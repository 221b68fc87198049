//! The table for people and the JSON line for programs.

use crate::Player;
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::speed::Speed;
use serde_json::{Value, json};
use std::fmt::Write;

/// The head of the table of outcomes.
#[must_use]
pub fn head() -> String {
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

/// One line of it.
#[must_use]
pub fn line(scenario: &Scenario, outcome: &Outcome) -> String {
    format!(
        "{:>7}  {:<24} {:>8} {:>8.3} {:>8.3} {:>8.3} {:>9} {:>8} {:>8}",
        scenario.engines,
        outcome.player,
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
pub fn speeds(speeds: &[(Player, Speed)]) -> String {
    let mut text = format!(
        "\n{:>7}  {:<24} {:>12}\n",
        "engines", "strategy", "decisions/s"
    );
    for (player, speed) in speeds {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>7}  {:<24} {:>12.0}",
            speed.engines,
            player.name(),
            speed.decisions_per_s
        );
    }
    text
}

/// Everything in one object. `default`: the strategy that a pool has when its configuration names none.
/// Goals are about the average over time.
#[must_use]
pub fn json(
    default: Player,
    outcomes: &[(Scenario, Outcome)],
    speeds: &[(Player, Speed)],
    bytes_per_engine: Option<u64>,
) -> Value {
    let find = |engines: u32, player: Player| {
        let name = player.name();
        let of = outcomes
            .iter()
            .find(|(s, o)| s.engines == engines && o.player == name);
        of.map(|(_, outcome)| outcome)
    };
    let speed = |engines: u32| {
        let of = speeds
            .iter()
            .find(|(p, s)| *p == default && s.engines == engines);
        of.map(|(_, speed)| speed)
    };
    let ours = find(100, default);
    let fewer = ours
        .zip(find(100, Player::OldRoundRobin))
        .map(|(ours, before)| {
            f64::from(before.document_loads) / f64::from(ours.document_loads.max(1))
        });
    let rows = outcomes.iter().map(|(scenario, outcome)| {
        json!({
            "engines": scenario.engines,
            "strategy": outcome.player,
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
        "max_over_mean_100_stale10s": ours.map(|o| o.max_over_mean),
        "max_over_mean_100_stale10s_worst": ours.map(|o| o.worst_max_over_mean),
        "doc_loads_vs_round_robin": fewer,
        "decisions_per_s_100": speed(100).map(|s| s.decisions_per_s),
        "decisions_per_s_10000": speed(10_000).map(|s| s.decisions_per_s),
        "bytes_per_engine_10000": bytes_per_engine,
        "outcomes": rows.collect::<Vec<_>>(),
    })
}
