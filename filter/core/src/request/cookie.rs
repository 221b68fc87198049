//! The login cookie among the cookies of a request: finds its one value, and removes it without changing a byte of
//! the others. Knows nothing of sessions.
//!
//! Grammar: [RFC 6265](https://www.rfc-editor.org/rfc/rfc6265), section 4.2.1 (`cookie-string`) and 4.1.1
//! (`cookie-octet`).

/// Maximum bytes of the login cookie's value. Berth's own session ids have 43.
pub const MAX_VALUE_BYTES: usize = 128;

/// Why the login cookie of a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieError {
    /// It occurs twice: an attacker could have planted one of them.
    Duplicate,
    /// Its value is longer than [`MAX_VALUE_BYTES`].
    TooLong,
    /// Its value has a byte that is not a `cookie-octet`.
    Malformed,
}

/// The value of the cookie `name` in all `Cookie` headers of a request. `None`: it is absent or empty.
///
/// # Errors
/// When it occurs more than once, is too long, or is malformed.
pub fn find<'a>(headers: &[&'a [u8]], name: &str) -> Result<Option<&'a str>, CookieError> {
    let mut cookie_value = None;
    for pair in headers.iter().flat_map(|header| pairs(header)) {
        if let Some(value) = value_of(pair, name) {
            if cookie_value.is_some() {
                return Err(CookieError::Duplicate);
            }
            cookie_value = Some(value);
        }
    }
    match cookie_value {
        None | Some([]) => Ok(None),
        Some(value) if value.len() > MAX_VALUE_BYTES => Err(CookieError::TooLong),
        Some(value) if !value.iter().copied().all(is_cookie_octet) => Err(CookieError::Malformed),
        Some(value) => str::from_utf8(value)
            .map(Some)
            .map_err(|_| CookieError::Malformed),
    }
}

/// Whether a `Set-Cookie` value sets the cookie `name`. Browsers store a cookie without a name as its value, and send it
/// like one with a name: `=name=x` sets the cookie, too.
#[must_use]
pub fn is_set_by(set_cookie: &[u8], name: &str) -> bool {
    let pair = set_cookie.split(|byte| *byte == b';').next();
    let pair = pair.unwrap_or_default().trim_ascii();
    let pair = pair.strip_prefix(b"=").unwrap_or(pair).trim_ascii();
    let set_name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    // Browsers compare the prefixes of names without case.
    set_name.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// A `Cookie` header after the removal of one cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieRemoval {
    /// The header did not have the cookie.
    Unchanged,
    /// No other cookie is in it: drop the header.
    Empty,
    /// The other cookies, byte for byte.
    Remaining(Vec<u8>),
}

/// Removes every cookie `name` from one `Cookie` header.
#[must_use]
pub fn remove(header: &[u8], name: &str) -> CookieRemoval {
    if !pairs(header).any(|pair| value_of(pair, name).is_some()) {
        return CookieRemoval::Unchanged;
    }
    let mut remaining = Vec::with_capacity(header.len());
    for pair in pairs(header).filter(|pair| value_of(pair, name).is_none()) {
        if remaining.is_empty() {
            remaining.extend_from_slice(pair.trim_ascii_start());
        } else {
            remaining.push(b';');
            remaining.extend_from_slice(pair);
        }
    }
    if remaining.trim_ascii().is_empty() {
        CookieRemoval::Empty
    } else {
        CookieRemoval::Remaining(remaining)
    }
}

/// Whether a byte may occur in a cookie's value.
#[must_use]
pub const fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b';')
}

