//! The stored form of an affinity record that all stores have in common, and how it is read back.

use super::{from_json, to_json};
use crate::{
    AffinityId, AffinityKind, AffinityRecord, AffinityState, AffinityTarget, OwnerId, StoreError,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Longer durations are stored as this one: a hundred years.
const MAX_MS: u64 = 100 * 365 * 86_400_000;

/// The stored fields of an affinity record.
pub(crate) struct RawAffinity<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) kind: &'a str,
    pub(crate) owner: Option<&'a [u8]>,
    pub(crate) pool: String,
    pub(crate) epoch: u64,
    pub(crate) state: &'a str,
    pub(crate) claimer: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) target: RawTarget,
    pub(crate) created_at: u64,
    pub(crate) last_active_at: u64,
    pub(crate) expires_at: u64,
}

/// The stored fields of a record's engine.
#[derive(Default)]
pub(crate) struct RawTarget {
    pub(crate) engine: Option<String>,
    pub(crate) api: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) incarnation: Option<String>,
    pub(crate) headers: Option<String>,
}

impl RawAffinity<'_> {
    /// Reads the fields. A kind or a state of a newer binary is an error.
    pub(crate) fn read(self) -> Result<AffinityRecord, StoreError> {
        let kind = [AffinityKind::Key, AffinityKind::Tab]
            .into_iter()
            .find(|kind| kind.as_str() == self.kind)
            .ok_or_else(|| StoreError::malformed("an affinity's kind", "it is not known"))?;
        let state = match self.state {
            "preparing" => AffinityState::Preparing {
                claimer: present("claimer", self.claimer)?,
            },
            "held" => AffinityState::Held(self.target.read()?),
            "released" => AffinityState::Released {
                reason: present("reason", self.reason)?,
            },
            _ => {
                return Err(StoreError::malformed(
                    "an affinity's state",
                    "it is not known",
                ));
            }
        };
        let owner = self.owner.map(|owner| hash("owner", owner).map(OwnerId));
        Ok(AffinityRecord {
            id: AffinityId(hash("id", self.id)?),
            kind,
            owner: owner.transpose()?,
            pool: self.pool,
            epoch: self.epoch,
            state,
            created_at_ms: self.created_at,
            last_active_at_ms: self.last_active_at,
            expires_at_ms: self.expires_at,
        })
    }
}

impl RawTarget {
    /// The stored form of a target.
    pub(crate) fn new(target: &AffinityTarget) -> Result<Self, StoreError> {
        let has_headers = !target.headers.is_empty();
        Ok(Self {
            engine: Some(target.engine.clone()),
            api: Some(target.api.to_string()),
            stream: target.stream.map(|stream| stream.to_string()),
            incarnation: target.incarnation.clone(),
            headers: has_headers.then(|| to_json(&target.headers)).transpose()?,
        })
    }

    fn read(self) -> Result<AffinityTarget, StoreError> {
        let headers = self.headers.map(|text| from_json("headers", &text));
        let stream = self.stream.map(|text| address("stream", &text));
        Ok(AffinityTarget {
            engine: present("engine", self.engine)?,
            api: address("api", &present("api", self.api)?)?,
            stream: stream.transpose()?,
            incarnation: self.incarnation,
            headers: headers.transpose()?.unwrap_or_default(),
        })
    }
}

/// A duration in milliseconds, so short that sums with a time do not overflow.
pub(crate) fn to_ms(duration: Duration) -> i64 {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ms.min(MAX_MS).cast_signed()
}

fn present(field: &str, text: Option<String>) -> Result<String, StoreError> {
    text.ok_or_else(|| StoreError::malformed(field, "it is not there"))
}

fn address(field: &str, text: &str) -> Result<SocketAddr, StoreError> {
    text.parse()
        .map_err(|_| StoreError::malformed(field, "not an address with a port"))
}

fn hash(field: &str, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::malformed(field, "it has not 32 bytes"))
}
