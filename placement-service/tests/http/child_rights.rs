//! What a runtime may do with child sessions: for which runtimes it starts them, which claims it adds, and which
//! sessions it reads. A rejection says why.

use crate::child_sessions::{
    BERTH_SECRET, FLOWS_SECRET, OPERATOR_SECRET, login, post_child, start_runtimes, str_field,
};
use crate::site::{Answer, Site, send_request};
use reqwest::Method;
use serde_json::{Value, json};

async fn show(site: &Site, sid: &str, secret: &str) -> Answer {
    let request = site.request(Method::GET, &format!("/v1/sessions/{sid}"));
    send_request(request.header("authorization", format!("Bearer {secret}"))).await
}

fn rejection(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    (
        answer.status,
        str_field(&body, "reason").to_owned(),
        str_field(&body, "detail").to_owned(),
    )
}

fn forbidden(detail: &str) -> (u16, String, String) {
    (403, "forbidden".to_owned(), detail.to_owned())
}

async fn started(site: &Site, parent: &str, secret: &str, body: Value) -> Value {
    let answer = post_child(site, parent, secret, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_runtime_starts_children_for_itself_and_for_runtimes_that_the_configuration_names() {
    let (berth, flows) = start_runtimes().await;
    let (_, sid) = login(&berth).await;
    let runtime_of = async |child: Value| {
        let shown = show(&berth, str_field(&child, "session_ref"), OPERATOR_SECRET).await;
        shown.json()["runtime"].clone()
    };
    let own = started(&flows, &sid, BERTH_SECRET, json!({})).await;
    assert_eq!(runtime_of(own).await, "berth", "the caller's own");
    let named = started(&flows, &sid, BERTH_SECRET, json!({"runtime": "flows"})).await;
    let named_sid = str_field(&named, "session_ref").to_owned();
    assert_eq!(runtime_of(named).await, "flows");
    for (parent, secret, runtime, name) in [
        (&sid, BERTH_SECRET, "forms", "berth"),
        (&named_sid, FLOWS_SECRET, "berth", "flows"),
    ] {
        let refused = post_child(&flows, parent, secret, json!({"runtime": runtime})).await;
        let detail = format!("child_runtimes of {name} in api.clients does not name this runtime");
        assert_eq!(rejection(&refused), forbidden(&detail));
    }
    let any = started(&flows, &sid, OPERATOR_SECRET, json!({"runtime": "forms"})).await;
    assert_eq!(runtime_of(any).await, "forms");
}

#[tokio::test]
async fn a_child_adds_claims_and_replaces_none() {
    let (berth, flows) = start_runtimes().await;
    let (_, sid) = login(&berth).await;
    let body = json!({"claims": {"tenant": "a", "case": 7}});
    let child = started(&berth, &sid, BERTH_SECRET, body).await;
    let sid = str_field(&child, "session_ref");
    for (claims, detail) in [
        (
            json!({"tenant": "b"}),
            "claims must not replace tenant, a claim of the parent",
        ),
        (
            json!({"more": 1, "case": null}),
            "claims must not replace case, a claim of the parent",
        ),
        (json!({"act": {"sub": "root"}}), "claims must not name act"),
        (json!({"cnf": {}}), "claims must not name cnf"),
        (json!({"roles": ["admin"]}), "claims must not name roles"),
    ] {
        let refused = post_child(&flows, sid, BERTH_SECRET, json!({"claims": claims})).await;
        let expected = (400, "invalid-request".to_owned(), detail.to_owned());
        assert_eq!(rejection(&refused), expected);
    }
    let same = json!({"claims": {"tenant": "a", "step": 2}});
    started(&berth, sid, BERTH_SECRET, same).await;
}

#[tokio::test]
async fn the_runtimes_of_a_child_and_of_its_ancestors_read_it() {
    let (berth, flows) = start_runtimes().await;
    let (_, sid) = login(&berth).await;
    let child = started(&berth, &sid, BERTH_SECRET, json!({"runtime": "flows"})).await;
    let child = str_field(&child, "session_ref");
    for (site, secret) in [
        (&berth, BERTH_SECRET),
        (&flows, BERTH_SECRET),
        (&flows, FLOWS_SECRET),
        (&flows, OPERATOR_SECRET),
    ] {
        let shown = show(site, child, secret).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        let shown = shown.json();
        assert_eq!(
            (&shown["runtime"], &shown["parent_ref"], &shown["account"]),
            (&json!("flows"), &json!(sid), &json!("demo"))
        );
    }
    assert_eq!(show(&berth, &sid, BERTH_SECRET).await.status, 200);
    let refused = show(&flows, &sid, FLOWS_SECRET).await;
    let detail = "neither the session nor one of its ancestors belongs to the caller's runtime";
    assert_eq!(rejection(&refused), forbidden(detail));
    let unknown = |detail: &str| (403, "unknown-client".to_owned(), detail.to_owned());
    let refused = show(&flows, child, "runtime-secret-00").await;
    let detail = "the secret belongs to no entry of api.clients here";
    assert_eq!(rejection(&refused), unknown(detail));
    let request = flows.request(Method::GET, &format!("/v1/sessions/{child}"));
    let refused = send_request(request).await;
    let detail = "the request has no header Authorization: Bearer <secret>";
    assert_eq!(rejection(&refused), unknown(detail));
    let list = flows.request(Method::GET, "/v1/sessions?account=demo");
    let list = list.header("authorization", format!("Bearer {FLOWS_SECRET}"));
    let refused = send_request(list).await;
    let detail = "only clients with the role operator may do this";
    assert_eq!(rejection(&refused), forbidden(detail));
}

#[tokio::test]
async fn a_bearer_token_of_a_child_is_refused_when_an_ancestor_is_gone() {
    let site = Site::start(crate::events::CLIENTS).await;
    let (_, sid) = login(&site).await;
    let child = started(&site, &sid, BERTH_SECRET, json!({})).await;
    let grandchild = started(
        &site,
        str_field(&child, "session_ref"),
        BERTH_SECRET,
        json!({}),
    )
    .await;
    let token = site.token(str_field(&grandchild, "id")).await.json();
    let body = json!({"token": token["token"]});
    let accepted = site.post_json("/v1/tokens", body.clone()).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    sqlx::query("DELETE FROM sessions WHERE parent IS NULL")
        .execute(&site.database().await)
        .await
        .unwrap();
    let refused = site.post_json("/v1/tokens", body).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (401, "bearer-invalid")
    );
    let gone = show(
        &site,
        str_field(&grandchild, "session_ref"),
        OPERATOR_SECRET,
    )
    .await;
    assert_eq!(gone.reason(), "no-such-session");
}
