//! Bearer tokens of programs at the service: only tokens that its keys have signed are valid, and the detail of a
//! refusal is bounded and printable.
use berth_placement::core::clock::SystemClock;
use berth_placement::config::{self, Algorithm};
use berth_placement::sessions::keys::SigningKey;
use berth_placement::core::secret::Secret;
use berth_placement::sessions::tokens::Tokens;
use std::sync::{Arc, LazyLock};

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let secret = Secret::new("a secret of nothing else, 32 bytes or more".to_owned());
    let key = SigningKey::new(Algorithm::Hs256, &secret, None).expect("a key");
    let config = config::load::from_text("").expect("the defaults").config;
    Tokens::new(Arc::new(SystemClock), key, &config.tokens)
});

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let refusal = TOKENS.verify(text).expect_err("nobody has signed it");
    let detail = refusal.detail.expect("a reason");
    assert!(!detail.contains(char::is_control) && detail.len() < 8_192);
}
