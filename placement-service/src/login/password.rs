//! Password hashing with argon2id, on blocking threads and with a bounded queue. A check for an account that does not
//! exist does the same work as for one that does, so that its duration reveals nothing. Must not know accounts.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Maximum number of queued and running hashes; each takes about 20 ms of a core and 19 MiB.
const MAX_QUEUE: usize = 64;

/// Why a password was not hashed or checked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The queue is full.
    #[error("too many passwords to check at once")]
    Busy,
    /// Hashing failed.
    #[error("password hashing failed: {0}")]
    Failed(String),
}

/// Hashes and checks passwords with the parameters that the [OWASP password storage cheat sheet] recommends (19 MiB,
/// 2 passes, 1 lane).
///
/// [OWASP password storage cheat sheet]:
/// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    queue_length: Arc<AtomicUsize>,
    hash_count: Arc<AtomicU64>,
    /// The hash of a random value, checked in place of the hash of an account that does not exist.
    decoy: Arc<str>,
}

impl Passwords {
    /// Allows as many concurrent hashes as the machine has cores.
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = berth_store::session_id::SessionId::generate();
        Ok(Self {
            permits: Arc::new(Semaphore::new(cores)),
            queue_length: Arc::new(AtomicUsize::new(0)),
            hash_count: Arc::new(AtomicU64::new(0)),
            decoy: hash_blocking(decoy.reveal())?.into(),
        })
    }

    /// Hashes a password; returns the PHC string format.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run_blocking(move || hash_blocking(&password)).await
    }

    /// Whether the password matches the `stored` hash, which is `None` for an account that does not exist.
    pub async fn verify(
        &self,
        stored: Option<String>,
        password: String,
    ) -> Result<bool, PasswordError> {
        let has_hash = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.to_string());
        let matches = self.run_blocking(move || {
            let hash = PasswordHash::new(&stored).map_err(hashing_error)?;
            Ok(Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok())
        });
        Ok(matches.await? && has_hash)
    }

    /// A hash that no password matches.
    #[must_use]
    pub fn decoy(&self) -> &str {
        &self.decoy
    }

    /// Number of hashes computed so far, to store or to check. Hashing is nearly all of the work of a login.
    #[must_use]
    pub fn hash_count(&self) -> u64 {
        self.hash_count.load(Ordering::Relaxed)
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _queued = QueueSlot::acquire(&self.queue_length)?;
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(hashing_error)?;
        self.hash_count.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            operation()
        })
        .await
        .map_err(hashing_error)?
    }
}

/// A place in the queue, released on drop: when the login is done or its client has disconnected.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn acquire(queue_length: &'a AtomicUsize) -> Result<Self, PasswordError> {
        let slot = Self(queue_length);
        if queue_length.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUE {
            return Err(PasswordError::Busy);
        }
        Ok(slot)
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash_blocking(password: &str) -> Result<String, PasswordError> {
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(hashing_error)?;
    Ok(hash.to_string())
}

fn hashing_error(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches_and_none_without_an_account() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let matches = |stored: Option<&str>, password: &str| {
            passwords.verify(stored.map(str::to_owned), password.to_owned())
        };
        assert_eq!(matches(Some(&stored), "correct horse").await, Ok(true));
        assert_eq!(matches(Some(&stored), "correct horsf").await, Ok(false));
        assert_eq!(matches(None, "correct horse").await, Ok(false));
        assert!(matches(Some("not a hash"), "x").await.is_err());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_places_are_released() {
        let passwords = Passwords::new().unwrap();
        let permits: Vec<_> = (0..MAX_QUEUE)
            .map(|_| QueueSlot::acquire(&passwords.queue_length).unwrap())
            .collect();
        let refused = passwords.hash("x".to_owned()).await;
        assert_eq!(refused, Err(PasswordError::Busy));
        drop(permits);
        assert!(passwords.hash("x".to_owned()).await.is_ok());
        assert_eq!(passwords.queue_length.load(Ordering::Relaxed), 0);
    }
}
