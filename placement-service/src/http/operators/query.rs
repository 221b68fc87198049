//! The query parameters of routes for operators. An error names the parameter.

use crate::http::problem::HttpProblem;
use axum::http::Uri;
use berth_api::Excerpt;
use std::time::Duration;

/// Default of the time over which a drain closes WebSockets.
const DEFAULT_DRAIN_DURATION: Duration = Duration::from_secs(60);
/// Maximum of that time.
const MAX_DRAIN_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The time over which a drain closes WebSockets: the parameter `over`, or the default.
pub(super) fn parse_drain_duration(over: Option<&str>) -> Result<Duration, HttpProblem> {
    let Some(text) = over else {
        return Ok(DEFAULT_DRAIN_DURATION);
    };
    let over = humantime_serde::re::humantime::parse_duration(text).ok();
    let over = over.filter(|over| *over <= MAX_DRAIN_DURATION);
    over.ok_or_else(|| HttpProblem::invalid_request("over: a time such as 60s, at most 24h"))
}

/// The values of these parameters. An unknown parameter is an error, and so is one that occurs twice.
pub(super) fn parse_query<const N: usize>(
    uri: &Uri,
    names: [&str; N],
) -> Result<[Option<String>; N], HttpProblem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let known = names
            .iter()
            .zip(&mut values)
            .find(|(known, _)| **known == name);
        let Some((_, place)) = known else {
            return Err(HttpProblem::invalid_request(format!(
                "{}: unknown parameter",
                Excerpt(&name)
            )));
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(HttpProblem::invalid_request(format!(
                "{name} is there twice"
            )));
        }
    }
    Ok(values)
}
