//! Parses the JSON response of a QIX engine to `GET /healthcheck`, as far as placements need it. A missing field is
//! ignored, a field of another type is ignored and reported as malformed, and the other fields stay valid. A response
//! must be a JSON object with `mem`, `session` or `saturated`: otherwise it comes from another kind of server.

use berth_scheduler::engine::{Load, Memory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Why a response is not the healthcheck of an engine.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Not JSON, or not an object.
    #[error("the healthcheck is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// An object without a field that identifies an engine.
    #[error("the healthcheck has neither mem, session nor saturated")]
    NotAnEngine,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    mem: Field<Mem>,
    #[serde(default)]
    cpu: Field<Cpu>,
    #[serde(default)]
    session: Field<Session>,
    #[serde(default)]
    apps: Field<Apps>,
    #[serde(default)]
    saturated: Field<bool>,
}

#[derive(Deserialize)]
struct Mem {
    committed: f64,
    free: f64,
}

#[derive(Deserialize)]
struct Cpu {
    total: f64,
}

#[derive(Deserialize)]
struct Session {
    active: u32,
}

#[derive(Deserialize)]
struct Apps {
    #[serde(default)]
    in_memory_docs: Vec<String>,
}

/// A field of the response.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    Malformed,
    Present(T),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Absent,
            value => serde_json::from_value(value).map_or(Self::Malformed, Self::Present),
        })
    }
}

impl<T> Field<T> {
    /// The value of the field as read by `validate`. Adds `name` to `malformed` if the value is invalid.
    fn validate<R>(
        self,
        name: &'static str,
        malformed: &mut Vec<&'static str>,
        validate: impl FnOnce(T) -> Option<R>,
    ) -> Option<R> {
        let value = match self {
            Self::Absent => return None,
            Self::Malformed => None,
            Self::Present(value) => validate(value),
        };
        if value.is_none() {
            malformed.push(name);
        }
        value
    }

    const fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }
}

/// Parses the body of a healthcheck. Returns the load and the names of malformed fields.
///
/// # Errors
/// When it is not JSON, or not the healthcheck of an engine.
pub fn parse(body: &[u8]) -> Result<(Load, Vec<&'static str>), HealthcheckError> {
    let body: Body = serde_json::from_slice(body)?;
    if !body.mem.is_present() && !body.session.is_present() && !body.saturated.is_present() {
        return Err(HealthcheckError::NotAnEngine);
    }
    let mut malformed = Vec::new();
    let memory = body.mem.validate("mem", &mut malformed, |raw| {
        let is_plausible = raw.committed >= 0.0 && raw.free >= 0.0;
        is_plausible.then_some(Memory {
            committed: raw.committed,
            free: raw.free,
        })
    });
    let cpu = body.cpu.validate("cpu", &mut malformed, |cpu| {
        let is_plausible = cpu.total.is_finite();
        is_plausible.then(|| cpu.total.clamp(0.0, 1.0))
    });
    let session = body.session;
    let sessions = session.validate("session", &mut malformed, |s| Some(s.active));
    let apps = body.apps;
    let documents = apps.validate("apps", &mut malformed, |a| Some(a.in_memory_docs));
    let mut documents = documents.unwrap_or_default();
    documents.truncate(Load::MAX_DOCUMENTS);
    documents.sort_unstable();
    documents.dedup();
    let saturated = body.saturated.validate("saturated", &mut malformed, Some);
    let load = Load {
        sessions,
        memory,
        cpu,
        saturated: saturated.unwrap_or(false),
        documents,
    };
    Ok((load, malformed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_healthcheck_of_an_engine() {
        let (load, malformed) = parse(
            br#"{"version":"12.1","started":"x","mem":{"committed":512.5,"allocated":600,"free":1500},
            "cpu":{"total":0.25},"session":{"active":7,"total":9},"apps":{"active_docs":[],
            "loaded_docs":[],"in_memory_docs":["sales.qvf","budget.qvf","sales.qvf"],"calls":3,"selections":0},
            "users":{"active":1,"total":1},"cache":{"hits":1},"saturated":true}"#,
        )
        .unwrap();
        assert!(malformed.is_empty());
        assert_eq!(load.sessions, Some(7));
        assert_eq!(load.cpu, Some(0.25));
        assert_eq!(load.documents, ["budget.qvf", "sales.qvf"]);
        assert!(load.holds("sales.qvf") && !load.holds("sales"));
        assert!(load.saturated);
        assert!((load.memory.unwrap().headroom() - 1500.0 / 2012.5).abs() < 1e-9);
    }

    #[test]
    fn a_field_of_another_type_is_ignored() {
        let text = br#"{"mem":"lots","cpu":[],"session":{"active":3},"apps":7,"saturated":null}"#;
        let (load, malformed) = parse(text).unwrap();
        assert_eq!(malformed, ["mem", "cpu", "apps"]);
        assert_eq!(load.sessions, Some(3));
        assert_eq!((load.memory, load.cpu), (None, None));
    }

    #[test]
    fn foreign_responses_are_rejected() {
        for text in [
            "",
            "OK",
            "[]",
            "null",
            "{}",
            r#"{"status":"ok"}"#,
            r#"{"mem":1"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_clamped_or_ignored() {
        let (load, malformed) =
            parse(br#"{"mem":{"committed":-1,"free":2},"cpu":{"total":1e300}}"#).unwrap();
        assert_eq!((load.memory, load.cpu), (None, Some(1.0)));
        assert_eq!(malformed, ["mem"]);
    }
}
