//! The query of `GET /v1/events`: accepted values are within their bounds.
use berth_placement::events::log::Reader;
use berth_placement::http::operators::events::parse_query;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(query) = parse_query(Reader::Operator, text) {
        assert!(query.wait.as_secs() <= 25 && (1..=500).contains(&query.limit));
        assert!(query.session.is_none_or(|session| !session.is_empty()));
    }
}
