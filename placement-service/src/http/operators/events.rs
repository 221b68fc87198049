//! `GET /v1/events`: operators and runtimes read the events of sessions.

use super::clients::Client;
use crate::config::Role;
use crate::events::log::{Page, Query, Reader};
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::EVENTS_PATH;
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use berth_store::Cursor;
use std::borrow::Cow;
use std::time::Duration;

/// Maximum wait for an event, in seconds: below the 30 s after which many proxies abort a request.
const MAX_WAIT_S: u64 = 25;
/// Maximum and default number of events in one page.
const MAX_LIMIT: u64 = 500;
const DEFAULT_LIMIT: u64 = 100;

/// `GET /v1/events?cursor=C&wait_s=25&limit=100&session=SID`.
#[utoipa::path(get, path = EVENTS_PATH, tag = OPERATORS, security(("client" = [])),
    params(("cursor" = Option<String>, Query, description = "The cursor of the previous page; without it, events start now"),
        ("wait_s" = Option<u64>, Query, maximum = 25, description = "How long to wait for an event, in seconds"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 500, description = "Maximum number of events"),
        ("session" = Option<String>, Query, min_length = 1, description = "Only events of this session and of its child sessions")),
    responses((status = 200, body = Page), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<503>))]
pub(in crate::http) async fn read_events(
    client: Client,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, HttpProblem> {
    let reader = match client.role {
        Role::Operator => Reader::Operator,
        Role::Runtime => Reader::Runtime(client.name),
    };
    let query = parse_query(reader, uri.query().unwrap_or_default())?;
    let page: Page = app.events.read(&query).await.map_err(|e| store_down(&e))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(page)).into_response())
}

/// Parses the query. An unknown parameter, such as a misspelt `cursor`, is an error.
///
/// # Errors
/// Names the parameter that is wrong.
pub fn parse_query(reader: Reader, text: &str) -> Result<Query, HttpProblem> {
    let mut query = Query {
        reader,
        cursor: None,
        session: None,
        wait: Duration::ZERO,
        limit: DEFAULT_LIMIT as usize,
    };
    let mut parameters: Vec<Cow<'_, str>> = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match name.as_ref() {
            "cursor" => {
                let cursor = value.parse::<Cursor>();
                query.cursor = Some(cursor.map_err(|e| invalid("cursor", &e.to_string()))?);
            }
            "wait_s" => {
                query.wait = Duration::from_secs(parse_number("wait_s", &value, 0, MAX_WAIT_S)?);
            }
            "limit" => {
                let limit = parse_number("limit", &value, 1, MAX_LIMIT)?;
                query.limit = usize::try_from(limit).unwrap_or(usize::MAX);
            }
            "session" if value.is_empty() => return Err(invalid("session", "empty")),
            "session" => query.session = Some(value.into_owned()),
            _ => {
                let message = "only cursor, wait_s, limit and session are known";
                return Err(HttpProblem::invalid_request(message));
            }
        }
        if parameters.contains(&name) {
            return Err(invalid(&name, "there twice"));
        }
        parameters.push(name);
    }
    Ok(query)
}

fn parse_number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, HttpProblem> {
    let number = value.parse().ok();
    let valid = number.filter(|number| (min..=max).contains(number));
    valid.ok_or_else(|| invalid(name, &format!("not a number from {min} to {max}")))
}

fn invalid(name: &str, expectation: &str) -> HttpProblem {
    HttpProblem::invalid_request(format!("{name} is {expectation}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, String> {
        parse_query(Reader::Operator, text).map_err(|problem| {
            let json = serde_json::to_value(&problem).unwrap();
            json["detail"].as_str().unwrap().to_owned()
        })
    }

    #[test]
    fn the_query_is_bounded_and_faults_name_the_parameter() {
        let query = parse("cursor=00000000000000ff-7&wait_s=25&limit=500&session=s").unwrap();
        assert_eq!(query.cursor.unwrap().sequence, 7);
        assert_eq!(query.wait, Duration::from_secs(25));
        assert_eq!((query.limit, query.session.as_deref()), (500, Some("s")));
        assert_eq!(parse("").unwrap().limit, 100);
        for (text, fault) in [
            ("cursor=", "cursor is not a cursor"),
            ("cursor=7", "cursor is not a cursor"),
            ("wait_s=26", "wait_s is not a number from 0 to 25"),
            ("wait_s=-1", "wait_s is not a number from 0 to 25"),
            ("limit=0", "limit is not a number from 1 to 500"),
            ("limit=501", "limit is not a number from 1 to 500"),
            ("limit=x", "limit is not a number from 1 to 500"),
            ("session=", "session is empty"),
            ("limit=5&limit=5", "limit is there twice"),
            (
                "curser=x",
                "only cursor, wait_s, limit and session are known",
            ),
        ] {
            assert_eq!(parse(text).err().as_deref(), Some(fault), "{text}");
        }
    }
}
