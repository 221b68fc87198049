//! The signature of a delivery: whoever knows the webhook's secret can tell that the body comes from here, and
//! when it was sent.

use crate::core::secret::Secret;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// The header that carries it.
pub(super) const HEADER: &str = "berth-signature";

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over the seconds as text, a dot and the body. The receiver
/// compares in constant time and refuses a `t` that is minutes off, so that no delivery can be replayed later.
pub(super) fn of(secret: &Secret, now_s: u64, body: &[u8]) -> String {
    let mut header = format!("t={now_s},v1=");
    // HMAC takes a key of any length.
    if let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) {
        let mac = mac.chain_update(format!("{now_s}.")).chain_update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(header, "{byte:02x}");
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected value is Python's: `hmac.new(b"secret", b"1700000000.{}", "sha256").hexdigest()`.
    #[test]
    fn the_signature_is_an_hmac_over_time_and_body() {
        let secret = Secret::new("secret".to_owned());
        let expected =
            "t=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163";
        assert_eq!(of(&secret, 1_700_000_000, b"{}"), expected);
        assert_ne!(of(&secret, 1_700_000_001, b"{}"), expected);
        assert_ne!(of(&secret, 1_700_000_000, b"{ }"), expected);
    }
}
