//! The host adapter: Envoy's side of the filter. It reads what the core needs, does what the core
//! says, and decides nothing but one thing: when a host call fails, the request is refused.
//!
//! [`calls`] is the only place that talks to Envoy, [`root`] lives as long as a configuration and
//! [`gateway`], [`lane`] and [`answers`] with it, [`stream`] and [`seat`] as long as a request; [`tap`]
//! sees what clients of open streams send.

mod answers;
mod asking;
mod calls;
mod gateway;
mod lane;
mod metrics;
mod root;
mod seat;
mod stream;
mod tap;
#[cfg(feature = "trap")]
mod trap;

#[allow(unsafe_code, reason = "the macro exports the module's entry point")]
mod entry {
    use super::root::Root;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Trace);
        proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
    }}
}
