//! Child sessions over HTTP: two runtimes, each with its own service, on one store.

use crate::events::CLIENTS;
use crate::site::{Answer, Site, eventually, send_request, session_id};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The runtime `flows`, on the same host as the runtime `berth`.
const FLOWS_CONFIG: &str = "session: { runtime: flows, reconcile: 50ms, cleanup: { interval: 50ms }, \
                     cookie: { secure: false, name: flows } }";
pub(crate) const BERTH_SECRET: &str = "runtime-secret-12";
pub(crate) const FLOWS_SECRET: &str = "runtime-secret-34";
pub(crate) const OPERATOR_SECRET: &str = "operator-secret-1";

pub(crate) async fn start_runtimes() -> (Site, Site) {
    let berth = Site::start(CLIENTS).await;
    let flows = berth
        .start_replica(&format!("{CLIENTS}{FLOWS_CONFIG}"))
        .await;
    (berth, flows)
}

async fn post(site: &Site, path: &str, secret: &str, body: Value) -> Answer {
    let request = site.request(Method::POST, path).body(body.to_string());
    send_request(request.header("authorization", format!("Bearer {secret}"))).await
}

pub(crate) async fn post_child(site: &Site, sid: &str, secret: &str, body: Value) -> Answer {
    post(site, &format!("/v1/sessions/{sid}/children"), secret, body).await
}

async fn post_completion(site: &Site, sid: &str, secret: &str, body: Value) -> Answer {
    post(site, &format!("/v1/sessions/{sid}/complete"), secret, body).await
}

pub(crate) fn str_field<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Logs in. Returns the session id and the `session_ref`.
pub(crate) async fn login(site: &Site) -> (String, String) {
    let id = site.login().await;
    let token = site.token(&id).await.json();
    (id, str_field(&token, "session_ref").to_owned())
}

/// Starts a child session on the runtime `flows`. Returns its id and its `session_ref`.
async fn start_child(site: &Site, parent: &str) -> (String, String) {
    let started = post_child(site, parent, BERTH_SECRET, json!({"runtime": "flows"})).await;
    assert_eq!(started.status, 201, "{started:?}");
    let started = started.json();
    (
        str_field(&started, "id").to_owned(),
        str_field(&started, "session_ref").to_owned(),
    )
}

/// The event of a session's end, as a runtime reads it.
async fn find_end_event(site: &Site, secret: &str, sid: &str) -> Option<Value> {
    let request = site.request(
        Method::GET,
        "/v1/events?cursor=0000000000000000-0&limit=500",
    );
    let page = send_request(request.header("authorization", format!("Bearer {secret}"))).await;
    let page = page.json();
    let mut events = page["events"].as_array().unwrap().iter();
    let ends = |e: &&Value| e["session_ref"] == sid && e["cause"].is_string();
    events.find(ends).cloned()
}

async fn is_logged_in(site: &Site, cookie: &str) -> bool {
    site.get("/is-authenticated", cookie).await.status == 200
}

