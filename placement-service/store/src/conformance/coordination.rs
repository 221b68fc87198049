//! Coordination between replicas: server keys, leases, claims and stored texts.

use crate::Coordination;
use std::time::Duration;

/// A time after the store's, whatever that is.
const FAR_MS: u64 = u64::MAX >> 12;

/// Checks that keys never change, that a key is claimed once, and that texts are listed by their prefix.
pub async fn coordination(store: &impl Coordination) {
    store.ping().await.unwrap();
    let key = store.server_key("one", [1; 32]).await.unwrap();
    assert_eq!(key, [1; 32]);
    assert_eq!(store.server_key("one", [2; 32]).await.unwrap(), key);
    assert_eq!(store.server_key("two", [2; 32]).await.unwrap(), [2; 32]);

    store.heartbeat().await.unwrap();
    store.heartbeat().await.unwrap();
    assert!(!store.is_claimed("jti", 1_000).await.unwrap());
    assert!(store.claim("jti", 1_000, 2_000).await.unwrap());
    assert!(store.is_claimed("jti", 1_999).await.unwrap());
    assert!(!store.is_claimed("jti", 2_000).await.unwrap());
    assert!(!store.claim("jti", 1_500, 3_000).await.unwrap());
    assert!(store.claim("another", 1_500, 3_000).await.unwrap());
    assert!(!store.claim("jti", 1_999, 3_000).await.unwrap());
    assert!(store.claim("jti", 2_000, FAR_MS).await.unwrap());
    // Purging uses the store's clock: "another" has expired, "jti" has not.
    store.purge_claims().await.unwrap();
    assert!(!store.claim("jti", FAR_MS - 1, FAR_MS).await.unwrap());
    assert!(
        store.claim("another", 1_500, 3_000).await.unwrap(),
        "purged"
    );

    let notes = async |prefix: &str| {
        let notes = store.list_values(prefix).await.unwrap().into_iter();
        notes
            .map(|(name, text)| format!("{name}={text}"))
            .collect::<Vec<_>>()
    };
    assert!(notes("a/").await.is_empty());
    for (name, text) in [
        ("a/y", "1"),
        ("a/x", "2"),
        ("b/x", "3"),
        ("a/y", "{\"é\": 4}"),
    ] {
        store.put_value(name, Some(text)).await.unwrap();
    }
    assert_eq!(notes("a/").await, ["a/x=2", "a/y={\"é\": 4}"]);
    assert_eq!(notes("%").await.len() + notes("_").await.len(), 0);
    store.put_value("a/x", None).await.unwrap();
    store.put_value("a/x", None).await.unwrap();
    store.put_value("é/x", Some("5")).await.unwrap();
    assert_eq!(notes("é/").await, ["é/x=5"]);
    assert_eq!(notes("a/").await, ["a/y={\"é\": 4}"]);
}

/// Checks that a lease has one holder at a time, that it ends by the store's clock, and that its holder can release
/// it.
pub async fn leases(store: &impl Coordination) {
    let (long, short) = (Duration::from_secs(600), Duration::from_millis(200));
    let lease = async |holder: &str, ttl| store.lease("sweep", holder, ttl).await.unwrap();
    assert!(lease("a", long).await);
    assert!(!lease("b", long).await);
    assert!(lease("a", long).await, "extended");
    assert!(store.lease("other", "b", long).await.unwrap());
    store.release_lease("sweep", "b").await.unwrap();
    assert!(!lease("b", long).await, "not the holder's release");
    store.release_lease("sweep", "a").await.unwrap();
    assert!(lease("b", short).await);
    tokio::time::sleep(2 * short).await;
    assert!(lease("a", short).await, "expired");
}
