//! One replica alone loses the way to the store that it shares (S6): it refuses, the other goes on, and it comes
//! back by itself.

use crate::site::{Site, eventually};
use crate::stores::{is_store_down, site};
use berth_databases::{Postgres, Redis};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// `store.timeout`, `session.cache`, and what a loaded machine may add.
const LIMIT: Duration = Duration::from_secs(4);

/// The way from one replica to the store; it can be cut and mended.
struct Way {
    at: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(store: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (store, mut is_open) = (store.clone(), is_open.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(store).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { at, open }
    }
}

/// The URL with the way in place of the server, which it is asked for.
async fn by_way(url: &str) -> (Way, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (before, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = before
        .rsplit_once('@')
        .map_or(("", before), |(u, h)| (u, h));
    let way = Way::to(host.to_owned()).await;
    let at = if user.is_empty() { "" } else { "@" };
    let url = format!("{scheme}://{user}{at}{}/{path}", way.at);
    (way, url)
}

async fn refuses(site: &Site, session: &str) {
    let cut = Instant::now();
    loop {
        let answer = site.token(session).await;
        if is_store_down(&answer) {
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(cut.elapsed() < LIMIT, "still served from memory");
        tokio::task::yield_now().await;
    }
    assert!(is_store_down(&site.token(&"A".repeat(43)).await));
}

async fn one_of_two(kind: &str, url: &str) {
    let (way, far_url) = by_way(url).await;
    let other = site(kind, url).await;
    let cut_off = site(kind, &far_url).await;
    let session = other.login().await;
    assert_eq!(cut_off.token(&session).await.status, 200);

    way.open.send(false).unwrap();
    refuses(&cut_off, &session).await;
    // The other one notices nothing, and what it does meanwhile holds on both afterwards.
    assert_eq!(other.token(&session).await.status, 200);
    let later = other.login().await;
    assert!(is_store_down(&cut_off.token(&later).await));
    let out = other.request(reqwest::Method::POST, "/logout");
    let out = crate::site::answer(out.header("cookie", format!("berth={session}"))).await;
    assert_eq!(out.status, 204);

    way.open.send(true).unwrap();
    eventually("the replica is back", async || {
        let answer = cut_off.token(&later).await;
        assert!(answer.status == 200 || is_store_down(&answer), "{answer:?}");
        answer.status == 200
    })
    .await;
    let over = cut_off.token(&session).await;
    assert_eq!(
        (over.status, over.reason()),
        (401, "unknown-session".to_owned())
    );
}

#[tokio::test]
async fn one_replica_without_postgres() {
    let server = Postgres::shared().await.unwrap();
    one_of_two("postgres", &server.database().await.unwrap()).await;
}

#[tokio::test]
async fn one_replica_without_redis() {
    let server = Redis::shared().await.unwrap();
    one_of_two("redis", &server.database()).await;
}
