//! Which streams are open, by gateway, engine and session, from the reports of the gateways. Detects that a report is
//! missing and a full list is needed. Every change also goes to the accounting of the stream's engine. Knows no store
//! and does not wait; time is an argument.

mod bounds;
mod drains;
mod identity;
mod sessions;
mod stream_pages;
mod streams;
mod views;

use crate::engines::drains::SentDrain;
use berth_api::{CloseReason, FullSyncPart, GATEWAY_TIMEOUT_S, GatewayReport};
use berth_scheduler::accounting::{AccountingRegistry, EngineAccounting};
use berth_scheduler::engine::EngineName;
pub(super) use bounds::LimitExceeded;
pub(super) use drains::DrainRecords;
pub use drains::GatewayDrain;
use identity::Identity;
use sessions::BySession;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
pub(super) use stream_pages::{MAX_PAGE, ReplicaPage};
pub use stream_pages::{ReportedStream, StreamQuery};
use tokio::time::Instant;
pub use views::GatewayView;

/// The rounding error of `opened_at`, which is in whole seconds.
const ROUNDED: Duration = Duration::from_secs(1);
/// The minimum age of a stream whose closing time is unknown.
const UNKNOWN: Duration = Duration::ZERO;

/// The pool's name and the engine's.
type EngineKey = (Arc<str>, EngineName);

/// All gateways, and all open streams.
pub(super) struct Registry {
    accounting_registry: AccountingRegistry,
    /// At most [`bounds::MAX_GATEWAYS`].
    gateways: HashMap<Arc<str>, Gateway>,
    streams: BTreeMap<Arc<str>, Stream>,
    /// The number of streams of each engine that has any.
    engines: BTreeMap<EngineKey, usize>,
    /// The number of streams of each key that has any.
    keys: HashMap<Arc<str>, usize>,
    pub(super) sessions: BySession,
}

struct Gateway {
    /// When it last reported. Monotonic, since the system time may be changed.
    last_report: Instant,
    /// The sequence number of its last report.
    sequence: u64,
    identity: Identity,
    /// The address that it reports from.
    address: Option<IpAddr>,
    /// The last drain that it was notified of, and whether that had it refuse new WebSockets.
    sent_drain: Option<(SentDrain, bool)>,
    /// Its full list is needed, and its first part has not arrived.
    resync: bool,
    /// The streams in the parts of a full list that have arrived, until its last part. A subset of `streams`.
    listed: Option<HashSet<Arc<str>>>,
    streams: HashSet<Arc<str>>,
}

struct Stream {
    gateway: Arc<str>,
    session: Arc<str>,
    engine: EngineKey,
    /// The name of its key, if it has one.
    key: Option<Arc<str>>,
    /// The accounting that counts it: that of its engine when it opened. The engine's address may have changed since.
    accounting: Arc<EngineAccounting>,
    /// Unix seconds.
    opened_at: u64,
}

/// The order of a report among those of its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SequenceCheck {
    InOrder,
    /// A report before it is missing, and may still arrive.
    Gap,
    /// Later reports have been applied already.
    Duplicate,
}

/// The changes that a report has made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The gateway must send its full list.
    pub(super) resync: bool,
    /// This report is the first that requires it.
    pub(super) resync_is_new: bool,
    pub(super) closed: Vec<CloseReason>,
    /// The streams that are gone, and whether the client of each has left for good.
    pub(super) gone: Vec<(Arc<str>, bool)>,
    /// The number of streams that are gone although no report closed them.
    pub(super) lost: usize,
    /// The status of the sessions must be checked.
    pub(super) check_sessions: bool,
}

impl Registry {
    pub(super) fn new(accounting_registry: AccountingRegistry) -> Self {
        Self {
            accounting_registry,
            gateways: HashMap::new(),
            streams: BTreeMap::new(),
            engines: BTreeMap::new(),
            keys: HashMap::new(),
            sessions: BySession::default(),
        }
    }

    /// The order of a gateway's report with that sequence number.
    pub(super) fn check_sequence(&self, gateway: &str, sequence: u64) -> SequenceCheck {
        let Some(gateway) = self.gateways.get(gateway) else {
            return SequenceCheck::InOrder;
        };
        match gateway.sequence.checked_add(1) {
            Some(next) if sequence == next => SequenceCheck::InOrder,
            Some(next) if sequence > next => SequenceCheck::Gap,
            _ => SequenceCheck::Duplicate,
        }
    }

