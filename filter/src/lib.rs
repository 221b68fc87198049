//! The Berth filter as a proxy-wasm module: the adapter between Envoy and `berth-filter-core`. It reads what a decision
//! needs, carries out what was decided, and decides one thing itself: when a host call fails, the request is refused.
//!
//! [`abi`] alone talks to Envoy. [`plugin`] lives as long as a configuration, with everything in [`shared`];
//! [`http_context`] and [`request`] live as long as a request. A file imports only files before it in this order, which
//! `tests/imports.rs` checks: `abi` < `logger` < `metrics` < `service_client` < `control` < `token_cache` <
//! `call_stream` < `engine_cache` < `shared` < `outcome` < `waiters` < `interceptor` < `request` < `http_context` < `plugin`.
#![cfg(target_os = "wasi")]

mod abi;
mod call_stream;
mod control;
mod engine_cache;
mod http_context;
mod interceptor;
mod logger;
mod metrics;
mod outcome;
mod plugin;
mod request;
mod service_client;
mod shared;
mod token_cache;
#[cfg(feature = "trap")]
mod trap;
mod waiters;

#[allow(unsafe_code, reason = "the macro exports the module's entry point")]
mod entry {
    use crate::{logger, plugin::Plugin};

    proxy_wasm::main! {{
        logger::install();
        proxy_wasm::set_root_context(|id| Box::new(Plugin::new(id)));
    }}
}
