//! The only way to make an HTTP client: one TLS library for the process, no redirects, no proxy. Also reads bounded
//! response bodies, and formats errors. Knows no peer and no URL.

use berth_api::Excerpt;
use reqwest::{ClientBuilder, Response, redirect};
use std::error::Error;
use std::sync::Once;

static TLS: Once = Once::new();

/// A builder for a client that follows no redirects, uses no proxy, and verifies certificates against the platform's
/// roots. The caller must set timeouts.
pub fn client_builder() -> ClientBuilder {
    install_tls_provider();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
}

/// Installs the TLS library of the process, for clients that are not made by [`client_builder`].
pub fn install_tls_provider() {
    TLS.call_once(|| {
        // Fails if a provider is installed already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Reads the whole body; `None` if it has more than `max` bytes.
pub async fn read_body(
    mut response: Response,
    max: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The text of the innermost cause, because reqwest's own text repeats the URL. Bounded, because a cause may quote the
/// peer, such as its certificate.
#[must_use]
pub fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Excerpt(cause).to_string()
}

/// The text of an error and of its causes, except causes whose text is already included.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_message = inner.to_string();
        if !message.contains(&inner_message) {
            message = format!("{message}: {inner_message}");
        }
        cause = inner.source();
    }
    message
}
