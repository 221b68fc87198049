//! The one way to make an HTTP client: one TLS library for the process, no redirects, no proxy; and to read
//! what comes back.

use reqwest::{ClientBuilder, Response, redirect};
use std::sync::Once;

static TLS: Once = Once::new();

/// A client that follows no redirects, uses no proxy, verifies certificates by the platform's roots, and still needs its
/// time limits.
pub fn client() -> ClientBuilder {
    TLS.call_once(|| {
        // An error means that somebody chose a provider before: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
}

/// The whole body; `None` when it has more than `most` bytes.
pub async fn body(mut response: Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// What went wrong, in the words of the innermost cause: reqwest's own text repeats the URL.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
