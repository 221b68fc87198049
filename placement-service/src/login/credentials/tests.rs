//! The lockout on a real SQLite file, with concurrent attempts on two replicas, and the equal work of every refusal.

use super::*;
use crate::core::clock::ManualClock;
use async_trait::async_trait;
use berth_store::AccountChange;
use berth_store::sqlite::SqliteStore;
use parking_lot::Mutex;
use std::time::Duration;

const PASSWORD: &str = "a long password";
const MINUTE_MS: u64 = 60_000;
const NOW_MS: u64 = 1_700_000_000_000;

/// Records the calls of the store.
struct RecordingStore {
    store: SqliteStore,
    calls: Mutex<Vec<&'static str>>,
}

impl RecordingStore {
    fn record(&self, what: &'static str) {
        self.calls.lock().push(what);
    }
}

#[async_trait]
impl AccountStore for RecordingStore {
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        self.store.add_account(row).await
    }

    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        self.record("find");
        self.store.find_account(name).await
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.store.accounts().await
    }

    async fn change_account(&self, name: &str, change: &AccountChange) -> Result<bool, StoreError> {
        self.store.change_account(name, change).await
    }

    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError> {
        self.record("set");
        self.store.set_attempts(name, before, after).await
    }

    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError> {
        self.record("set");
        self.store.set_devices(name, before, after).await
    }
}

struct Testbed {
    store: Arc<RecordingStore>,
    clock: Arc<ManualClock>,
    passwords: Passwords,
    credentials: Arc<Credentials>,
    _dir: tempfile::TempDir,
}

impl Testbed {
    /// Has the unlocked account `ann`, and `eve`, which an operator has locked.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(RecordingStore {
            store: SqliteStore::open(&dir.path().join("a.db")).await.unwrap(),
            calls: Mutex::default(),
        });
        let passwords = Passwords::new().unwrap();
        for (name, locked) in [("ann", false), ("eve", true)] {
            let row = AccountRow {
                name: name.to_owned(),
                password_hash: passwords.hash(PASSWORD.to_owned()).await.unwrap(),
                roles: vec!["user".to_owned()],
                created_at_ms: 1,
                locked,
                attempts: Attempts::default(),
                devices: String::new(),
            };
            assert!(store.add_account(&row).await.unwrap());
        }
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let lockout = Lockout {
            max_failures: 5,
            initial: Duration::from_secs(60),
            max: Duration::from_secs(3600),
        };
        let key = DeviceKey::load(&store.store).await.unwrap();
        let (shared_clock, shared_passwords) = (clock.clone(), passwords.clone());
        let credentials =
            Credentials::new(store.clone(), key, shared_clock, shared_passwords, lockout);
        Self {
            store,
            clock,
            passwords,
            credentials: Arc::new(credentials),
            _dir: dir,
        }
    }

    async fn check(&self, name: &str, password: &str) -> CheckOutcome {
        self.check_from("", name, password).await
    }

    async fn check_from(&self, device: &str, name: &str, password: &str) -> CheckOutcome {
        let password = password.to_owned();
        let checked = self.credentials.check(name, password, device).await;
        checked.unwrap()
    }

    /// The cookie of a browser that has logged in as `ann`.
    async fn device(&self) -> String {
        let row = self.store.find_account("ann").await.unwrap().unwrap();
        self.credentials.device_cookie(&row, "").unwrap()
    }

    async fn passes(&self) -> bool {
        matches!(self.check("ann", PASSWORD).await, CheckOutcome::Passed(_))
    }

    async fn fail(&self, times: u32) {
        for _ in 0..times {
            let checked = self.check("ann", "wrong").await;
            assert!(
                matches!(
                    checked,
                    CheckOutcome::WrongPassword(_, LockoutScope::Account)
                ),
                "{checked:?}"
            );
        }
    }

    async fn attempts(&self) -> Attempts {
        let row = self.store.find_account("ann").await.unwrap();
        row.unwrap().attempts
    }
}

#[tokio::test]
async fn five_failures_lock_and_the_lock_grows() {
    let w = Testbed::new().await;
    w.fail(5).await;
    for minutes in [1, 2, 4] {
        assert!(!w.passes().await, "the right password");
        assert_eq!(w.check("ann", "wrong").await, CheckOutcome::Locked);
        w.clock.advance_ms(minutes * MINUTE_MS - 1);
        assert!(!w.passes().await, "to the last millisecond");
        w.clock.advance_ms(1);
        w.fail(1).await;
    }
    assert_eq!(w.attempts().await.failures, 8, "none while it was locked");
    w.clock.advance_ms(8 * MINUTE_MS);
    assert!(w.passes().await);
    assert_eq!(w.attempts().await, Attempts::default());
    w.fail(4).await;
    assert!(w.passes().await, "they count from the last success");
}

#[tokio::test]
async fn an_account_locked_by_an_operator_stays_locked() {
    let w = Testbed::new().await;
    for password in [PASSWORD, "wrong"] {
        assert_eq!(w.check("eve", password).await, CheckOutcome::Locked);
    }
    w.clock.advance_ms(1_000_000 * MINUTE_MS);
    assert_eq!(w.check("eve", PASSWORD).await, CheckOutcome::Locked);
    assert_eq!(
        w.check("nobody", PASSWORD).await,
        CheckOutcome::UnknownAccount
    );
    assert_eq!(
        w.check("a b\0", PASSWORD).await,
        CheckOutcome::UnknownAccount
    );
}

