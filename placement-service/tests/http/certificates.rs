//! Certificates of the harness in the form of the HTTP client.

use berth_harness::certificate::{Authority, Issued};
use reqwest::{Certificate, Identity};

/// An authority as a client trusts it.
pub(crate) fn root(authority: &Authority) -> Certificate {
    Certificate::from_pem(authority.pem().as_bytes()).unwrap()
}

/// A certificate as a client presents it.
pub(crate) fn identity(issued: &Issued) -> Identity {
    let pem = format!("{}{}", issued.certificate, issued.key);
    Identity::from_pem(pem.as_bytes()).unwrap()
}
