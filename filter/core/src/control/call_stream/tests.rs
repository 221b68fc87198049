//! When a stream opens, which calls it carries, and what happens to them when it is lost.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const STREAM: u32 = 7;

fn open() -> CallStream<&'static str> {
    let mut stream = CallStream::new(1_000, 0);
    assert!(stream.call("/a", b"x".to_vec(), "first", 0).is_err());
    stream.http_call_answered();
    assert!(stream.is_due(0));
    stream.opening(Some(STREAM), 0);
    greet(&mut stream, 0);
    stream
}

fn greet(stream: &mut CallStream<&'static str>, now: u64) {
    let greeting = stream.on_message(STREAM, &reply(0), now).unwrap().unwrap();
    assert_eq!(greeting.requester, None);
}

fn call(stream: &mut CallStream<&'static str>, requester: &'static str, now: u64) -> u64 {
    let Ok(message) = stream.call("/a", b"x".to_vec(), requester, now) else {
        panic!("{requester} was not sent");
    };
    assert_eq!(message.stream, STREAM);
    let call = Call::decode(&message.message[..]).unwrap();
    assert_eq!(
        (call.id, &*call.path, &*call.body),
        (message.id, "/a", &b"x"[..])
    );
    message.id
}

fn reply(id: u64) -> Vec<u8> {
    let body = b"{}".to_vec();
    let reply = Reply {
        id,
        status: 200,
        body,
    };
    reply.encode_to_vec()
}

#[test]
fn a_stream_opens_only_after_an_answered_http_call() {
    let mut stream = CallStream::new(1_000, 0);
    assert!(!stream.is_due(0));
    let refused = stream.call("/a", b"x".to_vec(), "one", 0);
    assert_eq!(refused.err(), Some((b"x".to_vec(), "one")));
    assert!(!stream.is_due(0), "the service may not exist");
    stream.http_call_answered();
    assert!(stream.is_due(0));
    stream.opening(Some(STREAM), 0);
    assert!(!stream.is_due(100_000), "one at a time");
    assert!(
        stream.call("/a", Vec::new(), "one", 0).is_err(),
        "the service has not greeted"
    );
    greet(&mut stream, 5);
    assert!(stream.call("/a", Vec::new(), "one", 5).is_ok());
}

#[test]
fn a_stream_without_a_greeting_is_reset_and_retried() {
    let mut stream = CallStream::new(1_000, 0);
    stream.http_call_answered();
    stream.opening(Some(STREAM), 0);
    assert_eq!(stream.expire(999).reset, None);
    assert_eq!(stream.expire(1_000).reset, Some(STREAM));
    assert!(stream.closed(STREAM, 1_000).unwrap().is_empty());
    stream.http_call_answered();
    assert!(!stream.is_due(1_000) && stream.is_due(1_250));
    stream.opening(Some(STREAM), 1_250);
    greet(&mut stream, 1_300);
    assert_eq!(stream.expire(u64::MAX).reset, None, "it is open, and idle");
}

#[test]
fn a_clock_that_moves_back_does_not_prolong_the_wait_for_a_greeting() {
    let mut stream = CallStream::<&str>::new(1_000, 0);
    stream.opening(Some(STREAM), 3_600_000);
    assert_eq!(stream.expire(3_600_000).reset, None);
    assert_eq!(stream.expire(0).reset, None);
    assert_eq!(stream.expire(1_000).reset, Some(STREAM));
}

#[test]
fn replies_reach_their_requesters_in_any_order() {
    let mut stream = open();
    let (first, second) = (call(&mut stream, "one", 1), call(&mut stream, "two", 2));
    let incoming = |requester| IncomingReply {
        requester,
        status: 200,
        body: b"{}".to_vec(),
    };
    let answer = stream.on_message(STREAM, &reply(second), 3).unwrap();
    assert_eq!(answer, Some(incoming(Some("two"))));
    let duplicate = stream.on_message(STREAM, &reply(second), 3).unwrap();
    assert_eq!(duplicate, Some(incoming(None)), "only once");
    assert_eq!(
        stream.on_message(STREAM + 1, &reply(first), 3).unwrap(),
        None
    );
    assert_eq!(
        stream
            .on_message(STREAM, &reply(first), 4)
            .unwrap()
            .unwrap()
            .requester,
        Some("one")
    );
}

#[test]
fn a_malformed_reply_is_an_error() {
    let mut stream = open();
    assert_eq!(stream.on_message(STREAM, b"\x08", 1), Err(MalformedReply));
    let id = call(&mut stream, "one", 1);
    let mut malformed = Reply::decode(&reply(id)[..]).unwrap();
    malformed.status = 70_000;
    assert_eq!(
        stream.on_message(STREAM, &malformed.encode_to_vec(), 1),
        Err(MalformedReply)
    );
    assert_eq!(stream.closed(STREAM, 1).unwrap().len(), 1);
}

