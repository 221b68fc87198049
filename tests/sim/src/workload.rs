//! The sessions of a scenario, generated once and placed with every policy: a Poisson process with bursts, and crowds that
//! open one document within seconds.

use crate::random::{Random, Zipf};
use crate::scenario::Scenario;

/// Once a minute arrivals are this many times as frequent ...
const BURST: f64 = 4.0;
/// ... for this number of seconds.
const BURST_S: f64 = 3.0;
/// Every five minutes this share of all sessions opens one document ...
const CROWD: f64 = 0.02;
/// ... within this number of seconds.
const CROWD_S: f64 = 5.0;
const CROWD_EVERY_S: f64 = 300.0;

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// Seconds from the start.
    pub(crate) at_s: f64,
    pub(crate) lasts_s: f64,
    pub(crate) document: u32,
}

/// All sessions, ordered by time, and the documents' sizes.
pub(crate) struct Workload {
    pub(crate) sessions: Vec<Session>,
    /// Size of each document, MB.
    pub(crate) sizes_mb: Vec<f64>,
}

impl Workload {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut random = Random::seeded(scenario.seed);
        let zipf = Zipf::new(scenario.documents);
        let population = f64::from(scenario.engines) * scenario.mean_sessions;
        let base = population / scenario.duration_s;
        let mut sessions = Vec::new();
        let mut at_s = 0.0;
        loop {
            // Thinning: arrivals are generated at the highest rate, and some are dropped when the rate is lower.
            at_s += random.exponential(base * BURST);
            if at_s > scenario.length_s() {
                break;
            }
            let bursting = at_s % 60.0 < BURST_S;
            if !bursting && random.unit() > 1.0 / BURST {
                continue;
            }
            let lasts_s = random.heavy_tailed(scenario.duration_s);
            sessions.push(Session {
                at_s,
                lasts_s,
                document: zipf.draw(&mut random),
            });
        }
        let mut crowd_s = CROWD_EVERY_S / 2.0;
        while crowd_s < scenario.length_s() {
            let document = zipf.draw(&mut random);
            let mut sessions_left = population * CROWD;
            while sessions_left >= 1.0 {
                sessions_left -= 1.0;
                sessions.push(Session {
                    at_s: crowd_s + CROWD_S * random.unit(),
                    lasts_s: random.heavy_tailed(scenario.duration_s),
                    document,
                });
            }
            crowd_s += CROWD_EVERY_S;
        }
        sessions.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let sizes_mb = (0..scenario.documents).map(|_| random.log_normal(150.0).min(4000.0));
        let sizes_mb = sizes_mb.collect();
        Self { sessions, sizes_mb }
    }
}
