use super::*;
use berth_api::AffinityScope;
#[cfg(not(target_family = "wasm"))]
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: u64 = 1_000_000;

fn cache(entries: usize, bytes: usize) -> AffinityCache {
    AffinityCache::new(Settings {
        entries,
        bytes,
        ttl_ms: 30_000,
    })
}

fn route(key: &str, epoch: u64, engine: &str, prefix: &str) -> EngineRoute {
    EngineRoute {
        key: key.into(),
        epoch,
        as_of: 0,
        scope: AffinityScope {
            host: None,
            prefix: prefix.to_owned(),
            exact: false,
        },
        rewrite: None,
        session_ref: "r".into(),
        session_expires_at: 4_102_444_800,
        pool: "p".to_owned(),
        engine: engine.to_owned(),
        headers: Vec::new(),
    }
}

fn credential(name: &str) -> CacheKey {
    CacheKey::from_cookie(name)
}

fn put(cache: &mut AffinityCache, name: &str, route: EngineRoute, sent_at: u64) -> bool {
    let generation = cache.generation();
    cache.insert(
        credential(name),
        &Rc::new(route),
        30_000,
        sent_at,
        generation,
        sent_at,
    )
}

/// The engine of a request.
fn engine(cache: &mut AffinityCache, name: &str, path: &str, now: u64) -> Option<String> {
    let found = cache.find(&credential(name), "h", path, now, true);
    found.map(|route| route.engine.clone())
}

#[test]
fn the_longest_prefix_decides_at_bounds_of_segments() {
    let mut cache = cache(100, 1 << 20);
    put(&mut cache, "a", route("k", 1, "short", "/jup"), NOW);
    put(&mut cache, "a", route("l", 1, "long", "/jup/x/"), NOW);
    let mut exact = route("m", 1, "exact", "/jup/x/y");
    exact.scope.exact = true;
    put(&mut cache, "a", exact, NOW);
    for (path, expected) in [
        ("/jup", Some("short")),
        ("/jup?x=/jup/x/", Some("short")),
        ("/jup/x", Some("short")),
        ("/jup/x/", Some("long")),
        ("/jup/x/y?q", Some("exact")),
        ("/jup/x/y/z", Some("long")),
        ("/jupx", None),
        ("/", None),
    ] {
        assert_eq!(
            engine(&mut cache, "a", path, NOW).as_deref(),
            expected,
            "{path}"
        );
    }
    assert_eq!(engine(&mut cache, "b", "/jup", NOW), None);
    assert!(
        cache
            .find(&credential("a"), "h", "/jup", NOW, false)
            .is_none()
    );
}

#[test]
fn a_host_narrows_a_scope() {
    let mut cache = cache(100, 1 << 20);
    let mut other = route("l", 1, "other", "/");
    other.scope.host = Some("other".to_owned());
    put(&mut cache, "a", other, NOW);
    assert_eq!(engine(&mut cache, "a", "/x", NOW), None);
    put(&mut cache, "a", route("k", 1, "any", "/"), NOW);
    assert_eq!(engine(&mut cache, "a", "/x", NOW).as_deref(), Some("any"));
    let found = cache.find(&credential("a"), "other", "/x", NOW, true);
    assert_eq!(found.unwrap().engine, "other");
}

