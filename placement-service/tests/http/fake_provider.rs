//! A fake OpenID provider that can misbehave in ways that no real one can.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_placement::config::Algorithm;
use berth_placement::core::secret::Secret;
use berth_placement::sessions::keys::SigningKey;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub(crate) type Fields = BTreeMap<String, String>;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Signing {
    Es256(&'static str),
    Rs256(&'static str),
    /// A key that the provider does not publish, under a published key id.
    UnpublishedKey,
    /// HS256 with the public key as the secret.
    PublicAsSecret,
    /// Unsigned (`alg: none`).
    Unsigned,
}

/// What the fake provider answers.
pub(crate) struct ProviderBehaviour {
    pub(crate) signing: Signing,
    /// Key ids of the published ES256 and RS256 keys.
    pub(crate) published: (&'static str, &'static str),
    /// Merged into the claims of ID tokens; `null` removes a claim.
    pub(crate) claims: Value,
    /// Merged into the provider metadata.
    pub(crate) metadata: Value,
    pub(crate) userinfo: Value,
    /// Merged into the answer of the token endpoint.
    pub(crate) tokens: Value,
    /// Replaces the answer of the token endpoint.
    pub(crate) token_error: Option<(u16, Value)>,
    /// Replaces the published key set.
    pub(crate) key_set: Option<Value>,
    pub(crate) down: bool,
    grants: HashMap<String, Fields>,
    requests: HashMap<&'static str, u32>,
}

/// A running fake provider.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<ProviderBehaviour>>,
    server_guard: Arc<ServerGuard>,
}

struct ServerGuard(AbortHandle);

impl Drop for ServerGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) const SECRET: &str = "the client's own secret";

impl FakeProvider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(ProviderBehaviour {
            signing: Signing::Es256("k1"),
            published: ("k1", "r1"),
            claims: json!({}),
            metadata: json!({}),
            userinfo: json!({"sub": "u-1"}),
            tokens: json!({}),
            token_error: None,
            key_set: None,
            down: false,
            grants: HashMap::new(),
            requests: HashMap::new(),
        }));
        let mut idp = Self {
            address,
            behaviour,
            server_guard: Arc::new(ServerGuard(tokio::spawn(async {}).abort_handle())),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(idp.clone());
        let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp.server_guard = Arc::new(ServerGuard(served.abort_handle()));
        idp
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behaviour(&self) -> MutexGuard<'_, ProviderBehaviour> {
        self.behaviour.lock().unwrap()
    }

    /// How often a path was requested.
    pub(crate) fn requests(&self, path: &str) -> u32 {
        self.behaviour().requests.get(path).copied().unwrap_or(0)
    }

    /// The user consents. Returns the query that the browser brings back.
    pub(crate) fn authorize(&self, request: &Fields) -> String {
        assert_eq!(request["response_type"], "code");
        assert_eq!(request["code_challenge_method"], "S256");
        let code = format!("code-{}", self.behaviour().grants.len());
        self.behaviour()
            .grants
            .insert(code.clone(), request.clone());
        format!("code={code}&state={}", request["state"])
    }

    /// A logout token.
    pub(crate) fn sign_logout_token(&self, claims: &Value) -> String {
        self.sign(Some("logout+jwt"), claims)
    }

    /// The published keys, unless `key_set` replaces them.
    pub(crate) fn public_keys(&self) -> Vec<Value> {
        let (es256, rs256) = self.behaviour().published;
        let keys = [(Algorithm::Es256, es256), (Algorithm::Rs256, rs256)];
        let public = keys.map(|(algorithm, kid)| signing_key(algorithm, kid).public_jwk.unwrap());
        public.to_vec()
    }

    /// Signs in the current signing mode, with this `typ`.
    pub(crate) fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let signing = self.behaviour().signing;
        let published = self.behaviour().published;
        let key = match signing {
            Signing::Es256(kid) => signing_key(Algorithm::Es256, kid),
            Signing::Rs256(kid) => signing_key(Algorithm::Rs256, kid),
            Signing::UnpublishedKey => signing_key(Algorithm::Rs256, published.0),
            Signing::PublicAsSecret => {
                let public = signing_key(Algorithm::Rs256, published.1)
                    .public_jwk
                    .unwrap();
                let secret = EncodingKey::from_secret(public["n"].as_str().unwrap().as_bytes());
                let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
                header.kid = Some(published.1.to_owned());
                return jsonwebtoken::encode(&header, claims, &secret).unwrap();
            }
            Signing::Unsigned => {
                let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                return format!("{}.{}.", part(&json!({"alg": "none"})), part(claims));
            }
        };
        let mut header = key.header;
        header.typ = typ.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &key.encoding_key).unwrap()
    }

    fn count_request(&self, path: &'static str) -> bool {
        let mut now = self.behaviour();
        *now.requests.entry(path).or_default() += 1;
        !now.down
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Merges fields into an object; `null` removes a field.
pub(crate) fn merge_fields(mut base: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

fn signing_key(algorithm: Algorithm, kid: &str) -> SigningKey {
    let pem = match algorithm {
        Algorithm::Rs256 => include_str!("../keys/rs256.pem"),
        _ => include_str!("../keys/es256.pem"),
    };
    SigningKey::new(algorithm, &Secret::new(pem.to_owned()), Some(kid)).unwrap()
}

async fn metadata(State(idp): State<FakeProvider>) -> Response {
    if !idp.count_request("/.well-known/openid-configuration") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let issuer = idp.issuer();
    let metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "end_session_endpoint": format!("{issuer}/end?tenant=a"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "XY99"],
    });
    Json(merge_fields(metadata, &idp.behaviour().metadata)).into_response()
}

async fn jwks(State(idp): State<FakeProvider>) -> Response {
    if !idp.count_request("/jwks") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let key_set = idp.behaviour().key_set.clone();
    let key_set = key_set.unwrap_or_else(|| json!({ "keys": idp.public_keys() }));
    Json(key_set).into_response()
}

async fn token(
    State(idp): State<FakeProvider>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    if !idp.count_request("/token") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Some((status, body)) = &idp.behaviour().token_error {
        return (StatusCode::from_u16(*status).unwrap(), Json(body.clone())).into_response();
    }
    let basic = headers["authorization"].to_str().unwrap();
    let basic = basic.strip_prefix("Basic ").unwrap();
    let basic = base64::engine::general_purpose::STANDARD
        .decode(basic)
        .unwrap();
    assert!(basic.starts_with(b"berth:the+client"), "{basic:?}");
    let refused = || {
        let body = json!({"error": "invalid_grant"});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    let Some(grant) = idp.behaviour().grants.remove(&form["code"]) else {
        return refused();
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if challenge != grant["code_challenge"] || form["redirect_uri"] != grant["redirect_uri"] {
        return refused();
    }
    let claims = json!({
        "iss": idp.issuer(), "aud": "berth", "sub": "u-1", "sid": "idp-session-1",
        "iat": now_s(), "exp": now_s() + 60, "nonce": grant["nonce"],
        "preferred_username": "ada", "groups": ["staff"], "tenant": "t1",
    });
    let claims = merge_fields(claims, &idp.behaviour().claims);
    let id_token = idp.sign(Some("JWT"), &claims);
    let tokens = json!({"access_token": "at", "token_type": "Bearer", "id_token": id_token});
    Json(merge_fields(tokens, &idp.behaviour().tokens)).into_response()
}

async fn userinfo(State(idp): State<FakeProvider>, headers: HeaderMap) -> Response {
    if !idp.count_request("/userinfo") || headers["authorization"] != "Bearer at" {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(idp.behaviour().userinfo.clone()).into_response()
}
