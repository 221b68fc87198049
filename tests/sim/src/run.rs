//! Runs one scenario with one policy: arrivals, closes and probes in the order of virtual time.

use crate::Policy;
use crate::fleet::{Fleet, name};
use crate::scenario::Scenario;
use crate::workload::Workload;
use berth_scheduler::accounting::{EngineAccounting, SessionLifetime};
use berth_scheduler::engine::{Endpoint, Engine, Load, State};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first engine's address, 10.0.0.0.
const FIRST: u32 = 0x0a00_0000;

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The policy's name.
    pub policy: String,
    /// Sessions that arrived in the measured time.
    pub sessions: u32,
    /// The fullest engine's sessions over the mean, averaged over time.
    pub max_over_mean: f64,
    /// The highest value of that.
    pub worst_max_over_mean: f64,
    /// The lowest share of the emptiest engine's sessions of the mean.
    pub worst_min_over_mean: f64,
    /// The 99th percentile of the engines' sessions over the mean, averaged over time.
    pub p99_over_mean: f64,
    /// Sessions whose engine had to load the document.
    pub document_loads: u32,
    /// Sessions that were refused while an engine had capacity.
    pub spurious_refusals: u32,
    /// Sessions that were placed on a full engine.
    pub overfull: u32,
    /// Clients that gave up, after [`MAX_RETRIES`] refusals.
    pub given_up: u32,
}

/// A refused client tries again after this time, a limited number of times.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRIES: u32 = 30;

/// An event of one session after its placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    action: Action,
    /// The session's number.
    session: usize,
    engine: usize,
    document: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    ReportedOpen,
    SocketCloses,
    SessionEnds,
    /// With the time for which the stream was open.
    ReportedClosed(Duration),
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    start: Instant,
    fleet: Fleet<'a>,
    known: Vec<Arc<Engine>>,
    snapshot: Arc<[Arc<Engine>]>,
    published_s: f64,
    /// Probes that are not in the snapshot yet.
    probed: Vec<(usize, Instant, Load)>,
    /// The engines with the times of their next probes.
    probes: BinaryHeap<Reverse<(Duration, usize)>>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
}

