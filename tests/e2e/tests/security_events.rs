//! Security events pushed by an identity provider (RFC 8935), through Envoy: they close the sockets of the sessions
//! that they end.

use berth_harness::{Call, Reply, Result, Stack, WebSocket, wait};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const ISSUER: &str = "https://idp.example";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// The public key of the key below, as the provider publishes it.
const PUBLIC: &str = "N358mkIF4cM-bRbJQvKuLzQGpLHUmWbhoItwVv3-ImU";
const KEY: &[u8] = include_bytes!("../../../placement-service/tests/keys/eddsa.pem");
const LIMIT: Duration = Duration::from_secs(20);

async fn start_stack() -> Result<Stack> {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "one", "x": PUBLIC});
    let transmitter = json!({
        "name": "idp",
        "issuer": ISSUER,
        "jwks": {"inline": {"keys": [key]}},
        "account_by": "sub",
    });
    let events = json!({"audience": "berth-events", "transmitters": [transmitter]});
    let builder = Stack::builder().engines(1);
    builder
        .service_config(&json!({"security_events": events}))
        .start()
        .await
}

fn event_claims(jti: &str) -> Value {
    let now = get_current_timestamp();
    json!({
        "iss": ISSUER, "aud": "berth-events", "iat": now, "jti": jti,
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "demo"},
        "events": {REVOKED: {"event_timestamp": now}},
    })
}

async fn push_event(stack: &Stack, claims: &Value) -> Result<Reply> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("one".to_owned());
    header.typ = Some("secevent+jwt".to_owned());
    let token = encode(&header, claims, &EncodingKey::from_ed_pem(KEY)?)?;
    let call =
        Call::new("POST", "/security-events").header("content-type", "application/secevent+jwt");
    stack.send(call.body(token)).await
}

/// Sends messages until a close frame arrives, and returns its code. A silent client would be reset without a close
/// frame.
async fn await_close_code(socket: &mut WebSocket) -> Result<Option<u16>> {
    loop {
        socket.send(Message::text("{}")).await?;
        if let Message::Close(frame) = socket.next_message().await? {
            return Ok(frame.map(|frame| frame.code.into()));
        }
    }
}

#[tokio::test]
async fn a_revocation_by_the_provider_closes_only_the_users_sockets() -> Result<()> {
    let mut stack = start_stack().await?;
    stack
        .service()?
        .add_account("ada", "some-password-1", &["user"])?;
    let (demo, ada) = (
        stack.login_demo().await?,
        stack.login("ada", "some-password-1").await?,
    );
    let mut socket = stack.open_socket("/app/sales.qvf", &demo).await?;
    let mut other = stack.open_socket("/app/sales.qvf", &ada).await?;

    // An invalid event ends nothing.
    let mut wrong = event_claims("one");
    wrong["aud"] = "elsewhere".into();
    let reply = push_event(&stack, &wrong).await?;
    assert_eq!(
        (reply.status, &reply.json()["err"]),
        (400, &json!("invalid_audience"))
    );
    let whoami = Call::get("/api/whoami").cookie(&demo);
    assert_eq!(stack.send(whoami.clone()).await?.status, 200);

    let reply = push_event(&stack, &event_claims("two")).await?;
    assert_eq!((reply.status, reply.text().as_str()), (202, ""));
    let code = tokio::time::timeout(LIMIT, await_close_code(&mut socket)).await??;
    assert_eq!(code, Some(4403));
    let over = || async { (stack.send(whoami.clone()).await.ok()?.status == 440).then_some(()) };
    wait::poll_until("the session has ended", LIMIT, over).await?;
    let reply = stack.send(Call::get("/api/whoami").cookie(&ada)).await?;
    assert_eq!(reply.json()["account"], "ada");
    other.send(Message::text("{}")).await?;
    other.next_message().await?;
    Ok(())
}