#[test]
fn an_entry_counts_from_when_its_call_was_sent() {
    let mut cache = cache(100, 1 << 20);
    let key = credential("a");
    // The answer took 5 of its 10 seconds.
    assert!(cache.insert(
        key,
        &Rc::new(route("k", 1, "e", "/")),
        10_000,
        NOW,
        0,
        NOW + 5_000
    ));
    assert!(engine(&mut cache, "a", "/", NOW + 9_999).is_some());
    assert!(engine(&mut cache, "a", "/", NOW + 10_000).is_none());
    // A clock that was set back makes it unusable.
    assert!(engine(&mut cache, "a", "/", NOW - 1).is_none());
    // The settings are the maximum.
    assert!(cache.insert(
        key,
        &Rc::new(route("k", 1, "e", "/")),
        u64::MAX,
        NOW,
        0,
        NOW
    ));
    assert!(engine(&mut cache, "a", "/", NOW + 29_999).is_some());
    assert!(engine(&mut cache, "a", "/", NOW + 30_000).is_none());
    // An answer that arrives too late is not stored.
    assert!(cache.insert(
        credential("b"),
        &Rc::new(route("k", 1, "e", "/")),
        10,
        NOW,
        0,
        NOW + 10
    ));
    assert!(engine(&mut cache, "b", "/", NOW + 10).is_none());
}

#[test]
fn a_moved_key_is_asked_for_again_and_older_answers_are_refused() {
    let mut cache = cache(100, 1 << 20);
    put(&mut cache, "a", route("k", 2, "old", "/"), NOW);
    put(&mut cache, "b", route("k", 2, "old", "/"), NOW);
    put(&mut cache, "b", route("l", 2, "stays", "/l/"), NOW);
    cache.key_moved("k", 3, NOW + 10);
    assert_eq!(engine(&mut cache, "a", "/", NOW + 10), None);
    assert_eq!(engine(&mut cache, "b", "/", NOW + 10), None);
    assert_eq!(
        engine(&mut cache, "b", "/l/", NOW + 10).as_deref(),
        Some("stays")
    );
    assert!(!put(&mut cache, "a", route("k", 2, "old", "/"), NOW + 20));
    assert!(put(&mut cache, "a", route("k", 3, "new", "/"), NOW + 20));
    assert_eq!(
        engine(&mut cache, "a", "/", NOW + 20).as_deref(),
        Some("new")
    );
    // A late event of a lower epoch changes nothing.
    cache.key_moved("k", 2, NOW + 30);
    assert_eq!(
        engine(&mut cache, "a", "/", NOW + 30).as_deref(),
        Some("new")
    );
    assert!(!put(
        &mut cache,
        "c",
        route("k", 2, "old", "/"),
        NOW + 59_000
    ));
}

#[test]
fn an_answer_with_a_greater_epoch_outdates_entries_of_other_credentials() {
    let mut cache = cache(100, 1 << 20);
    put(&mut cache, "a", route("k", 1, "old", "/"), NOW);
    put(&mut cache, "b", route("k", 2, "new", "/"), NOW + 1);
    assert_eq!(engine(&mut cache, "a", "/", NOW + 1), None);
    assert_eq!(
        engine(&mut cache, "b", "/", NOW + 1).as_deref(),
        Some("new")
    );
}

#[test]
fn of_two_answers_with_one_epoch_the_later_look_up_stays() {
    let mut cache = cache(100, 1 << 20);
    let at = |as_of| EngineRoute {
        as_of,
        ..route("k", 1, &format!("e{as_of}"), "/")
    };
    put(&mut cache, "a", at(2), NOW);
    put(&mut cache, "a", at(1), NOW);
    assert_eq!(engine(&mut cache, "a", "/", NOW).as_deref(), Some("e2"));
    put(&mut cache, "a", at(3), NOW);
    assert_eq!(engine(&mut cache, "a", "/", NOW).as_deref(), Some("e3"));
    // Another key of the same scope replaces it, whatever its epoch is.
    put(&mut cache, "a", route("l", 0, "other", "/"), NOW);
    assert_eq!(engine(&mut cache, "a", "/", NOW).as_deref(), Some("other"));
    assert_eq!(cache.entries, 1);
}

