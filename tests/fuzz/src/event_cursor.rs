//! The cursor of a reader: only text that the service itself could have written is accepted.
use berth_store::Cursor;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= 16 + 1 + 20);
    }
}
