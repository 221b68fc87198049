//! The event log: ordered, without gaps, trimmed at its oldest entries; reader positions and dead letters.

use super::{event, session_row};
use crate::{Bounds, DeadLetter, EventLog};

/// Checks appending, reading and trimming, positions and dead letters.
pub async fn events(store: &impl EventLog) {
    assert_eq!(store.bounds().await.unwrap(), Bounds::default());
    assert_eq!(store.events_after(0, 10).await.unwrap(), []);
    let all: Vec<_> = (1..=5)
        .map(|seed| event(&session_row(seed), None))
        .collect();
    let (first, rest) = all.split_at(2);
    store.append(first).await.unwrap();
    store.append(rest).await.unwrap();
    store.append(&[]).await.unwrap();
    let numbered: Vec<_> = (1_u64..).zip(all).collect();
    assert_eq!(store.events_after(0, 10).await.unwrap(), numbered);
    assert_eq!(store.events_after(1, 2).await.unwrap(), numbered[1..3]);
    assert_eq!(store.events_after(5, 2).await.unwrap(), []);
    let bounds = |removed, newest| Bounds { removed, newest };
    assert_eq!(store.bounds().await.unwrap(), bounds(0, 5));
    store.trim_events(2).await.unwrap();
    assert_eq!(store.events_after(0, 10).await.unwrap(), numbered[3..]);
    assert_eq!(store.bounds().await.unwrap(), bounds(3, 5));
    store.trim_events(0).await.unwrap();
    assert_eq!(store.bounds().await.unwrap(), bounds(5, 5));
    store.append(&[numbered[0].1.clone()]).await.unwrap();
    assert_eq!(
        store.bounds().await.unwrap(),
        bounds(5, 6),
        "no sequence number is reused"
    );

    assert_eq!(store.position("hook").await.unwrap(), None);
    store.set_position("hook", 4).await.unwrap();
    store.set_position("hook", 6).await.unwrap();
    assert_eq!(store.position("hook").await.unwrap(), Some(6));
    assert_eq!(store.position("other").await.unwrap(), None);

    let letter = |sequence: u64, error: &str| DeadLetter {
        webhook: "hook".to_owned(),
        sequence,
        event: event(&session_row(1), None),
        error: error.to_owned(),
        at_ms: 7,
    };
    let add = async |letter: &DeadLetter| store.add_dead_letter(letter, 2).await.unwrap();
    add(&letter(12, "500")).await;
    add(&letter(3, "500")).await;
    add(&letter(3, "404")).await;
    let kept = store.dead_letters("hook", 10).await.unwrap();
    assert_eq!(kept, [letter(3, "404"), letter(12, "500")]);
    assert_eq!(store.dead_letters("hook", 1).await.unwrap().len(), 1);
    assert_eq!(store.dead_letters("other", 10).await.unwrap(), []);
    let found = store.dead_letter("hook", 12).await.unwrap();
    assert_eq!(found, Some(letter(12, "500")));
    assert_eq!(store.dead_letter("hook", 4).await.unwrap(), None);
    assert_eq!(store.dead_letter("other", 12).await.unwrap(), None);
    let of_other = DeadLetter {
        webhook: "other".to_owned(),
        ..letter(1, "500")
    };
    add(&of_other).await;
    add(&letter(20, "500")).await;
    let kept = store.dead_letters("hook", 10).await.unwrap();
    assert_eq!(
        kept,
        [letter(12, "500"), letter(20, "500")],
        "the oldest is removed"
    );
    let others = store.dead_letters("other", 10).await.unwrap();
    assert_eq!(others, [of_other]);
    assert!(store.remove_dead_letter("hook", 12).await.unwrap());
    assert!(!store.remove_dead_letter("hook", 12).await.unwrap());
}
