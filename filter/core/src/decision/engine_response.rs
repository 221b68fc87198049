//! What happens to the response of an engine to a plain request: it passes, without a login cookie; or Envoy made it, since
//! the engine did not answer, and the client gets a problem that says so. Knows no host.

use crate::decision::effects::LocalReply;
use crate::decision::local_reply::problem_for;
use crate::decision::rejection::{RejectReason, Rejection};
use crate::request::{Header, cookie};

/// Seconds until a retry is useful.
const RETRY_AFTER_S: u32 = 1;

/// How Envoy calls responses that it makes when the engine resets the connection, or cannot be reached, before it has
/// answered; and when there is no address of the engine.
const NO_ANSWER: [&str; 2] = [
    "upstream_reset_before_response_started",
    "no_healthy_upstream",
];
/// The engine was not asked: a limit of Envoy was reached.
const OVERFLOW: &str = "overflow";

/// The head of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: u16,
    /// The `Set-Cookie` headers that pass; `None`: all.
    pub set_cookies: Option<Vec<Vec<u8>>>,
}

impl ResponseHead {
    /// Reads a head. `login_cookie`: the cookie that no engine may set, since that would log the client in as another
    /// user, or out.
    #[must_use]
    pub fn read<'a>(headers: impl Iterator<Item = Header<'a>>, login_cookie: &str) -> Self {
        let mut head = Self::default();
        let mut passing = Vec::new();
        let mut is_removed = false;
        for (name, value) in headers {
            if name == b":status" {
                let status = str::from_utf8(value).ok();
                head.status = status.and_then(|text| text.parse().ok()).unwrap_or(0);
            } else if name.eq_ignore_ascii_case(b"set-cookie") {
                if cookie::is_set_by(value, login_cookie) {
                    is_removed = true;
                } else {
                    passing.push(value.to_vec());
                }
            }
        }
        head.set_cookies = is_removed.then_some(passing);
        head
    }

    /// Whether Envoy may have made the response; then [`is_engine_failure`] decides.
    #[must_use]
    pub const fn may_be_failure(&self) -> bool {
        self.status >= 500
    }
}

/// Whether the engine did not answer. `details`: Envoy's details of the response.
#[must_use]
pub fn is_engine_failure(details: &str) -> bool {
    NO_ANSWER.iter().any(|prefix| details.starts_with(prefix)) && !details.contains(OVERFLOW)
}

/// The answer to a client whose engine did not answer. `route`: the index of the request's route.
#[must_use]
pub fn engine_failed(route: Option<usize>) -> LocalReply {
    let rejection = Rejection {
        retry_after: Some(RETRY_AFTER_S),
        ..Rejection::from(RejectReason::EngineFailed)
            .with_detail("the engine did not answer; it may have received the request")
    };
    problem_for(rejection).for_route(route)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(headers: &[(&str, &str)]) -> ResponseHead {
        let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        ResponseHead::read(headers, "berth")
    }

    #[test]
    fn only_the_login_cookie_is_removed() {
        let plain = read(&[(":status", "200"), ("set-cookie", "a=1")]);
        assert_eq!((plain.status, plain.set_cookies), (200, None));
        let head = read(&[
            (":status", "503"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "berth=evil; Path=/"),
            ("set-cookie", "b=2"),
        ]);
        let passing = vec![b"a=1; Path=/".to_vec(), b"b=2".to_vec()];
        assert_eq!((head.status, head.set_cookies), (503, Some(passing)));
    }

    #[test]
    fn an_answer_of_the_engine_is_no_failure() {
        for details in [
            "upstream_reset_before_response_started{connection_termination}",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            "no_healthy_upstream",
        ] {
            assert!(is_engine_failure(details), "{details}");
        }
        for details in [
            "via_upstream",
            "",
            "upstream_reset_before_response_started{overflow}",
            "upstream_reset_after_response_started{remote_reset}",
            "cluster_not_found",
        ] {
            assert!(!is_engine_failure(details), "{details}");
        }
    }

    #[test]
    fn the_client_may_retry() {
        let reply = engine_failed(Some(3));
        assert_eq!((reply.status, reply.route), (503, Some(3)));
        let retry_after = ("retry-after", "1".to_owned());
        assert!(reply.headers.contains(&retry_after));
    }
}
