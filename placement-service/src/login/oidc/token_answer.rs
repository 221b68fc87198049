//! The OAuth client of a provider, with responses of the token endpoint that are read leniently: only the tokens, and
//! no field beside them. Must not know what the tokens contain.

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, Client, EmptyAdditionalClaims, EndpointNotSet, EndpointSet, ErrorResponse,
    IdToken, OAuth2TokenResponse, RefreshToken, Scope, TokenResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::{Debug, Display, Formatter, Result as FmtResult};
use std::time::Duration;

/// Builds authorization requests and token requests.
pub(super) type ProviderClient = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    TokenError,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

/// The response of the token endpoint (OpenID Connect Core 1.0 section 3.1.3.3).
#[derive(Deserialize, Serialize)]
#[serde(from = "Map<String, Value>")]
pub(super) struct TokenAnswer {
    id_token: Option<String>,
    access_token: AccessToken,
}

impl TokenAnswer {
    /// The ID token; `None` if it is missing, empty or not a text.
    pub(super) fn raw_id_token(&self) -> Option<&str> {
        self.id_token.as_deref().filter(|token| !token.is_empty())
    }

    /// The access token; `None` if it is missing, or cannot be sent in a header.
    pub(super) fn usable_access_token(&self) -> Option<&str> {
        let token = self.access_token.secret();
        let is_usable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        is_usable.then_some(token)
    }
}

impl From<Map<String, Value>> for TokenAnswer {
    fn from(fields: Map<String, Value>) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id_token: text("id_token"),
            access_token: AccessToken::new(text("access_token").unwrap_or_default()),
        }
    }
}

impl Debug for TokenAnswer {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str("TokenAnswer([redacted])")
    }
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    /// The userinfo request uses the access token as a bearer token (OpenID Connect Core 1.0 section 5.3.1).
    fn token_type(&self) -> &CoreTokenType {
        &CoreTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

type StrictIdToken = IdToken<
    EmptyAdditionalClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

impl
    TokenResponse<
        EmptyAdditionalClaims,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    > for TokenAnswer
{
    /// Always `None`: this type rejects an ID token if any standard claim has an unexpected type, used or not.
    /// `super::id_token` reads [`TokenAnswer::raw_id_token`] instead.
    fn id_token(&self) -> Option<&StrictIdToken> {
        None
    }
}

/// The error response of the token endpoint (RFC 6749 section 5.2).
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct TokenError {
    pub(super) error: String,
}

impl Display for TokenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str(&self.error)
    }
}

impl ErrorResponse for TokenError {}
