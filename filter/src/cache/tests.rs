use super::*;
#[cfg(not(target_family = "wasm"))]
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Milliseconds since 1970, and the same in seconds.
const NOW: u64 = 1_000_000_000;
const NOW_S: u64 = NOW / 1000;

fn cache(entries: usize, bytes: usize) -> Cache {
    Cache::new(Settings {
        entries,
        bytes,
        ttl_ms: 30_000,
    })
}

fn grant(session_ref: &str, token_bytes: usize, until: u64) -> Rc<Grant> {
    Rc::new(Grant {
        authorization: vec![b'x'; token_bytes],
        session_ref: session_ref.to_owned(),
        until,
    })
}

fn put(cache: &mut Cache, session: &str, until: u64) {
    let epoch = cache.epoch();
    cache.insert(Key::of(session), &grant(session, 100, until), epoch, NOW);
}

fn has(cache: &mut Cache, session: &str, now: u64) -> bool {
    cache.find(&Key::of(session), now, true).is_some()
}

#[test]
fn an_entry_lives_until_its_end_or_the_limit_whichever_comes_first() {
    let mut cache = cache(10, 100_000);
    put(&mut cache, "short", NOW_S + 10);
    put(&mut cache, "long", NOW_S + 3600);
    put(&mut cache, "over", NOW_S);
    assert!(!has(&mut cache, "over", NOW));
    assert!(has(&mut cache, "short", NOW + 9_999));
    assert!(!has(&mut cache, "short", NOW + 10_000));
    assert!(has(&mut cache, "long", NOW + 29_999));
    assert!(!has(&mut cache, "long", NOW + 30_000));
    assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
}

#[test]
fn nothing_is_used_while_the_feed_is_not_fresh() {
    let mut cache = cache(10, 100_000);
    put(&mut cache, "a", NOW_S + 60);
    assert!(cache.find(&Key::of("a"), NOW, false).is_none());
    assert!(has(&mut cache, "a", NOW));
}

#[test]
fn what_was_asked_for_before_all_was_forgotten_is_not_kept() {
    let mut cache = cache(10, 100_000);
    let before = cache.epoch();
    put(&mut cache, "a", NOW_S + 60);
    cache.clear();
    assert!(!has(&mut cache, "a", NOW));
    cache.insert(Key::of("a"), &grant("a", 100, NOW_S + 60), before, NOW);
    assert!(!has(&mut cache, "a", NOW));
    put(&mut cache, "a", NOW_S + 60);
    assert!(has(&mut cache, "a", NOW));
}

#[test]
fn a_session_that_is_over_goes_with_all_its_cookies() {
    let mut cache = cache(10, 100_000);
    for cookie in ["one", "two"] {
        cache.insert(Key::of(cookie), &grant("ref", 10, NOW_S + 60), 0, NOW);
    }
    put(&mut cache, "other", NOW_S + 60);
    cache.forget(&["ref".to_owned(), "unknown".to_owned()]);
    assert!(!has(&mut cache, "one", NOW) && !has(&mut cache, "two", NOW));
    assert!(has(&mut cache, "other", NOW));
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let mut cache = cache(2, 100_000);
    put(&mut cache, "a", NOW_S + 60);
    put(&mut cache, "b", NOW_S + 60);
    assert!(has(&mut cache, "a", NOW));
    put(&mut cache, "c", NOW_S + 60);
    assert!(has(&mut cache, "a", NOW) && has(&mut cache, "c", NOW));
    assert!(!has(&mut cache, "b", NOW));
}

#[test]
fn a_cache_without_entries_or_room_holds_nothing() {
    for mut cache in [cache(0, 100_000), cache(10, ENTRY_BYTES)] {
        put(&mut cache, "a", NOW_S + 60);
        assert!(!has(&mut cache, "a", NOW));
    }
}

#[test]
fn neither_cookie_nor_token_can_be_read_in_a_log() {
    let text = format!("{:?} {:?}", Key::of("secret"), grant("ref", 3, 7));
    assert_eq!(text, "Key(..) Grant { session_ref: \"ref\", until: 7, .. }");
}

#[cfg(not(target_family = "wasm"))]
#[derive(Clone, Debug)]
enum Event {
    Insert(u8, u8, usize, u64),
    Find(u8, bool),
    Forget(u8),
    Clear,
    Wait(u64),
}

#[cfg(not(target_family = "wasm"))]
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..12, 0_u8..6, 0_usize..2_000, 0_u64..90).prop_map(|(key, session, size, life)| Event::Insert(key, session, size, life)),
        4 => (0_u8..12, any::<bool>()).prop_map(|(key, fresh)| Event::Find(key, fresh)),
        1 => (0_u8..6).prop_map(Event::Forget),
        1 => Just(Event::Clear),
        2 => (0_u64..20_000).prop_map(Event::Wait),
    ]
}

#[cfg(not(target_family = "wasm"))]
proptest! {
    /// Beside a model that forgets nothing but what it must: whatever is found is the newest of its cookie, alive,
    /// and its session has not ended; and the bounds hold at every step.
    #[test]
    fn any_history_keeps_the_bounds_and_gives_nothing_that_is_over(
        events in prop::collection::vec(event(), 1..200), entries in 1_usize..8, bytes in 300_usize..6_000,
    ) {
        let mut cache = cache(entries, bytes);
        let mut model: HashMap<u8, (Rc<Grant>, u64)> = HashMap::new();
        let mut now = NOW;
        for event in events {
            match event {
                Event::Insert(key, session, size, life) => {
                    let grant = grant(&session.to_string(), size, now / 1000 + life);
                    let epoch = cache.epoch();
                    cache.insert(Key::of(&key.to_string()), &grant, epoch, now);
                    let until = (grant.until * 1000).min(now + 30_000);
                    model.insert(key, (grant, until));
                }
                Event::Find(key, fresh) => {
                    if let Some(found) = cache.find(&Key::of(&key.to_string()), now, fresh) {
                        prop_assert!(fresh);
                        let (grant, until) = model.get(&key).unwrap();
                        prop_assert!(Rc::ptr_eq(grant, &found) && now < *until);
                    }
                }
                Event::Forget(session) => {
                    cache.forget(&[session.to_string()]);
                    model.retain(|_, (grant, _)| grant.session_ref != session.to_string());
                }
                Event::Clear => {
                    cache.clear();
                    model.clear();
                }
                Event::Wait(ms) => now += ms,
            }
            prop_assert!(cache.entries.len() <= entries && cache.bytes <= bytes);
            prop_assert_eq!(cache.order.len(), cache.entries.len());
            let held: usize = cache.entries.values().map(|entry| size(&entry.grant)).sum();
            prop_assert_eq!(held, cache.bytes);
        }
    }
}

#[test]
fn a_cookie_and_a_token_of_the_same_text_have_two_names() {
    let names = [
        Key::of("a.b.c"),
        Key::of_token("a.b.c"),
        Key::of("Bearer a.b.c"),
    ];
    assert_ne!(names[0], names[1]);
    assert_eq!(names[1], names[2], "what no cookie is");
}
