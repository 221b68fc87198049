//! Affinity records as the fields of Redis hashes.

use crate::redis::row::{Fields, bytes, number, text};
use crate::row::affinity::{RawAffinity, RawTarget};
use crate::{AffinityRecord, AffinityTarget, StoreError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A hash's part of a key.
pub(super) fn encode(hash: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// The names and values of a target, one after the other.
pub(super) fn target_fields(target: &AffinityTarget) -> Result<Vec<String>, StoreError> {
    let target = RawTarget::new(target)?;
    let fields = [
        ("engine", target.engine),
        ("api", target.api),
        ("stream", target.stream),
        ("incarnation", target.incarnation),
        ("headers", target.headers),
    ];
    let present = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Ok(present
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect())
}

/// Reads a record's hash. Unknown fields of a newer binary are left alone.
pub(super) fn affinity_from(id: &str, fields: &Fields) -> Result<AffinityRecord, StoreError> {
    let optional = |name: &str| fields.get(name).cloned();
    let owner = fields.get("owner").map(|owner| bytes("owner", owner));
    let owner = owner.transpose()?;
    let raw = RawAffinity {
        id: &bytes("id", id)?,
        kind: text(fields, "kind")?,
        owner: owner.as_deref(),
        pool: text(fields, "pool")?.to_owned(),
        epoch: number(fields, "epoch")?,
        state: text(fields, "state")?,
        claimer: optional("claimer"),
        reason: optional("reason"),
        target: RawTarget {
            engine: optional("engine"),
            api: optional("api"),
            stream: optional("stream"),
            incarnation: optional("incarnation"),
            headers: optional("headers"),
        },
        created_at: number(fields, "created_at")?,
        last_active_at: number(fields, "last_active_at")?,
        expires_at: number(fields, "expires_at")?,
    };
    raw.read()
}
