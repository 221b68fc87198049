//! Settings of the listeners that speak the protocols of the services that Berth replaces.

use super::fault_collector::FaultCollector;
use super::{Config, JwtKey};
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat {
    pub mira: Mira,
    pub session_service: SessionService,
}

/// Engine discovery in the API of Mira. Like Mira, it has no authentication: the listen address must protect
/// it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mira {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
}

/// Placements for gateways that use the API of the older session service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionService {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// Keys that verify JWTs, besides those of `tokens`.
    pub keys: Vec<JwtKey>,
    /// The claim with the account's name, for JWTs of `keys`.
    pub account_claim: String,
    /// The claim with the roles: a list or one name.
    pub roles_claim: String,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let compat = &config.compat;
    for (path, claim) in [
        ("account_claim", &compat.session_service.account_claim),
        ("roles_claim", &compat.session_service.roles_claim),
    ] {
        if claim.is_empty() {
            faults.add(
                format!("compat.session_service.{path}"),
                "must not be empty",
            );
        }
    }
}
