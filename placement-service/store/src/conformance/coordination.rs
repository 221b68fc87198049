//! Coordination between replicas: server keys, leases, claims and stored texts.

use crate::Coordination;

/// Checks that keys never change, that a lease has one holder at a time, and that a key is claimed once.
pub async fn coordination(store: &impl Coordination) {
    store.ping().await.unwrap();
    let key = store.server_key("one", [1; 32]).await.unwrap();
    assert_eq!(key, [1; 32]);
    assert_eq!(store.server_key("one", [2; 32]).await.unwrap(), key);
    assert_eq!(store.server_key("two", [2; 32]).await.unwrap(), [2; 32]);

    let lease =
        async |holder: &str, now_ms: u64| store.lease("sweep", holder, now_ms, 100).await.unwrap();
    assert!(lease("a", 1_000).await);
    assert!(!lease("b", 1_050).await);
    assert!(lease("a", 1_050).await, "extended");
    assert!(!lease("b", 1_149).await);
    assert!(lease("b", 1_150).await, "expired");
    assert!(!lease("a", 1_160).await);
    assert!(store.lease("other", "a", 1_160, 100).await.unwrap());

    assert!(!store.is_claimed("jti", 1_000).await.unwrap());
    assert!(store.claim("jti", 1_000, 2_000).await.unwrap());
    assert!(store.is_claimed("jti", 1_999).await.unwrap());
    assert!(!store.is_claimed("jti", 2_000).await.unwrap());
    assert!(!store.claim("jti", 1_500, 3_000).await.unwrap());
    assert!(store.claim("another", 1_500, 3_000).await.unwrap());
    store.purge_claims(1_900).await.unwrap();
    assert!(!store.claim("jti", 1_999, 3_000).await.unwrap());
    assert!(store.claim("jti", 2_000, 3_000).await.unwrap());
    store.purge_claims(9_000).await.unwrap();
    assert!(store.claim("jti", 2_000, 3_000).await.unwrap(), "purged");

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
    assert_eq!(notes("").await, ["a/y={\"é\": 4}", "b/x=3"]);
}
