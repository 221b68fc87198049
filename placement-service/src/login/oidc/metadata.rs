//! A provider's metadata ([OpenID Connect Discovery 1.0 section 3]). Reads only the fields that this client uses, and
//! optional ones only when they are used, so that a fault elsewhere breaks no login. Must not know how the metadata are
//! fetched.
//!
//! [OpenID Connect Discovery 1.0 section 3]: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata

use super::OidcError;
use crate::config::is_https_or_loopback;
use openidconnect::AuthType;
use openidconnect::url::Url;
use serde_json::{Map, Value};

/// The metadata of the configured issuer.
#[derive(Clone, Debug)]
pub(super) struct ProviderMetadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    fields: Map<String, Value>,
}

impl ProviderMetadata {
    /// Reads the fields without which no login works.
    pub(super) fn parse(fields: Map<String, Value>, issuer: &str) -> Result<Self, OidcError> {
        if fields.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(fault("issuer", "is not the configured issuer"));
        }
        let required = |name| read_url(&fields, name)?.ok_or_else(|| fault(name, "is missing"));
        Ok(Self {
            authorization_endpoint: required("authorization_endpoint")?,
            token_endpoint: required("token_endpoint")?,
            jwks_uri: required("jwks_uri")?,
            fields,
        })
    }

    pub(super) fn userinfo_endpoint(&self) -> Result<Option<Url>, OidcError> {
        read_url(&self.fields, "userinfo_endpoint")
    }

    pub(super) fn end_session_endpoint(&self) -> Result<Option<Url>, OidcError> {
        read_url(&self.fields, "end_session_endpoint")
    }

    /// Whether every callback has the `iss` parameter (RFC 9207).
    pub(super) fn has_issuer_parameter(&self) -> Result<bool, OidcError> {
        let name = "authorization_response_iss_parameter_supported";
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(supported)) => Ok(*supported),
            Some(_) => Err(fault(name, "is not a boolean")),
        }
    }

    /// How the client authenticates at the token endpoint: by HTTP Basic, unless the provider only supports the request
    /// body.
    pub(super) fn token_auth_type(&self) -> Result<AuthType, OidcError> {
        let name = "token_endpoint_auth_methods_supported";
        let methods = match self.fields.get(name) {
            None | Some(Value::Null) => return Ok(AuthType::BasicAuth),
            Some(Value::Array(methods)) => methods,
            Some(_) => return Err(fault(name, "is not a list")),
        };
        let supports = |method: &str| methods.iter().any(|m| m.as_str() == Some(method));
        if !supports("client_secret_basic") && supports("client_secret_post") {
            return Ok(AuthType::RequestBody);
        }
        Ok(AuthType::BasicAuth)
    }
}

/// Reads a URL. Rejects one that would send a browser or a secret over plain HTTP.
fn read_url(fields: &Map<String, Value>, name: &str) -> Result<Option<Url>, OidcError> {
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str(),
    };
    let url = text.and_then(|text| Url::parse(text).ok());
    let url = url.filter(is_https_or_loopback);
    url.map(Some)
        .ok_or_else(|| fault(name, "is not an https URL"))
}

fn fault(name: &str, problem: &str) -> OidcError {
    OidcError::InvalidResponse(format!("metadata: {name} {problem}"))
}
