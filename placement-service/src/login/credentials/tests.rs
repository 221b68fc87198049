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
    fn record(&self, call: &'static str) {
        self.calls.lock().push(call);
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

    async fn remove_account(&self, name: &str) -> Result<bool, StoreError> {
        self.store.remove_account(name).await
    }

    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError> {
        let is_written = self.store.set_attempts(name, before, after).await?;
        self.record(if is_written { "set" } else { "set nothing" });
        Ok(is_written)
    }

    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError> {
        let is_written = self.store.set_devices(name, before, after).await?;
        self.record(if is_written { "set" } else { "set nothing" });
        Ok(is_written)
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
        let outcome = self.credentials.check(name, password, device).await;
        outcome.unwrap()
    }

    /// The cookie of a browser that has logged in as `ann`.
    async fn device(&self) -> String {
        let row = self.store.find_account("ann").await.unwrap().unwrap();
        self.credentials.device_cookie(&row, "").unwrap()
    }

    async fn passes(&self) -> bool {
        matches!(self.check("ann", PASSWORD).await, CheckOutcome::Passed(_))
    }

    async fn fail(&self, count: u32) {
        for _ in 0..count {
            let outcome = self.check("ann", "wrong").await;
            assert!(
                matches!(
                    outcome,
                    CheckOutcome::WrongPassword(_, LockoutScope::Account)
                ),
                "{outcome:?}"
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
    let testbed = Testbed::new().await;
    testbed.fail(5).await;
    for minutes in [1, 2, 4] {
        assert!(!testbed.passes().await, "the right password");
        assert_eq!(testbed.check("ann", "wrong").await, CheckOutcome::Locked);
        testbed.clock.advance_ms(minutes * MINUTE_MS - 1);
        assert!(!testbed.passes().await, "to the last millisecond");
        testbed.clock.advance_ms(1);
        testbed.fail(1).await;
    }
    assert_eq!(
        testbed.attempts().await.failures,
        8,
        "none while it was locked"
    );
    testbed.clock.advance_ms(8 * MINUTE_MS);
    assert!(testbed.passes().await);
    assert_eq!(testbed.attempts().await, Attempts::default());
    testbed.fail(4).await;
    assert!(testbed.passes().await, "they count from the last success");
}

#[tokio::test]
async fn an_account_locked_by_an_operator_stays_locked() {
    let testbed = Testbed::new().await;
    for password in [PASSWORD, "wrong"] {
        assert_eq!(testbed.check("eve", password).await, CheckOutcome::Locked);
    }
    testbed.clock.advance_ms(1_000_000 * MINUTE_MS);
    assert_eq!(testbed.check("eve", PASSWORD).await, CheckOutcome::Locked);
    assert_eq!(
        testbed.check("nobody", PASSWORD).await,
        CheckOutcome::UnknownAccount
    );
    assert_eq!(
        testbed.check("a b\0", PASSWORD).await,
        CheckOutcome::UnknownAccount
    );
}

/// Makes 20 concurrent guesses on two replicas; returns the failure counts of those that counted.
async fn guess_at_once(testbed: &Testbed, device: &str) -> Vec<u32> {
    // A second replica on the same store.
    let other = Credentials {
        store: testbed.store.clone(),
        device_key: testbed.credentials.device_key.clone(),
        clock: testbed.clock.clone(),
        passwords: Passwords::new().unwrap(),
        lockout: testbed.credentials.lockout,
    };
    let replicas = [testbed.credentials.clone(), Arc::new(other)];
    let guesses: Vec<_> = (0..20)
        .map(|n| {
            let replica = replicas[n % 2].clone();
            let device = device.to_owned();
            tokio::spawn(async move { replica.check("ann", format!("guess {n}"), &device).await })
        })
        .collect();
    let mut wrong_passwords = Vec::new();
    for guess in guesses {
        match guess.await.unwrap().unwrap() {
            CheckOutcome::WrongPassword(attempts, _) => wrong_passwords.push(attempts.failures),
            other => assert_eq!(other, CheckOutcome::Locked),
        }
    }
    wrong_passwords.sort_unstable();
    wrong_passwords
}

#[tokio::test]
async fn only_five_of_many_concurrent_guesses_count() {
    let testbed = Testbed::new().await;
    let device = testbed.device().await;
    assert_eq!(guess_at_once(&testbed, &device).await, [1, 2, 3, 4, 5]);
    assert_eq!(
        testbed.attempts().await,
        Attempts::default(),
        "the device's own"
    );
    assert_eq!(guess_at_once(&testbed, "").await, [1, 2, 3, 4, 5]);
    let locked = Attempts {
        failures: 5,
        locked_until_ms: NOW_MS + MINUTE_MS,
    };
    assert_eq!(testbed.attempts().await, locked);
}

#[tokio::test]
async fn a_right_guess_passes_only_before_the_lock() {
    let testbed = Testbed::new().await;
    testbed.fail(4).await;
    let row = testbed.store.find_account("ann").await.unwrap();
    let hash = row.as_ref().map(|row| row.password_hash.clone());
    // The right password was hashed while the fifth failure was recorded.
    testbed.fail(1).await;
    let row = testbed.store.find_account("ann").await.unwrap();
    let evaluated = testbed.credentials.evaluate(row, hash.as_deref(), "");
    assert_eq!(evaluated.unwrap().0, CheckOutcome::Locked);
}

#[tokio::test]
async fn every_refusal_does_the_same_work() {
    let testbed = Testbed::new().await;
    let device = testbed.device().await;
    let cost_from = async |device: &str, name: &str, password: &str| {
        testbed.store.calls.lock().clear();
        let before = testbed.passwords.hash_count();
        let outcome = testbed.check_from(device, name, password).await;
        let calls = testbed.store.calls.lock().join(" ");
        (outcome, testbed.passwords.hash_count() - before, calls)
    };
    let cost = async |name: &str, password: &str| cost_from("", name, password).await;
    let same_work = |(outcome, hashes, calls): (CheckOutcome, u64, String),
                     expected: CheckOutcome| {
        assert_eq!(outcome, expected);
        assert_eq!(
            (hashes, calls.as_str()),
            (1, "find find set"),
            "{outcome:?}"
        );
    };
    let first = Attempts {
        failures: 1,
        locked_until_ms: 0,
    };
    same_work(cost("nobody", PASSWORD).await, CheckOutcome::UnknownAccount);
    same_work(cost("a b\0", PASSWORD).await, CheckOutcome::UnknownAccount);
    let wrong_password = |scope| CheckOutcome::WrongPassword(first, scope);
    same_work(
        cost("ann", "wrong").await,
        wrong_password(LockoutScope::Account),
    );
    let guess = cost_from(&device, "ann", "wrong").await;
    same_work(guess, wrong_password(LockoutScope::Device));
    same_work(cost("eve", PASSWORD).await, CheckOutcome::Locked);
    same_work(cost("eve", "wrong").await, CheckOutcome::Locked);
    testbed.fail(4).await;
    same_work(cost("ann", PASSWORD).await, CheckOutcome::Locked);
    same_work(cost("ann", "wrong").await, CheckOutcome::Locked);
    for _ in 0..4 {
        cost_from(&device, "ann", "wrong").await;
    }
    let locked = cost_from(&device, "ann", PASSWORD).await;
    same_work(locked, CheckOutcome::Locked);
}

#[tokio::test]
async fn changes_after_the_check_are_found() {
    let testbed = Testbed::new().await;
    let CheckOutcome::Passed(row) = testbed.check("ann", PASSWORD).await else {
        panic!("not let in");
    };
    let since = async || testbed.credentials.changed_since(&row).await.unwrap();
    assert_eq!(since().await, None);
    testbed.fail(1).await;
    assert_eq!(since().await, None, "failures of others are no change");
    let change = async |change: AccountChange| {
        let result = testbed.store.change_account("ann", &change).await;
        assert!(result.unwrap());
    };
    change(AccountChange::Roles(Vec::new())).await;
    assert_eq!(since().await, Some(EndCause::RolesChanged));
    change(AccountChange::Roles(row.roles.clone())).await;
    change(AccountChange::PasswordHash("x".to_owned())).await;
    assert_eq!(since().await, Some(EndCause::PasswordChanged));
    change(AccountChange::Locked(true)).await;
    assert_eq!(since().await, Some(EndCause::AccountLocked));
}
