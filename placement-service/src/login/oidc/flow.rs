//! The authorization code flow with PKCE ([OpenID Connect Core 1.0 section 3.1], [RFC 7636], [RFC 9207]): builds the
//! authorization request, parses the callback, and redeems the code for verified claims. Must not know accounts or
//! sessions.
//!
//! [OpenID Connect Core 1.0 section 3.1]: https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth
//! [RFC 7636]: https://www.rfc-editor.org/rfc/rfc7636
//! [RFC 9207]: https://www.rfc-editor.org/rfc/rfc9207

use super::OidcError;
use super::id_token::{ExpectedLogin, IdToken};
use super::login_state::LoginState;
use super::provider::{Provider, ProviderSnapshot};
use super::provider_http::ProviderHttpError;
use super::token_answer::{TokenAnswer, TokenError};
use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::url::Url;
use openidconnect::{
    AuthorizationCode, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope,
};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// The parameters of a callback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    pub code: Option<String>,
    pub state: Option<String>,
    pub iss: Option<String>,
    pub error: Option<String>,
}

impl Callback {
    /// Parses the query. Rejects repeated parameters and ignores unknown ones.
    pub fn parse(query: &str) -> Result<Self, OidcError> {
        let mut callback = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let (slot, is_repeated) = match name.as_ref() {
                "code" => (&mut callback.code, "code came twice"),
                "state" => (&mut callback.state, "state came twice"),
                "iss" => (&mut callback.iss, "iss came twice"),
                "error" => (&mut callback.error, "error came twice"),
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(OidcError::MalformedCallback(is_repeated));
            }
        }
        Ok(callback)
    }
}

/// The user that the provider has authenticated.
pub(super) struct VerifiedLogin {
    pub(super) subject: String,
    /// Claims of the ID token, completed by those of the userinfo endpoint if the ID token lacks some.
    pub(super) claims: Map<String, Value>,
    pub(super) id_token: String,
}

/// The URL of the provider's login page for a new login, and the login's state.
pub(super) async fn build_authorization_request(
    provider: &Provider,
    redirect_uri: String,
    return_to: Option<String>,
    now_ms: u64,
) -> Result<(Url, LoginState), OidcError> {
    let snapshot = provider.snapshot().await?;
    let redirect = parse_redirect_url(&redirect_uri)?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let scopes = provider.config.scopes.iter().cloned().map(Scope::new);
    let request = snapshot
        .client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        )
        .add_scopes(scopes)
        .set_pkce_challenge(challenge)
        .set_redirect_uri(Cow::Owned(redirect));
    let (url, state, nonce) = request.url();
    let login_state = LoginState {
        provider: provider.config.name.clone(),
        state: state.into_secret(),
        nonce: nonce.secret().clone(),
        verifier: verifier.into_secret(),
        redirect_uri,
        return_to,
        began_at_ms: now_ms,
    };
    Ok((url, login_state))
}

/// Rejects a callback from another issuer than the provider that the browser was sent to (RFC 9207).
pub(super) fn check_issuer(
    provider: &Provider,
    snapshot: &ProviderSnapshot,
    callback: &Callback,
) -> Result<(), OidcError> {
    match &callback.iss {
        Some(iss) if *iss == provider.config.issuer => Ok(()),
        None if !snapshot.metadata.has_issuer_parameter()? => Ok(()),
        _ => Err(OidcError::IssuerMismatch),
    }
}

/// Redeems the code and verifies the tokens.
pub(super) async fn redeem_code(
    provider: &Arc<Provider>,
    snapshot: Arc<ProviderSnapshot>,
    login_state: &LoginState,
    code: String,
    now_ms: u64,
) -> Result<VerifiedLogin, OidcError> {
    let request = snapshot.client.exchange_code(AuthorizationCode::new(code));
    let tokens = request
        .set_pkce_verifier(PkceCodeVerifier::new(login_state.verifier.clone()))
        .set_redirect_uri(Cow::Owned(parse_redirect_url(&login_state.redirect_uri)?))
        .request_async(&provider.http)
        .await
        .map_err(token_error)?;
    let id_token = tokens.raw_id_token().ok_or_else(|| {
        OidcError::InvalidResponse("token response: id_token is missing or not a text".to_owned())
    })?;
    let parsed = IdToken::parse(id_token)?;
    let verdict = provider.check_signature(&snapshot, &parsed.jws).await?;
    verdict.map_err(|fault| OidcError::InvalidIdToken(fault.to_string()))?;
    let expected = ExpectedLogin {
        nonce: &login_state.nonce,
        access_token: tokens.usable_access_token(),
        now_ms,
    };
    let (subject, mut claims) = parsed.into_verified_claims(&provider.config, &expected)?;
    if !super::claims::has_configured_claims(&provider.config, &claims)
        && let Some(endpoint) = snapshot.metadata.userinfo_endpoint()?
    {
        let further = fetch_userinfo(provider, &endpoint, &tokens, &subject).await?;
        // Claims of the ID token are signed, so they take precedence.
        for (name, value) in further {
            let claim = claims.entry(name).or_insert(Value::Null);
            if claim.is_null() {
                *claim = value;
            }
        }
    }
    Ok(VerifiedLogin {
        subject,
        claims,
        id_token: id_token.to_owned(),
    })
}

/// Fetches the claims of the userinfo endpoint, which must be about the same subject.
async fn fetch_userinfo(
    provider: &Provider,
    endpoint: &Url,
    tokens: &TokenAnswer,
    subject: &str,
) -> Result<Map<String, Value>, OidcError> {
    let access_token = tokens.usable_access_token().ok_or_else(|| {
        let message = "token response: access_token is missing or malformed";
        OidcError::InvalidResponse(message.to_owned())
    })?;
    let claims = provider.http.get_object(endpoint, Some(access_token)).await;
    let claims = claims.map_err(|error| error.into_login_error("userinfo"))?;
    if claims.get("sub").and_then(Value::as_str) != Some(subject) {
        let message = "userinfo: sub is not that of the ID token";
        return Err(OidcError::InvalidResponse(message.to_owned()));
    }
    Ok(claims)
}

fn parse_redirect_url(text: &str) -> Result<RedirectUrl, OidcError> {
    RedirectUrl::new(text.to_owned()).map_err(|_| OidcError::MalformedCallback("host is malformed"))
}

fn token_error(error: RequestTokenError<ProviderHttpError, TokenError>) -> OidcError {
    let invalid =
        |message: String| OidcError::InvalidResponse(format!("token response: {message}"));
    match error {
        RequestTokenError::ServerResponse(answer) => OidcError::ProviderRefused(answer.error),
        RequestTokenError::Request(error) => error.into_login_error("token response"),
        RequestTokenError::Parse(error, _) => invalid(error.to_string()),
        RequestTokenError::Other(message) => invalid(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_callback_parameter_is_rejected() {
        let callback = Callback::parse("code=a%20b&state=s&iss=https%3A%2F%2Fid&session_state=x");
        let callback = callback.unwrap();
        assert_eq!(callback.code.as_deref(), Some("a b"));
        assert_eq!(callback.iss.as_deref(), Some("https://id"));
        assert_eq!(callback.error, None);
        for name in ["code", "state", "iss", "error"] {
            let refused = Callback::parse(&format!("{name}=a&x=1&{name}=b")).unwrap_err();
            assert_eq!(refused.reason(), "invalid-request");
            assert!(refused.to_string().contains(name));
        }
        assert_eq!(Callback::parse("").unwrap(), Callback::default());
    }
}