/// Makes 20 concurrent guesses on two replicas; returns the failure counts of those that counted.
async fn guess_at_once(w: &Testbed, device: &str) -> Vec<u32> {
    // A second replica on the same store.
    let other = Credentials {
        store: w.store.clone(),
        device_key: w.credentials.device_key.clone(),
        clock: w.clock.clone(),
        passwords: Passwords::new().unwrap(),
        lockout: w.credentials.lockout,
    };
    let replicas = [w.credentials.clone(), Arc::new(other)];
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            let replica = replicas[n % 2].clone();
            let device = device.to_owned();
            tokio::spawn(async move { replica.check("ann", format!("guess {n}"), &device).await })
        })
        .collect();
    let mut wrong = Vec::new();
    for guess in guesses {
        match guess.await.unwrap().unwrap() {
            CheckOutcome::WrongPassword(attempts, _) => wrong.push(attempts.failures),
            other => assert_eq!(other, CheckOutcome::Locked),
        }
    }
    wrong.sort_unstable();
    wrong
}

#[tokio::test]
async fn only_five_of_many_concurrent_guesses_count() {
    let w = Testbed::new().await;
    let device = w.device().await;
    assert_eq!(guess_at_once(&w, &device).await, [1, 2, 3, 4, 5]);
    assert_eq!(w.attempts().await, Attempts::default(), "the device's own");
    assert_eq!(guess_at_once(&w, "").await, [1, 2, 3, 4, 5]);
    let locked = Attempts {
        failures: 5,
        locked_until_ms: NOW_MS + MINUTE_MS,
    };
    assert_eq!(w.attempts().await, locked);
}

#[tokio::test]
async fn a_right_guess_passes_only_before_the_lock() {
    let w = Testbed::new().await;
    w.fail(4).await;
    let row = w.store.find_account("ann").await.unwrap();
    let hash = row.as_ref().map(|row| row.password_hash.clone());
    // The right password was hashed while the fifth failure was recorded.
    w.fail(1).await;
    let row = w.store.find_account("ann").await.unwrap();
    let evaluated = w.credentials.evaluate(row, hash.as_deref(), "");
    assert_eq!(evaluated.unwrap().0, CheckOutcome::Locked);
}

#[tokio::test]
async fn every_refusal_does_the_same_work() {
    let w = Testbed::new().await;
    let device = w.device().await;
    let cost_from = async |device: &str, name: &str, password: &str| {
        w.store.calls.lock().clear();
        let before = w.passwords.hash_count();
        let checked = w.check_from(device, name, password).await;
        let asked = w.store.calls.lock().join(" ");
        (checked, w.passwords.hash_count() - before, asked)
    };
    let cost = async |name: &str, password: &str| cost_from("", name, password).await;
    let same = |(checked, hashes, asked): (CheckOutcome, u64, String), expected: CheckOutcome| {
        assert_eq!(checked, expected);
        assert_eq!(
            (hashes, asked.as_str()),
            (1, "find find set"),
            "{checked:?}"
        );
    };
    let first = Attempts {
        failures: 1,
        locked_until_ms: 0,
    };
    same(cost("nobody", PASSWORD).await, CheckOutcome::UnknownAccount);
    same(cost("a b\0", PASSWORD).await, CheckOutcome::UnknownAccount);
    let wrong = |scope| CheckOutcome::WrongPassword(first, scope);
    same(cost("ann", "wrong").await, wrong(LockoutScope::Account));
    let guess = cost_from(&device, "ann", "wrong").await;
    same(guess, wrong(LockoutScope::Device));
    same(cost("eve", PASSWORD).await, CheckOutcome::Locked);
    same(cost("eve", "wrong").await, CheckOutcome::Locked);
    w.fail(4).await;
    same(cost("ann", PASSWORD).await, CheckOutcome::Locked);
    same(cost("ann", "wrong").await, CheckOutcome::Locked);
    for _ in 0..4 {
        cost_from(&device, "ann", "wrong").await;
    }
    let locked = cost_from(&device, "ann", PASSWORD).await;
    same(locked, CheckOutcome::Locked);
}

#[tokio::test]
async fn changes_after_the_check_are_found() {
    let w = Testbed::new().await;
    let CheckOutcome::Passed(row) = w.check("ann", PASSWORD).await else {
        panic!("not let in");
    };
    let since = async || w.credentials.changed_since(&row).await.unwrap();
    assert_eq!(since().await, None);
    w.fail(1).await;
    assert_eq!(since().await, None, "failures of others are no change");
    let change = async |change: AccountChange| {
        let changed = w.store.change_account("ann", &change).await;
        assert!(changed.unwrap());
    };
    change(AccountChange::Roles(Vec::new())).await;
    assert_eq!(since().await, Some(EndCause::RolesChanged));
    change(AccountChange::Roles(row.roles.clone())).await;
    change(AccountChange::PasswordHash("x".to_owned())).await;
    assert_eq!(since().await, Some(EndCause::PasswordChanged));
    change(AccountChange::Locked(true)).await;
    assert_eq!(since().await, Some(EndCause::AccountLocked));
}
