//! The one way to make an HTTP client: one TLS library for the process, no redirects, no proxy.

use reqwest::{ClientBuilder, redirect};
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
