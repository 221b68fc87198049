//! What is reported, when, and that nothing of a lost report is lost.

use super::*;
use crate::placement::Placed;
use crate::streams::{Ending, Streams};
use std::collections::BTreeSet;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn open(reports: &mut Reports, streams: &mut Streams, id: u32) {
    let placed = Placed {
        stream: id.to_string(),
        session_ref: format!("ref-{id}"),
        pool: "qix".to_owned(),
        engine: "engine-0".to_owned(),
        reason: String::new(),
        session_expires_at: u64::MAX,
        max_age: None,
    };
    streams.open(id, placed, 0, 0.5);
    reports.opened(id, streams.describe(id).unwrap());
}

fn close(reports: &mut Reports, streams: &mut Streams, id: u32) {
    let closed = streams.close(id, 0, Ending::default()).unwrap();
    reports.closed(closed);
}

fn names(streams: &[OpenStream]) -> BTreeSet<u32> {
    streams.iter().map(|s| s.stream.parse().unwrap()).collect()
}

#[test]
fn changes_go_at_once_and_the_next_ones_together() {
    let (mut reports, mut streams) = (Reports::default(), Streams::new(500));
    assert_eq!(reports.next(&streams, 0), None);
    open(&mut reports, &mut streams, 1);
    let report = reports.next(&streams, 1_000).unwrap();
    assert_eq!((report.sequence, names(&report.opened)), (1, [1].into()));
    open(&mut reports, &mut streams, 2);
    assert_eq!(reports.next(&streams, 1_100), None, "one is under way");
    reports.succeeded(1_100);
    open(&mut reports, &mut streams, 3);
    close(&mut reports, &mut streams, 1);
    assert_eq!(reports.next(&streams, 1_349), None);
    let report = reports.next(&streams, 1_350).unwrap();
    assert_eq!((report.sequence, names(&report.opened)), (2, [2, 3].into()));
    assert_eq!((report.closed.len(), report.full), (1, None));
    reports.succeeded(1_360);
    assert!(!reports.is_pending());
}

#[test]
fn activity_waits_for_company_and_is_seldom() {
    let (mut reports, streams) = (Reports::default(), Streams::new(500));
    reports.active("a", 10_000);
    reports.active("b", 10_200);
    reports.active("a", 10_400);
    assert_eq!(reports.next(&streams, 10_499), None);
    let report = reports.next(&streams, 10_500).unwrap();
    let told: BTreeSet<String> = report.active.into_iter().collect();
    assert_eq!(told, ["a".to_owned(), "b".to_owned()].into());
    reports.succeeded(10_500);
    reports.active("a", 10_999);
    assert!(!reports.is_pending());
    reports.active("a", 11_000);
    assert!(reports.is_pending());
}

#[test]
fn of_more_than_fits_the_rest_comes_next() {
    let (mut reports, mut streams) = (Reports::default(), Streams::new(500));
    for id in 0..700 {
        open(&mut reports, &mut streams, id);
    }
    for id in 0..10 {
        close(&mut reports, &mut streams, id);
        reports.active(&id.to_string(), 0);
    }
    let mut sizes = Vec::new();
    let mut now = 10_000;
    while let Some(report) = reports.next(&streams, now) {
        sizes.push([
            report.opened.len(),
            report.closed.len(),
            report.active.len(),
        ]);
        reports.succeeded(now);
        now += EVERY_MS;
    }
    assert_eq!(sizes, [[500, 0, 0], [200, 10, 10]]);
}

#[test]
fn a_lost_report_is_said_again() {
    let (mut reports, mut streams) = (Reports::default(), Streams::new(500));
    for id in 1..=3 {
        open(&mut reports, &mut streams, id);
    }
    close(&mut reports, &mut streams, 1);
    reports.active("a", 0);
    let first = reports.next(&streams, 1_000).unwrap();
    open(&mut reports, &mut streams, 4);
    // Nothing is heard of it.
    assert_eq!(reports.next(&streams, 1_000 + LOST_AFTER_MS - 1), None);
    assert_eq!(reports.next(&streams, 1_000 + LOST_AFTER_MS), None);
    let again = reports.next(&streams, 1_250 + LOST_AFTER_MS).unwrap();
    assert_eq!((again.sequence, again.full), (2, Some(Part::Whole)));
    assert_eq!(names(&again.opened), [2, 3, 4].into());
    assert_eq!((again.closed, again.active), (first.closed, first.active));
}

#[test]
fn a_list_in_parts_has_what_opens_meanwhile_and_not_what_closes() {
    let (mut reports, mut streams) = (Reports::default(), Streams::new(500));
    for id in 0..600 {
        open(&mut reports, &mut streams, id);
    }
    reports.list();
    let first = reports.next(&streams, 0).unwrap();
    assert_eq!((first.full, first.opened.len()), (Some(Part::First), 500));
    reports.succeeded(0);
    open(&mut reports, &mut streams, 600);
    let listed = names(&first.opened);
    let (gone, rest): (Vec<u32>, Vec<u32>) = (0..600)
        .filter(|id| !listed.contains(id))
        .partition(|id| id % 2 == 0);
    for id in &gone {
        close(&mut reports, &mut streams, *id);
    }
    let last = reports.next(&streams, EVERY_MS).unwrap();
    assert_eq!(last.full, Some(Part::Last));
    let expected: BTreeSet<u32> = rest.into_iter().chain([600]).collect();
    assert_eq!(names(&last.opened), expected);
    assert_eq!(last.closed.len(), gone.len());
    reports.succeeded(EVERY_MS);
    open(&mut reports, &mut streams, 601);
    assert_eq!(reports.next(&streams, 2 * EVERY_MS).unwrap().full, None);
}

#[test]
fn a_long_outage_is_bounded() {
    let (mut reports, mut streams) = (Reports::default(), Streams::new(500));
    for id in 0..30_000 {
        open(&mut reports, &mut streams, id);
        close(&mut reports, &mut streams, id);
        reports.active(&id.to_string(), 0);
        if id % 1_000 == 0 && reports.next(&streams, u64::from(id) * 10).is_some() {
            reports.failed(u64::from(id) * 10);
        }
    }
    assert!(reports.closed.len() <= MAX_KEPT && reports.opened.is_empty());
    assert!(reports.mentioned.len() <= MAX_KEPT && reports.active.len() <= MAX_KEPT);
}
