//! The conformance suite: what every store must do, as functions that run on any of them, and rows for tests.
//! Each function needs an empty store of its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "tests of stores, run by tests"
)]

mod accounts;
mod affinity;
mod coordination;
mod events;
mod races;
mod sessions;

pub use accounts::accounts;
pub use affinity::{
    affinity_claim, affinity_claim_race, affinity_expiry, affinity_id, affinity_late_hold_race,
    affinity_limit_race, affinity_lists, affinity_owners, affinity_states, affinity_sweep_race,
    affinity_target, tab_affinity,
};
pub use coordination::{coordination, leases};
pub use events::events;
pub use races::{coordination_race, limit_race, log_race, races, versions_and_clocks};
pub use sessions::{limits, lists, lost_parents, sessions};

use crate::session_id::IdHash;
use crate::{
    EndCause, Event, PAYLOAD_VERSION, ProviderLink, SessionRemoval, SessionRow, SessionState,
};

/// A row with every column set; rows with different seeds differ.
#[must_use]
pub fn session_row(seed: u8) -> SessionRow {
    let mut claims = serde_json::Map::new();
    claims.insert("tenant".to_owned(), format!("t{seed}").into());
    SessionRow {
        id_hash: IdHash([seed; 32]),
        session_ref: format!("ref-{seed}"),
        payload_version: PAYLOAD_VERSION,
        account: format!("corp:Zoë|{seed}"),
        display_name: format!("Zoë \"{seed}\" O'Brien"),
        roles: vec!["user".to_owned(), "a \"quoted\" role".to_owned()],
        created_at_ms: 1_000,
        last_seen_at_ms: 1_000,
        idle_timeout_ms: 30 * 60_000,
        absolute_expiry_ms: 36_000_000,
        ancestors: vec![IdHash([254; 32]), IdHash([255; 32])],
        runtime: "gateway-1".to_owned(),
        state: SessionState::Active,
        claims,
        provider: Some(ProviderLink {
            provider: "corp".to_owned(),
            subject: format!("sub-{seed}"),
            session: Some(format!("sid-{seed}")),
            logout_hint: Some("sealed".to_owned()),
        }),
    }
}

/// The event that the row's session was created or, with a cause, that it ended.
#[must_use]
pub fn event(row: &SessionRow, cause: Option<EndCause>) -> Event {
    Event {
        at_ms: 2_000,
        kind: cause.map_or(crate::EventKind::Created, EndCause::event_kind),
        session_ref: row.session_ref.clone(),
        account: row.account.clone(),
        provider: row.provider.as_ref().map(|link| link.provider.clone()),
        runtime: row.runtime.clone(),
        cause,
        parent_ref: None,
        previous_ref: None,
        result: None,
        moved: None,
    }
}

/// The removal of the row's session by a logout.
#[must_use]
pub fn removal(row: &SessionRow) -> SessionRemoval {
    SessionRemoval {
        id_hash: row.id_hash,
        only_if_expired_at_ms: None,
        event: event(row, Some(EndCause::Logout)),
    }
}
