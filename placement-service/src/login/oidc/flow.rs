//! The authorization code flow with PKCE ([OpenID Connect Core 1.0 section 3.1], [RFC 7636], [RFC 9207]): builds the
//! authorization request, parses the callback, and redeems the code for verified claims. Must not know accounts or
//! sessions.
//!
//! [OpenID Connect Core 1.0 section 3.1]: https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth
//! [RFC 7636]: https://www.rfc-editor.org/rfc/rfc7636
//! [RFC 9207]: https://www.rfc-editor.org/rfc/rfc9207

use super::OidcError;
use super::login_state::LoginState;
use super::provider::{FurtherClaims, Provider, ProviderSnapshot};
use super::provider_http;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
};
use openidconnect::url::Url;
use openidconnect::{
    AccessToken, AuthorizationCode, ClaimsVerificationError, ClientId, CsrfToken, IdTokenVerifier,
    Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse, SubjectIdentifier,
    TokenResponse, UserInfoClaims, UserInfoError,
};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Tolerated difference between a provider's clock and ours.
pub(super) const LEEWAY_MS: u64 = 30_000;
/// Maximum age of an ID token, which the provider issues in response to our request.
const MAX_AGE_MS: u64 = 600_000;
/// Accepted signature algorithms: only asymmetric ones, never a shared secret or `none`.
pub(super) const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

pub(super) type IdToken = openidconnect::IdToken<
    FurtherClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

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
    snapshot: &ProviderSnapshot,
    callback: &Callback,
) -> Result<(), OidcError> {
    let must_match = snapshot
        .metadata
        .additional_metadata()
        .additional_metadata
        .authorization_response_iss_parameter_supported;
    match &callback.iss {
        Some(iss) if *iss == **snapshot.metadata.issuer() => Ok(()),
        None if !must_match => Ok(()),
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
        .map_err(|e| OidcError::InvalidResponse(e.to_string()))?
        .set_pkce_verifier(PkceCodeVerifier::new(login_state.verifier.clone()))
        .set_redirect_uri(Cow::Owned(parse_redirect_url(&login_state.redirect_uri)?))
        .request_async(&provider.http)
        .await
        .map_err(token_error)?;
    let id_token = tokens.id_token();
    let id_token = id_token.ok_or(OidcError::InvalidResponse("no ID token".to_owned()))?;
    let nonce = Nonce::new(login_state.nonce.clone());
    let mut verified = verify_id_token(provider, &snapshot, id_token, &nonce, now_ms);
    if let Err(ClaimsVerificationError::SignatureVerification(
        SignatureVerificationError::NoMatchingKey,
    )) = verified
    {
        let new_snapshot = provider.refresh_keys(&snapshot).await?;
        verified = verify_id_token(provider, &new_snapshot, id_token, &nonce, now_ms);
    }
    let mut claims = verified.map_err(|error| match error {
        ClaimsVerificationError::InvalidNonce(_) => OidcError::NonceMismatch,
        ClaimsVerificationError::SignatureVerification(error) => {
            OidcError::InvalidIdToken(error.to_string())
        }
        error => OidcError::InvalidIdToken(error.to_string()),
    })?;
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject.unwrap_or_default().to_owned();
    if !super::claims::has_configured_claims(&provider.config, &claims)
        && snapshot.metadata.userinfo_endpoint().is_some()
    {
        let token = tokens.access_token().clone();
        let subject = SubjectIdentifier::new(subject.clone());
        for (name, value) in fetch_userinfo(provider, &snapshot, token, subject).await? {
            claims.entry(name).or_insert(value);
        }
    }
    Ok(VerifiedLogin {
        subject,
        claims,
        id_token: id_token.to_string(),
    })
}

/// Verifies an ID token at `now_ms`; returns its claims.
fn verify_id_token(
    provider: &Provider,
    snapshot: &ProviderSnapshot,
    id_token: &IdToken,
    nonce: &Nonce,
    now_ms: u64,
) -> Result<Map<String, Value>, ClaimsVerificationError> {
    let client_id = ClientId::new(provider.config.client_id.clone());
    let issuer = snapshot.metadata.issuer().clone();
    let lenient = UNIX_EPOCH + Duration::from_millis(now_ms.saturating_sub(LEEWAY_MS));
    let verifier =
        IdTokenVerifier::new_public_client(client_id, issuer, snapshot.metadata.jwks().clone())
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || lenient.into())
            .set_issue_time_verifier_fn(move |iat| {
                let iat_ms = u64::try_from(iat.timestamp_millis()).unwrap_or(0);
                let is_early = iat_ms > now_ms.saturating_add(LEEWAY_MS);
                let is_outdated = iat_ms < now_ms.saturating_sub(MAX_AGE_MS);
                if is_early || is_outdated {
                    return Err("issued at another time".to_owned());
                }
                Ok(())
            });
    let claims = id_token.claims(&verifier, nonce)?;
    let party = claims.authorized_party();
    if party.is_some_and(|party| **party != provider.config.client_id) {
        let message = "azp is another client".to_owned();
        return Err(ClaimsVerificationError::InvalidAudience(message));
    }
    match serde_json::to_value(claims) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(ClaimsVerificationError::Other("not an object".to_owned())),
    }
}

/// Fetches the claims of the userinfo endpoint, which must be about the same subject.
async fn fetch_userinfo(
    provider: &Provider,
    snapshot: &ProviderSnapshot,
    token: AccessToken,
    subject: SubjectIdentifier,
) -> Result<Map<String, Value>, OidcError> {
    if !token.secret().bytes().all(|b| b.is_ascii_graphic()) {
        return Err(OidcError::InvalidResponse(
            "the access token is malformed".to_owned(),
        ));
    }
    let request = snapshot.client.user_info(token, Some(subject));
    let request = request.map_err(|e| OidcError::InvalidResponse(e.to_string()))?;
    let claims: Result<UserInfoClaims<FurtherClaims, CoreGenderClaim>, _> =
        request.request_async(&provider.http).await;
    let claims = claims.map_err(|error| match error {
        UserInfoError::Request(fault) => OidcError::Unreachable(fault.to_string()),
        UserInfoError::Response(status, ..) => {
            OidcError::InvalidResponse(format!("userinfo: {status}"))
        }
        error => OidcError::InvalidResponse(format!("userinfo: {error}")),
    })?;
    match serde_json::to_value(&claims) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(OidcError::InvalidResponse(
            "userinfo: not an object".to_owned(),
        )),
    }
}

fn parse_redirect_url(text: &str) -> Result<RedirectUrl, OidcError> {
    RedirectUrl::new(text.to_owned()).map_err(|_| OidcError::MalformedCallback("host is malformed"))
}

type TokenError = RequestTokenError<
    provider_http::ProviderHttpError,
    StandardErrorResponse<CoreErrorResponseType>,
>;

fn token_error(error: TokenError) -> OidcError {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            OidcError::ProviderRefused(answer.error().to_string())
        }
        RequestTokenError::Request(fault) => OidcError::Unreachable(fault.to_string()),
        RequestTokenError::Parse(error, _) => OidcError::InvalidResponse(error.to_string()),
        RequestTokenError::Other(message) => OidcError::InvalidResponse(message),
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
