//! From a JWT that somebody else keeps to a session: the signature, the claims, and when it ends.

use crate::session_id::IdHash;
use crate::{PAYLOAD_VERSION, SessionRow, SessionState};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::time::Duration;

/// Claims that are the session's own, or speak of the JWT itself: our tokens have theirs.
const OWN: [&str; 9] = [
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "roles",
];

/// What a JWT may be verified with.
pub struct JwtKey {
    pub algorithm: Algorithm,
    /// `None`: for a JWT of any name.
    pub kid: Option<String>,
    pub key: DecodingKey,
}

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[key for {:?}]", self.algorithm)
    }
}

/// How JWTs become sessions.
#[derive(Debug)]
pub struct JwtRules {
    pub keys: Vec<JwtKey>,
    /// `iss`, if it matters.
    pub issuer: Option<String>,
    /// `aud`, if it matters.
    pub audience: Option<String>,
    /// The claim with the account's name.
    pub account_claim: String,
    /// The claim with the roles: a list, or one name.
    pub roles_claim: String,
    pub idle_timeout: Duration,
    /// Since `iat`: a session ends then, whatever else is said.
    pub absolute_timeout: Duration,
}

/// What is kept under a cookie.
pub struct Kept<'a> {
    pub jwt: &'a str,
    /// By the clock of the Redis.
    pub now_ms: u64,
    /// When Redis forgets it.
    pub gone_at_ms: Option<u64>,
}

/// The session, also one that has run out of time; or what is wrong with the JWT.
pub fn session_from(
    kept: &Kept<'_>,
    rules: &JwtRules,
    id_hash: IdHash,
    session_ref: String,
) -> Result<SessionRow, &'static str> {
    let mut claims = verified(kept.jwt, rules)?;
    let seconds = |claims: &Map<String, Value>, name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            // Saturates; a fraction of a second is cut off.
            Some(seconds) if seconds >= 0.0 => Ok(Some((seconds * 1000.0) as u64)),
            _ => Err("a time is no number of seconds"),
        },
    };
    let expires_ms = seconds(&claims, "exp")?;
    if seconds(&claims, "nbf")?.is_some_and(|from| from > kept.now_ms) {
        return Err("it is not valid yet");
    }
    let created_at_ms = seconds(&claims, "iat")?.unwrap_or(kept.now_ms);
    let most = created_at_ms.saturating_add(millis(rules.absolute_timeout));
    let ends = [expires_ms, kept.gone_at_ms, Some(most)];
    let account = match claims.remove(&rules.account_claim) {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err("its claim of the account is no name"),
    };
    let roles = match claims.remove(&rules.roles_claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(role)) => vec![role],
        Some(value) => serde_json::from_value(value)
            .map_err(|_| "its claim of the roles is no list of names")?,
    };
    claims.retain(|name, _| !OWN.contains(&name.as_str()));
    Ok(SessionRow {
        id_hash,
        session_ref,
        payload_version: PAYLOAD_VERSION,
        account,
        roles,
        created_at_ms,
        // Whoever keeps it knows when it was last used; nothing tells us.
        last_seen_at_ms: kept.now_ms,
        idle_timeout_ms: millis(rules.idle_timeout),
        absolute_expiry_ms: ends.into_iter().flatten().min().unwrap_or(most),
        ancestors: Vec::new(),
        runtime: String::new(),
        state: SessionState::Active,
        claims,
        provider: None,
    })
}

/// The claims, once a key has said that they are genuine. Times are left to whoever knows the time.
fn verified(jwt: &str, rules: &JwtRules) -> Result<Map<String, Value>, &'static str> {
    let header = decode_header(jwt).map_err(|_| "it is no JWT")?;
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = rules.audience.is_some();
    validation.required_spec_claims.clear();
    if let Some(audience) = &rules.audience {
        validation.set_audience(&[audience]);
        validation.required_spec_claims.insert("aud".to_owned());
    }
    if let Some(issuer) = &rules.issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".to_owned());
    }
    // The algorithm is the key's, never the JWT's own choice.
    let fitting = rules
        .keys
        .iter()
        .filter(|key| key.algorithm == header.alg && (key.kid.is_none() || key.kid == header.kid));
    for key in fitting {
        if let Ok(data) = decode::<Map<String, Value>>(jwt, &key.key, &validation) {
            return Ok(data.claims);
        }
    }
    Err("no key verifies it for the issuer and the audience that are configured")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
