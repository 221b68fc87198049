//! Completes the requests that waited for the token call of another request. Each is resumed or refused in its own
//! context. Decides nothing.

use crate::abi::{self, streams};
use crate::outcome;
use crate::shared::Shared;
use crate::token_cache::Waiter;
use berth_filter_core::auth::single_flight::CompletedFlight;
use berth_filter_core::auth::token_cache::CacheKey;
use berth_filter_core::decision::local_reply::not_ready;
use berth_filter_core::decision::pending::TokenResult;

/// Caches the token of a completed call and completes its waiters. True when that has put other contexts into effect.
pub(crate) fn complete(
    shared: &Shared,
    key: CacheKey,
    flight: CompletedFlight<Waiter>,
    result: &TokenResult,
) -> bool {
    let CompletedFlight { epoch, waiters } = flight;
    shared.token_cache.insert(key, result, epoch);
    let has_waiters = !waiters.is_empty();
    for (request, waiter) in waiters {
        // A request that has ended meanwhile has no context.
        if streams::set_effective_context(request).is_ok() {
            complete_waiter(shared, request, waiter, result);
        }
    }
    has_waiters
}

fn complete_waiter(shared: &Shared, request: u32, waiter: Waiter, result: &TokenResult) {
    let Waiter { pending, resumed } = waiter;
    let outcome = pending.complete(&shared.config, result);
    let resume = |_| abi::resume_request().map_err(|_| not_ready("the request is not resumed"));
    match outcome::apply(outcome).and_then(resume) {
        Ok(()) => resumed.set(true),
        // Its state stays: nothing resumes it, and it is reset when it cannot be answered.
        Err(reply) => {
            if !outcome::send_reply(Some(shared), &reply) {
                shared.gateway.reset_later(request);
            }
        }
    }
}
