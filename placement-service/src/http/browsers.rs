//! Routes for browsers: login, logout, the browser's own session, pages and scripts.

pub(super) mod account;
mod account_form;
pub(super) mod assets;
pub(super) mod cookies;
pub mod cross_site;
pub(super) mod device_cookie;
pub(super) mod login;
pub mod login_form;
mod login_response;
pub(super) mod oidc;
pub(super) mod pages;
pub(super) mod session;
