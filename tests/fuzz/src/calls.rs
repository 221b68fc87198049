//! Messages on the stream of calls, on either side: whatever a reply says, the lane hands it to the one who waits
//! for that call or to nobody, once; whatever a call says, its body is not printed, and its path not at any length.
use berth_api::{Call, Reply};
use berth_filter::lane::Lane;
use prost::Message;

/// One input.
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
    // In the place of the greeting: whatever it is, nobody waits for it yet.
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
