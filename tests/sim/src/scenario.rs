//! The fleets that are simulated, and how long.

/// One fleet and its sessions.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Engines, all alike.
    pub engines: u32,
    /// Sessions per engine that the arrivals add up to.
    pub mean_sessions: f64,
    /// Sessions per engine at the most.
    pub threshold: u32,
    /// Documents; the r-th is opened in proportion to 1/r.
    pub documents: u32,
    /// Seconds that a session lasts, on average.
    pub duration_s: f64,
    /// Seconds after which a document without sessions leaves an engine's memory.
    pub keep_s: f64,
    /// Seconds before anything is measured.
    pub warm_up_s: f64,
    /// Seconds that are measured.
    pub measured_s: f64,
    /// Seconds between two probes of one engine.
    pub probe_s: f64,
    /// Seconds between two snapshots at least.
    pub publish_s: f64,
    /// Of everything that is random.
    pub seed: u64,
}

impl Scenario {
    /// A fleet of that size, with probes that are 10 s old.
    #[must_use]
    pub fn of(engines: u32, seed: u64) -> Self {
        let large = engines > 1000;
        Self {
            engines,
            mean_sessions: if large { 20.0 } else { 100.0 },
            threshold: if large { 30 } else { 150 },
            documents: 20 * engines.max(10),
            duration_s: if large { 120.0 } else { 600.0 },
            keep_s: if large { 60.0 } else { 300.0 },
            warm_up_s: if large { 240.0 } else { 1200.0 },
            measured_s: if large { 120.0 } else { 1800.0 },
            probe_s: 10.0,
            publish_s: if large { 1.0 } else { 0.0 },
            seed,
        }
    }

    /// The same, shorter: for tests.
    #[must_use]
    pub const fn short(self) -> Self {
        Self {
            warm_up_s: self.duration_s,
            measured_s: self.duration_s / 2.0,
            ..self
        }
    }

    /// Seconds of the whole.
    pub(crate) const fn length_s(&self) -> f64 {
        self.warm_up_s + self.measured_s
    }
}
