//! The traits of a store behind the circuit breaker. Decides of each call only whether it reads or writes.

use super::BreakerStore;
use crate::session_id::IdHash;
use crate::{
    AccountChange, AccountRow, AccountStore, AffinityClaim, AffinityId, AffinityKind, AffinityPage,
    AffinityRecord, AffinityStore, AffinityTarget, Attempts, Bounds, ClaimResult, Coordination,
    DeadLetter, Event, EventLog, InsertResult, OwnerId, SessionQuery, SessionRemoval, SessionRow,
    SessionStore, StoreError, TabAffinity,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// Forwards the calls of a trait; each is a `call`, which reads, or a `write`.
macro_rules! forward {
    ($seam:ident { $($kind:ident $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+ } $($more:tt)*) => {
        #[async_trait]
        impl $seam for BreakerStore<dyn $seam> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.1.$kind(self.0.$name($($argument),*)).await
            })+

            $($more)*
        }
    };
}

forward! { SessionStore {
    write insert(row: &SessionRow, limit: Option<u32>, event: &Event) -> InsertResult;
    call find(id: &IdHash) -> Option<SessionRow>;
    call find_by_ref(session_ref: &str) -> Option<SessionRow>;
    call find_by_cookie(cookie: &str) -> Option<SessionRow>;
    write touch(seen: &[(IdHash, u64)]) -> ();
    write remove(endings: &[SessionRemoval]) -> Vec<IdHash>;
    call list(select: &SessionQuery, limit: u32) -> Vec<SessionRow>;
    call count_live(now_ms: u64) -> u64;
}
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        self.0.cookie_id(cookie)
    }
}

forward! { AccountStore {
    write add_account(row: &AccountRow) -> bool;
    call find_account(name: &str) -> Option<AccountRow>;
    call accounts() -> Vec<AccountRow>;
    write change_account(name: &str, change: &AccountChange) -> bool;
    write remove_account(name: &str) -> bool;
    write set_attempts(name: &str, before: Attempts, after: Attempts) -> bool;
    write set_devices(name: &str, before: &str, after: &str) -> bool;
} }

forward! { EventLog {
    write append(events: &[Event]) -> ();
    call events_after(sequence: u64, limit: u32) -> Vec<(u64, Event)>;
    call bounds() -> Bounds;
    write trim_events(keep: u64) -> ();
    call position(reader: &str) -> Option<u64>;
    write set_position(reader: &str, sequence: u64) -> ();
    write add_dead_letter(letter: &DeadLetter, keep: u32) -> ();
    call dead_letter(webhook: &str, sequence: u64) -> Option<DeadLetter>;
    call dead_letters(webhook: &str, limit: u32) -> Vec<DeadLetter>;
    write remove_dead_letter(webhook: &str, sequence: u64) -> bool;
} }

forward! { Coordination {
    write server_key(name: &str, candidate: [u8; 32]) -> [u8; 32];
    write lease(name: &str, holder: &str, ttl: Duration) -> bool;
    write release_lease(name: &str, holder: &str) -> ();
    write claim(key: &str, now_ms: u64, until_ms: u64) -> bool;
    call is_claimed(key: &str, now_ms: u64) -> bool;
    write purge_claims() -> ();
    write put_value(name: &str, text: Option<&str>) -> ();
    call list_values(prefix: &str) -> BTreeMap<String, String>;
    call heartbeat() -> ();
    call ping() -> ();
} }

forward! { AffinityStore {
    call find_affinity(id: &AffinityId) -> Option<AffinityRecord>;
    write claim_affinity(claim: &AffinityClaim<'_>) -> ClaimResult;
    write hold_affinity(
        id: &AffinityId, epoch: u64, claimer: &str, target: &AffinityTarget, idle: Duration
    ) -> bool;
    write replace_affinity(id: &AffinityId, epoch: u64, claimer: &str, ttl: Duration) -> Option<u64>;
    write release_affinity(id: &AffinityId, epoch: u64, reason: &str) -> bool;
    write touch_affinity(active: &[(AffinityId, Duration)]) -> ();
    call list_affinity(page: &AffinityPage<'_>, limit: u32) -> Vec<AffinityRecord>;
    call affinity_of_owner(kind: AffinityKind, owner: &OwnerId, limit: u32) -> Vec<AffinityRecord>;
    write remove_affinity_of_owner(kind: AffinityKind, owner: &OwnerId) -> u64;
    write sweep_affinity(limit: u32) -> u64;
    write put_tab_affinity(tabs: &[TabAffinity]) -> ();
} }
