use super::*;
#[cfg(not(target_family = "wasm"))]
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Milliseconds since 1970, and the same in seconds.
const NOW: u64 = 1_000_000_000;
const NOW_S: u64 = NOW / 1000;

fn cache(entries: usize, bytes: usize) -> TokenCache {
    TokenCache::new(Settings {
        entries,
        bytes,
        ttl_ms: 30_000,
    })
}

fn token(session_ref: &str, token_bytes: usize, expires_at: u64) -> Rc<CachedToken> {
    Rc::new(CachedToken {
        authorization: vec![b'x'; token_bytes],
        session_ref: session_ref.to_owned(),
        expires_at,
        roles: Rc::default(),
    })
}

fn put(cache: &mut TokenCache, session: &str, expires_at: u64) {
    let epoch = cache.epoch();
    cache.insert(
        CacheKey::from_cookie(session),
        &token(session, 100, expires_at),
        epoch,
        NOW,
    );
}

fn contains(cache: &mut TokenCache, session: &str, now: u64) -> bool {
    cache
        .find(&CacheKey::from_cookie(session), now, true)
        .is_some()
}

#[test]
fn an_entry_lives_until_its_expiry_or_the_ttl() {
    let mut cache = cache(10, 100_000);
    put(&mut cache, "short", NOW_S + 10);
    put(&mut cache, "long", NOW_S + 3600);
    put(&mut cache, "expired", NOW_S);
    assert!(!contains(&mut cache, "expired", NOW));
    assert!(contains(&mut cache, "short", NOW + 9_999));
    assert!(!contains(&mut cache, "short", NOW + 10_000));
    assert!(contains(&mut cache, "long", NOW + 29_999));
    assert!(!contains(&mut cache, "long", NOW + 30_000));
    assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
}

#[test]
fn no_token_is_used_without_fresh_events() {
    let mut cache = cache(10, 100_000);
    put(&mut cache, "a", NOW_S + 60);
    assert!(
        cache
            .find(&CacheKey::from_cookie("a"), NOW, false)
            .is_none()
    );
    assert!(contains(&mut cache, "a", NOW));
}

#[test]
fn a_token_from_an_earlier_epoch_is_not_inserted() {
    let mut cache = cache(10, 100_000);
    let before = cache.epoch();
    put(&mut cache, "a", NOW_S + 60);
    cache.clear();
    assert!(!contains(&mut cache, "a", NOW));
    cache.insert(
        CacheKey::from_cookie("a"),
        &token("a", 100, NOW_S + 60),
        before,
        NOW,
    );
    assert!(!contains(&mut cache, "a", NOW));
    put(&mut cache, "a", NOW_S + 60);
    assert!(contains(&mut cache, "a", NOW));
}

#[test]
fn an_ended_session_loses_the_tokens_of_all_its_cookies() {
    let mut cache = cache(10, 100_000);
    for cookie in ["one", "two"] {
        cache.insert(
            CacheKey::from_cookie(cookie),
            &token("ref", 10, NOW_S + 60),
            0,
            NOW,
        );
    }
    put(&mut cache, "other", NOW_S + 60);
    cache.remove_sessions(&["ref".to_owned(), "unknown".to_owned()]);
    assert!(!contains(&mut cache, "one", NOW) && !contains(&mut cache, "two", NOW));
    assert!(contains(&mut cache, "other", NOW));
}

#[test]
fn the_least_recently_used_entry_is_evicted() {
    let mut cache = cache(2, 100_000);
    put(&mut cache, "a", NOW_S + 60);
    put(&mut cache, "b", NOW_S + 60);
    assert!(contains(&mut cache, "a", NOW));
    put(&mut cache, "c", NOW_S + 60);
    assert!(contains(&mut cache, "a", NOW) && contains(&mut cache, "c", NOW));
    assert!(!contains(&mut cache, "b", NOW));
}

#[test]
fn a_cache_without_capacity_stays_empty() {
    for mut cache in [cache(0, 100_000), cache(10, ENTRY_BYTES)] {
        put(&mut cache, "a", NOW_S + 60);
        assert!(!contains(&mut cache, "a", NOW));
    }
}

#[test]
fn debug_output_has_neither_cookie_nor_token() {
    let text = format!(
        "{:?} {:?}",
        CacheKey::from_cookie("secret"),
        token("ref", 3, 7)
    );
    assert_eq!(
        text,
        "CacheKey(..) CachedToken { session_ref: \"ref\", expires_at: 7, .. }"
    );
}

#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Debug)]
enum Event {
    Insert(u8, u8, usize, u64),
    Find(u8, bool),
    EndSession(u8),
    Clear,
    Wait(u64),
}

#[cfg(not(target_family = "wasm"))]
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..12, 0_u8..6, 0_usize..2_000, 0_u64..90).prop_map(|(key, session, size, life)| Event::Insert(key, session, size, life)),
        4 => (0_u8..12, any::<bool>()).prop_map(|(key, fresh)| Event::Find(key, fresh)),
        1 => (0_u8..6).prop_map(Event::EndSession),
        1 => Just(Event::Clear),
        2 => (0_u64..20_000).prop_map(Event::Wait),
    ]
}

#[cfg(not(target_family = "wasm"))]
proptest! {
    /// Against a model without eviction: a found token is the newest of its cookie, has not expired, and its session
    /// has not ended; the bounds hold after every step.
    #[test]
    fn any_history_keeps_the_bounds_and_returns_no_expired_token(
        events in prop::collection::vec(event(), 1..200), entries in 1_usize..8, bytes in 300_usize..6_000,
    ) {
        let mut cache = cache(entries, bytes);
        let mut model: HashMap<u8, (Rc<CachedToken>, u64)> = HashMap::new();
        let mut now = NOW;
        for event in events {
            match event {
                Event::Insert(key, session, size, life) => {
                    let token = token(&session.to_string(), size, now / 1000 + life);
                    let epoch = cache.epoch();
                    cache.insert(CacheKey::from_cookie(&key.to_string()), &token, epoch, now);
                    let expires_at = (token.expires_at * 1000).min(now + 30_000);
                    model.insert(key, (token, expires_at));
                }
                Event::Find(key, fresh) => {
                    if let Some(found) = cache.find(&CacheKey::from_cookie(&key.to_string()), now, fresh) {
                        prop_assert!(fresh);
                        let (token, expires_at) = model.get(&key).unwrap();
                        prop_assert!(Rc::ptr_eq(token, &found) && now < *expires_at);
                    }
                }
                Event::EndSession(session) => {
                    cache.remove_sessions(&[session.to_string()]);
                    model.retain(|_, (token, _)| token.session_ref != session.to_string());
                }
                Event::Clear => {
                    cache.clear();
                    model.clear();
                }
                Event::Wait(ms) => now += ms,
            }
            prop_assert!(cache.entries.len() <= entries && cache.bytes <= bytes);
            prop_assert_eq!(cache.order.len(), cache.entries.len());
            let held: usize = cache.entries.values().map(|entry| size(&entry.token)).sum();
            prop_assert_eq!(held, cache.bytes);
        }
    }
}

#[test]
fn a_cookie_and_a_token_of_the_same_text_have_different_keys() {
    let keys = [
        CacheKey::from_cookie("a.b.c"),
        CacheKey::from_token("a.b.c"),
        CacheKey::from_cookie("Bearer a.b.c"),
    ];
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[1], keys[2], "a cookie value has no blank");
}
