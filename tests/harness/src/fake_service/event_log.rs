//! The fake service's part of live streams: it accepts the reports of gateways and returns the events that a test
//! appends. They are separate from other requests, so that a test that counts requests does not count polls.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Events and reports of a fake service.
#[derive(Default)]
pub struct FakeEventLog {
    events: Mutex<Vec<Value>>,
    reports: Mutex<Vec<(String, Value)>>,
    changed: Notify,
    down: AtomicBool,
    rejected_reports: AtomicUsize,
}

impl FakeEventLog {
    /// Appends an event, which all polls return.
    pub fn push(&self, event: Value) {
        lock(&self.events).push(event);
        self.changed.notify_waiters();
    }

    /// While it is down, reports and polls get 503.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Number of reports that got 503.
    #[must_use]
    pub fn rejected_reports(&self) -> usize {
        self.rejected_reports.load(Ordering::SeqCst)
    }

    /// The reports so far: the gateway's name and the body. Polls are not reports.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, Value)> {
        lock(&self.reports).clone()
    }

    /// Every item of this list (`opened`, `active`, `closed`) in all reports so far.
    #[must_use]
    pub fn reported_items(&self, list: &str) -> Vec<Value> {
        let items = |(_, report): (String, Value)| report.get(list)?.as_array().cloned();
        self.reports()
            .into_iter()
            .filter_map(items)
            .flatten()
            .collect()
    }

    /// Responds to a report or a poll with a status and a body.
    pub(super) async fn handle(&self, path: &str, body: &Value) -> (u16, Value) {
        let Some(cursor) = body["cursor"].as_str() else {
            if self.down.load(Ordering::SeqCst) {
                self.rejected_reports.fetch_add(1, Ordering::SeqCst);
                return (503, Value::Null);
            }
            let gateway = path.split('/').nth(3).unwrap_or_default();
            lock(&self.reports).push((gateway.to_owned(), body.clone()));
            return (200, json!({}));
        };
        let position: usize = cursor.parse().unwrap_or(usize::MAX);
        let poll_timeout =
            Duration::from_millis(body["poll_timeout_ms"].as_u64().unwrap_or_default());
        let wait_for_events = async {
            loop {
                let notified = self.changed.notified();
                if lock(&self.events).len() > position || self.down.load(Ordering::SeqCst) {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(poll_timeout, wait_for_events).await;
        if self.down.load(Ordering::SeqCst) {
            return (503, Value::Null);
        }
        let all = lock(&self.events);
        let events = all.get(position..).unwrap_or_default();
        (
            200,
            json!({"cursor": all.len().to_string(), "events": events}),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
