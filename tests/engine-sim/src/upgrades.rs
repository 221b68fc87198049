//! The latest upgrade requests as they reached the engine, so that a test can check what a gateway forwarded.

use crate::head::Head;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One upgrade request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The path with its query.
    pub path: String,
    /// Every header in order, names as they were sent.
    pub headers: Vec<(String, String)>,
    /// What the engine answered: a session state, or an HTTP status.
    pub outcome: String,
}

impl Upgrade {
    /// Every value of the header with this name, case-insensitive.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The answer of `GET /admin/upgrades`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrades {
    /// Number of upgrade requests since the start.
    pub total: u64,
    /// The latest ones, oldest first.
    pub latest: Vec<Upgrade>,
}

pub(crate) struct UpgradeLog {
    capacity: usize,
    entries: Mutex<(u64, VecDeque<(Head, &'static str)>)>,
}

impl UpgradeLog {
    pub(crate) fn new(capacity: usize) -> Self {
        let entries = Mutex::default();
        Self { capacity, entries }
    }

    pub(crate) fn push(&self, head: Head, outcome: &'static str) {
        let mut entries = self.lock();
        entries.0 += 1;
        entries.1.push_back((head, outcome));
        if entries.1.len() > self.capacity {
            entries.1.pop_front();
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.lock().0
    }

    pub(crate) fn latest(&self) -> Upgrades {
        let entries = self.lock();
        let upgrade = |(head, outcome): &(Head, &'static str)| Upgrade {
            path: head.path.clone(),
            headers: head.headers.clone(),
            outcome: (*outcome).to_owned(),
        };
        Upgrades {
            total: entries.0,
            latest: entries.1.iter().map(upgrade).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, VecDeque<(Head, &'static str)>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_kept() {
        let log = UpgradeLog::new(2);
        for path in ["/app/1", "/app/2", "/app/3"] {
            let head = Head {
                method: "GET".to_owned(),
                path: path.to_owned(),
                headers: vec![("Cookie".to_owned(), "a=b".to_owned())],
            };
            log.push(head, "SESSION_CREATED");
        }
        let upgrades = log.latest();
        assert_eq!(upgrades.total, 3);
        assert_eq!(upgrades.latest[0].path, "/app/2");
        assert_eq!(upgrades.latest[1].header("cookie").next(), Some("a=b"));
    }
}
