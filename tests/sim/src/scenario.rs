//! The sizes and durations of the simulated fleets.

/// One fleet and its sessions.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Number of engines, all equal.
    pub engines: u32,
    /// Mean number of sessions per engine.
    pub mean_sessions: f64,
    /// Maximum number of sessions per engine.
    pub threshold: u32,
    /// Number of documents; the r-th is opened in proportion to 1/r.
    pub documents: u32,
    /// Mean duration of a session, seconds.
    pub duration_s: f64,
    /// Seconds after which a document without sessions leaves an engine's memory.
    pub document_ttl_s: f64,
    /// Seconds before the measurement.
    pub warm_up_s: f64,
    /// Seconds of the measurement.
    pub measured_s: f64,
    /// Seconds between two probes of one engine.
    pub probe_s: f64,
    /// Minimum number of seconds between two snapshots.
    pub publish_s: f64,
    /// Seed of all random numbers.
    pub seed: u64,
}

impl Scenario {
    /// A fleet of that size, with probes that are 10 s old.
    #[must_use]
    pub fn new(engines: u32, seed: u64) -> Self {
        let large = engines > 1000;
        Self {
            engines,
            mean_sessions: if large { 20.0 } else { 100.0 },
            threshold: if large { 30 } else { 150 },
            documents: 20 * engines.max(10),
            duration_s: if large { 120.0 } else { 600.0 },
            document_ttl_s: if large { 60.0 } else { 300.0 },
            warm_up_s: if large { 240.0 } else { 1200.0 },
            measured_s: if large { 120.0 } else { 1800.0 },
            probe_s: 10.0,
            publish_s: if large { 1.0 } else { 0.0 },
            seed,
        }
    }

    /// A shorter run, for tests.
    #[must_use]
    pub const fn short(self) -> Self {
        Self {
            warm_up_s: self.duration_s,
            measured_s: self.duration_s / 2.0,
            ..self
        }
    }

    /// Seconds of the whole run.
    pub(crate) const fn length_s(&self) -> f64 {
        self.warm_up_s + self.measured_s
    }
}
