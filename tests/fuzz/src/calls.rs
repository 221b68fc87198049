//! Messages on the call stream, on either side: the gateway gives a reply to the requester of that call, once, or to
//! nobody; the debug output of a call has no body, and its path is shortened.
use berth_api::{Call, Reply};
use berth_filter_core::control::call_stream::CallStream;
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
    let mut opening = CallStream::<u64>::new(1_000, 0);
    opening.opening(Some(1), 0);
    // In place of the greeting: no call is pending yet.
    let first = opening.on_message(1, data, 1).ok().flatten();
    assert_eq!(first.and_then(|first| first.requester), None);
    let mut calls = CallStream::new(1_000, 0);
    calls.opening(Some(1), 0);
    let greeting = Reply::greeting().encode_to_vec();
    assert!(calls.on_message(1, &greeting, 0).is_ok());
    let mut ids = Vec::new();
    for requester in 1..=3_u64 {
        let sent = calls.call("/v1/tokens", Vec::new(), requester, 0);
        ids.push(sent.map(|message| message.id).unwrap_or_default());
    }
    assert_eq!(ids, [1, 2, 3]);
    let reply = calls.on_message(1, data, 1).ok().flatten();
    let requester = reply.and_then(|reply| reply.requester);
    if let Some(requester) = &requester {
        assert!(ids.contains(requester));
        let again = calls.on_message(1, data, 2).ok().flatten();
        assert_eq!(again.and_then(|again| again.requester), None);
    }
    let pending = calls.closed(1, 3).map_or(0, |pending| pending.len());
    assert_eq!(pending + usize::from(requester.is_some()), 3);
}
