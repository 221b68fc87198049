//! Listeners that speak as the services do that Berth takes the place of.

use super::JwtKey;
use super::checks::Faults;
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat {
    pub mira: Mira,
    pub session_service: SessionService,
}

/// Engine discovery, as Mira tells it. Whoever reaches the listener reads it, as there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mira {
    /// `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// Placements for a gateway that asks the older session service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionService {
    /// `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What else verifies a JWT, besides our own keys.
    pub keys: Vec<JwtKey>,
    /// The claim with the account's name, for JWTs of `keys`.
    pub account_claim: String,
    /// The claim with the roles: a list, or one name.
    pub roles_claim: String,
}

pub(super) fn check(compat: &Compat, faults: &mut Faults) {
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
