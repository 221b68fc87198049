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
    /// Seconds that a session stays on its engine after its socket has closed.
    pub session_ttl_s: f64,
    /// Seconds after which a gateway reports what has happened to a stream.
    pub reported_s: f64,
    /// Whether the number of sessions in a probe includes those without a socket.
    pub probe_counts_lingering: bool,
    /// Clients that open one socket after the other, instead of sessions of many lengths.
    pub reconnecting: Option<Reconnecting>,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Clients that lose their sockets and open new ones, all of a group at the same moments.
#[derive(Clone, Copy, Debug)]
pub struct Reconnecting {
    /// Number of clients.
    pub clients: u32,
    /// Number of groups.
    pub groups: u32,
    /// Seconds that each socket lasts.
    pub period_s: f64,
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
            session_ttl_s: 0.0,
            reported_s: 1.0,
            probe_counts_lingering: true,
            reconnecting: None,
            seed,
        }
    }

    /// Four engines with 64 sessions each, of 16 clients that reconnect every 4 s. Each socket leaves a session behind
    /// for a minute.
    #[must_use]
    pub fn reconnecting(probe_s: f64, probe_counts_lingering: bool, seed: u64) -> Self {
        Self {
            mean_sessions: 64.0,
            warm_up_s: 120.0,
            measured_s: 240.0,
            probe_s,
            session_ttl_s: 60.0,
            probe_counts_lingering,
            reconnecting: Some(Reconnecting {
                clients: 16,
                groups: 1,
                period_s: 4.0,
            }),
            ..Self::new(4, seed)
        }
    }

    /// Four engines with 64 sockets each. Every few seconds an eighth of the clients reconnects at the same moment. A
    /// session ends with its socket.
    #[must_use]
    pub fn reconnecting_sockets(seed: u64) -> Self {
        Self {
            session_ttl_s: 0.0,
            reconnecting: Some(Reconnecting {
                clients: 256,
                groups: 8,
                period_s: 30.0,
            }),
            ..Self::reconnecting(2.0, true, seed)
        }
    }

    /// As [`Self::reconnecting_sockets`], with gateways that report at once.
    #[must_use]
    pub fn reconnecting_sockets_reported_at_once(seed: u64) -> Self {
        Self {
            reported_s: 0.0,
            ..Self::reconnecting_sockets(seed)
        }
    }

    /// Clients that reconnect to full engines: those that are refused try again.
    #[must_use]
    pub fn reconnecting_to_full_engines(seed: u64) -> Self {
        Self {
            threshold: 64,
            ..Self::reconnecting(2.0, true, seed)
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