    /// Applies a report in any order: a late one changes nothing; one that is early means that those before it are
    /// lost.
    pub(super) fn apply(
        &mut self,
        name: &str,
        report: &GatewayReport,
        now_ms: u64,
        now: Instant,
    ) -> Result<Outcome, LimitExceeded> {
        let sequence_check = self.check_sequence(name, report.sequence);
        let key = self.admit(name, report)?;
        let mut outcome = Outcome::default();
        let gateway = self.gateways.entry(Arc::clone(&key));
        let gateway = gateway.or_insert_with(|| {
            // It has reported before, to another process: that is unknown here.
            outcome.resync_is_new = report.sequence > 1;
            Gateway {
                last_report: now,
                sequence: 0,
                identity: Identity::default(),
                address: None,
                sent_drain: None,
                resync: report.sequence > 1,
                listed: None,
                streams: HashSet::new(),
            }
        });
        gateway.last_report = gateway.last_report.max(now);
        if sequence_check == SequenceCheck::Duplicate {
            outcome.resync = gateway.resync;
            return Ok(outcome);
        }
        let out_of_order = match report.full {
            Some(FullSyncPart::First | FullSyncPart::Whole) => {
                gateway.resync = false;
                gateway.listed = Some(HashSet::new());
                false
            }
            // A part of the list is missing.
            Some(FullSyncPart::Middle | FullSyncPart::Last) => {
                sequence_check == SequenceCheck::Gap || gateway.listed.is_none()
            }
            None => sequence_check == SequenceCheck::Gap,
        };
        gateway.sequence = report.sequence;
        if out_of_order {
            outcome.resync_is_new = !gateway.resync;
            gateway.resync = true;
            gateway.listed = None;
        }
        outcome.resync = gateway.resync;
        if let Some(identity) = &report.identity {
            self.identify(name, identity, now_ms);
        }
        for stream in &report.opened {
            self.open(&key, stream, now_ms, now);
        }
        for stream in &report.closed {
            let duration = Duration::from_millis(stream.duration_ms).saturating_sub(ROUNDED);
            outcome
                .gone
                .push((stream.stream.as_str().into(), stream.client_left()));
            match self.close(&key, &stream.stream, duration, now) {
                None => self
                    .accounting_registry
                    .release_placement(&stream.stream, now),
                Some(is_accounted) => {
                    if !is_accounted {
                        self.accounting_registry.close_in_ledger(&stream.stream);
                    }
                    outcome.closed.push(stream.reason);
                }
            }
        }
        if matches!(report.full, Some(FullSyncPart::Last | FullSyncPart::Whole)) {
            outcome.lost = self.complete_full_list(&key, now);
        }
        outcome.check_sessions = !report.opened.is_empty() || report.full.is_some();
        Ok(outcome)
    }

    /// Whether a gateway must send its full list.
    pub(super) fn needs_full_list(&self, gateway: &str) -> bool {
        self.gateways.get(gateway).is_none_or(|g| g.resync)
    }

    /// The id of the Envoy of a gateway, for logs.
    pub(super) fn node(&self, gateway: &str) -> String {
        let gateway = self.gateways.get(gateway);
        gateway.map_or("-", Gateway::node).to_owned()
    }

    /// Removes gateways that have been silent for too long, and returns how many streams they had.
    pub(super) fn remove_silent(&mut self, now: Instant) -> usize {
        let is_silent =
            |gateway: &Gateway| now >= gateway.last_report + Duration::from_secs(GATEWAY_TIMEOUT_S);
        let lost_gateways = self.gateways.extract_if(|_, gateway| is_silent(gateway));
        let lost_gateways: Vec<_> = lost_gateways.collect();
        let mut streams = 0;
        for (name, gateway) in lost_gateways {
            let (node, streams_lost) = (gateway.node(), gateway.streams.len());
            tracing::warn!(gateway = %name, node, streams = streams_lost, "gateway is silent");
            streams += streams_lost;
            for stream in gateway.streams {
                self.remove(&stream, UNKNOWN, now);
            }
        }
        self.accounting_registry.gc(now);
        streams
    }
}

#[cfg(test)]
mod tests;
