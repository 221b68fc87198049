//! Lost reports, and the full lists that gateways send after them.

use super::*;

#[test]
fn a_lost_report_requires_the_full_list() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e")]));
    assert_eq!(testbed.registry.check_sequence("g", 3), SequenceCheck::Gap);
    let outcome = testbed.take("g", &opened(3, &[("c", "s", "e")]));
    assert!(outcome.resync && outcome.resync_is_new);
    assert_eq!(
        testbed.stream_counts("e"),
        (2, 2),
        "it is open although a report is missing"
    );
    // The missing report arrives late.
    let late_report = testbed.take("g", &closed(2, &["c"]));
    assert!(late_report.resync && !late_report.resync_is_new);
    assert_eq!(testbed.stream_counts("e"), (2, 2));
    let full_report = full(
        FullSyncPart::Whole,
        opened(4, &[("c", "s", "e"), ("d", "t", "e")]),
    );
    let outcome = testbed.take("g", &full_report);
    assert_eq!((outcome.resync, outcome.lost), (false, 1), "a is gone");
    assert_eq!(testbed.stream_counts("e"), (2, 2));
    assert!(!testbed.registry.needs_full_list("g"));
}

#[test]
fn an_unknown_gateway_with_earlier_reports_requires_the_full_list() {
    let mut testbed = testbed();
    let outcome = testbed.take("g", &opened(57, &[("a", "s", "e")]));
    assert!(outcome.resync && outcome.resync_is_new);
    assert_eq!(testbed.stream_counts("e"), (1, 1));
    assert_eq!(
        testbed.registry.check_sequence("g", 58),
        SequenceCheck::InOrder
    );
    assert!(
        testbed.take("g", &closed(58, &[])).resync,
        "until it arrives"
    );
}

#[test]
fn a_list_in_parts_is_complete_with_its_last_part() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e"), ("b", "s", "e")]));
    testbed.take(
        "g",
        &full(FullSyncPart::First, opened(2, &[("c", "s", "e")])),
    );
    // Between two parts a stream opens, and a listed one closes.
    testbed.take("g", &opened(3, &[("d", "s", "e")]));
    testbed.take("g", &closed(4, &["c"]));
    testbed.take(
        "g",
        &full(FullSyncPart::Middle, opened(5, &[("b", "s", "e")])),
    );
    assert_eq!(testbed.stream_counts("e"), (3, 3), "a, b and d");
    let outcome = testbed.take("g", &full(FullSyncPart::Last, opened(6, &[])));
    assert_eq!((outcome.lost, outcome.resync), (1, false));
    assert_eq!(testbed.stream_counts("e"), (2, 2));
    // Parts without a first one, or with a gap before them, are not a list.
    assert!(
        testbed
            .take("g", &full(FullSyncPart::Last, opened(7, &[])))
            .resync
    );
    testbed.take(
        "g",
        &full(FullSyncPart::First, opened(8, &[("b", "s", "e")])),
    );
    let outcome = testbed.take("g", &full(FullSyncPart::Last, opened(10, &[])));
    assert_eq!((outcome.lost, outcome.resync), (0, true));
    assert_eq!(testbed.stream_counts("e"), (2, 2));
}