#[test]
fn a_closed_engine_is_asked_for_again() {
    let mut cache = cache(100, 1 << 20);
    put(&mut cache, "a", route("k", 1, "e", "/"), NOW);
    put(&mut cache, "b", route("l", 1, "f", "/"), NOW);
    cache.engine_closed("p".to_owned(), "e".to_owned(), NOW + 10);
    assert_eq!(engine(&mut cache, "a", "/", NOW + 10), None);
    assert!(engine(&mut cache, "b", "/", NOW + 10).is_some());
    // The call was sent before the engine was closed.
    assert!(!cache.insert(
        credential("a"),
        &Rc::new(route("k", 1, "e", "/")),
        1_000,
        NOW + 9,
        0,
        NOW + 20
    ));
    // A later answer names it again: it is open again.
    assert!(put(&mut cache, "a", route("k", 1, "e", "/"), NOW + 11));
    assert!(engine(&mut cache, "a", "/", NOW + 11).is_some());
}

#[test]
fn entries_of_ended_sessions_are_removed() {
    let mut cache = cache(100, 1 << 20);
    put(&mut cache, "a", route("k", 1, "e", "/"), NOW);
    let other = EngineRoute {
        session_ref: "other".into(),
        ..route("k", 1, "e", "/")
    };
    put(&mut cache, "b", other, NOW);
    cache.remove_sessions(&[]);
    cache.remove_sessions(&["r".to_owned()]);
    assert_eq!(engine(&mut cache, "a", "/", NOW), None);
    assert!(engine(&mut cache, "b", "/", NOW).is_some());
    assert_eq!(
        (cache.entries, cache.credentials.len(), cache.order.len()),
        (1, 1, 1)
    );
}

#[test]
fn a_cleared_cache_takes_no_answer_of_an_earlier_generation() {
    let mut cache = cache(100, 1 << 20);
    let generation = cache.generation();
    put(&mut cache, "a", route("k", 1, "e", "/"), NOW);
    cache.clear();
    assert_eq!(engine(&mut cache, "a", "/", NOW), None);
    assert!(cache.insert(
        credential("a"),
        &Rc::new(route("k", 1, "e", "/")),
        1_000,
        NOW,
        generation,
        NOW
    ));
    assert_eq!(engine(&mut cache, "a", "/", NOW), None);
    assert_eq!((cache.entries, cache.bytes), (0, 0));
}

#[test]
fn scopes_entries_and_bytes_are_bounded() {
    let mut cache = cache(40, 1 << 20);
    for n in 0..=20 {
        let prefix = format!("/{n}/");
        put(&mut cache, "a", route(&prefix, 1, "e", &prefix), NOW + n);
    }
    assert_eq!(cache.entries, MAX_SCOPES);
    assert!(engine(&mut cache, "a", "/4/", NOW + 30).is_none());
    assert!(engine(&mut cache, "a", "/5/", NOW + 30).is_some());
    for n in 0..24 {
        put(
            &mut cache,
            &format!("c{n}"),
            route("k", 1, "e", "/"),
            NOW + 30,
        );
    }
    assert_eq!(cache.entries, 40);
    // The credential with many scopes is the one that was used least recently.
    put(&mut cache, "d", route("k", 1, "e", "/"), NOW + 30);
    assert!(engine(&mut cache, "a", "/5/", NOW + 30).is_none());
    assert!(engine(&mut cache, "c0", "/", NOW + 30).is_some() && cache.entries == 25);
    let mut disabled = AffinityCache::new(Settings {
        entries: 0,
        ..cache.settings
    });
    assert!(put(&mut disabled, "a", route("k", 1, "e", "/"), NOW));
    assert!(engine(&mut disabled, "a", "/", NOW).is_none());
}

#[test]
fn a_path_is_rewritten_with_its_query() {
    let rewriting = EngineRoute {
        rewrite: Some("/".to_owned()),
        ..route("k", 1, "e", "/jup/")
    };
    assert_eq!(rewriting.rewritten("/jup/api/x?y=/jup/"), "/api/x?y=/jup/");
    assert_eq!(rewriting.rewritten("/jup/?a"), "/?a");
    assert_eq!(
        route("k", 1, "e", "/jup/").rewritten("/jup/a?b"),
        "/jup/a?b"
    );
    let exact = EngineRoute {
        scope: AffinityScope {
            host: None,
            prefix: "/room/a".to_owned(),
            exact: true,
        },
        rewrite: Some("/ws".to_owned()),
        ..route("k", 1, "e", "")
    };
    assert_eq!(exact.rewritten("/room/a?b"), "/ws?b");
}

