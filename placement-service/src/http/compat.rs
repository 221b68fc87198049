//! Listeners with the APIs of two older services, so that Berth can replace either of them without changes to clients.

pub mod mira;
pub mod session_service;
