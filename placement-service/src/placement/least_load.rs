//! The engine with the most headroom: a score of 0 to 1 from memory, CPU and sessions, ties at random.
//! A sum, not a ranking by one number after the other: with free memory first and the rest for ties,
//! every session of an interval goes to the same engine. Sessions count with the reservations made
//! since the probe, so each choice lowers the score of its engine.

use super::{Candidate, Candidates};
use rand::{Rng, RngExt};

const SESSIONS: f64 = 0.5;
const MEMORY: f64 = 0.3;
const CPU: f64 = 0.2;

/// What a number that an engine does not give is worth: neither good nor bad.
const UNKNOWN: f64 = 0.5;
/// Sessions are weighed against the fullest candidate's, but against no fewer than these: one session
/// or two say little of an engine's load.
const FEW_SESSIONS: u32 = 10;
/// Scores closer than this are equal.
const EPSILON: f64 = 1e-9;

pub(super) fn pick<'a>(candidates: &Candidates<'a>, random: &mut dyn Rng) -> Candidate<'a> {
    let most = candidates.iter().map(|c| c.sessions).max();
    let scale = f64::from(most.unwrap_or(0).max(FEW_SESSIONS));
    let mut best = candidates.first();
    let mut best_score = f64::NEG_INFINITY;
    let mut equals = 0_u32;
    for candidate in candidates.iter() {
        let score = score(&candidate, scale);
        if score > best_score + EPSILON {
            (best, best_score, equals) = (candidate, score, 1);
        } else if score > best_score - EPSILON {
            equals += 1;
            // Each of n equals ends up chosen with probability 1/n.
            if random.random_ratio(1, equals) {
                best = candidate;
            }
        }
    }
    best
}

/// 0: nothing left. 1: idle. `scale`: the sessions that count as nothing left.
fn score(candidate: &Candidate<'_>, scale: f64) -> f64 {
    let load = candidate.engine.load.as_deref();
    let memory = load.and_then(|l| l.memory).map(|m| m.headroom());
    let cpu = load.and_then(|l| l.cpu).map(|c| 1.0 - c);
    let sessions = 1.0 - f64::from(candidate.sessions) / scale;
    SESSIONS * sessions + MEMORY * memory.unwrap_or(UNKNOWN) + CPU * cpu.unwrap_or(UNKNOWN)
}
