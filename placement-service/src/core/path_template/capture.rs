//! The text of a capture, decoded once.
//!
//! A text that cannot be decoded without loss stays as the client sent it: with an escape that is invalid, with bytes
//! that are no UTF-8, or, in the capture of one segment, with an encoded slash. So the capture of one segment never
//! contains a slash, and a text that stays as it is never equals a decoded one, because the two kinds are kept apart.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The text of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureText<'a> {
    /// Percent-decoded. The case of letters is kept.
    Decoded(Cow<'a, str>),
    /// As the client sent it.
    Raw(&'a str),
}

impl<'a> CaptureText<'a> {
    /// Decodes the capture of one segment.
    pub(super) fn decode_segment(raw: &'a str) -> Self {
        match Self::decode_rest(raw) {
            Self::Decoded(text) if text.contains('/') => Self::Raw(raw),
            text => text,
        }
    }

    /// Decodes the capture of the rest of a path.
    pub(super) fn decode_rest(raw: &'a str) -> Self {
        if !has_valid_escapes(raw) {
            return Self::Raw(raw);
        }
        match percent_decode_str(raw).decode_utf8() {
            Ok(text) => Self::Decoded(text),
            Err(_) => Self::Raw(raw),
        }
    }

    /// The text, decoded or not.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Decoded(text) => text,
            Self::Raw(text) => text,
        }
    }
}

/// Whether each `%` begins the escape of a byte (RFC 3986, section 2.1). The library keeps others as they are.
pub(crate) fn has_valid_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
