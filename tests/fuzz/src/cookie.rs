//! Cookie headers, one per line: a found value is valid, and a removed cookie is gone.
use berth_filter_core::request::cookie::{CookieRemoval, find, is_cookie_octet, remove};

const NAME: &str = "berth";

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    if let Ok(Some(value)) = find(&headers, NAME) {
        assert!(!value.is_empty() && value.len() <= 128);
        assert!(value.bytes().all(is_cookie_octet));
    }
    for header in headers {
        match remove(header, NAME) {
            CookieRemoval::Unchanged => assert_eq!(find(&[header], NAME), Ok(None)),
            CookieRemoval::Empty => {}
            CookieRemoval::Remaining(rest) => {
                assert!(rest.len() < header.len());
                assert_eq!(find(&[&rest], NAME), Ok(None));
            }
        }
    }
}
