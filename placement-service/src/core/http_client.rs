//! The one way to make an HTTP client: one TLS library for the process, no redirects, no proxy; and to read
//! what comes back.

use berth_api::Excerpt;
use reqwest::{ClientBuilder, Response, redirect};
use std::error::Error;
use std::sync::Once;

static TLS: Once = Once::new();

/// A client that follows no redirects, uses no proxy, verifies certificates by the platform's roots, and still needs its
/// time limits.
pub fn client() -> ClientBuilder {
    choose_tls();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
}

/// Makes the one TLS library the process's own, for whoever does not go through [`client`].
pub fn choose_tls() {
    TLS.call_once(|| {
        // An error means that somebody chose a provider before: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
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

/// What went wrong, in the words of the innermost cause: reqwest's own text repeats the URL. A cause may quote the
/// peer, its certificate for one.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Excerpt(cause).to_string()
}

/// An error with its causes, as far as they say anything new.
#[must_use]
pub fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    words
}
