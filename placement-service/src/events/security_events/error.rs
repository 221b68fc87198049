//! Why a security event token is rejected, with the error codes of
//! [RFC 8935](https://www.rfc-editor.org/rfc/rfc8935#section-2.4). Must not know how the response is sent.

/// Why a token is rejected: an error code of RFC 8935 section 2.4, and a message for the transmitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SetError {
    pub code: &'static str,
    pub message: &'static str,
}

impl SetError {
    /// The body is not a token, or its content is invalid.
    #[must_use]
    pub const fn invalid_request(message: &'static str) -> Self {
        let code = "invalid_request";
        Self { code, message }
    }

    /// The key or its algorithm is not acceptable.
    #[must_use]
    pub const fn invalid_key(message: &'static str) -> Self {
        let code = "invalid_key";
        Self { code, message }
    }
}
