//! Metrics of logins, sessions and HTTP, and the registry that all metrics of the service share. Label values are
//! constants: never an account, never an id.

use berth_store::EndCause;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use std::fmt::Write;
use std::hash::Hash;

macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant,)+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The constant for metric labels and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_values! {
    /// The result of a login attempt.
    LoginResult {
        Ok = "ok",
        UnknownAccount = "unknown-account",
        WrongPassword = "wrong-password",
        Locked = "locked",
        TooManySessions = "too-many-sessions",
        TooManyLogins = "too-many-logins",
        Busy = "busy",
        Failed = "failed",
        Rejected = "refused",
    }
}

label_values! {
    /// The result of a cleanup run, which removes expired sessions.
    CleanupResult {
        Ok = "ok",
        Failed = "failed",
        NotLeader = "not_leader",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: LoginResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CleanupLabel {
    result: CleanupResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabel {
    reason: &'static str,
}

/// Creates a metric and adds it to the registry.
pub(crate) fn register_metric<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Creates the series of counters at 0, because `rate` and `increase` do not see the first value of a series.
pub(crate) fn start_at_zero<L: Clone + Hash + Eq>(
    counters: &Family<L, Counter>,
    labels: impl IntoIterator<Item = L>,
) {
    for label in labels {
        drop(counters.get_or_create(&label));
    }
}

/// Metrics of logins, sessions and HTTP.
#[derive(Default)]
pub struct Metrics {
    logins: Family<ResultLabel, Counter>,
    sessions_active: Gauge,
    sessions_created: Counter,
    sessions_ended: Family<CauseLabel, Counter>,
    cleanup_runs: Family<CleanupLabel, Counter>,
    rejections: Family<RejectionLabel, Counter>,
    http_requests: Family<RouteLabel, Counter>,
    call_streams: Gauge,
}

impl Metrics {
    /// Creates the registry for all metrics of the service.
    #[must_use]
    pub fn registry() -> Registry {
        Registry::with_prefix("berth")
    }

    /// Creates these metrics and adds them to the registry.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            logins: register_metric(registry, "logins", "Logins by result"),
            sessions_active: register_metric(
                registry,
                "sessions_active",
                "Sessions in the store that have not expired",
            ),
            cleanup_runs: register_metric(
                registry,
                "session_cleanup_runs",
                "Cleanup runs, which remove expired sessions, by result",
            ),
            sessions_created: register_metric(registry, "sessions_created", "Sessions created"),
            sessions_ended: register_metric(registry, "sessions_ended", "Sessions ended, by cause"),
            rejections: register_metric(registry, "refusals", "Refused requests, by reason"),
            http_requests: register_metric(
                registry,
                "http_requests",
                "HTTP requests, by route and status",
            ),
            call_streams: register_metric(registry, "call_streams", "Open call streams"),
        };
        let results = LoginResult::ALL
            .iter()
            .map(|&result| ResultLabel { result });
        start_at_zero(&metrics.logins, results);
        let results = CleanupResult::ALL.iter();
        let results = results.map(|&result| CleanupLabel { result });
        start_at_zero(&metrics.cleanup_runs, results);
        let causes = EndCause::ALL.map(|cause| CauseLabel {
            cause: cause.as_str(),
        });
        start_at_zero(&metrics.sessions_ended, causes);
        metrics
    }

    /// Starts the counters of rejected requests; `reasons` are all constants.
    pub fn start_rejections(&self, reasons: impl Iterator<Item = &'static str>) {
        let labels = reasons.map(|reason| RejectionLabel { reason });
        start_at_zero(&self.rejections, labels);
    }

    /// Counts a login attempt.
    pub fn count_login(&self, result: LoginResult) {
        self.logins.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sets the number of active sessions.
    pub fn set_active_sessions(&self, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.sessions_active.set(count);
    }

    /// Counts a cleanup run.
    pub fn count_cleanup(&self, result: CleanupResult) {
        self.cleanup_runs
            .get_or_create(&CleanupLabel { result })
            .inc();
    }

    /// Counts a session that was created.
    pub fn count_session_created(&self) {
        self.sessions_created.inc();
    }

    /// Counts a session that has ended.
    pub fn count_session_ended(&self, cause: EndCause) {
        let cause = cause.as_str();
        let label = CauseLabel { cause };
        self.sessions_ended.get_or_create(&label).inc();
    }

    /// Counts a rejected request; `reason` is one of the constants.
    pub fn count_rejection(&self, reason: &'static str) {
        self.rejections
            .get_or_create(&RejectionLabel { reason })
            .inc();
    }

    /// Counts an open call stream.
    pub fn call_stream_opened(&self) {
        self.call_streams.inc();
    }

    /// Removes a call stream from the count.
    pub fn call_stream_closed(&self) {
        self.call_streams.dec();
    }

    /// Counts an answered request; `route` is the pattern, never the path.
    pub fn count_http_request(&self, route: &'static str, status: u16) {
        let label = RouteLabel { route, status };
        self.http_requests.get_or_create(&label).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_under_their_names() {
        let mut registry = Metrics::registry();
        let metrics = Metrics::register(&mut registry);
        metrics.count_login(LoginResult::WrongPassword);
        metrics.set_active_sessions(3);
        metrics.count_session_created();
        metrics.count_cleanup(CleanupResult::NotLeader);
        metrics.count_session_ended(EndCause::Logout);
        metrics.count_rejection("unknown-session");
        metrics.count_http_request("/login", 401);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "berth_logins_total{result=\"wrong-password\"} 1",
            "berth_sessions_active 3",
            "berth_sessions_created_total 1",
            "berth_session_cleanup_runs_total{result=\"not_leader\"} 1",
            "berth_sessions_ended_total{cause=\"logout\"} 1",
            "berth_refusals_total{reason=\"unknown-session\"} 1",
            "berth_http_requests_total{route=\"/login\",status=\"401\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
