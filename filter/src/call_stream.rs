//! The call stream in Envoy: opens it and sends calls on it. Returns the responses together with their requesters;
//! [`crate::plugin`] delivers them. When the stream is lost, the next tick of the root context repeats the pending
//! calls as HTTP requests. Decides nothing.

use crate::abi::{DispatchError, grpc};
use crate::service_client::{ServiceResponse, labelled_authority, post};
use berth_api::{CALLS_METHOD, CALLS_SERVICE};
use berth_filter_core::config::Service;
use berth_filter_core::control::call_stream::{
    self, IncomingReply, MalformedReply, OutboundMessage, PendingCall,
};
use berth_filter_core::decision::response::MAX_ANSWER_BYTES;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// The status of a call that has timed out: Envoy has the same for HTTP calls.
const GATEWAY_TIMEOUT: u16 = 504;
/// A response with this status or a higher one may be Envoy's own: no endpoint, or a timeout.
const SERVER_ERROR: u16 = 500;
/// Maximum bytes of a reply besides its body.
const MAX_FRAME_BYTES: usize = 64;

/// The request that made a call. `R` is what the host keeps for it.
pub(crate) struct Requester<R> {
    pub(crate) context_id: u32,
    pub(crate) handle: R,
}

/// A response for its requester; `None`: the call has failed.
pub(crate) struct Delivery<R> {
    pub(crate) requester: Requester<R>,
    pub(crate) response: Option<ServiceResponse>,
}

/// A reply of the service.
pub(crate) struct Reply<R> {
    /// `None`: the call was cancelled.
    pub(crate) requester: Option<Requester<R>>,
    pub(crate) response: ServiceResponse,
}

/// What has timed out.
pub(crate) struct Expired<R> {
    pub(crate) deliveries: Vec<Delivery<R>>,
    /// The stream to reset.
    pub(crate) reset: Option<u32>,
}

/// The call stream of one configuration in one worker.
pub(crate) struct CallStream<R> {
    core: RefCell<call_stream::CallStream<Requester<R>>>,
    /// Calls of a lost stream, by their id, until the next tick repeats them.
    lost: RefCell<BTreeMap<u64, PendingCall<Requester<R>>>>,
    /// Requesters of repeated calls, by the id of the HTTP call.
    retries: RefCell<HashMap<u32, Requester<R>>>,
}

impl<R> CallStream<R> {
    pub(crate) fn new(service: &Service, seed: u64) -> Self {
        Self {
            core: RefCell::new(call_stream::CallStream::new(service.timeout_ms, seed)),
            lost: RefCell::default(),
            retries: RefCell::default(),
        }
    }

