//! Messages on the call stream, on both sides. A reply goes to the requester of its call or to nobody, and only once.
//! The debug output of a call or reply does not depend on its body and is bounded.
use berth_api::{Call, Reply};
use berth_filter::lane::Lane;
use prost::Message;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(call) = Call::decode(data) {
        let other_body = vec![0; call.body.len()];
        let printed = format!("{call:?}");
        assert!(!printed.contains(char::is_control) && printed.len() < 4_096);
        let call = Call {
            body: other_body,
            ..call
        };
        assert_eq!(printed, format!("{call:?}"));
    }
    if let Ok(reply) = Reply::decode(data) {
        let other_body = vec![0; reply.body.len()];
        let printed = format!("{reply:?}");
        let reply = Reply {
            body: other_body,
            ..reply
        };
        assert_eq!(printed, format!("{reply:?}"));
    }
    let mut opening = Lane::<u64>::new(1_000, 0);
    opening.opening(Some(1), 0);
    // Instead of the greeting: no requester waits for a reply yet.
    let first = opening.heard(1, data, 1).ok().flatten();
    assert_eq!(first.and_then(|first| first.who), None);
    let mut lane = Lane::new(1_000, 0);
    lane.opening(Some(1), 0);
    let greeting = Reply::greeting().encode_to_vec();
    assert!(lane.heard(1, &greeting, 0).is_ok());
    let mut waiting = Vec::new();
    for who in 1..=3_u64 {
        let sent = lane.call("/v1/tokens", Vec::new(), who, 0);
        waiting.push(sent.map(|sending| sending.id).unwrap_or_default());
    }
    assert_eq!(waiting, [1, 2, 3]);
    let heard = lane.heard(1, data, 1).ok().flatten();
    let heard = heard.and_then(|heard| heard.who);
    if let Some(who) = &heard {
        assert!(waiting.contains(who));
        let again = lane.heard(1, data, 2).ok().flatten();
        assert_eq!(again.and_then(|again| again.who), None);
    }
    let left = lane.closed(1, 3).map_or(0, |left| left.len());
    assert_eq!(left + usize::from(heard.is_some()), 3);
}
