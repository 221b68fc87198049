//! What an engine sends while a session is prepared: the upgrade response, or one message per line.
use berth_placement::engines::drivers::qix::handshake::{Handshake, Progress, open_request};
use berth_placement::engines::drivers::qix::upgrade::{ResponseHead, parse_response};
use berth_placement::engines::drivers::open_target::OpenTarget;

const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(ResponseHead::Upgraded(length)) = parse_response(data, ACCEPT) {
        let head = data.get(..length).expect("the head is within the bytes");
        assert!(head.starts_with(b"HTTP/1.1 101") && head.ends_with(b"\r\n\r\n"));
    }
    let text = String::from_utf8_lossy(data);
    let opening = OpenTarget::Document(text.clone().into_owned());
    let asked = open_request(&opening)
        .expect("any name is JSON")
        .expect("a request");
    assert!(serde_json::from_str::<serde_json::Value>(&asked).is_ok());
    let mut dialog = Handshake::new(&opening);
    for message in text.lines() {
        let before = dialog.progress();
        if dialog.apply_message(message).is_err() {
            return;
        }
        assert!(dialog.progress() >= before);
    }
    if dialog.progress() == Progress::Done {
        assert!(text.contains("SESSION_") || text.contains("\\u"));
    }
}
