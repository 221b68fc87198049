//! Reads the JSON response of a QIX engine to `GET /healthcheck`, as far as placements need it. A missing field is
//! ignored; a field that cannot be read is ignored and reported as malformed; the other fields stay valid.

use super::cpu_unit::CpuUnit;
use berth_scheduler::engine::{Load, Memory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    /// When the engine started, in its own words.
    #[serde(default)]
    started: Value,
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
    in_memory_docs: Vec<Value>,
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
}

/// Reads a healthcheck. Returns the load and the names of malformed fields, or `None` when it is not a JSON object.
/// `cpu_unit`: what the earlier healthchecks of the engine say of its CPU.
#[must_use]
pub fn read(healthcheck: Value, cpu_unit: &mut CpuUnit) -> Option<(Load, Vec<&'static str>)> {
    if !healthcheck.is_object() {
        return None;
    }
    let body: Body = serde_json::from_value(healthcheck).ok()?;
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
        is_plausible.then(|| cpu_unit.share(cpu.total, &body.started))
    });
    let session = body.session;
    let sessions = session.validate("session", &mut malformed, |s| Some(s.active));
    let apps = body.apps;
    let documents = apps.validate("apps", &mut malformed, |a| Some(a.in_memory_docs));
    let documents = documents.unwrap_or_default().into_iter();
    let mut documents: Vec<String> = documents
        .filter_map(|name| match name {
            Value::String(name) => Some(name),
            _ => None,
        })
        .collect();
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
    Some((load, malformed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::health::tolerant_json;

    fn parse(body: &[u8]) -> Option<(Load, Vec<&'static str>)> {
        read(tolerant_json::parse(body).ok()?, &mut CpuUnit::default())
    }

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
    fn a_field_that_cannot_be_read_costs_itself() {
        let text = br#"{"mem":"lots","cpu":[],"session":{"active":3},"apps":7,"saturated":null}"#;
        let (load, malformed) = parse(text).unwrap();
        assert_eq!(malformed, ["mem", "cpu", "apps"]);
        assert_eq!(load.sessions, Some(3));
        assert_eq!((load.memory, load.cpu), (None, None));
        let text = b"{\"mem\":{\"committed\":1,\"free\":2},\"cpu\":{\"total\": nan},\"session\":{\"active\":3,\"total\":nan},
            \"apps\":{\"in_memory_docs\":[\"caf\xe9.qvf\",7,\"sales.qvf\"]}}";
        let (load, malformed) = parse(text).unwrap();
        assert_eq!(malformed, ["cpu"]);
        assert_eq!(load.sessions, Some(3));
        assert!(load.memory.is_some());
        assert_eq!(load.documents, ["caf\u{fffd}.qvf", "sales.qvf"]);
    }

    #[test]
    fn foreign_responses_have_no_numbers() {
        for text in ["", "OK", "[]", "null", r#"{"mem":1"#] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        for text in ["{}", r#"{"status":"ok"}"#] {
            assert_eq!(parse(text.as_bytes()).unwrap().0, Load::default(), "{text}");
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
