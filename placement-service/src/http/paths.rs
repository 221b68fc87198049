//! The paths of routes that several places need. Knows no handler.

use crate::core::return_to::ReturnTo;

pub(super) const ENGINES_PATH: &str = "/v1/engines";
pub(super) const DRAIN_PATH: &str = "/v1/engines/{pool}/{engine}/drain";
pub(super) const EXPLAIN_PATH: &str = "/v1/placements/explain";
pub(super) const GATEWAYS_PATH: &str = "/v1/gateways";
pub(super) const GATEWAY_DRAIN_PATH: &str = "/v1/gateways/{node}/drain";
pub(super) const SESSIONS_PATH: &str = "/v1/sessions";
pub(super) const DEAD_LETTERS_PATH: &str = "/v1/webhooks/{name}/dead-letters";
pub(super) const RETRY_PATH: &str = "/v1/webhooks/{name}/dead-letters/{sequence}/retry";
pub(super) const EVENTS_PATH: &str = "/v1/events";
pub(super) const SESSION_PATH: &str = "/v1/sessions/{sid}";
pub(super) const CHILDREN_PATH: &str = "/v1/sessions/{sid}/children";
pub(super) const COMPLETE_PATH: &str = "/v1/sessions/{sid}/complete";

/// The path that starts a login at a provider. The name must be a valid name of a provider, because it is not encoded.
pub(super) fn oidc_path(provider: &str, return_to: Option<&ReturnTo>) -> String {
    let mut path = format!("/login/oidc/{provider}");
    if let Some(return_to) = return_to {
        path.push_str("?return_to=");
        path.extend(form_urlencoded::byte_serialize(
            return_to.as_str().as_bytes(),
        ));
    }
    path
}
