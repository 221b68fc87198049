//! The bearer token that a client sends in place of a login cookie: finds it among the `Authorization` headers.
//! Does not verify it.
//!
//! Grammar: [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750), section 2.1; the token is a JWT
//! ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)).

/// Maximum bytes of a token. Berth's own tokens have at most 16 KB.
pub const MAX_TOKEN_BYTES: usize = 24 * 1024;

const SCHEME: &[u8] = b"bearer";

/// The token in the `Authorization` headers of a request. `None`: no header has the scheme `Bearer`.
///
/// # Errors
/// A message for the client when it is not exactly one token in the form of a JWT.
pub fn find<'a>(headers: &[&'a [u8]]) -> Result<Option<&'a str>, &'static str> {
    let mut tokens = headers.iter().filter_map(|header| token_of(header));
    let Some(token) = tokens.next() else {
        return Ok(None);
    };
    if headers.len() > 1 {
        return Err("There is more than one Authorization header.");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("The token is too long.");
    }
    match str::from_utf8(token) {
        Ok(token) if !token.is_empty() && token.bytes().all(is_jwt_byte) => Ok(Some(token)),
        _ => Err("The token is malformed."),
    }
}

/// The text after the scheme `Bearer`, whose case does not matter.
fn token_of(header: &[u8]) -> Option<&[u8]> {
    let (scheme, after_scheme) = header.trim_ascii().split_at_checked(SCHEME.len())?;
    let ends_scheme = after_scheme.first().is_none_or(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(SCHEME) && ends_scheme).then(|| after_scheme.trim_ascii())
}

/// A byte of base64url, or the dot between the parts.
const fn is_jwt_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn find_in<'a>(headers: &[&'a str]) -> Result<Option<&'a str>, &'static str> {
        let headers: Vec<&[u8]> = headers.iter().map(|h| h.as_bytes()).collect();
        find(&headers)
    }

    #[test]
    fn the_scheme_ignores_case_and_other_schemes_are_skipped() {
        for header in ["Bearer a.b-_.c", "bearer  a.b-_.c ", "BEARER\ta.b-_.c"] {
            assert_eq!(find_in(&[header]), Ok(Some("a.b-_.c")), "{header}");
        }
        for header in ["Basic YTpi", "Bearera.b.c", "Bear", "", "a.b.c"] {
            assert_eq!(find_in(&[header]), Ok(None), "{header}");
        }
        assert_eq!(find_in(&[]), Ok(None));
        assert_eq!(find_in(&["Basic YTpi", "Digest x"]), Ok(None));
    }

    #[test]
    fn anything_but_one_jwt_is_refused() {
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a=",
            "Bearer \u{e9}",
            "Bearer a, Bearer b",
        ] {
            assert!(find_in(&[header]).is_err(), "{header}");
        }
        assert!(find_in(&["Bearer a", "Bearer a"]).is_err());
        assert!(find_in(&["Basic a", "Bearer a"]).is_err());
        assert!(find(&[b"Bearer \xff"]).is_err());
    }

    #[test]
    fn tokens_have_a_maximum_length() {
        let longest_header = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES));
        assert!(find_in(&[&longest_header]).is_ok_and(|token| token.is_some()));
        let too_long = format!("{longest_header}a");
        assert_eq!(find_in(&[&too_long]), Err("The token is too long."));
    }
}
