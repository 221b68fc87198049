//! The rows and events of the stores as plain data, and the traits that read and write them. Knows no database.

mod account;
mod affinity;
mod cursor;
mod event;
mod session;
pub mod session_id;

pub use account::{AccountChange, AccountRow, AccountStore, Attempts};
pub use affinity::{
    AffinityClaim, AffinityId, AffinityKind, AffinityPage, AffinityRecord, AffinityState,
    AffinityStore, AffinityTarget, ClaimResult, MAX_CLAIM_TTL, OwnerId, TabAffinity,
};
pub use cursor::{Cursor, InvalidCursor, LogId};
pub use event::{Bounds, DeadLetter, EndCause, Event, EventKind, EventLog, MovedKey};
pub use session::{
    InsertResult, PAYLOAD_VERSION, ProviderLink, RESERVED_CLAIMS, SessionQuery, SessionRemoval,
    SessionRow, SessionState, SessionStore,
};
