//! The Berth filter: turns a login cookie into a JWT and a route, inside Envoy.
//!
//! Everything but [`host`] is plain Rust that knows no proxy: it reads headers, decides, and returns
//! what the host has to do. So the decisions are tested natively, on `wasm32-unknown-unknown`, and
//! once more through the built module. Data goes one way:
//! host buffers -> [`request`] -> [`flow`] -> [`step`] -> host.
//!
//! Nothing here may panic: one trap kills every stream of the Envoy worker it happens in.

pub mod bearer;
pub mod cache;
pub mod config;
pub mod cookie;
pub mod feed;
pub mod flights;
pub mod flow;
pub mod frames;
pub mod gateway;
pub mod jwks;
pub mod lane;
pub mod origin;
pub mod placement;
pub mod presentation;
pub mod rejection;
pub mod reports;
pub mod request;
pub mod route;
pub mod schedule;
pub mod step;
pub mod streams;
pub mod token;
pub mod verified;

#[cfg(target_os = "wasi")]
mod host;
