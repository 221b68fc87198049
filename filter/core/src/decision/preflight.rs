//! The answer to a preflight: the question of a browser whether a page of another origin may send a request (Fetch
//! standard, CORS protocol). It has no credential, so it cannot be placed; the configured origins are the answer.

use super::is_origin_allowed;
use crate::decision::rejection::RejectReason;
use crate::request::origin::Origin;
use crate::request::{Request, cookie};

/// Seconds for which a browser may use the answer.
const MAX_AGE_S: u32 = 600;

/// Whether a request is a preflight, which has no credential.
pub(super) fn is_preflight(request: &Request<'_>, login_cookie: &str) -> bool {
    request.method == "OPTIONS"
        && request.origin.is_some()
        && request.preflight_method.is_some()
        && request.authorizations.is_empty()
        && cookie::find(&request.cookies, login_cookie) == Ok(None)
}

/// The headers of the answer.
///
/// # Errors
/// Pages of the origin may send no requests.
pub(super) fn answer(
    request: &Request<'_>,
    listed: &[Origin],
) -> Result<Vec<(&'static str, String)>, RejectReason> {
    let denied = RejectReason::OriginDenied;
    if !is_origin_allowed(request, listed) {
        return Err(denied);
    }
    let mut headers = vec![
        ("access-control-allow-credentials", "true".to_owned()),
        ("access-control-max-age", MAX_AGE_S.to_string()),
        (
            "vary",
            "origin, access-control-request-method, access-control-request-headers".to_owned(),
        ),
        ("cache-control", "no-store".to_owned()),
    ];
    for (name, value) in [
        ("access-control-allow-origin", request.origin),
        ("access-control-allow-methods", request.preflight_method),
        ("access-control-allow-headers", request.preflight_headers),
    ] {
        if let Some(value) = value {
            headers.push((name, token_list(value).ok_or(denied)?));
        }
    }
    Ok(headers)
}

/// A list of visible ASCII, such as an origin, or names with commas and blanks between them.
fn token_list(value: &[u8]) -> Option<String> {
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let text = value.iter().all(is_allowed).then_some(value)?;
    String::from_utf8(text.to_vec()).ok()
}
