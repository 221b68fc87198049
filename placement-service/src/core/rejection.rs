//! The rejection of a request: one type from the domain to the HTTP boundary, where `http::problem` turns it into a
//! problem body. Knows no HTTP.

use berth_api::RejectReason;

/// The rejection of a request, on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", reason.as_str(), detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
pub struct Rejection {
    /// The constant for programs; it determines the HTTP status.
    pub reason: RejectReason,
    /// What exactly is wrong. The caller sees it, so it never contains a secret.
    pub detail: Option<String>,
    /// Seconds until a retry is useful.
    pub retry_after_s: Option<u32>,
}

impl Rejection {
    /// A rejection without a detail.
    #[must_use]
    pub const fn new(reason: RejectReason) -> Self {
        Self {
            reason,
            detail: None,
            retry_after_s: None,
        }
    }

    /// Adds what exactly is wrong.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds when a retry is useful, in seconds.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<RejectReason> for Rejection {
    fn from(reason: RejectReason) -> Self {
        Self::new(reason)
    }
}
