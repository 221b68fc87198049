//! One engine's account in the ledger that replicas share: what happens in its books is told there. Where there is
//! one replica, no engine has one, and nothing here costs anything.

use super::{Reservation, Tally};
use crate::capacity_ledger::{CapacityLedger, Confirmed, Most};
use std::sync::Arc;
use tokio::time::Instant;

/// Of one engine.
#[derive(Debug)]
pub struct Account {
    ledger: Arc<dyn CapacityLedger>,
    /// `pool/name`
    engine: Arc<str>,
}

impl Account {
    pub(super) fn new(ledger: Arc<dyn CapacityLedger>, engine: Arc<str>) -> Self {
        Self { ledger, engine }
    }

    pub(super) fn opened(&self, stream: &Arc<str>) {
        self.ledger.opened(stream, &self.engine);
    }

    pub(super) fn released(&self, stream: &str) {
        self.ledger.released(stream);
    }
}

impl Reservation {
    /// Asks the replicas' ledger for room, where there is one. `stream` makes up what gateways will call the session.
    pub async fn confirm(&mut self, stream: fn() -> String, most: Most) -> Confirmed {
        let tally = Arc::clone(&self.tally);
        let Some(account) = &tally.account else {
            return Confirmed::Yes;
        };
        let stream: Arc<str> = stream().into();
        // From here on its drop gives it back there, too.
        self.stream = Some(Arc::clone(&stream));
        let confirmed = account.ledger.reserve(&stream, &account.engine, most).await;
        if let Confirmed::EngineFull { elsewhere } = confirmed {
            tally.elsewhere(elsewhere, Instant::now());
        }
        confirmed
    }

    /// What gateways will call the session, if the ledger knows it.
    #[must_use]
    pub fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }
}

impl Tally {
    /// So many sessions are there through other replicas.
    pub fn elsewhere(&self, count: u32, now: Instant) {
        let mut books = self.books();
        books.lapse(self.ttl, now, self.account.as_ref());
        books.elsewhere.are(count, now);
    }

    /// Reservations that have not been used in time count no more.
    pub fn lapse(&self, now: Instant) {
        self.books().lapse(self.ttl, now, self.account.as_ref());
    }

    /// Another replica has the stream now, or knows that it is closed.
    pub fn moved(&self, stream: &str) {
        let mut books = self.books();
        let Some(known) = books.streams.remove(stream) else {
            return;
        };
        books.waiting.take(known.waiting);
        if !books.expect_no_more(known.unseen) {
            books.elsewhere.took_seen();
        }
    }
}
