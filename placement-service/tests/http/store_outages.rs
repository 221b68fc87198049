//! The store fails and recovers: requests with a session get 503 with `Retry-After`, never a logout. As soon as the
//! store is back, the session works again without a restart of the service.

use crate::site::{Answer, Site};
use berth_databases::{Postgres, Redis};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const TIMEOUT: Duration = Duration::from_secs(30);
/// `store.timeout`, long enough for a loaded machine.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// Margin for a loaded machine.
const MARGIN: Duration = Duration::from_secs(3);
const CALLERS: usize = 20;

pub(crate) async fn start_site(kind: &str, url: &str) -> Site {
    let store = format!(
        "store: {{ kind: {kind}, url: {{ inline: \"{url}\" }}, timeout: {STORE_TIMEOUT:?} }}"
    );
    let session = "session: { cookie: { secure: false }, cache: 1s }";
    Site::start(&format!("{store}\n{session}")).await
}

async fn timed_request(site: &Site, route: &str, session: &str) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = match route {
        "tokens" => site.token(session).await,
        _ => {
            let request =
                json!({ "session": session, "method": "GET", "path": "/app/a", "host": "h" });
            site.post_json("/v1/placements", request).await
        }
    };
    (answer, begun.elapsed())
}

pub(crate) fn is_store_down(answer: &Answer) -> bool {
    if answer.status != 503 {
        return false;
    }
    assert_eq!(answer.reason(), "store-down", "{answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert!(answer.cookies().is_empty(), "nobody is logged out");
    true
}

/// Checks the answers after the store has just failed.
async fn check_refusals(site: &Site, session: &str) {
    let lost = Instant::now();
    // Cached sessions are served for `session.cache` and no longer.
    loop {
        let (answer, took) = timed_request(site, "tokens", session).await;
        assert!(took < STORE_TIMEOUT + MARGIN, "{took:?}");
        if is_store_down(&answer) {
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            lost.elapsed() < STORE_TIMEOUT + MARGIN,
            "still served from memory"
        );
        sleep(Duration::from_millis(20)).await;
    }
    let unknown = "A".repeat(43);
    for (route, session) in [
        ("tokens", session),
        ("placements", session),
        ("tokens", &unknown),
    ] {
        let (answer, took) = timed_request(site, route, session).await;
        assert!(is_store_down(&answer), "{route}: {answer:?}");
        assert!(took < STORE_TIMEOUT + MARGIN, "{route}: {took:?}");
    }
    // The circuit breaker is open now: at most one request waits, the one that tries the store again.
    let calls = (0..CALLERS).map(|_| timed_request(site, "tokens", session));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|(answer, _)| is_store_down(answer)));
    let slow = answers.iter().filter(|(_, took)| *took >= STORE_TIMEOUT);
    assert!(slow.count() <= 1, "{answers:?}");
    let own = site.get("/session", &format!("berth={session}")).await;
    assert!(is_store_down(&own), "{own:?}");
}

async fn wait_until_recovered(site: &Site, session: &str) {
    let back = async {
        loop {
            let (answer, _) = timed_request(site, "tokens", session).await;
            if answer.status == 200 {
                break;
            }
            assert!(is_store_down(&answer), "{answer:?}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(TIMEOUT, back).await.is_ok(), "the session is lost");
    let stranger = site.token(&"A".repeat(43)).await;
    assert_eq!(
        (stranger.status, stranger.reason()),
        (401, "unknown-session".to_owned())
    );
}

macro_rules! check_outages {
    ($server:expr, $site:expr) => {
        let session = $site.login().await;
        assert_eq!($site.token(&session).await.status, 200);
        $server.freeze();
        check_refusals(&$site, &session).await;
        $server.resume();
        wait_until_recovered(&$site, &session).await;
        $server.kill();
        check_refusals(&$site, &session).await;
        $server.restart().await.unwrap();
        wait_until_recovered(&$site, &session).await;
        $server.stop();
        check_refusals(&$site, &session).await;
        $server.restart().await.unwrap();
        wait_until_recovered(&$site, &session).await;
        assert_eq!($site.login().await.len(), session.len());
    };
}

#[tokio::test]
async fn sessions_survive_outages_of_postgres() {
    let mut server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let site = start_site("postgres", &url).await;
    check_outages!(server, site);
}

#[tokio::test]
async fn sessions_survive_outages_of_redis() {
    let mut server = Redis::start().await.unwrap();
    let site = start_site("redis", &server.database()).await;
    check_outages!(server, site);
}

#[tokio::test]
async fn sessions_and_accounts_survive_a_restart_of_the_service() {
    let (postgres, redis) = (
        Postgres::shared().await.unwrap(),
        Redis::shared().await.unwrap(),
    );
    let urls = [
        ("postgres", postgres.database().await.unwrap()),
        ("redis", redis.database()),
    ];
    for (kind, url) in urls {
        let first = start_site(kind, &url).await;
        let session = first.login().await;
        let second = start_site(kind, &url).await;
        drop(first);
        let answer = second.token(&session).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        assert_eq!(answer.json()["account"], "demo");
    }
}
