//! The HTTP client for providers: follows no redirects, uses no proxy, limits time and size, and allows plain HTTP only
//! to loopback, whatever the provider's metadata say. Must not know OpenID Connect.

use crate::config::is_safe;
use crate::core::http_client;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http, url::Url};
use std::pin::Pin;
use std::time::Duration;

/// Timeout of one request including its response.
const LIMIT: Duration = Duration::from_secs(5);
/// Maximum size of a response body in bytes, larger than any metadata, key set or token.
const MAX_BODY: usize = 512 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Failed(String),
    #[error("the answer is over {MAX_BODY} bytes")]
    TooLong,
    #[error("http is for loopback only")]
    Plain,
    #[error(transparent)]
    Http(#[from] http::Error),
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(http_client::cause(&error))
    }
}

/// Sends requests to providers.
#[derive(Clone)]
pub(super) struct Outgoing(reqwest::Client);

impl Outgoing {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = http_client::client().connect_timeout(LIMIT).timeout(LIMIT);
        Ok(Self(client.build()?))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let url = Url::parse(&request.uri().to_string());
        if !url.is_ok_and(|url| is_safe(&url)) {
            return Err(Fault::Plain);
        }
        let answer = self.0.execute(request.try_into()?).await?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let body = http_client::body(answer, MAX_BODY).await?;
        Ok(response.body(body.ok_or(Fault::TooLong)?)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Outgoing {
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Fault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
