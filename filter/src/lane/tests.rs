use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const STREAM: u32 = 7;

fn open() -> Lane<&'static str> {
    let mut lane = Lane::new(1_000, 0);
    assert!(lane.call("/a", b"x".to_vec(), "first", 0).is_err());
    lane.answered_request();
    assert!(lane.is_due(0));
    lane.opening(Some(STREAM), 0);
    greet(&mut lane, 0);
    lane
}

fn greet(lane: &mut Lane<&'static str>, now: u64) {
    let greeting = lane.heard(STREAM, &reply(0), now).unwrap().unwrap();
    assert_eq!(greeting.who, None);
}

fn call(lane: &mut Lane<&'static str>, who: &'static str, now: u64) -> u64 {
    let Ok(sending) = lane.call("/a", b"x".to_vec(), who, now) else {
        panic!("{who} was not sent");
    };
    assert_eq!(sending.stream, STREAM);
    let sent = Call::decode(&sending.message[..]).unwrap();
    assert_eq!(
        (sent.id, &*sent.path, &*sent.body),
        (sending.id, "/a", &b"x"[..])
    );
    sending.id
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
fn nothing_is_opened_that_nobody_wants() {
    let mut lane = Lane::new(1_000, 0);
    assert!(!lane.is_due(0));
    let back = lane.call("/a", b"x".to_vec(), "one", 0);
    assert_eq!(back.err(), Some((b"x".to_vec(), "one")));
    assert!(!lane.is_due(0), "the service may not be there at all");
    lane.answered_request();
    assert!(lane.is_due(0));
    lane.opening(Some(STREAM), 0);
    assert!(!lane.is_due(100_000), "one at a time");
    assert!(
        lane.call("/a", Vec::new(), "one", 0).is_err(),
        "nobody knows yet whether the service takes it"
    );
    greet(&mut lane, 5);
    assert!(lane.call("/a", Vec::new(), "one", 5).is_ok());
}

#[test]
fn a_service_that_does_not_greet_is_given_up_and_tried_again() {
    let mut lane = Lane::new(1_000, 0);
    lane.answered_request();
    lane.opening(Some(STREAM), 0);
    assert_eq!(lane.overdue(999).cut, None);
    assert_eq!(lane.overdue(1_000).cut, Some(STREAM));
    assert!(lane.closed(STREAM, 1_000).unwrap().is_empty());
    lane.answered_request();
    assert!(!lane.is_due(1_000) && lane.is_due(1_250));
    lane.opening(Some(STREAM), 1_250);
    greet(&mut lane, 1_300);
    assert_eq!(lane.overdue(u64::MAX).cut, None, "it is open, and idle");
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_the_wait_for_a_greeting() {
    let mut lane = Lane::<&str>::new(1_000, 0);
    lane.opening(Some(STREAM), 3_600_000);
    assert_eq!(lane.overdue(3_600_000).cut, None);
    assert_eq!(lane.overdue(0).cut, None);
    assert_eq!(lane.overdue(1_000).cut, Some(STREAM));
}

#[test]
fn each_hears_its_own_answer_in_any_order() {
    let mut lane = open();
    let (one, two) = (call(&mut lane, "one", 1), call(&mut lane, "two", 2));
    let heard = |who| Heard {
        who,
        status: 200,
        body: b"{}".to_vec(),
    };
    let answer = lane.heard(STREAM, &reply(two), 3).unwrap();
    assert_eq!(answer, Some(heard(Some("two"))));
    let again = lane.heard(STREAM, &reply(two), 3).unwrap();
    assert_eq!(again, Some(heard(None)), "only once");
    assert_eq!(lane.heard(STREAM + 1, &reply(one), 3).unwrap(), None);
    assert_eq!(
        lane.heard(STREAM, &reply(one), 4).unwrap().unwrap().who,
        Some("one")
    );
}

#[test]
fn what_is_no_reply_is_found_out() {
    let mut lane = open();
    assert_eq!(lane.heard(STREAM, b"\x08", 1), Err(NoReply));
    let id = call(&mut lane, "one", 1);
    let mut wrong = Reply::decode(&reply(id)[..]).unwrap();
    wrong.status = 70_000;
    assert_eq!(lane.heard(STREAM, &wrong.encode_to_vec(), 1), Err(NoReply));
    assert_eq!(lane.closed(STREAM, 1).unwrap().len(), 1);
}

#[test]
fn a_client_that_is_gone_takes_its_call_back() {
    let mut lane = open();
    let id = call(&mut lane, "one", 1);
    let told = lane.cancel(id).unwrap();
    let told = Call::decode(&told.message[..]).unwrap();
    assert!(told.is_cancel() && told.id == id);
    assert_eq!(lane.cancel(id), None);
    let late = lane.heard(STREAM, &reply(id), 2).unwrap().unwrap();
    assert_eq!(late.who, None);
}

#[test]
fn a_slow_answer_fails_alone_and_a_silent_stream_is_cut() {
    let mut lane = open();
    let slow = call(&mut lane, "slow", 0);
    let other = call(&mut lane, "other", 500);
    assert!(lane.overdue(999).waits.is_empty());
    lane.heard(STREAM, &reply(other), 600).unwrap();
    let overdue = lane.overdue(1_000);
    assert_eq!((overdue.waits, overdue.cut), (vec!["slow"], None));
    let [told] = &overdue.cancels[..] else {
        panic!("{:?}", overdue.cancels);
    };
    let message = Call::decode(&told.message[..]).unwrap();
    assert!(message.is_cancel() && (told.stream, message.id) == (STREAM, slow));
    call(&mut lane, "last", 1_000);
    let overdue = lane.overdue(2_000);
    assert_eq!((overdue.waits, overdue.cut), (vec!["last"], Some(STREAM)));
    assert_eq!(overdue.cancels, [], "nothing reaches a silent service");
}

#[test]
fn those_on_a_lost_stream_are_handed_back() {
    let mut lane = open();
    call(&mut lane, "one", 1);
    call(&mut lane, "two", 1);
    assert!(lane.closed(STREAM + 1, 2).is_none());
    let back = lane.closed(STREAM, 2).unwrap();
    let back: Vec<_> = back
        .iter()
        .map(|(_, w)| (w.who, w.path, &*w.body))
        .collect();
    assert_eq!(back, [("one", "/a", &b"x"[..]), ("two", "/a", b"x")]);
    assert!(lane.closed(STREAM, 2).is_none());
    assert!(lane.overdue(u64::MAX).waits.is_empty());
}

#[test]
fn a_service_that_takes_no_stream_is_asked_ever_more_seldom() {
    let mut lane: Lane<&str> = Lane::new(1_000, 0);
    let (mut now, mut waits) = (0, Vec::new());
    for round in 0..10 {
        lane.answered_request();
        let due = (now..).find(|at| lane.is_due(*at)).unwrap();
        waits.push(due - now);
        now = due;
        match round % 3 {
            0 => lane.opening(None, now),
            other => {
                lane.opening(Some(STREAM), now);
                if other == 1 {
                    greet(&mut lane, now);
                }
                lane.closed(STREAM, now).unwrap();
            }
        }
    }
    let longest = [
        0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000,
    ];
    for (wait, longest) in waits.iter().zip(longest) {
        assert!((longest / 2..=longest).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_stream_that_was_of_use_is_opened_again_at_once() {
    let mut lane = open();
    let id = call(&mut lane, "one", 1);
    lane.heard(STREAM, &reply(id), 2).unwrap();
    lane.closed(STREAM, 3).unwrap();
    assert!(!lane.is_due(3), "nobody wants it yet");
    lane.answered_request();
    assert!(lane.is_due(3));
}

#[test]
fn there_is_an_end_to_how_many_wait() {
    let mut lane = open();
    for _ in 0..MAX_CALLS {
        call(&mut lane, "one", 1);
    }
    assert!(lane.call("/a", Vec::new(), "one too many", 1).is_err());
}

#[test]
fn nobody_waits_longer_because_the_clock_is_set_back() {
    let mut lane = open();
    call(&mut lane, "one", 3_600_000);
    assert!(lane.overdue(3_600_000).waits.is_empty());
    assert!(lane.overdue(0).waits.is_empty());
    assert!(lane.overdue(999).waits.is_empty());
    let overdue = lane.overdue(1_000);
    assert_eq!(overdue.waits, ["one"]);
    assert_eq!(overdue.cut, Some(STREAM));
}

#[test]
fn no_secret_is_printed() {
    let mut lane = open();
    let body = b"{\"session\":\"hunter2\"}".to_vec();
    let sending = lane.call("/a", body, "one", 1).unwrap();
    let size = sending.message.len();
    let expected = format!("call {} on stream {STREAM}, {size} bytes", sending.id);
    assert_eq!(format!("{sending:?}"), expected);
    let heard = lane.heard(STREAM, &reply(sending.id), 2).unwrap().unwrap();
    assert!(format!("{heard:?}").starts_with("reply to Some(\"one\"): "));
}
