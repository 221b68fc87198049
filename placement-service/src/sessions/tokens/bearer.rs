//! Verifies bearer tokens that programs send instead of logging in. The filter has verified them already; they are
//! verified here again, since any client of `/v1` could send one. Does not look up their session.

use super::{MAX_TOKEN_BYTES, Tokens};
use crate::core::rejection::Rejection;
use crate::sessions::BearerClaims;
use crate::sessions::keys::SigningKey;
use berth_api::{Excerpt, RejectReason};
use berth_store::redis_jwt::{JwtRules, StoredJwt, session_from};
use berth_store::session_id::IdHash;
use jsonwebtoken::errors::Error;
use jsonwebtoken::{Validation, decode, decode_header};
use sha2::{Digest, Sha256};

/// Allowed difference between clocks, in seconds. The same as the filter's default leeway.
const LEEWAY_S: u64 = 5;

impl BearerClaims {
    /// The claims of another login service's token if it is valid at that time. `None` gives no reason.
    #[must_use]
    pub fn verify_with(token: &str, rules: &JwtRules, now_ms: u64) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let stored = StoredJwt {
            jwt: token,
            now_ms,
            expires_at_ms: None,
        };
        let row = session_from(
            &stored,
            rules,
            IdHash(Sha256::digest(token).into()),
            String::new(),
        )
        .ok()?;
        (row.absolute_expiry_ms > now_ms).then_some(Self {
            subject: row.account,
            roles: row.roles,
            expires_at: row.absolute_expiry_ms / 1000,
            not_before: 0,
            session_ref: None,
        })
    }
}

impl Tokens {
    /// Milliseconds since the Unix epoch, by the clock that tokens are verified with.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Verifies a token with the signing key and the keys before and after it.
    ///
    /// # Errors
    /// `bearer-invalid`. The detail may quote the algorithm that the token names, or a claim of the wrong type.
    pub fn verify(&self, token: &str) -> Result<BearerClaims, Rejection> {
        let invalid =
            |detail: String| Rejection::new(RejectReason::BearerInvalid).with_detail(detail);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("too long".to_owned()));
        }
        let bearer = self
            .verify_except_times(token)
            .map_err(|e| invalid(Excerpt(e).to_string()))?;
        let bearer = bearer.ok_or_else(|| invalid("no key matches it".to_owned()))?;
        let now = self.clock.now_s();
        if now > bearer.expires_at.saturating_add(LEEWAY_S) {
            return Err(invalid("expired".to_owned()));
        }
        if bearer.not_before > now.saturating_add(LEEWAY_S) {
            return Err(invalid("not valid yet".to_owned()));
        }
        if bearer.subject.is_empty() {
            return Err(invalid("sub is empty".to_owned()));
        }
        Ok(bearer)
    }

    /// Verifies everything except the times. `None` if no key has the token's `alg` and `kid`.
    fn verify_except_times(&self, token: &str) -> Result<Option<BearerClaims>, Error> {
        let header = decode_header(token)?;
        let matches_header = |key: &&SigningKey| {
            key.header.alg == header.alg && (header.kid.is_none() || key.header.kid == header.kid)
        };
        let mut fault = None;
        for key in self.verification_keys().filter(matches_header) {
            let mut rules = Validation::new(key.header.alg);
            rules.set_issuer(&[&self.issuer]);
            rules.set_audience(&[&self.audience]);
            rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            // `verify` checks it, with the injected clock.
            rules.validate_exp = false;
            match decode::<BearerClaims>(token, &key.decoding_key, &rules) {
                Ok(token) => return Ok(Some(token.claims)),
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(None), Err)
    }
}

#[cfg(test)]
mod tests;