#[test]
fn a_cancelled_call_gets_no_reply() {
    let mut stream = open();
    let id = call(&mut stream, "one", 1);
    let cancel = stream.cancel(id).unwrap();
    let cancel = Call::decode(&cancel.message[..]).unwrap();
    assert!(cancel.is_cancel() && cancel.id == id);
    assert_eq!(stream.cancel(id), None);
    let late_reply = stream.on_message(STREAM, &reply(id), 2).unwrap().unwrap();
    assert_eq!(late_reply.requester, None);
}

#[test]
fn a_slow_reply_fails_alone_and_a_silent_stream_is_reset() {
    let mut stream = open();
    let slow = call(&mut stream, "slow", 0);
    let other = call(&mut stream, "other", 500);
    assert!(stream.expire(999).requesters.is_empty());
    stream.on_message(STREAM, &reply(other), 600).unwrap();
    let timed_out = stream.expire(1_000);
    assert_eq!(
        (timed_out.requesters, timed_out.reset),
        (vec!["slow"], None)
    );
    let [cancel] = &timed_out.cancels[..] else {
        panic!("{:?}", timed_out.cancels);
    };
    let message = Call::decode(&cancel.message[..]).unwrap();
    assert!(message.is_cancel() && (cancel.stream, message.id) == (STREAM, slow));
    call(&mut stream, "last", 1_000);
    let timed_out = stream.expire(2_000);
    assert_eq!(
        (timed_out.requesters, timed_out.reset),
        (vec!["last"], Some(STREAM))
    );
    assert_eq!(timed_out.cancels, [], "a silent service gets no message");
}

#[test]
fn a_lost_stream_returns_its_pending_calls() {
    let mut stream = open();
    call(&mut stream, "one", 1);
    call(&mut stream, "two", 1);
    assert!(stream.closed(STREAM + 1, 2).is_none());
    let pending = stream.closed(STREAM, 2).unwrap();
    let pending: Vec<_> = pending
        .iter()
        .map(|(_, call)| (call.requester, call.path, &*call.body))
        .collect();
    assert_eq!(pending, [("one", "/a", &b"x"[..]), ("two", "/a", b"x")]);
    assert!(stream.closed(STREAM, 2).is_none());
    assert!(stream.expire(u64::MAX).requesters.is_empty());
}

#[test]
fn a_service_without_streams_is_tried_with_back_off() {
    let mut stream: CallStream<&str> = CallStream::new(1_000, 0);
    let (mut now, mut wait_times) = (0, Vec::new());
    for round in 0..10 {
        stream.http_call_answered();
        let due_at = (now..).find(|time| stream.is_due(*time)).unwrap();
        wait_times.push(due_at - now);
        now = due_at;
        match round % 3 {
            0 => stream.opening(None, now),
            other => {
                stream.opening(Some(STREAM), now);
                if other == 1 {
                    greet(&mut stream, now);
                }
                stream.closed(STREAM, now).unwrap();
            }
        }
    }
    let expected = [
        0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
    ];
    for (wait, expected_ms) in wait_times.iter().zip(expected) {
        assert!(
            (expected_ms / 2..=expected_ms).contains(wait),
            "{wait_times:?}"
        );
    }
}

#[test]
fn a_useful_stream_is_reopened_at_once() {
    let mut stream = open();
    let id = call(&mut stream, "one", 1);
    stream.on_message(STREAM, &reply(id), 2).unwrap();
    stream.closed(STREAM, 3).unwrap();
    assert!(!stream.is_due(3), "no HTTP call was answered yet");
    stream.http_call_answered();
    assert!(stream.is_due(3));
}

#[test]
fn pending_calls_are_bounded() {
    let mut stream = open();
    for _ in 0..MAX_CALLS {
        call(&mut stream, "one", 1);
    }
    assert!(stream.call("/a", Vec::new(), "one too many", 1).is_err());
}

#[test]
fn a_clock_that_moves_back_does_not_prolong_calls() {
    let mut stream = open();
    call(&mut stream, "one", 3_600_000);
    assert!(stream.expire(3_600_000).requesters.is_empty());
    assert!(stream.expire(0).requesters.is_empty());
    assert!(stream.expire(999).requesters.is_empty());
    let timed_out = stream.expire(1_000);
    assert_eq!(timed_out.requesters, ["one"]);
    assert_eq!(timed_out.reset, Some(STREAM));
}

#[test]
fn debug_output_has_no_secret() {
    let mut stream = open();
    let body = b"{\"session\":\"hunter2\"}".to_vec();
    let message = stream.call("/a", body, "one", 1).unwrap();
    let size = message.message.len();
    let expected = format!("call {} on stream {STREAM}, {size} bytes", message.id);
    assert_eq!(format!("{message:?}"), expected);
    let incoming = stream
        .on_message(STREAM, &reply(message.id), 2)
        .unwrap()
        .unwrap();
    assert!(format!("{incoming:?}").starts_with("reply to Some(\"one\"): "));
}
