//! A login, as a form or as JSON, with its return path: the fields are bounded, and the path is on this site.
use berth_placement::core::names::MAX_NAME_BYTES;
use berth_placement::login::accounts::MAX_PASSWORD_BYTES;
use berth_placement::http::browsers::login_form::{Format, parse};
use berth_placement::core::return_to::ReturnTo;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    for format in [Format::Form, Format::Json] {
        let Ok(form) = parse(format, data) else {
            continue;
        };
        assert!((1..=MAX_NAME_BYTES).contains(&form.username.len()));
        assert!((1..=MAX_PASSWORD_BYTES).contains(&form.password.reveal().len()));
        form.return_to.as_deref().map(check_return_to);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        check_return_to(text);
    }
}

fn check_return_to(text: &str) {
    if let Some(path) = ReturnTo::parse(text) {
        let path = path.as_str();
        assert_eq!(path, text);
        assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'));
        assert!(path.bytes().all(|b| b.is_ascii_graphic()));
    }
}
