//! The placement service's answers to the filter: any answer yields only valid headers.
use berth_filter::placement::{placement, token};
use berth_filter::step::Change;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    for answer in [placement(data), token(data)].into_iter().flatten() {
        assert!(answer.token.bytes().all(|b| b.is_ascii_graphic()));
        for change in answer.changes {
            let Change::Set(name, value) = change else {
                panic!("answers only set")
            };
            assert!(!value.iter().any(u8::is_ascii_control));
            assert!(!["host", "cookie", "authorization", "content-length"].contains(&&*name));
        }
    }
}
