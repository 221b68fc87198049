//! The routes of the demo configuration, and hostile paths.

use super::*;
use crate::config::{Discovery, Driver, Pool, Sources, Strategy};
use proptest::prelude::*;

fn routes() -> Routes {
    let pool = |name: &str, driver| Pool {
        name: name.into(),
        driver,
        cluster: "engines".into(),
        strategy: Strategy::LeastLoad,
        weights: config::Weights::default(),
        probe: None,
        capacity: config::Capacity::default(),
        queue: config::Queue::default(),
        max_streams_per_session: None,
        max_streams_per_bearer: None,
        slow_start: Duration::ZERO,
        sharing: config::Sharing::default(),
        engine_session_ttl: Duration::from_secs(60),
        end_on_close: true,
        drain_duration: Duration::from_secs(20),
        tls: None,
        discovery: Sources(vec![Discovery::Static(vec![])]),
    };
    let route = |path: &str, pool: &str, open_template| config::Route {
        path: path.into(),
        host: None,
        pool: pool.into(),
        open: open_template,
        http: config::Permission::Deny,
        activity: config::Activity::All,
        affinity: config::Affinity::default(),
        rewrite: None,
        headers: std::collections::BTreeMap::new(),
        bearer: config::Permission::Deny,
        max_age: Duration::ZERO,
        max_age_jitter: 0.1,
        roles: Vec::new(),
    };
    let document = |template: &str| OpenTemplate::Document(template.into());
    Routes::new(
        &[
            route("/app/{document}", "qix", document("{document}")),
            route("/doc/doc/{document}", "qix", document("/doc/{document}")),
            route("/doc/session-doc", "qix", OpenTemplate::SessionApp),
            route("/chat", "chat", OpenTemplate::Nothing),
            route("/sales", "qix", document("sales.qvf")),
        ],
        &[pool("qix", Driver::Qix), pool("chat", Driver::Websocket)],
    )
}

fn opening(path: &str) -> OpenTarget {
    routes().find("", path, None).unwrap().open_target
}

fn refused(path: &str) -> RejectReason {
    routes().find("", path, None).unwrap_err().reason
}

fn document(name: &str) -> OpenTarget {
    OpenTarget::Document(name.into())
}

#[test]
fn each_path_finds_its_pool_and_open_target() {
    assert_eq!(opening("/app/sales.qvf"), document("sales.qvf"));
    assert_eq!(opening("/app/sales.qvf?berth_tab=1"), document("sales.qvf"));
    assert_eq!(opening("/doc/doc/drug.qvf"), document("/doc/drug.qvf"));
    assert_eq!(opening("/doc/session-doc"), OpenTarget::SessionApp);
    assert_eq!(opening("/sales"), document("sales.qvf"));
    assert_eq!(routes().find("", "/chat?x", None).unwrap().pool, 1);
}

#[test]
fn unknown_paths_have_no_route() {
    for path in [
        "",
        "/",
        "/appx/a",
        "/chat/",
        "/chats",
        "/doc/session-doc/x",
        "app/a",
    ] {
        assert_eq!(refused(path), RejectReason::NoSuchRoute, "{path}");
    }
}

#[test]
fn session_parameters_of_qix_clients_are_not_part_of_the_name() {
    for path in [
        "/app/a/b.qvf/ttl/60",
        "/app/a/b.qvf/identity/me",
        "/app/a/b.qvf/identity/me/ttl/0",
        "/app/a%2Fb.qvf/ttl/60",
    ] {
        assert_eq!(opening(path), document("a/b.qvf"), "{path}");
    }
    assert_eq!(opening("/app/a/ttl/soon"), document("a/ttl/soon"));
    assert_eq!(opening("/app/subttl/60"), document("subttl/60"));
}

#[test]
fn engine_data_and_the_empty_name_open_nothing() {
    for path in [
        "/app/",
        "/app/engineData",
        "/app/engineData/ttl/60",
        "/app/ttl/9",
    ] {
        assert_eq!(opening(path), OpenTarget::Nothing, "{path}");
    }
    assert_eq!(refused("/doc/doc/"), RejectReason::NoSuchDocument);
}

#[test]
fn names_are_percent_decoded() {
    assert_eq!(opening("/app/caf%C3%A9%20%26+x"), document("café &+x"));
    for path in [
        "/app/%",
        "/app/%4",
        "/app/%zz",
        "/app/%ff",
        "/app/a%00b",
        "/app/a%0Ab",
    ] {
        assert_eq!(refused(path), RejectReason::InvalidRequest, "{path}");
    }
    let too_long = format!("/app/{}", "x".repeat(MAX_DOCUMENT_BYTES + 1));
    assert_eq!(refused(&too_long), RejectReason::InvalidRequest);
}

#[test]
fn names_with_dot_dot_segments_are_refused() {
    for path in ["/app/..", "/doc/doc/%2e%2e%2fsecret", "/doc/doc/a%5C..%5Cb"] {
        assert_eq!(refused(path), RejectReason::NoSuchDocument, "{path}");
    }
    assert_eq!(opening("/app/a..b"), document("a..b"));
}

