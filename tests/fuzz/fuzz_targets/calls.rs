//! Messages on the stream of calls, on either side: whatever a reply says, the lane hands it to the one who waits
//! for that call or to nobody, once; whatever a call says, it is read or it is not.
#![no_main]

use berth_api::Call;
use berth_filter::lane::Lane;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(call) = Call::decode(data) {
        assert!(!format!("{call:?}").contains("hunter2"));
    }
    let mut lane = Lane::new(1_000);
    let _ = lane.call("/v1/tokens", Vec::new(), 0, 0);
    lane.opening(Some(1), 0);
    lane.opened(1, 0);
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
});
