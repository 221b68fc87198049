//! Device cookies: strangers cannot lock the owner of an account out of a browser that has logged in before. Failures
//! of that browser count apart from those of strangers, on every store and replica.

use crate::site::{Answer, PASSWORD, Site, send_request};
use crate::store_outages;
use berth_databases::{Postgres, Redis};
use berth_placement::login::accounts::Accounts;
use berth_placement::login::password::Passwords;
use berth_store::Stores;
use reqwest::Method;
use serde_json::json;

const MINUTE_MS: u64 = 60_000;
const NEW_PASSWORD: &str = "another-password";

/// Logs in with these cookies.
async fn log_in(site: &Site, cookie: &str, name: &str, password: &str) -> Answer {
    let body = json!({"username": name, "password": password}).to_string();
    let request = site.request(Method::POST, "/login").body(body);
    let request = request.header("content-type", "application/json");
    send_request(request.header("cookie", cookie)).await
}

async fn login_status(site: &Site, device: &str, password: &str) -> u16 {
    let answer = log_in(site, device, "demo", password).await;
    let set = answer.cookies().len();
    assert_eq!(set, if answer.status == 200 { 2 } else { 0 }, "{answer:?}");
    answer.status
}

/// The `name=value` pair of the device cookie that a login sets.
fn device_cookie(answer: &Answer) -> String {
    let cookies = answer.cookies().into_iter();
    let set = cookies.filter(|set| set.starts_with("berth-device="));
    let pairs: Vec<_> = set.map(|set| set.split(';').next().unwrap()).collect();
    let [pair] = pairs[..] else {
        panic!("no device cookie: {answer:?}")
    };
    pair.to_owned()
}

async fn log_in_on_new_device(site: &Site, name: &str) -> String {
    device_cookie(&log_in(site, "", name, PASSWORD).await)
}

async fn fail_five_times(site: &Site, device: &str) {
    for _ in 0..5 {
        assert_eq!(login_status(site, device, "wrong").await, 401);
    }
}

/// `site` and `other` are two replicas on one store.
async fn check_device_lockout(site: &Site, other: &Site) {
    let (first, second) = (
        log_in_on_new_device(site, "demo").await,
        log_in_on_new_device(other, "demo").await,
    );
    fail_five_times(site, "").await;
    assert_eq!(login_status(other, "", PASSWORD).await, 401, "locked");
    assert_eq!(login_status(other, "berth-device=x", PASSWORD).await, 401);
    assert_eq!(login_status(other, &first, PASSWORD).await, 200);
    let renewed = device_cookie(&log_in(site, &first, "demo", PASSWORD).await);
    assert_ne!(renewed, first);
    // Failures of a device lock out that device on every replica.
    for n in 0..5 {
        let replica = if n % 2 == 0 { site } else { other };
        assert_eq!(login_status(replica, &second, "wrong").await, 401);
    }
    for replica in [site, other] {
        assert_eq!(login_status(replica, &second, PASSWORD).await, 401);
        assert_eq!(login_status(replica, &renewed, PASSWORD).await, 200);
    }
    for replica in [site, other] {
        replica.clock.advance_ms(MINUTE_MS);
    }
    assert_eq!(login_status(site, &second, PASSWORD).await, 200);
    assert_eq!(login_status(site, "", PASSWORD).await, 200);
}

#[tokio::test]
async fn strangers_lock_out_only_strangers_with_sqlite() {
    let site = Site::start("").await;
    let other = site.start_replica("").await;
    let database = site.database().await;
    let row = sqlx::query_scalar("SELECT devices FROM accounts WHERE name = 'demo'");
    fail_five_times(&site, "").await;
    let kept: String = row.fetch_one(&database).await.unwrap();
    assert_eq!(kept, "", "nothing for strangers");
    site.clock.advance_ms(MINUTE_MS);
    check_device_lockout(&site, &other).await;
    let restarted = site.restart("").await;
    let device = log_in_on_new_device(&restarted, "demo").await;
    fail_five_times(&restarted, &device).await;
    assert_eq!(login_status(&other, &device, PASSWORD).await, 401);
}

async fn check_shared_store(kind: &str, url: &str) {
    let site = store_outages::start_site(kind, url).await;
    let other = store_outages::start_site(kind, url).await;
    check_device_lockout(&site, &other).await;
}

#[tokio::test]
async fn strangers_lock_out_only_strangers_with_postgresql() {
    let server = Postgres::shared().await.unwrap();
    check_shared_store("postgres", &server.database().await.unwrap()).await;
}

#[tokio::test]
async fn strangers_lock_out_only_strangers_with_redis() {
    let server = Redis::shared().await.unwrap();
    check_shared_store("redis", &server.database()).await;
}

/// The accounts of the site's store, opened as `berth account` opens them.
async fn open_accounts(site: &Site) -> Accounts {
    let path = site.directory().join("berth.db");
    let store = berth_store::sqlite::SqliteStore::open(&path).await;
    let stores = Stores::from_single(std::sync::Arc::new(store.unwrap()));
    let passwords = Passwords::new().unwrap();
    Accounts::new(stores.accounts.unwrap(), site.clock.clone(), passwords)
}