#[tokio::test]
async fn a_child_session_on_another_runtime_returns_its_result() {
    let (berth, flows) = start_runtimes().await;
    let (id, sid) = login(&berth).await;
    let body = json!({"runtime": "flows", "claims": {"case": "A-7"}});
    let started = post_child(&flows, &sid, BERTH_SECRET, body).await;
    assert_eq!(
        (started.status, started.header("cache-control")),
        (201, "no-store")
    );
    let started = started.json();
    let child_id = str_field(&started, "id");
    let set = format!("flows={child_id}; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(started["set_cookie"], set);
    let overview = berth.token(&id).await.json();
    assert_eq!(started["expires_at"], overview["session_expires_at"]);
    let cookies = format!("berth={id}; flows={child_id}");
    let own = flows.get("/session", &cookies).await.json();
    assert_eq!(
        (&own["account"], &own["roles"]),
        (&json!("demo"), &json!(["user"]))
    );
    assert!(
        is_logged_in(&berth, &cookies).await,
        "two sessions side by side"
    );

    let child = str_field(&started, "session_ref");
    let result = json!({"approved": true});
    let done = post_completion(&flows, child, FLOWS_SECRET, json!({"result": result})).await;
    assert_eq!((done.status, done.text.as_str()), (204, ""));
    assert!(!is_logged_in(&flows, &cookies).await);
    assert!(is_logged_in(&berth, &cookies).await, "the parent goes on");
    let event = find_end_event(&berth, BERTH_SECRET, child).await.unwrap();
    assert_eq!(
        (
            &event["kind"],
            &event["cause"],
            &event["parent_ref"],
            &event["result"],
            &event["runtime"]
        ),
        (
            &json!("child-completed"),
            &json!("completed"),
            &json!(sid),
            &result,
            &json!("flows")
        )
    );
    let again = post_completion(&flows, child, FLOWS_SECRET, json!({"result": 1})).await;
    assert_eq!(again.reason(), "no-such-session");
}

#[tokio::test]
async fn a_logout_of_the_parent_ends_its_descendants_on_the_other_runtime() {
    let (berth, flows) = start_runtimes().await;
    let (id, sid) = login(&berth).await;
    let (child_id, child_sid) = start_child(&berth, &sid).await;
    let (grandchild_id, grandchild_sid) = start_child(&flows, &child_sid).await;
    let cookie = |id: &str| format!("flows={id}");
    for id in [&child_id, &grandchild_id] {
        assert!(is_logged_in(&flows, &cookie(id)).await);
    }
    let started_at = Instant::now();
    let logout = berth.request(Method::POST, "/logout");
    send_request(logout.header("cookie", format!("berth={id}"))).await;
    eventually("both are refused", async || {
        !is_logged_in(&flows, &cookie(&child_id)).await
            && !is_logged_in(&flows, &cookie(&grandchild_id)).await
    })
    .await;
    for sid in [&child_sid, &grandchild_sid] {
        let event = find_end_event(&flows, FLOWS_SECRET, sid).await.unwrap();
        assert_eq!(event["cause"], "parent-ended");
    }
    let took = started_at.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn the_end_of_a_child_leaves_its_parent() {
    let (berth, flows) = start_runtimes().await;
    let (id, sid) = login(&berth).await;
    let (child_id, child_sid) = start_child(&berth, &sid).await;
    let logout = flows.request(Method::POST, "/logout");
    send_request(logout.header("cookie", format!("flows={child_id}"))).await;
    let event = find_end_event(&berth, BERTH_SECRET, &child_sid)
        .await
        .unwrap();
    assert_eq!(
        (&event["cause"], &event["parent_ref"]),
        (&json!("logout"), &json!(sid))
    );
    assert!(is_logged_in(&berth, &format!("berth={id}")).await);
}

#[tokio::test]
async fn children_end_when_their_parent_expires_or_is_lost() {
    let (berth, flows) = start_runtimes().await;
    let (_, sid) = login(&berth).await;
    let long = json!({"runtime": "flows", "idle_timeout_s": 36_000});
    let started = post_child(&berth, &sid, BERTH_SECRET, long).await.json();
    berth.clock.advance_ms(31 * 60_000);
    let cookie = format!("flows={}", str_field(&started, "id"));
    assert!(!is_logged_in(&flows, &cookie).await, "at once");
    let cause = async |sid: &str| {
        find_end_event(&flows, FLOWS_SECRET, sid)
            .await
            .map(|e| e["cause"].clone())
    };
    let ended =
        async || cause(str_field(&started, "session_ref")).await == Some(json!("parent-ended"));
    eventually("the child has ended", ended).await;

    let (_, sid) = login(&berth).await;
    let (child_id, child_sid) = start_child(&berth, &sid).await;
    let lost = "DELETE FROM sessions WHERE parent IS NULL";
    sqlx::query(lost)
        .execute(&flows.database().await)
        .await
        .unwrap();
    let ended = async || cause(&child_sid).await == Some(json!("parent-ended"));
    eventually("the orphan has ended", ended).await;
    assert!(!is_logged_in(&flows, &format!("flows={child_id}")).await);
}

#[tokio::test]
async fn forbidden_and_impossible_requests_name_their_reason() {
    let (berth, flows) = start_runtimes().await;
    let (id, sid) = login(&berth).await;
    let (_, child_sid) = start_child(&berth, &sid).await;
    let body = || json!({});
    for (answer, status, reason) in [
        (
            post_child(&berth, &sid, "", body()).await,
            403,
            "unknown-client",
        ),
        (
            post_completion(&berth, &child_sid, "x", body()).await,
            403,
            "unknown-client",
        ),
        (
            post_child(&berth, &sid, FLOWS_SECRET, body()).await,
            403,
            "forbidden",
        ),
        (
            post_child(&berth, "x", BERTH_SECRET, body()).await,
            404,
            "no-such-session",
        ),
        (
            post_completion(&berth, "x", BERTH_SECRET, json!({"result": 1})).await,
            404,
            "no-such-session",
        ),
        (
            post_completion(&berth, &sid, BERTH_SECRET, json!({"result": 1})).await,
            409,
            "not-a-child",
        ),
        (
            post_completion(&berth, &child_sid, BERTH_SECRET, body()).await,
            400,
            "invalid-request",
        ),
        (
            post_child(&berth, &sid, BERTH_SECRET, json!({"depth": 1})).await,
            400,
            "invalid-request",
        ),
    ] {
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
    }
    let own = post_child(&flows, &child_sid, FLOWS_SECRET, body())
        .await
        .json();
    let mut last = str_field(&own, "session_ref").to_owned();
    for _ in 0..6 {
        let next = post_child(&flows, &last, OPERATOR_SECRET, body())
            .await
            .json();
        last = str_field(&next, "session_ref").to_owned();
    }
    let deep = post_child(&flows, &last, OPERATOR_SECRET, body()).await;
    assert_eq!(
        (deep.status, deep.reason().as_str()),
        (409, "session-too-deep")
    );
    let circle = "UPDATE sessions SET ancestors = id_hash WHERE session_ref = ?";
    let circle = sqlx::query(circle).bind(&last);
    circle.execute(&flows.database().await).await.unwrap();
    let round = post_child(&flows, &last, OPERATOR_SECRET, body()).await;
    assert_eq!(
        (round.status, round.reason().as_str()),
        (409, "session-cycle")
    );

    let logout = berth.request(Method::POST, "/logout");
    send_request(logout.header("cookie", format!("berth={id}"))).await;
    for sid in [&sid, &child_sid] {
        let gone = post_child(&flows, sid, OPERATOR_SECRET, body()).await;
        assert_eq!(
            (gone.status, gone.reason().as_str()),
            (404, "no-such-session")
        );
    }
    flows.break_store().await;
    let down = post_child(&flows, &sid, OPERATOR_SECRET, body()).await;
    assert_eq!(down.reason(), "store-down");
}

#[tokio::test]
async fn a_login_over_a_child_session_ends_only_the_child() {
    let (berth, flows) = start_runtimes().await;
    let (id, sid) = login(&berth).await;
    let (child_id, child_sid) = start_child(&berth, &sid).await;
    let body = format!("username=demo&password={}", crate::site::PASSWORD);
    let request = flows.post_form("/login", &body);
    let again = send_request(request.header("cookie", format!("flows={child_id}"))).await;
    assert_ne!(session_id(&again), child_id);
    let event = find_end_event(&flows, FLOWS_SECRET, &child_sid)
        .await
        .unwrap();
    assert_eq!(event["cause"], "login-again");
    assert!(is_logged_in(&berth, &format!("berth={id}")).await);
}
