//! A transmitter of security events: its key, its published key set, and its events.

use crate::site::{Answer, Site, send_request};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use berth_placement::config::Algorithm;
use berth_placement::core::secret::Secret;
use berth_placement::sessions::keys::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

pub(crate) const REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CONTENT_TYPE: &str = "application/secevent+jwt";

pub(crate) struct Transmitter {
    pub(crate) issuer: String,
    pub(crate) key: SigningKey,
    published: Arc<Mutex<Value>>,
    pub(crate) jwks_url: String,
}

fn signing_key(file: &str, algorithm: Algorithm, kid: &str) -> SigningKey {
    let path = format!("{}/tests/keys/{file}.pem", env!("CARGO_MANIFEST_DIR"));
    let pem = Secret::new(std::fs::read_to_string(path).unwrap());
    SigningKey::new(algorithm, &pem, Some(kid)).unwrap()
}

impl Transmitter {
    /// Starts a transmitter that publishes its key.
    pub(crate) async fn start(issuer: &str) -> Self {
        let key = signing_key("es256", Algorithm::Es256, "one");
        let published = Arc::new(Mutex::new(json!({"keys": [key.public_jwk]})));
        let jwks = async |State(set): State<Arc<Mutex<Value>>>| set.lock().unwrap().to_string();
        let router = Router::new().route("/jwks", get(jwks));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = router.with_state(published.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self {
            issuer: issuer.to_owned(),
            key,
            published,
            jwks_url,
        }
    }

    /// Signs with another key from now on. `publish` publishes that key.
    pub(crate) fn rotate(&mut self, kid: &str) {
        self.key = signing_key("eddsa", Algorithm::EdDsa, kid);
    }

    pub(crate) fn publish(&self) {
        self.publish_keys(json!([self.key.public_jwk]));
    }

    pub(crate) fn publish_keys(&self, keys: Value) {
        *self.published.lock().unwrap() = json!({ "keys": keys });
    }

    /// The claims of an event about `sub_id`.
    pub(crate) fn claims(&self, now_s: u64, jti: &str, event: &str, sub_id: Value) -> Value {
        json!({"iss": self.issuer, "aud": "berth-events", "iat": now_s, "jti": jti,
               "sub_id": sub_id, "events": {event: {"event_timestamp": now_s}}})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = self.key.header.clone();
        header.typ = Some("secevent+jwt".to_owned());
        jsonwebtoken::encode(&header, claims, &self.key.encoding_key).unwrap()
    }
}

pub(crate) async fn push_event(site: &Site, token: impl Into<String>) -> Answer {
    let request = site.request(Method::POST, "/security-events");
    let request = request.header("content-type", CONTENT_TYPE);
    send_request(request.body(token.into())).await
}
