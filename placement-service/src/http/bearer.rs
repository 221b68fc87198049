//! The bearer token in the `Authorization` header, for all routes that take one
//! ([RFC 9110, section 11.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.2),
//! [RFC 6750, section 2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)). Does not know what a token proves.

use axum::http::{HeaderMap, header};

/// The `Authorization` header is not exactly one bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedAuthorization;

/// The token of a request. `None`: it has no `Authorization` header. The scheme ignores case; the token is visible
/// ASCII, as configured secrets are.
pub(super) fn read_bearer_token(
    headers: &HeaderMap,
) -> Result<Option<&str>, MalformedAuthorization> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(MalformedAuthorization);
    }
    let text = value.to_str().map_err(|_| MalformedAuthorization)?;
    let (scheme, token) = text.split_once(' ').ok_or(MalformedAuthorization)?;
    let token = token.trim_start_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && is_token {
        Ok(Some(token))
    } else {
        Err(MalformedAuthorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(values: &[&[u8]]) -> Result<Option<String>, MalformedAuthorization> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        read_bearer_token(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn one_header_with_one_token_is_accepted() {
        assert_eq!(read(&[]), Ok(None));
        for value in [
            "Bearer a.b-_~+/=!",
            "bearer a.b-_~+/=!",
            "BEARER  a.b-_~+/=!",
        ] {
            assert_eq!(
                read(&[value.as_bytes()]),
                Ok(Some("a.b-_~+/=!".to_owned())),
                "{value}"
            );
        }
    }

    #[test]
    fn everything_else_is_malformed() {
        for values in [
            &[b"Bearer a".as_slice(), b"Bearer a"] as &[&[u8]],
            &[b"Basic YTpi", b"Bearer a"],
            &[b""],
            &[b"a"],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearera"],
            &[b"Bearer\ta"],
            &[b"Bearer a b"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer a\t"],
            &[b"Bearer \xe9"],
            &[b"Basic YTpi"],
        ] {
            assert_eq!(read(values), Err(MalformedAuthorization), "{values:?}");
        }
    }
}
