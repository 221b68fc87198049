//! What the host has to do next: plain values between the flow, which decides, and the host, which
//! obeys. Nothing here decides anything.

use crate::cache::Key;
use crate::flow::Waiting;
use crate::placement::Placed;
use crate::rejection::Cause;
use std::borrow::Cow;

/// One change of the request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Take off every header of this name.
    Remove(String),
    /// Put this one header in the place of all of its name.
    Set(Cow<'static, str>, Vec<u8>),
    /// Put this header beside those of its name.
    Add(Cow<'static, str>, Vec<u8>),
    /// Put this header with 16 fresh random bytes in base64 in the place of all of its name.
    Nonce(&'static str),
}

/// The first decision on a request.
pub struct Start {
    /// The place of its route in the configuration, if one takes it.
    pub route: Option<usize>,
    /// What to do.
    pub step: Step,
}

/// What to do with a request whose headers have come.
pub enum Step {
    /// Change the headers and let it go on.
    Pass(Vec<Change>),
    /// Change the headers, call the placement service, and let it wait.
    Call {
        /// Taken off before anything else happens.
        changes: Vec<Change>,
        /// What to ask.
        callout: Callout,
        /// What takes the answer.
        waiting: Waiting,
    },
    /// Answer it.
    Reply(Reply),
}

/// What to do with a request when its callout has ended.
pub enum Outcome {
    /// Change the headers and let it go on.
    Route {
        /// The headers that make up the route and the identity.
        changes: Vec<Change>,
        /// Names the session in the access log, if there is one.
        session_ref: Option<String>,
        /// The stream that has been placed, if it is one.
        placed: Option<Placed>,
    },
    /// Answer it.
    Reply(Reply),
}

/// A call of the placement service: a `POST` with a JSON body.
#[derive(Clone, PartialEq, Eq)]
pub struct Callout {
    /// The service's path.
    pub path: &'static str,
    /// The JSON. Holds the session's secret.
    pub body: Vec<u8>,
    /// The session's name in the cache, when the answer is one for all of its requests.
    pub shared: Option<Key>,
}

/// How a callout failed without an answer of the placement service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Envoy knows no such cluster.
    ClusterMissing,
    /// Envoy could not send it, or its answer could not be read.
    Unreachable,
}

/// An answer to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Why: for the log and the counter.
    pub cause: Cause,
    /// The place of the request's route in the configuration, where that is known: for the counter.
    pub route: Option<usize>,
    /// What exactly was wrong, for the log.
    pub detail: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: Vec<(&'static str, String)>,
    /// Response body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The same, to a request of this route.
    #[must_use]
    pub fn at(self, route: Option<usize>) -> Self {
        Self { route, ..self }
    }
}