/// The value of `pair` if its name is `name`. Both are trimmed, as servers do.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = pair.split_at_checked(equals)?;
    (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn find_in<'a>(headers: &[&'a str]) -> Result<Option<&'a str>, CookieError> {
        let headers: Vec<&[u8]> = headers.iter().map(|h| h.as_bytes()).collect();
        find(&headers, "berth")
    }

    #[test]
    fn finds_the_value_in_any_position() {
        assert_eq!(find_in(&["berth=x"]), Ok(Some("x")));
        assert_eq!(find_in(&["a=1; berth=x; b=2"]), Ok(Some("x")));
        assert_eq!(find_in(&["a=1", "b=2;berth=x"]), Ok(Some("x")));
        assert_eq!(find_in(&[" berth = x ; a"]), Ok(Some("x")));
        assert_eq!(find_in(&["berth=a=b=="]), Ok(Some("a=b==")));
    }

    #[test]
    fn a_set_cookie_header_is_compared_as_browsers_store_it() {
        for value in [
            "berth=x",
            "berth=x; Path=/; HttpOnly",
            " berth = x;a=b",
            "=berth=x",
            " = berth=x",
            "BERTH=",
            "berth",
            "berth; Path=/",
            "\tberth=x",
        ] {
            assert!(is_set_by(value.as_bytes(), "berth"), "{value}");
        }
        for value in [
            "",
            "berth-anon=x",
            "a=berth=x",
            "xberth=1",
            "; berth=x",
            "=",
            "a; berth=x",
        ] {
            assert!(!is_set_by(value.as_bytes(), "berth"), "{value}");
        }
    }

    #[test]
    fn names_match_exactly() {
        assert_eq!(find_in(&["xberth=1; berthx=2; Berth=3; berth"]), Ok(None));
        assert_eq!(find_in(&[]), Ok(None));
        assert_eq!(find_in(&["a=berth=x"]), Ok(None));
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert_eq!(find_in(&["berth=; a=1"]), Ok(None));
    }

    #[test]
    fn duplicates_are_refused_even_when_equal_or_empty() {
        assert_eq!(find_in(&["berth=x; berth=x"]), Err(CookieError::Duplicate));
        assert_eq!(
            find_in(&["berth=x", "berth=y"]),
            Err(CookieError::Duplicate)
        );
        assert_eq!(find_in(&["berth=; berth=y"]), Err(CookieError::Duplicate));
    }

    #[test]
    fn values_have_limits_in_length_and_bytes() {
        let longest_cookie = format!("berth={}", "v".repeat(MAX_VALUE_BYTES));
        assert!(find_in(&[&longest_cookie]).is_ok_and(|value| value.is_some()));
        let too_long = format!("{longest_cookie}v");
        assert_eq!(find_in(&[&too_long]), Err(CookieError::TooLong));
        for invalid in ["a b", "a\"b\"", "a,b", "a\\b", "a\u{7f}b", "é"] {
            assert_eq!(
                find_in(&[&format!("berth={invalid}")]),
                Err(CookieError::Malformed)
            );
        }
    }

    #[test]
    fn removal_keeps_the_other_cookies_unchanged() {
        let remaining = |header: &str| remove(header.as_bytes(), "berth");
        let expected = |text: &str| CookieRemoval::Remaining(text.as_bytes().to_vec());
        assert_eq!(remaining("a=1; b=2"), CookieRemoval::Unchanged);
        assert_eq!(remaining("berth=x"), CookieRemoval::Empty);
        assert_eq!(remaining("berth=x;"), CookieRemoval::Empty);
        assert_eq!(remaining("a=1; berth=x; b=2"), expected("a=1; b=2"));
        assert_eq!(remaining("berth=x; b=\"2 ,\""), expected("b=\"2 ,\""));
        assert_eq!(remaining("a=1;berth=x"), expected("a=1"));
        assert_eq!(remaining("a=1;  b=2 ;berth=x;c"), expected("a=1;  b=2 ;c"));
        assert_eq!(remaining("berth=x; a=1; berth=y"), expected("a=1"));
        assert_eq!(
            remove(b"berth=x; a=\xff\xfe", "berth"),
            CookieRemoval::Remaining(b"a=\xff\xfe".to_vec())
        );
    }
}
