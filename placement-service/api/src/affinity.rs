//! Where the requests of one key go. A key stands for what a route keeps together on one engine, such as an account or
//! a room; its name is opaque. With the answer to a placement a gateway learns the engine of a key, and sends further
//! requests of its scope there without a call, until the answer expires or an event says otherwise.

use crate::gateway::is_stream_name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum length of the name of a key, in bytes.
pub const MAX_KEY_NAME: usize = crate::MAX_STREAM_NAME;

/// The key of a request, and what a gateway needs to send further requests of it to the same engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAffinity {
    /// The opaque name of the key: the base64url form of an HMAC. A gateway may keep, log and report it.
    pub key: String,
    /// Grows with each change of the key's engine. Of two answers, the one with the greater epoch is right.
    pub epoch: u64,
    /// Which requests of the same credential have the same key.
    pub scope: AffinityScope,
    /// Replaces the scope's prefix in the path of a request; the rest of the path and the query stay. Absent: the path
    /// stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Request headers for the engine, besides the token; names are in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_headers: BTreeMap<String, String>,
    /// How long this may be used, in milliseconds from when the gateway sent its request.
    pub valid_ms: u64,
    /// When the service looked the key up, in Unix milliseconds of its clock. Of two answers with the same epoch, the
    /// later one is right.
    #[serde(default)]
    pub as_of: u64,
}

/// The requests that have the same key for the same credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AffinityScope {
    /// The authority, in lower case and without port; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path without query, as clients send it. It covers itself and every path below it, compared by segments.
    pub prefix: String,
    /// The scope is this path alone, because paths below it may have another route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
}

/// Whether a text is a valid name of a key: 1 to [`MAX_KEY_NAME`] of `A-Z a-z 0-9 - . _`. The service rejects a whole
/// report if one name in it is invalid.
#[must_use]
pub fn is_key_name(text: &str) -> bool {
    is_stream_name(text)
}

/// When the streams of a key close if their engine is drained over a time: milliseconds after the event. All gateways,
/// and the service, get the same time for the same key; until then new streams of the key join the others.
///
/// The share of the time is the fraction of which the name of the key is the base64url form: its first ten characters
/// are the leading 60 bits.
#[must_use]
pub fn drain_delay_ms(key: &str, over_ms: u64) -> u64 {
    let bits = key.bytes().take(10).map(|byte| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    });
    let mut fraction = 0_u64;
    let mut shift = 64_u32;
    for six in bits {
        shift -= 6;
        fraction |= u64::from(six) << shift;
    }
    let delay = (u128::from(over_ms) * u128::from(fraction)) >> 64;
    u64::try_from(delay).unwrap_or(over_ms)
}
