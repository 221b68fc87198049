//! The HTTP client for providers: follows no redirects, uses no proxy, limits time and size, and allows plain HTTP only
//! to loopback, whatever the provider's metadata say. Must not know OpenID Connect.

use super::OidcError;
use crate::config::is_https_or_loopback;
use crate::core::http_client;
use openidconnect::http::{HeaderMap, StatusCode};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http, url::Url};
use serde_json::{Map, Value};
use std::pin::Pin;
use std::time::Duration;

/// Timeout of one request including its response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response body in bytes, larger than any metadata, key set or token.
const MAX_BODY: usize = 512 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderHttpError {
    #[error("{0}")]
    Failed(String),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {MAX_BODY} bytes")]
    BodyTooLarge,
    #[error("the answer is not a JSON object")]
    NotAnObject,
    #[error("http is for loopback only")]
    InsecureUrl,
    #[error(transparent)]
    Http(#[from] http::Error),
}

impl From<reqwest::Error> for ProviderHttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(http_client::root_cause(&error))
    }
}

impl ProviderHttpError {
    /// The error of a login that needs the answer; `what` names it.
    pub(super) fn into_login_error(self, what: &str) -> OidcError {
        let message = format!("{what}: {self}");
        match self {
            Self::Failed(_) => OidcError::Unreachable(message),
            Self::Status(status) if status.is_server_error() => OidcError::Unreachable(message),
            _ => OidcError::InvalidResponse(message),
        }
    }
}

/// Sends requests to providers.
#[derive(Clone)]
pub(super) struct ProviderHttp(reqwest::Client);

impl ProviderHttp {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = http_client::client_builder()
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        Ok(Self(client.build()?))
    }

    /// The body at a URL. Ignores its media type: some providers serve metadata and keys as static files.
    pub(super) async fn get(
        &self,
        url: &Url,
        access_token: Option<&str>,
    ) -> Result<Vec<u8>, ProviderHttpError> {
        let mut request = self.0.get(url.clone());
        if let Some(token) = access_token {
            request = request.bearer_auth(token);
        }
        let request = request.header(http::header::ACCEPT, "application/json");
        let (status, _, body) = self.execute(request.build()?).await?;
        if status != StatusCode::OK {
            return Err(ProviderHttpError::Status(status));
        }
        Ok(body)
    }

    /// The JSON object at a URL.
    pub(super) async fn get_object(
        &self,
        url: &Url,
        access_token: Option<&str>,
    ) -> Result<Map<String, Value>, ProviderHttpError> {
        let body = self.get(url, access_token).await?;
        serde_json::from_slice(&body).map_err(|_| ProviderHttpError::NotAnObject)
    }

    async fn execute(
        &self,
        request: reqwest::Request,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), ProviderHttpError> {
        if !is_https_or_loopback(request.url()) {
            return Err(ProviderHttpError::InsecureUrl);
        }
        let answer = self.0.execute(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = http_client::read_body(answer, MAX_BODY).await?;
        let body = body.ok_or(ProviderHttpError::BodyTooLarge)?;
        Ok((status, headers, body))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ProviderHttpError> {
        let (status, headers, body) = self.execute(request.try_into()?).await?;
        let mut response = http::Response::builder().status(status);
        if let Some(response_headers) = response.headers_mut() {
            *response_headers = headers;
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = ProviderHttpError;
    type Future =
        Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderHttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
