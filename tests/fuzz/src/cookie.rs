//! Cookie headers, one per line: a found value is valid, and a removed cookie is gone.
use berth_filter::cookie::{Without, find, is_cookie_octet, without};

const NAME: &str = "berth";

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    if let Ok(Some(value)) = find(&headers, NAME) {
        assert!(!value.is_empty() && value.len() <= 128);
        assert!(value.bytes().all(is_cookie_octet));
    }
    for header in headers {
        match without(header, NAME) {
            Without::Untouched => assert_eq!(find(&[header], NAME), Ok(None)),
            Without::Nothing => {}
            Without::Rest(rest) => {
                assert!(rest.len() < header.len());
                assert_eq!(find(&[&rest], NAME), Ok(None));
            }
        }
    }
}
