//! Requests to providers: no redirect, no proxy, a limit on time and bytes, and no plain http but to this machine,
//! whatever a provider's metadata say.

use crate::config::is_safe;
use crate::core::http_client;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http, url::Url};
use std::pin::Pin;
use std::time::Duration;

/// For one request, the answer included.
const LIMIT: Duration = Duration::from_secs(5);
/// More than any metadata, key set or token is.
const MAX_BODY: usize = 512 * 1024;

/// Why a request had no answer.
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

/// Speaks to providers.
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
