//! The call stream: `rpc Calls(stream Call) returns (stream Reply)` of the gRPC service `berth.v1.Gateway`. A gateway
//! sends its placement and token calls on it, each with the body of the `POST` that the call replaces. Each reply
//! arrives as soon as its call is done, in any order. A message on an open stream costs a fraction of a request. A
//! gateway that has no stream, or loses it, sends requests.
//!
//! The service sends [`Reply::greeting`] as soon as it accepts a stream, before any call arrives. A proxy between the
//! two may send response headers for a stream that never reaches a service, so a gateway counts a stream as open when
//! the first message arrives, not when the headers arrive.

use crate::Excerpt;
use std::fmt;

/// The gRPC service.
pub const CALLS_SERVICE: &str = "berth.v1.Gateway";
/// The method.
pub const CALLS_METHOD: &str = "Calls";
/// The HTTP path of the method, in the form that gRPC prescribes.
pub const CALLS_PATH: &str = "/berth.v1.Gateway/Calls";
/// Maximum number of calls in progress on one stream. A call counts until its reply is read from the stream, or until
/// the call is cancelled before it has a reply. One more call ends the stream with `RESOURCE_EXHAUSTED`.
pub const MAX_CALLS: usize = 4096;
/// The id of the greeting. Ids of calls start at 1.
pub const GREETING_ID: u64 = 0;

/// A call; without a path, the cancellation of a call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Call {
    /// The gateway's id of the call, unique on its stream; never [`GREETING_ID`].
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// [`PLACEMENTS_PATH`](crate::PLACEMENTS_PATH) or [`TOKENS_PATH`](crate::TOKENS_PATH).
    #[prost(string, tag = "2")]
    pub path: String,
    /// The JSON body of a request to that path. Contains a secret: never logged.
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
}

/// The reply to a call, equal to the response of a request; or the greeting, the first message on every stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Reply {
    /// The id of the call, or [`GREETING_ID`].
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The HTTP status.
    #[prost(uint32, tag = "2")]
    pub status: u32,
    /// The JSON body. Contains a token: never logged.
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
}

impl Call {
    /// The message that cancels a call.
    #[must_use]
    pub const fn cancel(id: u64) -> Self {
        Self {
            id,
            path: String::new(),
            body: Vec::new(),
        }
    }

    /// Whether this message cancels a call.
    #[must_use]
    pub const fn is_cancel(&self) -> bool {
        self.path.is_empty()
    }
}

impl Reply {
    /// The service's first message on every stream: it has accepted the stream and takes calls.
    #[must_use]
    pub const fn greeting() -> Self {
        Self {
            id: GREETING_ID,
            status: 200,
            body: Vec::new(),
        }
    }

    /// Whether this is the greeting rather than the reply to a call.
    #[must_use]
    pub const fn is_greeting(&self) -> bool {
        self.id == GREETING_ID
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, path, body } = self;
        write!(f, "call {id} of {}, {} bytes", Excerpt(path), body.len())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, status, body } = self;
        write!(f, "reply to {id}: {status}, {} bytes", body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// The expected bytes are those of any protobuf library.
    #[test]
    fn the_bytes_are_protobuf() {
        let call = Call {
            id: 300,
            path: "/a".to_owned(),
            body: b"{}".to_vec(),
        };
        let bytes = b"\x08\xac\x02\x12\x02/a\x1a\x02{}";
        assert_eq!(call.encode_to_vec(), bytes);
        assert_eq!(Call::decode(&bytes[..]).unwrap(), call);
        let reply = Reply {
            id: 1,
            status: 200,
            body: b"{}".to_vec(),
        };
        assert_eq!(reply.encode_to_vec(), b"\x08\x01\x10\xc8\x01\x1a\x02{}");
        assert!(Call::cancel(7).is_cancel() && !call.is_cancel());
        assert_eq!(Call::cancel(7).encode_to_vec(), b"\x08\x07");
        assert!(Reply::greeting().is_greeting() && !reply.is_greeting());
        assert_eq!(Reply::greeting().encode_to_vec(), b"\x10\xc8\x01");
    }

    #[test]
    fn no_secret_is_printed() {
        let body = b"hunter2".to_vec();
        let call = Call {
            id: 1,
            path: "/v1/tokens".to_owned(),
            body: body.clone(),
        };
        assert_eq!(format!("{call:?}"), "call 1 of /v1/tokens, 7 bytes");
        let reply = Reply {
            id: 1,
            status: 200,
            body,
        };
        assert_eq!(format!("{reply:?}"), "reply to 1: 200, 7 bytes");
    }

    #[test]
    fn a_path_is_printed_bounded_and_escaped() {
        let call = Call {
            id: 1,
            path: "/\n".repeat(1_000),
            body: Vec::new(),
        };
        let printed = format!("{call:?}");
        assert!(!printed.contains('\n') && printed.ends_with("..., 0 bytes"));
        assert!(printed.len() < 1_200, "{printed}");
    }
}
