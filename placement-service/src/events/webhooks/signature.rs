//! The signature of a delivery, by the Standard Webhooks specification (<https://www.standardwebhooks.com>): a receiver that has
//! the webhook's secret verifies who sent the body, and when.

use crate::core::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The event's id, the same in each attempt.
pub(super) const ID: &str = "webhook-id";
/// Unix seconds of the attempt.
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
/// `v1,` and the HMAC in Base64.
pub(super) const SIGNATURE: &str = "webhook-signature";

/// The form in which libraries for Standard Webhooks keep secrets: Base64 of the key after this prefix.
const PREFIX: &str = "whsec_";

/// The key of a secret: the bytes after `whsec_`, or the text of any other secret. `None`: not Base64 after the prefix.
pub(crate) fn key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.reveal();
    match text.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok().filter(|key| !key.is_empty()),
        None => Some(text.as_bytes().to_vec()),
    }
}

/// The value of [`SIGNATURE`]: HMAC-SHA256 over id, timestamp and body, with dots between them.
pub(super) fn sign(key: &[u8], id: &str, now_s: u64, body: &[u8]) -> String {
    // HMAC takes a key of any length.
    let tag = Hmac::<Sha256>::new_from_slice(key).map(|mac| {
        let mac = mac.chain_update(format!("{id}.{now_s}."));
        mac.chain_update(body).finalize().into_bytes()
    });
    format!(
        "v1,{}",
        tag.map(|tag| STANDARD.encode(tag)).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hmac module; `tests/http/verification.rs` verifies a delivery with the documented receiver.
    #[test]
    fn the_signature_covers_id_time_and_body() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let key = key(&secret).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&key, id, 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(sign(&key, id, 1_614_265_331, body), signed);
        assert_ne!(sign(&key, "msg_other", 1_614_265_330, body), signed);
        assert_ne!(sign(&key, id, 1_614_265_330, b"{}"), signed);
    }

    #[test]
    fn a_secret_is_base64_after_its_prefix_or_a_text() {
        let key = |text: &str| key(&Secret::new(text.to_owned()));
        assert_eq!(key("whsec_AAEC"), Some(vec![0, 1, 2]));
        assert_eq!(key("plain-secret"), Some(b"plain-secret".to_vec()));
        assert_eq!(key("whsec_"), None);
        assert_eq!(key("whsec_not base64"), None);
    }
}