    /// Sends a call; returns the body when it has to go as an HTTP request.
    pub(crate) fn call(
        &self,
        path: &'static str,
        body: Vec<u8>,
        requester: Requester<R>,
        now: u64,
    ) -> Result<u64, Vec<u8>> {
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return Err(body);
        };
        let OutboundMessage {
            stream,
            id,
            message,
        } = core
            .call(path, body, requester, now)
            .map_err(|(body, _)| body)?;
        if grpc::send(stream, &message).is_ok() {
            return Ok(id);
        }
        let unsent = core.take_unsent(id);
        Err(unsent.map(|call| call.body).unwrap_or_default())
    }

    /// An HTTP call has ended with this response.
    pub(crate) fn http_call_answered(&self, response: Option<&ServiceResponse>) {
        if response.is_some_and(|response| response.status < SERVER_ERROR)
            && let Ok(mut core) = self.core.try_borrow_mut()
        {
            core.http_call_answered();
        }
    }

    /// Cancels a call.
    pub(crate) fn cancel(&self, id: u64) {
        if let Ok(mut lost_calls) = self.lost.try_borrow_mut()
            && lost_calls.remove(&id).is_some()
        {
            return;
        }
        if let Ok(mut core) = self.core.try_borrow_mut()
            && let Some(cancel) = core.cancel(id)
        {
            // If this fails, the reply finds no requester.
            let _ = grpc::send(cancel.stream, &cancel.message);
        }
    }

    /// Opens the stream when that is due. In a tick no call that can fail within itself comes before this one.
    pub(crate) fn open(&self, service: &Service, label: &str, now: u64) {
        let core = self.core.try_borrow();
        if !core.is_ok_and(|core| core.is_due(now)) {
            return;
        }
        let authority = labelled_authority(service, label);
        let opened = grpc::open(
            &service.cluster,
            &authority,
            CALLS_SERVICE,
            CALLS_METHOD,
            service.authorization.as_deref(),
        );
        if let Ok(mut core) = self.core.try_borrow_mut() {
            core.opening(opened.ok(), now);
        }
    }

    /// Repeats the calls of a lost stream as HTTP requests. Returns those that could not be sent.
    pub(crate) fn retry_over_http(&self, service: &Service) -> Vec<Delivery<R>> {
        let lost_calls = match self.lost.try_borrow_mut() {
            Ok(mut lost_calls) => std::mem::take(&mut *lost_calls),
            Err(_) => return Vec::new(),
        };
        let mut failed = Vec::new();
        for call in lost_calls.into_values() {
            let PendingCall {
                path,
                body,
                requester,
                ..
            } = call;
            let label = requester.context_id;
            let call = post(service, label, path, &body, service.timeout_ms).ok();
            match (call, self.retries.try_borrow_mut()) {
                (Some(call), Ok(mut retries)) => {
                    retries.insert(call, requester);
                }
                _ => failed.push(Delivery {
                    requester,
                    response: None,
                }),
            }
        }
        failed
    }

    /// Sends a call as an HTTP request of the root context, which is in effect.
    pub(crate) fn call_over_http(
        &self,
        service: &Service,
        path: &str,
        body: &[u8],
        requester: Requester<R>,
    ) -> Result<(), DispatchError> {
        let label = requester.context_id;
        let call = post(service, label, path, body, service.timeout_ms)?;
        let mut retries = self.retries.try_borrow_mut();
        let retries = retries.as_mut().map_err(|_| DispatchError::Failed)?;
        retries.insert(call, requester);
        Ok(())
    }

    /// Ends the calls that have timed out.
    pub(crate) fn expire(&self, now: u64) -> Expired<R> {
        let timed_out = match self.core.try_borrow_mut() {
            Ok(mut core) => core.expire(now),
            Err(_) => {
                return Expired {
                    deliveries: Vec::new(),
                    reset: None,
                };
            }
        };
        for cancel in &timed_out.cancels {
            let _ = grpc::send(cancel.stream, &cancel.message);
        }
        let requesters = timed_out.requesters.into_iter();
        let deliveries = requesters.map(|requester| Delivery {
            requester,
            response: Some(ServiceResponse {
                status: GATEWAY_TIMEOUT,
                body: Vec::new(),
            }),
        });
        Expired {
            deliveries: deliveries.collect(),
            reset: timed_out.reset,
        }
    }

    /// A message has arrived. `None` when it is of an earlier stream. An error means that the stream must be reset.
    pub(crate) fn on_message(
        &self,
        stream: u32,
        size: usize,
        now: u64,
    ) -> Result<Option<Reply<R>>, MalformedReply> {
        if size > MAX_ANSWER_BYTES.saturating_add(MAX_FRAME_BYTES) {
            return Err(MalformedReply);
        }
        let message = grpc::message(size).map_err(|_| MalformedReply)?;
        let mut core = self.core.try_borrow_mut().map_err(|_| MalformedReply)?;
        let reply = core.on_message(stream, &message, now)?;
        Ok(reply.map(|reply| {
            let IncomingReply {
                requester,
                status,
                body,
            } = reply;
            Reply {
                requester,
                response: ServiceResponse { status, body },
            }
        }))
    }

    /// A stream has ended, or is to be reset. Its calls are repeated by the next tick. False when it was an earlier
    /// stream.
    pub(crate) fn close(&self, stream: u32, now: u64) -> bool {
        // Envoy keeps a stream until both sides have ended it. Without this call it would, when the root context goes,
        // reset a stream that is already freed.
        let _ = grpc::cancel(stream);
        let calls = match self.core.try_borrow_mut() {
            Ok(mut core) => core.closed(stream, now),
            Err(_) => return false,
        };
        let Some(calls) = calls else { return false };
        if let Ok(mut lost_calls) = self.lost.try_borrow_mut() {
            lost_calls.extend(calls);
        }
        true
    }

    /// An HTTP call of the root context has ended: the requester, if it was a repeated call.
    pub(crate) fn complete_retry(&self, call: u32) -> Option<Requester<R>> {
        self.retries.try_borrow_mut().ok()?.remove(&call)
    }
}
