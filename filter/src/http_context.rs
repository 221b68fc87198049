//! The proxy-wasm context of one request: passes Envoy's callbacks to its [`RequestHandle`].

use crate::request::RequestHandle;
use crate::shared::Shared;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// The context. `shared` is `None` while there is no valid configuration.
pub(crate) struct RequestContext {
    request: Rc<RequestHandle>,
    shared: Option<Rc<Shared>>,
}

impl RequestContext {
    pub(crate) fn new(id: u32, shared: Option<Rc<Shared>>) -> Self {
        let request = RequestHandle::new(id);
        Self { request, shared }
    }
}

impl HttpContext for RequestContext {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.request.on_headers(self.shared.as_deref())
    }

    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        self.request.on_chunk(self.shared.as_deref(), size)
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        match &self.shared {
            Some(shared) => self.request.on_response_headers(shared),
            None => Action::Continue,
        }
    }

    fn on_log(&mut self) {
        if let Some(shared) = &self.shared {
            self.request.on_log(shared);
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.request.on_trailers(self.shared.as_deref())
    }
}

impl Context for RequestContext {
    fn on_http_call_response(&mut self, call: u32, _: usize, size: usize, _: usize) {
        if let Some(shared) = &self.shared {
            self.request.on_http_response(shared, call, size);
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            self.request.on_done(shared);
        }
        true
    }
}
