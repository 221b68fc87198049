//! Carries out the end of a request: forwards it with its new headers, or answers it with a local reply, and logs that.
//! Decides nothing.

use crate::abi;
use crate::shared::Shared;
use berth_api::Excerpt;
use berth_filter_core::decision::effects::LocalReply;
use berth_filter_core::decision::pending::{CallOutcome, Target};
use berth_filter_core::decision::rejection::RejectReason;

/// The filter state for the access log: one text, since each costs a host call.
const ACCESS_LOG_KEY: &str = "berth";
/// The same for how a stream has ended. Another key, because Envoy does not replace a value.
const STREAM_END_KEY: &str = "berth_end";

/// Sets the text of the access log for a stream that ends.
pub(crate) fn log_stream_end(text: &str) {
    // A failure affects the access log only.
    let _ = abi::set_property(STREAM_END_KEY, text);
}

/// Applies the outcome of a call to the request in effect, without resuming it. Returns where it goes.
///
/// # Errors
/// The reply for the client.
pub(crate) fn apply(outcome: CallOutcome) -> Result<Target, LocalReply> {
    match outcome {
        CallOutcome::Reply(reply) => Err(reply),
        CallOutcome::Route {
            mutations,
            session_ref,
            target,
        } => {
            abi::apply_mutations(&mutations)?;
            if let Some(session_ref) = session_ref {
                // A failure affects the access log only.
                let text = access_log_text(&session_ref, &target);
                let _ = abi::set_property(ACCESS_LOG_KEY, &text);
            }
            Ok(target)
        }
    }
}

/// `session=... pool=... engine=... placement=...`, and of a WebSocket `stream=...`
fn access_log_text(session_ref: &str, target: &Target) -> String {
    let mut text = format!("session={session_ref}");
    let (pool, engine, reason) = match target {
        Target::Application => return text,
        Target::Stream(placed) => (&placed.pool, &placed.engine, placed.reason.as_str()),
        Target::Engine(placed) => (&placed.route.pool, &placed.route.engine, "key"),
    };
    for (name, value) in [
        (" pool=", pool.as_str()),
        (" engine=", engine),
        (" placement=", reason),
    ] {
        text.push_str(name);
        text.push_str(value);
    }
    if let Target::Stream(placed) = target {
        text.push_str(" stream=");
        text.push_str(&placed.stream);
    }
    text
}

/// Answers the request in effect; false when that fails, and the request has to be reset.
#[must_use]
pub(crate) fn send_reply(shared: Option<&Shared>, reply: &LocalReply) -> bool {
    if let Some(shared) = shared {
        shared.metrics.rejection(reply.reason, reply.route);
        if matches!(
            reply.reason,
            RejectReason::TokenInvalid | RejectReason::BearerInvalid
        ) {
            shared.wants_keys.set(true);
        }
    }
    log_reply(reply);
    let details = reply.reason.as_str();
    abi::send_local_reply(reply.status, details, &reply.headers, &reply.body).is_ok()
}

fn log_reply(reply: &LocalReply) {
    let level = reply.reason.level();
    let reason = reply.reason.as_str();
    let status = reply.status;
    match &reply.detail {
        None => log::log!(level, "berth: refused, reason={reason} status={status}"),
        Some(detail) => {
            let detail = Excerpt(detail).to_string();
            log::log!(
                level,
                "berth: refused, reason={reason} status={status} detail={detail:?}"
            );
        }
    }
}
