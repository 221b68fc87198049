//! The query of `GET /v1/events`: whatever is taken is within its bounds.
use berth_placement::events::log::Reader;
use berth_placement::http::operators::events::query;

/// One input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(query) = query(Reader::Operator, text) {
        assert!(query.wait.as_secs() <= 25 && (1..=500).contains(&query.limit));
        assert!(query.session.is_none_or(|session| !session.is_empty()));
    }
}
