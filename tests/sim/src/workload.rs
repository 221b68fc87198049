//! The sessions of a scenario, generated once and placed with every policy: a Poisson process with bursts, and crowds that
//! open one document within seconds; or clients that reconnect again and again.

use crate::random::{Random, Zipf};
use crate::scenario::{Reconnecting, Scenario};

/// Once a minute arrivals are this many times as frequent ...
const BURST: f64 = 4.0;
/// ... for this number of seconds.
const BURST_S: f64 = 3.0;
/// Every five minutes this share of all sessions opens one document ...
const CROWD: f64 = 0.02;
/// ... within this number of seconds.
const CROWD_S: f64 = 5.0;
const CROWD_EVERY_S: f64 = 300.0;
/// Clients that reconnect at the same moment do so within this number of seconds.
const RECONNECT_S: f64 = 0.2;

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
        if let Some(clients) = scenario.reconnecting {
            return Self::reconnecting(scenario, clients, &zipf, &mut random);
        }
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
        Self::sorted(scenario, sessions, &mut random)
    }

    /// All clients of a group open a socket at the same moment, and again when it has ended.
    fn reconnecting(
        scenario: &Scenario,
        Reconnecting {
            clients,
            groups,
            period_s,
        }: Reconnecting,
        zipf: &Zipf,
        random: &mut Random,
    ) -> Self {
        let mut rounds_of_groups = Vec::new();
        for group in 0..groups {
            let gap_s = period_s / f64::from(groups);
            let mut start_s = gap_s * f64::from(group);
            let mut rounds_s = Vec::new();
            while start_s <= scenario.length_s() + period_s {
                // Not in step with the probes.
                rounds_s.push(start_s + gap_s * 0.2 * random.unit());
                start_s += period_s;
            }
            rounds_of_groups.push(rounds_s);
        }
        let mut sessions = Vec::new();
        let groups = rounds_of_groups.iter().cycle();
        for (_, rounds_s) in (0..clients).zip(groups) {
            let document = zipf.draw(random);
            let opens = rounds_s
                .iter()
                .map(|round_s| round_s + RECONNECT_S * random.unit());
            let opens: Vec<f64> = opens.collect();
            // Each socket lasts until the next one opens.
            for (at_s, next_s) in opens.iter().zip(opens.iter().skip(1)) {
                sessions.push(Session {
                    at_s: *at_s,
                    lasts_s: next_s - at_s,
                    document,
                });
            }
        }
        Self::sorted(scenario, sessions, random)
    }

    fn sorted(scenario: &Scenario, mut sessions: Vec<Session>, random: &mut Random) -> Self {
        sessions.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let sizes_mb = (0..scenario.documents).map(|_| random.log_normal(150.0).min(4000.0));
        let sizes_mb = sizes_mb.collect();
        Self { sessions, sizes_mb }
    }
}
