//! `GET /healthcheck`: the load that the engine reports. Memory and CPU follow the actual sessions, sockets and
//! documents.

use crate::{clock, engine::SharedState, faults::WrongJson, sessions::SessionCounts};
use serde_json::{Value, json};

/// A snapshot of the load.
pub(crate) struct Load {
    /// Memory in use, in MB.
    pub(crate) committed_mb: f64,
    /// Memory that is left, in MB.
    pub(crate) free_mb: f64,
    /// 0 to 1.
    pub(crate) cpu: f64,
}

/// A document counts once, and each session counts, as in a real engine.
pub(crate) fn current_load(shared: &SharedState) -> Load {
    let (options, count) = (&shared.options, shared.sessions.count());
    let sessions_mb = as_f64(count.sessions) * f64::from(options.session_kb) / 1_024.0;
    let committed_mb = f64::from(options.base_mb) + shared.documents.loaded_mb() + sessions_mb;
    let busy = as_f64(count.sockets) / f64::from(options.full_cpu_sockets.max(1));
    Load {
        committed_mb,
        free_mb: (f64::from(options.memory_mb) - committed_mb).max(0.0),
        cpu: (options.base_cpu + busy).min(1.0),
    }
}

/// The body of the health check.
pub(crate) fn body(shared: &SharedState) -> String {
    match shared.faults.read(|faults| faults.wrong_json) {
        None => report(shared).to_string(),
        Some(WrongJson::Junk) => "<html>{ not json".to_owned(),
        Some(WrongJson::Empty) => "{}".to_owned(),
        Some(WrongJson::Types) => json!({
            "version": 12, "mem": "much", "cpu": {"total": "high"},
            "session": {"active": -1, "total": []}, "saturated": "no",
        })
        .to_string(),
    }
}

fn report(shared: &SharedState) -> Value {
    let (count, load) = (shared.sessions.count(), current_load(shared));
    let calls = shared.requests.total();
    let with_sockets = count.documents.iter().filter(|(_, sockets)| *sockets > 0);
    let active: Vec<&str> = with_sockets.map(|(name, _)| name.as_str()).collect();
    let loaded: Vec<&str> = count
        .documents
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    json!({
        "version": shared.options.engine_version,
        "started": clock::basic_format(shared.started),
        "mem": {
            "committed": load.committed_mb,
            "allocated": load.committed_mb,
            "free": load.free_mb,
        },
        "cpu": {"total": load.cpu},
        "session": {"active": reported_sessions(shared, &count), "total": count.created},
        "apps": {
            "active_docs": active,
            "loaded_docs": loaded,
            "in_memory_docs": shared.documents.loaded_names(),
            "calls": calls,
            "selections": 0,
        },
        "users": {"active": count.users, "total": count.users_total},
        "cache": {"hits": 0, "lookups": calls, "added": 0, "replaced": 0, "bytes_added": 0},
        "saturated": shared.faults.read(|faults| faults.saturated),
    })
}

/// The number of sessions that the engine reports.
pub(crate) fn reported_sessions(shared: &SharedState, count: &SessionCounts) -> usize {
    if shared.options.counts_lingering {
        count.sessions
    } else {
        count.sessions - count.waiting
    }
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