/// Runs every scenario with every policy; calls `on_outcome` after each run.
#[must_use]
pub fn run(
    scenarios: &[Scenario],
    policies: &[Policy],
    mut on_outcome: impl FnMut(&Scenario, &Outcome),
) -> Vec<(Scenario, Outcome)> {
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let workload = Workload::new(scenario);
        for policy in policies {
            let outcome = Simulation::new(scenario, &workload).run(*policy, &workload);
            on_outcome(scenario, &outcome);
            outcomes.push((*scenario, outcome));
        }
    }
    outcomes
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, workload: &'a Workload) -> Self {
        let ttl = Duration::from_secs_f64(scenario.session_ttl_s);
        let lifetime = SessionLifetime {
            after_close: ttl,
            unopened: ttl,
            probe_counts_lingering: scenario.probe_counts_lingering,
        };
        let engines = (0..scenario.engines).map(|n| Arc::new(engine(n, lifetime)));
        let engines: Vec<_> = engines.collect();
        let probe_interval = Duration::from_secs_f64(scenario.probe_s);
        // The probes of the engines are spread over the interval.
        let first = |n: usize| (probe_interval.mul_f64(n as f64 / engines.len() as f64), n);
        let probes = (0..engines.len()).map(|n| Reverse(first(n))).collect();
        Self {
            scenario,
            start: Instant::now(),
            fleet: Fleet::new(scenario, workload),
            snapshot: engines.iter().cloned().collect(),
            known: engines,
            published_s: 0.0,
            probed: Vec::new(),
            probes,
            events: BinaryHeap::new(),
        }
    }

    fn run(mut self, policy: Policy, workload: &Workload) -> Outcome {
        let scenario = self.scenario;
        let mut policy_run = policy.start(scenario.threshold, scenario.seed);
        let mut outcome = Outcome {
            policy: policy.name(),
            sessions: 0,
            max_over_mean: 0.0,
            worst_max_over_mean: 0.0,
            worst_min_over_mean: 0.0,
            p99_over_mean: 0.0,
            document_loads: 0,
            spurious_refusals: 0,
            overfull: 0,
            given_up: 0,
        };
        let mut balance = Balance::default();
        let mut next_sample_s = scenario.warm_up_s;
        // The times at which clients ask, with their number of refusals so far.
        let arrivals = workload.sessions.iter().enumerate();
        let arrivals = arrivals
            .map(|(number, session)| Reverse((Duration::from_secs_f64(session.at_s), number, 0)));
        let mut arrivals: BinaryHeap<_> = arrivals.collect();
        while let Some(Reverse((at, number, refusals))) = arrivals.pop() {
            let Some(session) = workload.sessions.get(number) else {
                continue;
            };
            let at_s = at.as_secs_f64();
            while next_sample_s <= at_s {
                self.advance_to(next_sample_s);
                balance.sample(self.fleet.sessions());
                next_sample_s += 1.0;
            }
            self.advance_to(at_s);
            let measured = at_s >= scenario.warm_up_s;
            let now = self.start + at;
            let selected = policy_run.choose(&self.snapshot, &name(session.document), now);
            outcome.sessions += u32::from(measured && refusals == 0);
            let Some((engine, reservation)) = selected else {
                let has_capacity = self.fleet.sessions().any(|n| n < scenario.threshold);
                outcome.spurious_refusals += u32::from(measured && has_capacity);
                if refusals < MAX_RETRIES {
                    arrivals.push(Reverse((at + RETRY, number, refusals + 1)));
                } else {
                    outcome.given_up += u32::from(measured);
                }
                continue;
            };
            let engine_index = number_of(&engine) as usize;
            let is_full = self.fleet.sessions_of(engine_index) >= scenario.threshold;
            outcome.overfull += u32::from(measured && is_full);
            let loaded = self.fleet.open(engine_index, session.document, at_s);
            outcome.document_loads += u32::from(measured && loaded);
            let mut event = |after_s: f64, action| {
                let event = Event {
                    action,
                    session: number,
                    engine: engine_index,
                    document: session.document,
                };
                let time = Duration::from_secs_f64(at_s + after_s);
                self.events.push(Reverse((time, event)));
            };
            event(session.lasts_s, Action::SocketCloses);
            let ends_s = session.lasts_s + scenario.session_ttl_s;
            event(ends_s, Action::SessionEnds);
            if let Some(reservation) = reservation {
                reservation.placed(&stream(number), now);
                event(scenario.reported_s, Action::ReportedOpen);
                let duration = Duration::from_secs_f64(session.lasts_s);
                event(
                    session.lasts_s + scenario.reported_s,
                    Action::ReportedClosed(duration),
                );
            }
        }
        balance.into_outcome(outcome)
    }

    /// Applies all events and probes until that time.
    fn advance_to(&mut self, until_s: f64) {
        let until_time = Duration::from_secs_f64(until_s);
        loop {
            let event = self.events.peek().map(|Reverse((time, _))| *time);
            let probe = self.probes.peek().map(|Reverse((time, _))| *time);
            let event_first = event.is_some_and(|event| probe.is_none_or(|probe| event <= probe));
            if event_first {
                let is_due = event.is_some_and(|time| time <= until_time);
                let Some(Reverse((time, event))) = is_due.then(|| self.events.pop()).flatten()
                else {
                    break;
                };
                self.apply(time, event);
            } else {
                let is_due = probe.is_some_and(|time| time <= until_time);
                let Some(Reverse((time, engine))) = is_due.then(|| self.probes.pop()).flatten()
                else {
                    break;
                };
                let load = self.fleet.probe(engine, time.as_secs_f64());
                self.probed.push((engine, self.start + time, load));
                let probe_interval = Duration::from_secs_f64(self.scenario.probe_s);
                self.probes.push(Reverse((time + probe_interval, engine)));
            }
        }
        if !self.probed.is_empty() && until_s - self.published_s >= self.scenario.publish_s {
            self.published_s = until_s;
            self.publish();
        }
    }

    fn apply(&mut self, time: Duration, event: Event) {
        let Some(engine) = self.known.get(event.engine) else {
            return;
        };
        let (accounting, now) = (&engine.accounting, self.start + time);
        match event.action {
            Action::ReportedOpen => accounting.opened(&stream(event.session), "r", now),
            Action::ReportedClosed(duration) => {
                accounting.closed(&stream(event.session), duration, now);
            }
            Action::SocketCloses => self.fleet.close_socket(event.engine),
            Action::SessionEnds => self
                .fleet
                .end(event.engine, event.document, time.as_secs_f64()),
        }
    }

    /// As in the service: updates the accounting first, then the snapshot.
    fn publish(&mut self) {
        for (engine_index, probe_start, load) in self.probed.drain(..) {
            let Some(current) = self.known.get_mut(engine_index) else {
                continue;
            };
            let mut engine = Engine::clone(current);
            engine.accounting.apply_probe(probe_start, &load);
            engine.load = Some(Arc::new(load));
            engine.probed_at = Some(probe_start);
            *current = Arc::new(engine);
        }
        self.snapshot = self.known.iter().cloned().collect();
    }
}