/// The routes of a file, with a pool `p`.
fn configured(routes: &str) -> Routes {
    let pool = "{ name: p, driver: websocket, cluster: c, discovery: { static: [] } }";
    let text = format!("pools: [ {pool} ]\nroutes:\n{routes}");
    let config = config::load::from_text(&text).unwrap().config;
    Routes::new(&config.routes, &config.pools)
}

#[test]
fn the_most_specific_route_takes_a_request_wherever_it_is_listed() {
    let routes = configured(
        "  - { path: '/{rest}', pool: p, affinity: { key: account } }\n\
         \x20 - { path: '/rooms/{room}', pool: p, affinity: { key: '{room}' } }\n\
         \x20 - { path: '/rooms/lobby', pool: p, affinity: { key: session } }\n\
         \x20 - { path: '/{rest}', host: lab.example.com, pool: p, affinity: { key: tab } }\n",
    );
    let key = |host: &str, path: &str| {
        let details = routes.describe(host, path).unwrap();
        details.route.affinity.key.clone()
    };
    let room = AffinityKey::Template("{room}".to_owned());
    assert_eq!(key("a", "/rooms/lobby?x"), AffinityKey::Session);
    assert_eq!(key("a", "/rooms/x"), room);
    assert_eq!(key("a", "/rooms/x/y"), AffinityKey::Account);
    assert_eq!(key("LAB.example.com:8443", "/rooms/x"), AffinityKey::Tab);
    assert_eq!(key("lab.example.com", "/"), AffinityKey::Tab);
}

#[test]
fn the_key_of_a_path_has_its_scope_and_its_rewrite() {
    let routes = configured(
        "  - { path: '/jup/{rest}', host: lab, pool: p, rewrite: '/{rest}', affinity: { key: account } }\n\
         \x20 - { path: '/ws/{room}', pool: p, rewrite: '/r/{room}/ws', affinity: { key: '{room}' } }\n\
         \x20 - { path: '/plain', pool: p }\n",
    );
    let details = routes.describe("lab", "/jup/api/x?q").unwrap();
    assert_eq!(details.rewritten.as_deref(), Some("/api/x?q"));
    let key = details.key.unwrap();
    let scope = AffinityScope {
        host: Some("lab".to_owned()),
        prefix: "/jup/".to_owned(),
        exact: false,
    };
    assert_eq!((key.captured, key.scope), (None, scope));
    assert_eq!(key.rewrite.as_deref(), Some("/"));
    let key = routes.describe("x", "/ws/a%2Fb?q").unwrap().key.unwrap();
    assert!(key.captured.is_some() && key.scope.exact && key.scope.prefix == "/ws/a%2Fb");
    assert_eq!(key.rewrite.as_deref(), Some("/r/a%2Fb/ws"));
    assert!(routes.describe("x", "/plain").unwrap().key.is_none());
    let long = format!("/ws/{}", "x".repeat(513));
    let rejection = routes.describe("x", &long).err().unwrap();
    assert_eq!(
        (rejection.reason, rejection.reason.status()),
        (RejectReason::KeyTooLong, 414)
    );
    let missing = routes.describe("x", "/jup/").err().unwrap();
    assert_eq!(missing.reason, RejectReason::NoSuchRoute);
}

proptest! {
    #[test]
    fn any_path_gets_an_answer(path in "\\PC*") {
        let _ = routes().find("", &path, None);
        let _ = routes().find("", &format!("/app/{path}"), None);
    }

    #[test]
    fn any_plain_name_survives_encoding(name in "[a-zA-Z0-9 .é€&+_-]{1,40}") {
        prop_assume!(name != "..");
        let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        prop_assert_eq!(opening(&format!("/app/{encoded}")), document(&name));
    }
}

#[test]
fn a_route_with_roles_is_for_accounts_with_one_of_them() {
    let Routes(mut routes) = routes();
    for route in &mut routes {
        route.config.roles = vec!["admin".to_owned(), "auditor".to_owned()];
    }
    let routes = Routes(routes);
    let reason = |path: &str, roles: Option<&[&str]>| {
        let roles: Option<Vec<String>> =
            roles.map(|roles| roles.iter().map(|role| (*role).to_owned()).collect());
        let result = routes.find("", path, roles.as_deref());
        result.err().map(|rejection| rejection.reason)
    };
    for roles in [None, Some(["admin"].as_slice()), Some(&["user", "auditor"])] {
        assert_eq!(reason("/app/sales.qvf", roles), None, "{roles:?}");
    }
    for roles in [[].as_slice(), &["user"], &["Admin"], &["admin "]] {
        let forbidden = Some(RejectReason::Forbidden);
        assert_eq!(
            reason("/app/sales.qvf", Some(roles)),
            forbidden,
            "{roles:?}"
        );
        // The name of a document is not checked for others.
        assert_eq!(reason("/app/%ff", Some(roles)), forbidden);
    }
}
