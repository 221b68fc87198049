//! The decision log: one engine of a decision in the form for operators, and a log line with the engines of one decision.

use berth_scheduler::explain::{ExplainedEngine, Explanation, Outcome};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::info;
use utoipa::ToSchema;

/// Maximum number of engines in one line, the selected one first.
const MAX_LOGGED_ENGINES: usize = 20;

/// One engine in an explanation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    /// Its name.
    pub engine: String,
    /// `selected`, or why the engine was not selected: `outscored`, `not-drawn`, `warming-up`, or the reason that
    /// excludes it.
    pub outcome: &'static str,
    /// The state at the last probe.
    pub state: &'static str,
    /// Sessions that the scheduler counts.
    pub sessions: u32,
    /// How many of these no probe has reported yet.
    pub reserved: u32,
    /// Free share of its memory, 0 to 1.
    pub memory_free: Option<f64>,
    /// Free share of its CPU, 0 to 1.
    pub cpu_free: Option<f64>,
    /// The slow-start factor of its weight, 0 to 1.
    pub slow_start_weight: f64,
    /// The document is loaded on the engine.
    pub holds_document: bool,
    /// Value and weight of each score, by name.
    pub scores: Map<String, Value>,
    /// The weighted total of the scores.
    pub total: Option<f64>,
}

impl Candidate {
    pub(super) fn from_evaluation(explained: &ExplainedEngine) -> Self {
        let score = |score: &berth_scheduler::score::Score| {
            let score_json = json!({ "score": score.value, "weight": score.weight });
            (score.name.to_owned(), score_json)
        };
        Self {
            engine: explained.engine.to_string(),
            outcome: explained.outcome.as_str(),
            state: explained.state.as_str(),
            sessions: explained.sessions,
            reserved: explained.reserved,
            memory_free: explained.memory_free,
            cpu_free: explained.cpu_free,
            slow_start_weight: explained.slow_start_weight,
            holds_document: explained.holds_document,
            scores: explained.scores.iter().map(score).collect(),
            total: explained.total,
        }
    }
}

/// Logs one decision. For a large pool only the first engines, those with the highest total.
pub(super) fn log_decision(pool: &str, explanation: &Explanation) {
    let mut engines: Vec<&ExplainedEngine> = explanation.engines.iter().collect();
    let total = |engine: &ExplainedEngine| engine.total.unwrap_or(f64::NEG_INFINITY);
    engines.sort_by(|a, b| {
        let is_selected = |engine: &ExplainedEngine| engine.outcome == Outcome::Selected;
        let first = is_selected(b).cmp(&is_selected(a));
        first.then_with(|| total(b).total_cmp(&total(a)))
    });
    engines.truncate(MAX_LOGGED_ENGINES);
    let engines: Vec<Candidate> = engines
        .into_iter()
        .map(Candidate::from_evaluation)
        .collect();
    let engines = serde_json::to_string(&engines).unwrap_or_default();
    let selected = explanation.selected.as_ref().map(ToString::to_string);
    info!(target: "berth::decisions", pool, strategy = explanation.strategy.as_str(), document = explanation.document,
        engine = selected, candidates = explanation.engines.len(), engines, "decision");
}
