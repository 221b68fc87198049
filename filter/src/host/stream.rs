//! The context of one request: what Envoy tells of it goes to its seat.

use super::root::Shared;
use super::seat::Seat;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// The context.
pub(super) struct Stream {
    seat: Rc<Seat>,
    shared: Option<Rc<Shared>>,
}

impl Stream {
    pub(super) fn new(id: u32, shared: Option<Rc<Shared>>) -> Self {
        let seat = Seat::new(id);
        Self { seat, shared }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.seat.headers(self.shared.as_deref())
    }

    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        self.seat.chunk(self.shared.as_deref(), size)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.seat.trailers(self.shared.as_deref())
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, _: usize) {
        if let Some(shared) = &self.shared {
            self.seat.callout_ended(shared, token, size);
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            self.seat.done(shared);
        }
        true
    }
}