#[tokio::test]
async fn a_new_password_and_a_lock_revoke_all_devices() {
    let site = Site::start("").await;
    let accounts = open_accounts(&site).await;
    let before = log_in_on_new_device(&site, "demo").await;
    accounts.lock("demo").await.unwrap();
    assert_eq!(login_status(&site, &before, PASSWORD).await, 401);
    accounts.unlock("demo").await.unwrap();
    fail_five_times(&site, "").await;
    assert_eq!(login_status(&site, &before, PASSWORD).await, 401, "revoked");
    accounts.unlock("demo").await.unwrap();
    let before = log_in_on_new_device(&site, "demo").await;
    fail_five_times(&site, "").await;
    fail_five_times(&site, &before).await;
    assert_eq!(login_status(&site, &before, PASSWORD).await, 401);
    accounts.unlock("demo").await.unwrap();
    assert_eq!(
        login_status(&site, &before, PASSWORD).await,
        200,
        "devices, too"
    );
    let new = NEW_PASSWORD.to_owned();
    accounts.set_password("demo", new).await.unwrap();
    fail_five_times(&site, "").await;
    assert_eq!(
        login_status(&site, &before, NEW_PASSWORD).await,
        401,
        "revoked"
    );
}

#[tokio::test]
async fn a_device_cookie_is_valid_for_its_account_for_ninety_days() {
    let site = Site::start("").await;
    let added = open_accounts(&site).await;
    let password = PASSWORD.to_owned();
    added.add("eve", &[], password).await.unwrap();
    let of_eve = log_in_on_new_device(&site, "eve").await;
    let of_demo = log_in_on_new_device(&site, "demo").await;
    // A browser that both accounts use.
    let of_both = device_cookie(&log_in(&site, &of_eve, "demo", PASSWORD).await);
    fail_five_times(&site, "").await;
    assert_eq!(login_status(&site, &of_eve, PASSWORD).await, 401);
    assert_eq!(login_status(&site, &of_both, PASSWORD).await, 200);
    let twice = format!("{of_demo}; {of_demo}");
    assert_eq!(
        login_status(&site, &twice, PASSWORD).await,
        401,
        "which one"
    );
    for _ in 0..5 {
        log_in(&site, "", "eve", "wrong").await;
    }
    let eve = log_in(&site, &of_both, "eve", PASSWORD).await;
    assert_eq!(eve.status, 200);
    site.clock.advance_ms(90 * 24 * 60 * MINUTE_MS);
    fail_five_times(&site, "").await;
    assert_eq!(
        login_status(&site, &of_demo, PASSWORD).await,
        401,
        "expired"
    );
}

#[tokio::test]
async fn the_stored_device_data_is_limited() {
    let site = Site::start("").await;
    let mut devices = Vec::new();
    for _ in 0..17 {
        devices.push(log_in_on_new_device(&site, "demo").await);
    }
    for device in &devices {
        assert_eq!(login_status(&site, device, "wrong").await, 401);
    }
    let row: (String, i64) =
        sqlx::query_as("SELECT devices, failures FROM accounts WHERE name = 'demo'")
            .fetch_one(&site.database().await)
            .await
            .unwrap();
    assert!(row.0.len() < 2_500, "{}", row.0.len());
    assert_eq!(row.1, 1, "a device without room counts as a stranger");
    assert_eq!(login_status(&site, &devices[0], PASSWORD).await, 200);
    assert_eq!(login_status(&site, &devices[16], "wrong").await, 401);
    let failures: i64 = sqlx::query_scalar("SELECT failures FROM accounts WHERE name = 'demo'")
        .fetch_one(&site.database().await)
        .await
        .unwrap();
    assert_eq!(failures, 1, "there is room again");
}

#[tokio::test]
async fn the_device_cookie_is_sent_only_to_the_login() {
    let site = Site::start("").await;
    let body = format!("username=demo&password={PASSWORD}");
    let form = send_request(site.post_form("/login", &body)).await;
    let json = log_in(&site, "", "demo", PASSWORD).await;
    for answer in [form, json] {
        let set = answer.cookies()[1];
        let attributes = "; Path=/login; HttpOnly; SameSite=Lax; Max-Age=7776000";
        assert_eq!(set, format!("{}{attributes}", device_cookie(&answer)));
        assert!(!set.contains("demo"));
    }
    let secure = Site::start("session: { cookie: { same_site: none } }").await;
    let answer = log_in(&secure, "", "demo", PASSWORD).await;
    let set = answer.cookies()[1];
    assert!(set.starts_with("__Secure-berth-device="), "{set}");
    assert!(
        set.ends_with("; Path=/login; HttpOnly; SameSite=None; Secure; Max-Age=7776000"),
        "{set}"
    );
}
