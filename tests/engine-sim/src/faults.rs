//! The faults of an engine, set by flags, by the admin interface or by a test in the same process.
//!
//! One published value holds all faults. The rest of the engine reads it where a fault takes effect.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use tokio::sync::watch;

/// The faults of one engine. The default is a healthy one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The API port refuses connections. Open sockets stay.
    #[arg(long)]
    pub refuse: bool,
    /// The API port accepts connections and never answers health checks or upgrades. Open sockets stay.
    #[arg(long)]
    pub stall: bool,
    /// As --stall, but health checks are answered.
    #[arg(long)]
    pub stall_websocket: bool,
    /// An upgrade is answered this many milliseconds late.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub slow_connect_ms: u64,
    /// OpenDoc and CreateSessionApp are answered this many milliseconds late.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub slow_open_ms: u64,
    /// The engine ends at once: every socket is cut, the process exits with 70.
    #[arg(long)]
    pub die: bool,
    /// GET /metrics answers 404.
    #[arg(long)]
    pub no_metrics: bool,
    /// The health check reports that the engine is saturated.
    #[arg(long)]
    pub saturated: bool,
    /// The health check returns a wrong answer.
    #[arg(long, value_enum)]
    pub wrong_json: Option<WrongJson>,
    /// Sockets begin with a frame that is not JSON.
    #[arg(long)]
    pub wrong_frames: bool,
    /// Sockets begin with SESSION_ERROR_NO_LICENSE.
    #[arg(long)]
    pub no_license: bool,
    /// Every token is refused.
    #[arg(long)]
    pub reject_jwt: bool,
    /// The maximum number of sessions. Further ones get SESSION_ERROR_LIMIT_EXCEEDED.
    #[arg(long)]
    pub max_sessions: Option<usize>,
}

/// How a health check can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WrongJson {
    /// Not JSON.
    Junk,
    /// The right fields with values of other types.
    Types,
    /// JSON without the fields.
    Empty,
}

/// An invalid change of the faults: an unknown field or a value of the wrong type.
#[derive(Debug)]
pub struct FaultError(String);

impl fmt::Display for FaultError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

/// Switches the faults of a running engine.
#[derive(Debug)]
pub struct FaultSwitch(watch::Sender<Faults>);

impl FaultSwitch {
    pub(crate) fn new(faults: Faults) -> Self {
        Self(watch::Sender::new(faults))
    }

    /// The current faults.
    #[must_use]
    pub fn get(&self) -> Faults {
        self.0.borrow().clone()
    }

    /// Changes the faults.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        self.0.send_modify(change);
    }

    /// Makes the engine healthy again.
    pub fn clear(&self) {
        self.set(|faults| *faults = Faults::default());
    }

    /// Sets the given fields, keeps the others, and returns the resulting faults.
    ///
    /// # Errors
    /// When a field is unknown or a value has the wrong type. Then nothing changes.
    pub fn merge(&self, change: Map<String, Value>) -> Result<Faults, FaultError> {
        let fault_error = |error: serde_json::Error| FaultError(error.to_string());
        let mut all = serde_json::to_value(self.get()).map_err(fault_error)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(change);
        }
        let faults: Faults = serde_json::from_value(all).map_err(fault_error)?;
        self.set(|now| now.clone_from(&faults));
        Ok(faults)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Faults> {
        self.0.subscribe()
    }

    /// Waits while `fault` holds.
    pub(crate) async fn wait_while(&self, fault: impl Fn(&Faults) -> bool) {
        let mut faults = self.watch();
        // This fails only when the sender is dropped. The sender lives as long as the engine, and this future does not
        // outlive the engine.
        let _ = faults.wait_for(|now| !fault(now)).await;
    }

    pub(crate) fn read<T>(&self, select: impl FnOnce(&Faults) -> T) -> T {
        select(&self.0.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_merge_changes_the_named_fields_only() {
        let switch = FaultSwitch::new(Faults::default());
        switch.set(|faults| faults.stall = true);
        let faults = switch
            .merge(object(r#"{"wrong_json":"types","max_sessions":3}"#))
            .unwrap();
        assert!(faults.stall);
        assert_eq!(faults.wrong_json, Some(WrongJson::Types));
        assert_eq!(faults.max_sessions, Some(3));
        let faults = switch.merge(object(r#"{"max_sessions":null}"#)).unwrap();
        assert_eq!(faults.max_sessions, None);
    }

    #[test]
    fn an_unknown_fault_changes_nothing() {
        let switch = FaultSwitch::new(Faults::default());
        let error = switch.merge(object(r#"{"stall":true,"stal":true}"#));
        assert!(error.unwrap_err().to_string().contains("stal"));
        assert_eq!(switch.get(), Faults::default());
    }
}
