//! The HTTP client for providers: follows no redirects, uses no proxy, limits time and size, and allows plain HTTP only
//! to loopback, whatever the provider's metadata say. Must not know OpenID Connect.

use crate::config::is_https_or_loopback;
use crate::core::http_client;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http, url::Url};
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
    #[error("the answer is longer than {MAX_BODY} bytes")]
    BodyTooLarge,
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

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ProviderHttpError> {
        let url = Url::parse(&request.uri().to_string());
        if !url.is_ok_and(|url| is_https_or_loopback(&url)) {
            return Err(ProviderHttpError::InsecureUrl);
        }
        let answer = self.0.execute(request.try_into()?).await?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let body = http_client::read_body(answer, MAX_BODY).await?;
        Ok(response.body(body.ok_or(ProviderHttpError::BodyTooLarge)?)?)
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
