//! Listeners of their own that speak as older services do, so that either can be exchanged for Berth alone.

pub mod mira;
pub mod session_service;
