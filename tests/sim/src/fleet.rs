//! The true state of the engines: sessions, documents in memory, memory and CPU. A strategy sees of it only what a probe
//! reports.

use crate::random::Random;
use crate::scenario::Scenario;
use crate::workload::Workload;
use berth_scheduler::engine::{Load, Memory};
use std::collections::BTreeMap;

/// Memory of an engine, MB.
const MEMORY_MB: f64 = 128.0 * 1024.0;
/// Memory of an idle engine and of each session, MB.
const IDLE_MB: f64 = 1024.0;
const SESSION_MB: f64 = 8.0;
/// CPU of an engine with the mean number of sessions; probes vary by a tenth.
const MEAN_CPU: f64 = 0.4;

/// All engines.
pub(crate) struct Fleet<'a> {
    engines: Vec<TrueEngine>,
    workload: &'a Workload,
    document_ttl_s: f64,
    /// Whether a probe counts sessions without a socket.
    counts_lingering: bool,
    cpu_per_socket: f64,
    random: Random,
}

#[derive(Clone, Default)]
struct TrueEngine {
    sessions: u32,
    sockets: u32,
    documents: BTreeMap<u32, DocumentSessions>,
}

#[derive(Clone, Copy, Default)]
struct DocumentSessions {
    sessions: u32,
    /// When its last session closed.
    idle_since_s: f64,
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(scenario: &Scenario, workload: &'a Workload) -> Self {
        Self {
            engines: vec![TrueEngine::default(); scenario.engines as usize],
            workload,
            document_ttl_s: scenario.document_ttl_s,
            counts_lingering: scenario.probe_counts_lingering,
            cpu_per_socket: MEAN_CPU / scenario.mean_sessions,
            random: Random::seeded(scenario.seed ^ 0xf1ee),
        }
    }

    /// A session opens. True when its document had to be loaded.
    pub(crate) fn open(&mut self, engine: usize, document: u32, now_s: f64) -> bool {
        let Some(engine) = self.engines.get_mut(engine) else {
            return false;
        };
        engine.sessions += 1;
        engine.sockets += 1;
        let document_usage = engine.documents.get(&document);
        let is_held = document_usage
            .is_some_and(|d| d.sessions > 0 || now_s - d.idle_since_s <= self.document_ttl_s);
        engine.documents.entry(document).or_default().sessions += 1;
        !is_held
    }

    /// The socket of a session closes.
    pub(crate) fn close_socket(&mut self, engine: usize) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.sockets = engine.sockets.saturating_sub(1);
        }
    }

    /// A session ends.
    pub(crate) fn end(&mut self, engine: usize, document: u32, now_s: f64) {
        let Some(engine) = self.engines.get_mut(engine) else {
            return;
        };
        engine.sessions = engine.sessions.saturating_sub(1);
        if let Some(usage) = engine.documents.get_mut(&document) {
            usage.sessions = usage.sessions.saturating_sub(1);
            usage.idle_since_s = now_s;
        }
    }

    /// Sessions of one engine.
    pub(crate) fn sessions_of(&self, engine: usize) -> u32 {
        self.engines.get(engine).map_or(0, |engine| engine.sessions)
    }

    /// Sessions of each engine.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        self.engines.iter().map(|engine| engine.sessions)
    }

    /// The numbers that a probe of the engine returns now.
    pub(crate) fn probe(&mut self, engine: usize, now_s: f64) -> Load {
        let Some(engine) = self.engines.get_mut(engine) else {
            return Load::default();
        };
        let document_ttl_s = self.document_ttl_s;
        let is_held = |usage: &DocumentSessions| {
            usage.sessions > 0 || now_s - usage.idle_since_s <= document_ttl_s
        };
        engine.documents.retain(|_, usage| is_held(usage));
        let sizes = engine.documents.keys();
        let sizes = sizes.filter_map(|d| self.workload.sizes_mb.get(*d as usize));
        let sessions_mb = SESSION_MB * f64::from(engine.sessions);
        let committed_mb = IDLE_MB + sizes.sum::<f64>() + sessions_mb;
        let noise = 0.9 + 0.2 * self.random.unit();
        let cpu = f64::from(engine.sockets) * self.cpu_per_socket * noise;
        let counted = if self.counts_lingering {
            engine.sessions
        } else {
            engine.sockets
        };
        Load {
            sessions: Some(counted),
            memory: Some(Memory {
                committed: committed_mb,
                free: (MEMORY_MB - committed_mb).max(0.0),
            }),
            cpu: Some(cpu.min(1.0)),
            saturated: false,
            documents: engine.documents.keys().map(|d| name(*d)).collect(),
        }
    }
}

/// A document's name.
pub(crate) fn name(document: u32) -> String {
    format!("document-{document}.qvf")
}
