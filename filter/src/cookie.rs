//! The login cookie among all the cookies of a request: finds its one value, and takes it out
//! without touching a byte of the others. Knows nothing of sessions.
//!
//! Grammar: RFC 6265, section 4.2.1 (`cookie-string`) and 4.1.1 (`cookie-octet`).

/// Bytes that a login cookie's value may have (S9). Berth's own ids have 43.
pub const MAX_VALUE_BYTES: usize = 128;

/// What is wrong with the login cookie of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieFault {
    /// It is there twice: which one is meant is anybody's guess, also the attacker's.
    Duplicate,
    /// Its value is longer than [`MAX_VALUE_BYTES`].
    TooLong,
    /// Its value has a byte that is no `cookie-octet`.
    Malformed,
}

/// The value of the cookie `name` in all `Cookie` headers of a request. `None`: not there, or empty.
///
/// # Errors
/// When it is there more than once, too long, or has a byte that no cookie value may have.
pub fn find<'a>(headers: &[&'a [u8]], name: &str) -> Result<Option<&'a str>, CookieFault> {
    let mut found = None;
    for pair in headers.iter().flat_map(|header| pairs(header)) {
        if let Some(value) = value_of(pair, name) {
            if found.is_some() {
                return Err(CookieFault::Duplicate);
            }
            found = Some(value);
        }
    }
    match found {
        None | Some([]) => Ok(None),
        Some(value) if value.len() > MAX_VALUE_BYTES => Err(CookieFault::TooLong),
        Some(value) if !value.iter().copied().all(is_cookie_octet) => Err(CookieFault::Malformed),
        Some(value) => str::from_utf8(value)
            .map(Some)
            .map_err(|_| CookieFault::Malformed),
    }
}

/// One `Cookie` header without the cookie `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Without {
    /// The cookie is not in it: leave the header as it is.
    Untouched,
    /// Nothing is left: drop the header.
    Nothing,
    /// What is left, byte for byte.
    Rest(Vec<u8>),
}

/// Takes every cookie `name` out of one `Cookie` header.
#[must_use]
pub fn without(header: &[u8], name: &str) -> Without {
    if !pairs(header).any(|pair| value_of(pair, name).is_some()) {
        return Without::Untouched;
    }
    let mut rest = Vec::with_capacity(header.len());
    for pair in pairs(header).filter(|pair| value_of(pair, name).is_none()) {
        if rest.is_empty() {
            rest.extend_from_slice(pair.trim_ascii_start());
        } else {
            rest.push(b';');
            rest.extend_from_slice(pair);
        }
    }
    if rest.trim_ascii().is_empty() {
        Without::Nothing
    } else {
        Without::Rest(rest)
    }
}

/// Whether a byte may stand in a cookie's value.
#[must_use]
pub const fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b';')
}

/// The value of `pair` if its name is `name`, blanks around both cut off as every reader does.
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

    fn find_in<'a>(headers: &[&'a str]) -> Result<Option<&'a str>, CookieFault> {
        let headers: Vec<&[u8]> = headers.iter().map(|h| h.as_bytes()).collect();
        find(&headers, "berth")
    }

    #[test]
    fn finds_the_one_value_wherever_it_stands() {
        assert_eq!(find_in(&["berth=x"]), Ok(Some("x")));
        assert_eq!(find_in(&["a=1; berth=x; b=2"]), Ok(Some("x")));
        assert_eq!(find_in(&["a=1", "b=2;berth=x"]), Ok(Some("x")));
        assert_eq!(find_in(&[" berth = x ; a"]), Ok(Some("x")));
        assert_eq!(find_in(&["berth=a=b=="]), Ok(Some("a=b==")));
    }

    #[test]
    fn names_are_compared_whole_and_exactly() {
        assert_eq!(find_in(&["xberth=1; berthx=2; Berth=3; berth"]), Ok(None));
        assert_eq!(find_in(&[]), Ok(None));
        assert_eq!(find_in(&["a=berth=x"]), Ok(None));
    }

    #[test]
    fn an_empty_value_is_no_cookie() {
        assert_eq!(find_in(&["berth=; a=1"]), Ok(None));
    }

    #[test]
    fn two_of_them_are_refused_even_when_equal_or_empty() {
        assert_eq!(find_in(&["berth=x; berth=x"]), Err(CookieFault::Duplicate));
        assert_eq!(
            find_in(&["berth=x", "berth=y"]),
            Err(CookieFault::Duplicate)
        );
        assert_eq!(find_in(&["berth=; berth=y"]), Err(CookieFault::Duplicate));
    }

    #[test]
    fn the_value_has_limits() {
        let longest = format!("berth={}", "v".repeat(MAX_VALUE_BYTES));
        assert!(find_in(&[&longest]).is_ok_and(|value| value.is_some()));
        let too_long = format!("{longest}v");
        assert_eq!(find_in(&[&too_long]), Err(CookieFault::TooLong));
        for bad in ["a b", "a\"b\"", "a,b", "a\\b", "a\u{7f}b", "é"] {
            assert_eq!(
                find_in(&[&format!("berth={bad}")]),
                Err(CookieFault::Malformed)
            );
        }
    }

    #[test]
    fn removal_leaves_the_others_as_they_are() {
        let rest = |header: &str| without(header.as_bytes(), "berth");
        let left = |text: &str| Without::Rest(text.as_bytes().to_vec());
        assert_eq!(rest("a=1; b=2"), Without::Untouched);
        assert_eq!(rest("berth=x"), Without::Nothing);
        assert_eq!(rest("berth=x;"), Without::Nothing);
        assert_eq!(rest("a=1; berth=x; b=2"), left("a=1; b=2"));
        assert_eq!(rest("berth=x; b=\"2 ,\""), left("b=\"2 ,\""));
        assert_eq!(rest("a=1;berth=x"), left("a=1"));
        assert_eq!(rest("a=1;  b=2 ;berth=x;c"), left("a=1;  b=2 ;c"));
        assert_eq!(rest("berth=x; a=1; berth=y"), left("a=1"));
        assert_eq!(
            without(b"berth=x; a=\xff\xfe", "berth"),
            Without::Rest(b"a=\xff\xfe".to_vec())
        );
    }
}
