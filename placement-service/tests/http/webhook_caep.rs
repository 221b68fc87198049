//! Webhooks of format `caep`: the ends of sessions as security event tokens (RFC 8935), and the receiver's own secret.

use crate::site::Site;
use crate::webhook_receiver::{Receiver, ScriptedAnswer};
use crate::webhooks::{SECRET, logout, request_as_operator, webhook_config};
use berth_placement::core::clock::Clock;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::Method;
use serde_json::{Value, json};

/// A configuration with a `caep` webhook.
pub(crate) fn caep_config(receiver: &Receiver) -> String {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/es256.pem");
    format!(
        "{}tokens: {{ algorithm: ES256, key: {{ file: {pem} }}, issuer: \"https://berth.example\" }}",
        webhook_config(receiver, ", format: caep, audience: partner")
    )
}

#[tokio::test]
async fn a_session_end_is_sent_as_a_security_event_that_the_published_key_verifies() {
    let receiver = Receiver::start().await;
    let refused = "{\"err\":\"invalid_audience\",\"description\":\"hunter2\"}";
    receiver.push_answers(&[
        ScriptedAnswer::Respond(500, ""),
        ScriptedAnswer::Respond(400, "not in the form of RFC 8935"),
        ScriptedAnswer::Respond(202, ""),
        ScriptedAnswer::Respond(400, refused),
        ScriptedAnswer::Respond(200, ""),
    ]);
    let site = Site::start(&caep_config(&receiver)).await;
    let now = site.clock.now_s();
    let (mut ids, mut refs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ids.push(site.login().await);
        refs.push(site.session_ref(&ids[ids.len() - 1]).await);
    }
    for id in &ids {
        logout(&site, id).await;
    }
    let accepted = receiver.wait_for_accepted(2).await;
    let received = receiver.requests();
    assert!(
        received[..3]
            .iter()
            .all(|request| request.body == received[0].body),
        "the same SET"
    );
    let set: JwkSet =
        serde_json::from_str(&site.get("/.well-known/jwks.json", "").await.text).unwrap();
    for (received, session_ref) in accepted.iter().zip([&refs[0], &refs[2]]) {
        assert_eq!(received.header("content-type"), "application/secevent+jwt");
        assert_eq!(received.header("authorization"), format!("Bearer {SECRET}"));
        assert_eq!(received.header("webhook-signature"), "");
        let header = decode_header(&received.body).unwrap();
        assert_eq!(header.typ.as_deref(), Some("secevent+jwt"));
        let key = set.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["partner"]);
        validation.set_issuer(&["https://berth.example"]);
        validation.set_required_spec_claims(&["aud", "iss"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_jwk(key).unwrap();
        let claims: Value = decode(&received.body, &key, &validation).unwrap().claims;
        let event = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        assert_eq!(
            claims,
            json!({
                "iss": "https://berth.example", "aud": "partner", "iat": now, "jti": received.id(),
                "sub_id": {
                    "format": "complex",
                    "session": { "format": "opaque", "id": session_ref },
                    "user": { "format": "iss_sub", "iss": "https://berth.example", "sub": "demo" },
                },
                "events": { event: {
                    "event_timestamp": now, "initiating_entity": "user", "reason_admin": { "en": "logout" },
                } },
            })
        );
    }
    let letters = request_as_operator(&site, Method::GET, "/v1/webhooks/siem/dead-letters").await;
    let letter = &letters.json()["dead_letters"][0];
    assert_eq!(letter["error"], "status 400, invalid_audience", "at once");
    assert_eq!(letter["event"]["session_ref"], refs[1]);
    assert!(!letters.text.contains("hunter2"));
}

/// The prefix `whsec_` means Base64 only where the secret signs.
#[tokio::test]
async fn a_secret_is_sent_as_it_is() {
    let receiver = Receiver::start().await;
    let secret = "whsec_not-in-base64";
    let config = caep_config(&receiver).replace(SECRET, secret);
    let site = Site::start(&config).await;
    let id = site.login().await;
    logout(&site, &id).await;
    let accepted = receiver.wait_for_accepted(1).await;
    assert_eq!(
        accepted[0].header("authorization"),
        format!("Bearer {secret}")
    );
}
