//! Reads the JSON of a QIX engine's `GET /healthcheck` (Qlik's "healthcheck" endpoint). Only what
//! placement needs; a field that is missing or of another type costs itself, not the reading. What is
//! required: a JSON object with `mem` or `session`, or `saturated`, so that any other server's answer
//! is told apart.

use crate::engine::{Load, Memory};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Not an engine's healthcheck.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Not JSON, or not an object.
    #[error("the healthcheck is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// An object without anything of an engine's.
    #[error("the healthcheck has neither mem, session nor saturated")]
    Foreign,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "lenient")]
    mem: Option<Mem>,
    #[serde(default, deserialize_with = "lenient")]
    cpu: Option<Cpu>,
    #[serde(default, deserialize_with = "lenient")]
    session: Option<Session>,
    #[serde(default, deserialize_with = "lenient")]
    apps: Option<Apps>,
    #[serde(default, deserialize_with = "lenient")]
    saturated: Option<bool>,
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

/// Anything that does not fit is as good as absent.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// Parses the body of a healthcheck.
///
/// # Errors
/// When it is not JSON, or nothing that an engine says.
pub fn parse(body: &[u8]) -> Result<Load, HealthcheckError> {
    let body: Body = serde_json::from_slice(body)?;
    if body.mem.is_none() && body.session.is_none() && body.saturated.is_none() {
        return Err(HealthcheckError::Foreign);
    }
    let mut documents = body.apps.map(|a| a.in_memory_docs).unwrap_or_default();
    documents.truncate(Load::MAX_DOCUMENTS);
    documents.sort_unstable();
    documents.dedup();
    Ok(Load {
        sessions: body.session.map(|s| s.active),
        memory: body.mem.and_then(|m| {
            let sane = m.committed >= 0.0 && m.free >= 0.0;
            sane.then_some(Memory {
                committed: m.committed,
                free: m.free,
            })
        }),
        cpu: body
            .cpu
            .map(|c| c.total)
            .filter(|c| c.is_finite())
            .map(|c| c.clamp(0.0, 1.0)),
        saturated: body.saturated.unwrap_or(false),
        documents,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_engine_says() {
        let load = parse(
            br#"{"version":"12.1","started":"x","mem":{"committed":512.5,"allocated":600,"free":1500},
            "cpu":{"total":0.25},"session":{"active":7,"total":9},"apps":{"active_docs":[],
            "loaded_docs":[],"in_memory_docs":["sales.qvf","budget.qvf","sales.qvf"],"calls":3,"selections":0},
            "users":{"active":1,"total":1},"cache":{"hits":1},"saturated":true}"#,
        )
        .unwrap();
        assert_eq!(load.sessions, Some(7));
        assert_eq!(load.cpu, Some(0.25));
        assert_eq!(load.documents, ["budget.qvf", "sales.qvf"]);
        assert!(load.holds("sales.qvf") && !load.holds("sales"));
        assert!(load.saturated);
        assert!((load.memory.unwrap().headroom() - 1500.0 / 2012.5).abs() < 1e-9);
    }

    #[test]
    fn a_field_of_another_type_costs_only_itself() {
        let load = parse(br#"{"mem":"lots","cpu":[],"session":{"active":3},"apps":7}"#).unwrap();
        assert_eq!(load.sessions, Some(3));
        assert_eq!((load.memory, load.cpu), (None, None));
    }

    #[test]
    fn other_answers_are_told_apart() {
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
    fn absurd_numbers_do_no_harm() {
        let load = parse(br#"{"mem":{"committed":-1,"free":2},"cpu":{"total":1e300}}"#).unwrap();
        assert_eq!((load.memory, load.cpu), (None, Some(1.0)));
    }
}