#[test]
fn requests_of_one_route_share_a_call() {
    let key = credential("a");
    assert!(key.for_route("h", 1) == key.for_route("h", 1));
    for other in [
        key.for_route("h", 2),
        key.for_route("i", 1),
        credential("b").for_route("h", 1),
        key,
    ] {
        assert!(key.for_route("h", 1) != other);
    }
}

#[cfg(not(target_family = "wasm"))]
proptest! {
    /// In any history, no entry outlives its time, its epoch, its engine or its session, and the bounds hold.
    #[test]
    fn no_outdated_engine_is_found(steps in prop::collection::vec((0_u8..7, 0_u64..4, 0_u64..4, 0_u64..4, 0_u64..5_000), 1..80)) {
        let mut cache = cache(6, 8_192);
        let (mut now, mut closed, mut epochs, mut generation_started) = (NOW, HashMap::new(), HashMap::new(), 0);
        let mut inserted: Vec<(u64, EngineRoute, u64, u64)> = Vec::new();
        for (step, name, key, epoch, later) in steps {
            now += later;
            match step {
                0..=3 => {
                    // Sent a while before it is answered.
                    let sent_at = now - later / 2;
                    let mut route = route(&format!("k{key}"), epoch, &format!("e{}", (key + epoch) % 3), &format!("/{key}/"));
                    route.session_ref = format!("r{name}").into();
                    let generation = cache.generation();
                    if cache.insert(credential(&name.to_string()), &Rc::new(route.clone()), 20_000, sent_at, generation, now) {
                        let heard = epochs.entry(route.key.clone()).or_insert(epoch);
                        *heard = epoch.max(*heard);
                    }
                    inserted.push((name, route, sent_at, cache.generation()));
                }
                4 => {
                    cache.key_moved(&format!("k{key}"), epoch, now);
                    let heard = epochs.entry(format!("k{key}").into()).or_insert(epoch);
                    *heard = epoch.max(*heard);
                }
                5 => {
                    cache.engine_closed("p".to_owned(), format!("e{key}"), now);
                    closed.insert(format!("e{key}"), now);
                }
                _ if key == 0 => {
                    cache.clear();
                    epochs.clear();
                    closed.clear();
                    generation_started = cache.generation();
                }
                _ => {
                    cache.remove_sessions(&[format!("r{name}")]);
                    inserted.retain(|(owner, ..)| *owner != name);
                }
            }
            let counted = cache.credentials.values().flat_map(|scopes| &scopes.entries);
            prop_assert_eq!((counted.clone().count(), counted.map(size).sum::<usize>()), (cache.entries, cache.bytes));
            prop_assert!(cache.entries <= 6 && cache.bytes <= 8_192 && cache.order.len() == cache.credentials.len());
            for (name, key) in (0..4).flat_map(|name| (0..4).map(move |key| (name, key))) {
                let Some(found) = cache.find(&credential(&name.to_string()), "h", &format!("/{key}/x"), now, true) else { continue };
                let origin = inserted.iter().find(|(owner, route, sent_at, generation)| {
                    *owner == name && *route == *found && *generation >= generation_started
                        && now >= *sent_at && now - sent_at < 20_000
                        && closed.get(&route.engine).is_none_or(|closed_at| closed_at < sent_at)
                });
                prop_assert!(origin.is_some(), "{found:?}");
                prop_assert!(found.epoch >= *epochs.get(&found.key).unwrap_or(&0) || now > NOW + RETENTION_MS);
            }
        }
    }
}
