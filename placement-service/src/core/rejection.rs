//! Why a use case said no: one type from the domain up to the HTTP boundary, which turns it into a
//! problem body in one place.

use berth_api::Reason;

/// A refusal on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", reason.as_str(), detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
pub struct Refusal {
    /// The constant for programs; it decides the status.
    pub reason: Reason,
    /// What exactly was wrong. Goes to the caller: never a secret.
    pub detail: Option<String>,
    /// Seconds until a retry makes sense.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal without further words.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            retry_after_s: None,
        }
    }

    /// Says what exactly was wrong.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when a retry makes sense, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}
