//! The changes of a request's headers by the client's own headers: what is removed, kept and completed before the request
//! is forwarded. Does not decide whether to forward it, and knows no response of the service.

use crate::decision::effects::HeaderMutation;
use crate::request::cookie::{self, CookieRemoval};
use crate::request::path::without_query;
use crate::request::{Handshake, WebSocketVersion};

/// Removes these headers.
pub(super) fn remove_headers(names: &[&str], mutations: &mut Vec<HeaderMutation>) {
    let removals = names.iter();
    mutations.extend(removals.map(|name| HeaderMutation::Remove((*name).to_owned())));
}

/// Keeps the client's path for the access log, without its query: the path of a placed request is replaced by the
/// engine's. Envoy's own header for this.
pub(super) fn keep_path(path: &str, mutations: &mut Vec<HeaderMutation>) {
    let path = without_query(path).into();
    mutations.push(HeaderMutation::Set("x-envoy-original-path".into(), path));
}

/// Completes the handshake of a WebSocket. `Connection` becomes `Upgrade` alone: Envoy forwards it in an upgrade, and the
/// next server would drop the headers that it names, such as `Authorization`.
///
/// Over HTTP/2 the handshake lacks headers. Envoy turns the extended CONNECT into an HTTP/1.1
/// upgrade without them, and engines require them (RFC 6455, section 4.2.1). The client ignores the response to the
/// key ([RFC 8441](https://www.rfc-editor.org/rfc/rfc8441#section-5), section 5).
pub(super) fn complete_handshake(handshake: Handshake, mutations: &mut Vec<HeaderMutation>) {
    if !handshake.key {
        mutations.push(HeaderMutation::Nonce("sec-websocket-key"));
    }
    if handshake.names_headers {
        mutations.push(HeaderMutation::Set("connection".into(), b"Upgrade".into()));
    }
    if handshake.version == WebSocketVersion::Unspecified {
        let version = HeaderMutation::Set("sec-websocket-version".into(), b"13".into());
        mutations.push(version);
    }
}

/// Removes the login cookie and keeps the others, header by header, byte for byte.
pub(super) fn remove_cookie(headers: &[&[u8]], name: &str, mutations: &mut Vec<HeaderMutation>) {
    let removals: Vec<CookieRemoval> = headers.iter().map(|h| cookie::remove(h, name)).collect();
    if removals.iter().all(|r| *r == CookieRemoval::Unchanged) {
        return;
    }
    let mut remaining =
        headers
            .iter()
            .zip(removals)
            .filter_map(|(header, removal)| match removal {
                CookieRemoval::Unchanged => Some(header.to_vec()),
                CookieRemoval::Remaining(bytes) => Some(bytes),
                CookieRemoval::Empty => None,
            });
    match remaining.next() {
        None => mutations.push(HeaderMutation::Remove("cookie".to_owned())),
        Some(first) => {
            mutations.push(HeaderMutation::Set("cookie".into(), first));
            mutations.extend(remaining.map(|h| HeaderMutation::Add("cookie".into(), h)));
        }
    }
}
