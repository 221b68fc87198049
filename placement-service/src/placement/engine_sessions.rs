//! The engine sessions that placements of this process have prepared or that it has taken over, by login session and by
//! stream: what must end on an engine when a login session ends or a client leaves. Only of drivers whose sessions
//! outlive their streams. Bounded, and in the memory of this process; at its shutdown, others take them over. Ends
//! nothing itself.

use super::prepared_session::{PreparedSession, SessionKey};
use berth_scheduler::accounting::EngineSessionStatus;
use berth_scheduler::stream_holder::is_token_ref;
use moka::sync::Cache;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of login sessions, and of streams; the ones used least recently are evicted first.
const MAX_LOGINS: u64 = 200_000;
const MAX_STREAMS: u64 = 500_000;

/// What is known of one login session.
#[derive(Default)]
struct Login {
    sessions: Vec<Arc<PreparedSession>>,
    /// When it is checked next, in Unix seconds.
    check_at_s: Option<u64>,
}

type LoginEntry = Arc<Mutex<Login>>;

/// The prepared engine sessions.
pub(super) struct EngineSessions {
    by_login: Cache<String, LoginEntry>,
    by_stream: Cache<String, Arc<PreparedSession>>,
    /// Login sessions by the time of their next check. Entries with another time than that of the login are obsolete.
    due: Mutex<BTreeSet<(u64, String)>>,
}

impl EngineSessions {
    /// A login session, and with it a stream, lasts at most `max_ttl`.
    pub(super) fn new(max_ttl: Duration) -> Self {
        let by_login = Cache::builder().max_capacity(MAX_LOGINS);
        let by_stream = Cache::builder().max_capacity(MAX_STREAMS);
        Self {
            by_login: by_login.time_to_idle(max_ttl).build(),
            by_stream: by_stream.time_to_live(max_ttl).build(),
            due: Mutex::default(),
        }
    }

    /// The streams are in the session, which is a new one or one that is recorded already.
    pub(super) fn record<'a>(
        &self,
        streams: impl IntoIterator<Item = &'a str>,
        session: PreparedSession,
        now: Instant,
    ) {
        let session = Arc::new(session);
        for stream in streams {
            self.by_stream
                .insert(stream.to_owned(), Arc::clone(&session));
        }
        let login = &session.login;
        // A token of a program is not a login session: nothing ends it before it expires.
        if is_token_ref(&login.session_ref) {
            return;
        }
        let entry = self
            .by_login
            .get_with_by_ref(&login.session_ref, Arc::default);
        let mut entry = entry.lock();
        entry.sessions.retain(|other| {
            (other.address, &other.headers) != (session.address, &session.headers)
                && other.status(now) != EngineSessionStatus::Ended
        });
        if entry.check_at_s.is_none() {
            // The check finds out when it may expire: activity moves that.
            entry.check_at_s = Some(0);
            self.due.lock().insert((0, login.session_ref.clone()));
        }
        entry.sessions.push(Arc::clone(&session));
    }

    /// The session of a stream that has closed.
    pub(super) fn take_stream(&self, stream: &str) -> Option<Arc<PreparedSession>> {
        let session = self.by_stream.remove(stream)?;
        session.close_stream(stream, Instant::now());
        Some(session)
    }

    /// At most `limit` of the sessions, with the streams of each.
    pub(super) fn all(&self, limit: usize) -> Vec<(Arc<PreparedSession>, BTreeSet<String>)> {
        let mut streams: HashMap<SessionKey, BTreeSet<String>> = HashMap::new();
        for (stream, session) in &self.by_stream {
            let of_session = streams.entry(session.key()).or_default();
            of_session.insert((*stream).clone());
        }
        let mut sessions = Vec::new();
        for (_, login) in &self.by_login {
            let login = login.lock();
            let room = limit.saturating_sub(sessions.len());
            sessions.extend(login.sessions.iter().take(room).map(|session| {
                let streams = streams.remove(&session.key()).unwrap_or_default();
                (Arc::clone(session), streams)
            }));
        }
        sessions
    }

    /// The sessions of a login session that has ended.
    pub(super) fn take_login(&self, session_ref: &str) -> Vec<Arc<PreparedSession>> {
        let entry = self.by_login.remove(session_ref);
        entry.map_or_else(Vec::new, |entry| std::mem::take(&mut entry.lock().sessions))
    }

    /// All login sessions that have engine sessions.
    pub(super) fn logins(&self) -> Vec<String> {
        let names = self.by_login.iter().map(|(name, _)| (*name).clone());
        names.collect()
    }

    /// The login session is checked at that time, in Unix seconds, and not before.
    pub(super) fn schedule_check(&self, session_ref: &str, at_s: u64) {
        if let Some(entry) = self.by_login.get(session_ref) {
            entry.lock().check_at_s = Some(at_s);
            self.due.lock().insert((at_s, session_ref.to_owned()));
        }
    }

    /// The login sessions whose check is due. Those without an engine session are no longer checked.
    pub(super) fn take_due(&self, now_s: u64, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        while let Some((at_s, name)) = self.pop_due(now_s) {
            let Some(entry) = self.by_login.get(&name) else {
                continue;
            };
            let mut entry = entry.lock();
            if entry.check_at_s != Some(at_s) {
                continue;
            }
            entry.check_at_s = None;
            entry
                .sessions
                .retain(|session| session.status(now) != EngineSessionStatus::Ended);
            if !entry.sessions.is_empty() {
                due.push(name);
            }
        }
        due
    }

    fn pop_due(&self, now_s: u64) -> Option<(u64, String)> {
        let mut due = self.due.lock();
        let is_due = due.first().is_some_and(|(at_s, _)| *at_s <= now_s);
        if is_due { due.pop_first() } else { None }
    }
}