/// An engine that has not been probed; [`number_of`] returns its number.
pub(crate) fn engine(number: u32, lifetime: SessionLifetime) -> Engine {
    let name = format!("engine-{number:05}").as_str().into();
    let endpoint = Endpoint {
        api: SocketAddr::from((Ipv4Addr::from_bits(FIRST + number), 9076)),
        metrics: None,
    };
    let reservation_ttl = Duration::from_secs(30);
    let accounting = Arc::new(EngineAccounting::with_lifetime(reservation_ttl, lifetime));
    Engine {
        state: State::Ok,
        ..Engine::new(name, endpoint, accounting)
    }
}

/// A stream's name.
fn stream(session: usize) -> String {
    format!("{session:016x}")
}

/// The number with which [`engine`] created it.
pub(crate) fn number_of(engine: &Engine) -> u32 {
    match engine.endpoint.api.ip() {
        IpAddr::V4(ip) => ip.to_bits().saturating_sub(FIRST),
        IpAddr::V6(_) => 0,
    }
}

/// How evenly the sessions are spread, over time.
#[derive(Default)]
struct Balance {
    samples: u32,
    max: f64,
    worst: f64,
    lowest: Option<f64>,
    p99: f64,
}

impl Balance {
    fn sample(&mut self, sessions: impl Iterator<Item = u32>) {
        let mut sessions: Vec<u32> = sessions.collect();
        sessions.sort_unstable();
        let count = sessions.len();
        let mean = sessions.iter().copied().map(f64::from).sum::<f64>() / count as f64;
        let share_of = |index: usize| f64::from(sessions.get(index).copied().unwrap_or(0)) / mean;
        let max = share_of(count - 1);
        self.samples += 1;
        self.max += max;
        self.worst = self.worst.max(max);
        let min = share_of(0);
        self.lowest = Some(self.lowest.map_or(min, |lowest| lowest.min(min)));
        self.p99 += share_of((count * 99).div_ceil(100) - 1);
    }

    fn into_outcome(self, outcome: Outcome) -> Outcome {
        let samples = f64::from(self.samples.max(1));
        Outcome {
            max_over_mean: self.max / samples,
            worst_max_over_mean: self.worst,
            worst_min_over_mean: self.lowest.unwrap_or(0.0),
            p99_over_mean: self.p99 / samples,
            ..outcome
        }
    }
}
