//! What is reported and when, and that a failed report loses nothing.

use super::*;
use crate::streams::{PlacedStream, StreamSummary, Streams};
use std::collections::BTreeSet;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn open(reporter: &mut StreamReporter, streams: &mut Streams, id: u32) {
    let placed = PlacedStream {
        stream: id.to_string(),
        session_ref: format!("ref-{id}"),
        pool: "qix".to_owned(),
        engine: "engine-0".to_owned(),
        reason: String::new(),
        session_expires_at: u64::MAX,
        max_age: None,
        key: None,
        counts_activity: true,
    };
    streams.open(id, placed, 0, 0.5);
    reporter.opened(id, streams.describe(id).unwrap());
}

fn close(reporter: &mut StreamReporter, streams: &mut Streams, id: u32) {
    let closed = streams.close(id, 0, StreamSummary::default()).unwrap();
    reporter.closed(closed);
}

fn names(streams: &[OpenStream]) -> BTreeSet<u32> {
    streams.iter().map(|s| s.stream.parse().unwrap()).collect()
}

#[test]
fn changes_are_reported_at_once_and_then_in_batches() {
    let (mut reporter, mut streams) = (StreamReporter::default(), Streams::new(500));
    assert_eq!(reporter.next(&streams, 0), None);
    open(&mut reporter, &mut streams, 1);
    let report = reporter.next(&streams, 1_000).unwrap();
    assert_eq!((report.sequence, names(&report.opened)), (1, [1].into()));
    open(&mut reporter, &mut streams, 2);
    assert_eq!(reporter.next(&streams, 1_100), None, "one is in flight");
    reporter.succeeded(1_100);
    open(&mut reporter, &mut streams, 3);
    close(&mut reporter, &mut streams, 1);
    assert_eq!(reporter.next(&streams, 1_349), None);
    let report = reporter.next(&streams, 1_350).unwrap();
    assert_eq!((report.sequence, names(&report.opened)), (2, [2, 3].into()));
    assert_eq!((report.closed.len(), report.full), (1, None));
    reporter.succeeded(1_360);
    assert!(!reporter.is_pending());
}

#[test]
fn activity_is_batched_and_limited_in_rate() {
    let (mut reporter, streams) = (StreamReporter::default(), Streams::new(500));
    reporter.active("a", 10_000);
    reporter.active("b", 10_200);
    reporter.active("a", 10_400);
    assert_eq!(reporter.next(&streams, 10_499), None);
    let report = reporter.next(&streams, 10_500).unwrap();
    let active: BTreeSet<String> = report.active.into_iter().collect();
    assert_eq!(active, ["a".to_owned(), "b".to_owned()].into());
    reporter.succeeded(10_500);
    reporter.active("a", 10_999);
    assert!(!reporter.is_pending());
    reporter.active("a", 11_000);
    assert!(reporter.is_pending());
}

#[test]
fn a_large_report_is_split() {
    let (mut reporter, mut streams) = (StreamReporter::default(), Streams::new(500));
    for id in 0..700 {
        open(&mut reporter, &mut streams, id);
    }
    for id in 0..10 {
        close(&mut reporter, &mut streams, id);
        reporter.active(&id.to_string(), 0);
    }
    let mut sizes = Vec::new();
    let mut now = 10_000;
    while let Some(report) = reporter.next(&streams, now) {
        sizes.push([
            report.opened.len(),
            report.closed.len(),
            report.active.len(),
        ]);
        reporter.succeeded(now);
        now += INTERVAL_MS;
    }
    assert_eq!(sizes, [[500, 0, 0], [200, 10, 10]]);
}

#[test]
fn a_failed_report_is_repeated() {
    let (mut reporter, mut streams) = (StreamReporter::default(), Streams::new(500));
    for id in 1..=3 {
        open(&mut reporter, &mut streams, id);
    }
    close(&mut reporter, &mut streams, 1);
    reporter.active("a", 0);
    let first = reporter.next(&streams, 1_000).unwrap();
    open(&mut reporter, &mut streams, 4);
    // It gets no response.
    assert_eq!(reporter.next(&streams, 1_000 + TIMEOUT_MS - 1), None);
    assert_eq!(reporter.next(&streams, 1_000 + TIMEOUT_MS), None);
    let repeated = reporter.next(&streams, 1_250 + TIMEOUT_MS).unwrap();
    assert_eq!(
        (repeated.sequence, repeated.full),
        (2, Some(FullSyncPart::Whole))
    );
    assert_eq!(names(&repeated.opened), [2, 3, 4].into());
    assert_eq!(
        (repeated.closed, repeated.active),
        (first.closed, first.active)
    );
}

#[test]
fn a_list_in_parts_includes_new_streams_and_omits_closed_ones() {
    let (mut reporter, mut streams) = (StreamReporter::default(), Streams::new(500));
    for id in 0..600 {
        open(&mut reporter, &mut streams, id);
    }
    reporter.request_full_sync();
    let first = reporter.next(&streams, 0).unwrap();
    assert_eq!(
        (first.full, first.opened.len()),
        (Some(FullSyncPart::First), 500)
    );
    reporter.succeeded(0);
    open(&mut reporter, &mut streams, 600);
    let listed = names(&first.opened);
    let (closed, still_open): (Vec<u32>, Vec<u32>) = (0..600)
        .filter(|id| !listed.contains(id))
        .partition(|id| id % 2 == 0);
    for id in &closed {
        close(&mut reporter, &mut streams, *id);
    }
    let last = reporter.next(&streams, INTERVAL_MS).unwrap();
    assert_eq!(last.full, Some(FullSyncPart::Last));
    let expected: BTreeSet<u32> = still_open.into_iter().chain([600]).collect();
    assert_eq!(names(&last.opened), expected);
    assert_eq!(last.closed.len(), closed.len());
    reporter.succeeded(INTERVAL_MS);
    open(&mut reporter, &mut streams, 601);
    assert_eq!(reporter.next(&streams, 2 * INTERVAL_MS).unwrap().full, None);
}

#[test]
fn queues_are_bounded_in_a_long_outage() {
    let (mut reporter, mut streams) = (StreamReporter::default(), Streams::new(500));
    for id in 0..30_000 {
        open(&mut reporter, &mut streams, id);
        close(&mut reporter, &mut streams, id);
        reporter.active(&id.to_string(), 0);
        if id % 1_000 == 0 && reporter.next(&streams, u64::from(id) * 10).is_some() {
            reporter.failed(u64::from(id) * 10);
        }
    }
    assert!(reporter.closed.len() <= MAX_QUEUED && reporter.opened.is_empty());
    assert!(reporter.sessions.len() <= MAX_QUEUED);
}
