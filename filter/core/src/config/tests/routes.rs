//! Defaults of routes: a route requires a session, and one that has ended is treated like none.

use super::*;
use crate::routing::LoginTimeout;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_login_timeout_is_treated_like_no_session_by_default() {
    let mut json = valid();
    json["routes"] = json!([
        {"prefix": "/a/", "action": "authenticate"},
        {"prefix": "/b/", "action": "authenticate", "anonymous": "allow"},
        {"prefix": "/c/", "action": "authenticate", "anonymous": "allow", "on_login_timeout": "login"},
        {"prefix": "/d/", "action": "authenticate", "on_login_timeout": "refuse"},
        {"path": "/login", "action": "bypass"},
    ]);
    let routes = parse(&json).unwrap().routes;
    let timeouts: Vec<_> = routes.iter().map(|route| route.on_login_timeout).collect();
    let expected = [
        LoginTimeout::Login,
        LoginTimeout::Anonymous,
        LoginTimeout::Login,
        LoginTimeout::Refuse,
    ];
    assert_eq!(timeouts[..4], expected);
    assert_eq!(
        errors("/routes/0/on_login_timeout", json!("refuse")),
        "routes[0].on_login_timeout: is for authenticate routes: bypass checks no session, and a WebSocket gets 401"
    );
    json["routes"][0]["on_login_timeout"] = json!("anonymous");
    assert_eq!(
        parse(&json).err().unwrap(),
        "routes[0].on_login_timeout: anonymous requires anonymous: allow"
    );
}

#[test]
fn routes_require_a_session_by_default() {
    let mut json = valid();
    let permissions = |json: &Value| {
        let routes = parse(json).unwrap().routes;
        routes
            .iter()
            .map(|r| (r.bearer, r.anonymous))
            .collect::<Vec<_>>()
    };
    assert_eq!(permissions(&json), [(false, false); 2]);
    json["routes"] = json!([
        {"prefix": "/app/", "action": "place", "bearer": "allow"},
        {"prefix": "/api/", "action": "authenticate", "bearer": "allow", "anonymous": "allow"},
        {"path": "/login", "action": "bypass", "bearer": "deny", "anonymous": "deny"},
    ]);
    assert_eq!(
        permissions(&json),
        [(true, false), (true, true), (false, false)]
    );
}
