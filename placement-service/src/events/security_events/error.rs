//! Why a security event token is refused, in the codes of RFC 8935.

/// Why a token is not taken: one of the codes of RFC 8935 section 2.4, and words for the transmitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {words}")]
pub struct SetError {
    pub code: &'static str,
    pub words: &'static str,
}

impl SetError {
    /// The body is no token, or the token says nothing that can be understood.
    #[must_use]
    pub const fn request(words: &'static str) -> Self {
        let code = "invalid_request";
        Self { code, words }
    }

    /// The key, or what it is used for, is not acceptable.
    #[must_use]
    pub const fn key(words: &'static str) -> Self {
        let code = "invalid_key";
        Self { code, words }
    }
}
