//! A parent whose key Redis has lost: its child sessions end with an event, although nothing removed the parent.

use crate::child_sessions::{BERTH_SECRET, login, post_child, str_field};
use crate::events::CLIENTS;
use crate::site::{Site, eventually, send_request};
use berth_databases::Redis;
use reqwest::Method;
use serde_json::{Value, json};

async fn get_as_operator(site: &Site, path: &str) -> Value {
    let request = site.request(Method::GET, path);
    let request = request.header("authorization", "Bearer operator-secret-1");
    send_request(request).await.json()
}

#[tokio::test]
async fn children_of_a_parent_that_redis_lost_end_and_are_no_longer_listed() {
    let redis = Redis::shared().await.unwrap();
    let url = redis.database();
    let site = Site::start(&format!(
        "{CLIENTS}store: {{ kind: redis, url: {{ inline: \"{url}\" }}, timeout: 10s }}
session: {{ cookie: {{ secure: false }}, cache: 60s, reconcile: 100ms }}"
    ))
    .await;
    let (_, sid) = login(&site).await;
    let child = post_child(&site, &sid, BERTH_SECRET, json!({}))
        .await
        .json();
    let (child_id, child) = (str_field(&child, "id"), str_field(&child, "session_ref"));
    assert_eq!(
        site.token(child_id).await.status,
        200,
        "the parent is cached"
    );

    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let id: String = redis::cmd("HGET")
        .arg("{berth}:refs")
        .arg(&sid)
        .query_async(&mut direct)
        .await
        .unwrap();
    let lost: u32 = redis::cmd("DEL")
        .arg(format!("{{berth}}:session:{id}"))
        .query_async(&mut direct)
        .await
        .unwrap();
    assert_eq!(lost, 1);

    eventually("the child is refused", async || {
        site.token(child_id).await.status == 401
    })
    .await;
    let log = "/v1/events?cursor=0000000000000000-0&limit=500";
    let events = get_as_operator(&site, log).await;
    let mut events = events["events"].as_array().unwrap().iter();
    let end = events.find(|e| e["session_ref"] == child && e["cause"].is_string());
    assert_eq!(end.unwrap()["cause"], "parent-ended");
    let listed = get_as_operator(&site, "/v1/sessions?account=demo").await;
    assert_eq!(
        listed,
        json!({"sessions": [], "more": false, "engines_complete": true})
    );
}
