//! Converts a JWT that another login service stored into a session: verifies the signature, maps the claims and
//! derives the expiry. Knows neither Redis nor the clock of this process.

use crate::session_id::IdHash;
use crate::{PAYLOAD_VERSION, RESERVED_CLAIMS, SessionRow, SessionState};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::time::Duration;

/// A key that verifies JWTs.
pub struct JwtKey {
    pub algorithm: Algorithm,
    /// `None`: also for JWTs that name another key, or none.
    pub kid: Option<String>,
    pub key: DecodingKey,
}

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[key for {:?}]", self.algorithm)
    }
}

/// How JWTs are verified and mapped to sessions.
#[derive(Debug)]
pub struct JwtRules {
    pub keys: Vec<JwtKey>,
    /// The required `iss`; `None`: any.
    pub issuer: Option<String>,
    /// The required `aud`; `None`: any.
    pub audience: Option<String>,
    /// The claim with the account's name.
    pub account_claim: String,
    /// The claim with the roles: a list, or one name.
    pub roles_claim: String,
    pub idle_timeout: Duration,
    /// Counted from `iat`: the latest possible end of a session.
    pub absolute_timeout: Duration,
}

/// The value that Redis stores for a cookie.
pub struct StoredJwt<'a> {
    pub jwt: &'a str,
    /// The time of the Redis server.
    pub now_ms: u64,
    /// When the key expires in Redis.
    pub expires_at_ms: Option<u64>,
}

/// Returns the session, including an expired one.
pub fn session_from(
    kept: &StoredJwt<'_>,
    rules: &JwtRules,
    id_hash: IdHash,
    session_ref: String,
) -> Result<SessionRow, &'static str> {
    let mut claims = verify(kept.jwt, rules)?;
    let seconds = |claims: &Map<String, Value>, name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            // The cast saturates and drops fractions of a millisecond.
            Some(seconds) if seconds >= 0.0 => Ok(Some((seconds * 1000.0) as u64)),
            _ => Err("a time claim is not a number of seconds"),
        },
    };
    let expires_ms = seconds(&claims, "exp")?;
    if seconds(&claims, "nbf")?.is_some_and(|from| from > kept.now_ms) {
        return Err("the JWT is not valid yet");
    }
    let issued_ms = seconds(&claims, "iat")?;
    if expires_ms.is_none() && issued_ms.is_none() {
        // Neither limits the session, so it would have no absolute timeout.
        return Err("the JWT has neither exp nor iat");
    }
    let created_at_ms = issued_ms.unwrap_or(kept.now_ms);
    let latest_end = created_at_ms.saturating_add(millis(rules.absolute_timeout));
    let ends = [expires_ms, kept.expires_at_ms, Some(latest_end)];
    let account = match claims.remove(&rules.account_claim) {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err("the account claim is not a name"),
    };
    let roles = match claims.remove(&rules.roles_claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(role)) => vec![role],
        Some(value) => {
            serde_json::from_value(value).map_err(|_| "the roles claim is not a list of names")?
        }
    };
    claims.retain(|name, _| !RESERVED_CLAIMS.contains(&name.as_str()));
    Ok(SessionRow {
        id_hash,
        session_ref,
        payload_version: PAYLOAD_VERSION,
        account,
        display_name: String::new(),
        roles,
        created_at_ms,
        // The other login service tracks the last use; Berth cannot see it.
        last_seen_at_ms: kept.now_ms,
        idle_timeout_ms: millis(rules.idle_timeout),
        absolute_expiry_ms: ends.into_iter().flatten().min().unwrap_or(latest_end),
        ancestors: Vec::new(),
        runtime: String::new(),
        state: SessionState::Active,
        claims,
        provider: None,
    })
}

/// Verifies the signature, the issuer and the audience, and returns the claims. Times are checked by the
/// caller, against the Redis clock.
fn verify(jwt: &str, rules: &JwtRules) -> Result<Map<String, Value>, &'static str> {
    let header = decode_header(jwt).map_err(|_| "not a JWT")?;
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
    // The algorithm comes from the configured key, never from the JWT alone: this prevents algorithm confusion
    // (RFC 8725 section 3.1).
    let fitting = rules
        .keys
        .iter()
        .filter(|key| key.algorithm == header.alg && (key.kid.is_none() || key.kid == header.kid));
    for key in fitting {
        if let Ok(data) = decode::<Map<String, Value>>(jwt, &key.key, &validation) {
            return Ok(data.claims);
        }
    }
    Err("no configured key, issuer and audience verify it")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
