//! Responses of the placement service: whatever they contain, only valid headers result.
use berth_filter_core::decision::effects::HeaderMutation;
use berth_filter_core::decision::response::{validate_placement, validate_token};

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    for answer in [validate_placement(data), validate_token(data)]
        .into_iter()
        .flatten()
    {
        assert!(answer.token.bytes().all(|b| b.is_ascii_graphic()));
        for mutation in answer.mutations {
            let HeaderMutation::Set(name, value) = mutation else {
                panic!("responses only set headers")
            };
            assert!(!value.iter().any(u8::is_ascii_control));
            assert!(!["host", "cookie", "authorization", "content-length"].contains(&&*name));
        }
    }
}
