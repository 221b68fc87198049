//! Why a stream ends, for the access log: who ended it, and with which close code. Changes nothing.

use super::Streams;
use std::fmt::Write;

/// What the host knows of the end of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndObservation<'a> {
    /// The status of the response to the upgrade, if there was one.
    pub status: Option<u16>,
    /// Envoy's details of the response.
    pub details: &'a str,
}

impl Streams {
    /// `end=<cause>` and, if there is a close code, ` code=<code>`; `None` if the stream is not open. The cause is the
    /// gateway's own reason, or `client-closed`: the client sent a close frame; `client-gone`: its connection broke;
    /// `engine-lost`: the connection to the engine broke; `engine-closed`: the engine closed the stream; `refused`: the
    /// engine refused the upgrade.
    #[must_use]
    pub fn end_text(&self, id: u32, observed: EndObservation<'_>) -> Option<String> {
        let state = &self.open.get(&id)?.state;
        let reason = state.close_reason.get();
        let (cause, code) = match reason {
            Some(reason) => (reason.as_str(), reason.close_code()),
            None if state.client_closed.get() => ("client-closed", state.close_code.get()),
            None => (observed.cause(), None),
        };
        let mut text = format!("end={cause}");
        if let Some(code) = code {
            // Writing to a text cannot fail.
            let _ = write!(text, " code={code}");
        }
        Some(text)
    }
}

impl EndObservation<'_> {
    fn cause(self) -> &'static str {
        let Self { status, details } = self;
        if details.starts_with("downstream_") {
            "client-gone"
        } else if details.starts_with("upstream_") {
            "engine-lost"
        } else if matches!(status, None | Some(101 | 200)) {
            "engine-closed"
        } else {
            "refused"
        }
    }
}
