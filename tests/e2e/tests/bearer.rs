//! Programs with their own bearer token, and routes that allow anonymous requests, through the real Envoy.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::token::Claims;
use berth_harness::{Call, Result, Stack, paths, wait};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::Duration;

const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The DER of an Ed25519 key (RFC 8410) up to the 32 bytes of the key itself.
const ED25519: &[u8] = &[
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

async fn start_stack() -> Result<Stack> {
    let routes = json!([
        {"prefix": "/app/", "action": "place", "bearer": "allow"},
        {"prefix": "/doc/", "action": "place"},
        {"path": "/api/whoami", "action": "authenticate", "bearer": "allow"},
        {"path": "/api/headers", "action": "authenticate", "anonymous": "allow"},
        {"path": "/login", "action": "bypass"},
        {"path": "/logout", "action": "bypass"},
    ]);
    let filter = json!({"routes": routes});
    let builder = Stack::builder().engines(1).filter_config(&filter);
    builder.start().await
}

fn bearer_value(token: &str) -> String {
    format!("Bearer {token}")
}

/// Changes the first character of the signature: all six bits of it are significant, unlike those of the last
/// character.
fn tamper(token: &str) -> Result<String> {
    let (signed, signature) = token.rsplit_once('.').ok_or("no signature")?;
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    Ok(format!("{signed}.{other}{}", &signature[1..]))
}

async fn forwarded_headers(stack: &Stack, call: Call) -> Result<Vec<(String, String)>> {
    let reply = stack.send(call).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(serde_json::from_slice(&reply.body)?)
}

#[tokio::test]
async fn a_program_is_authenticated_by_its_token_without_a_session() -> Result<()> {
    let mut stack = start_stack().await?;
    let token = Claims::for_account("robot").sign()?;
    let call = Call::get("/api/whoami")
        .header("authorization", &bearer_value(&token))
        .header("x-berth-account", "admin");
    let reply = stack.send(call.clone()).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["account"], "robot");
    assert!(
        !reply.text().contains("x-berth-account"),
        "{}",
        reply.text()
    );
    // The service receives no call for it.
    stack.service()?.kill();
    assert_eq!(stack.send(call).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_programs_socket_reaches_an_engine_with_its_own_token() -> Result<()> {
    let stack = start_stack().await?;
    let token = Claims::for_account("robot").sign()?;
    let value = bearer_value(&token);
    let headers = [("authorization", value.as_str())];
    let mut socket = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_socket()?;
    socket.next_message().await?;
    let upgrades = stack.engines[0].upgrades().await?;
    assert_eq!(upgrades.len(), 2, "prepared, then opened");
    for upgrade in &upgrades {
        let seen: Vec<&str> = upgrade.header("authorization").collect();
        assert!(seen == [value.as_str()], "another token reached the engine");
    }
    assert_eq!(stack.engines[0].sessions().await?[0].user, "robot");

    let reply = stack
        .upgrade("/doc/session-doc", &headers)
        .await?
        .into_rejection()?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    Ok(())
}

#[tokio::test]
async fn a_token_of_16_kilobytes_opens_a_socket() -> Result<()> {
    let stack = start_stack().await?;
    let mut claims = Claims::for_account("robot");
    claims.roles = (0..700).map(|n| format!("role-number-{n:05}")).collect();
    let token = claims.sign()?;
    assert!(token.len() > 16 * 1024, "{}", token.len());
    let value = bearer_value(&token);
    let headers = [("authorization", value.as_str())];
    let mut socket = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_socket()?;
    socket.next_message().await?;
    let whoami = Call::get("/api/whoami").headers(&headers);
    assert_eq!(stack.send(whoami).await?.json()["account"], "robot");
    Ok(())
}

#[tokio::test]
async fn an_invalid_token_is_rejected_even_with_a_valid_cookie() -> Result<()> {
    let stack = start_stack().await?;
    let cookie = stack.login_demo().await?;
    let other = |change: &dyn Fn(&mut Claims)| {
        let mut claims = Claims::for_account("robot");
        change(&mut claims);
        claims.sign()
    };
    let good = Claims::for_account("robot").sign()?;
    for (what, token) in [
        ("expired", other(&|c| c.exp = 1_000_000_000)?),
        ("another audience", other(&|c| c.aud = "elsewhere".into())?),
        ("another issuer", other(&|c| c.iss = "elsewhere".into())?),
        (
            "another key",
            Claims::for_account("robot").sign_with("another secret, not the one of the filter")?,
        ),
        ("tampered", tamper(&good)?),
        ("too long", format!("{good}{}", "A".repeat(30_000))),
        ("no JWT", "abc".to_owned()),
        ("empty", String::new()),
    ] {
        let value = bearer_value(&token);
        let headers = [("authorization", value.as_str()), ("cookie", &cookie)];
        let api = stack
            .send(Call::get("/api/whoami").headers(&headers))
            .await?;
        let socket = stack
            .upgrade("/app/sales.qvf", &headers)
            .await?
            .into_rejection()?;
        for reply in [api, socket] {
            let got = (reply.status, reply.reason());
            assert_eq!(
                got,
                (401, "bearer-invalid".into()),
                "{what}: {}",
                reply.text()
            );
            let challenge = reply.header("www-authenticate");
            assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{what}");
            assert!(reply.headers.get("set-cookie").is_none(), "{what}");
        }
    }
    assert_eq!(stack.app.requests(), 0);
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    Ok(())
}

/// A stack whose service signs with EdDSA, and whose filter has only the keys that the service publishes.
async fn stack_with_published_keys() -> Result<Stack> {
    let routes = json!([
        {"path": "/api/headers", "action": "authenticate", "bearer": "allow"},
        {"path": "/login", "action": "bypass"},
    ]);
    let tokens = json!({"keys": [], "jwks": {"refresh": "1s"}});
    let filter = json!({"routes": routes, "tokens": tokens});
    let builder = Stack::builder().engines(1).filter_config(&filter);
    let mut stack = builder.start().await?;
    let file = paths::repository_root().join("placement-service/tests/keys/eddsa.pem");
    let key = json!({"inline": null, "file": file});
    let signs = json!({"tokens": {"algorithm": "EdDSA", "kid": "one", "key": key}});
    stack.service()?.reconfigure(&signs).await?;
    Ok(stack)
}

#[tokio::test]
async fn a_token_is_verified_with_the_keys_that_the_service_publishes() -> Result<()> {
    let mut stack = stack_with_published_keys().await?;
    let cookie = stack.login_demo().await?;
    let session = cookie.trim_start_matches("berth=");
    let service = stack.service()?.addr;
    let minted = Call::post_json("/v1/tokens", &json!({"session": session}));
    let minted = minted.send(service).await?.json();
    let minted = minted["token"].as_str().ok_or("no token")?;
    let call =
        |token: &str| Call::get("/api/headers").header("authorization", &bearer_value(token));
    let accepted = || async {
        let reply = stack.send(call(minted)).await.ok()?;
        (reply.status == 200).then_some(())
    };
    wait::poll_until("the keys are fetched", Duration::from_secs(30), accepted).await?;

    let sign = |algorithm, kid: &str, key: &EncodingKey| {
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        encode(&header, &Claims::for_account("robot"), key)
    };
    let pem = |name: &str| {
        std::fs::read(
            paths::repository_root()
                .join("placement-service/tests/keys")
                .join(name),
        )
    };
    let own = EncodingKey::from_ed_pem(&pem("eddsa.pem")?)?;
    let good = sign(Algorithm::EdDSA, "one", &own)?;
    let seen = forwarded_headers(&stack, call(&good)).await?;
    let arrived = ("authorization".to_owned(), bearer_value(&good));
    assert!(seen.contains(&arrived), "another token arrived");

    let other = EncodingKey::from_ed_der(&[ED25519, &[7; 32]].concat());
    let es256 = EncodingKey::from_ec_pem(&pem("es256.pem")?)?;
    let jwks = Call::get("/.well-known/jwks.json").send(service).await?;
    let public = jwks.json()["keys"][0]["x"].clone();
    let public = public.as_str().ok_or("no public key")?;
    let as_secret = EncodingKey::from_secret(public.as_bytes());
    for (what, token) in [
        ("tampered, the service's", tamper(minted)?),
        ("tampered, the program's", tamper(&good)?),
        ("another key", sign(Algorithm::EdDSA, "one", &other)?),
        ("another algorithm", sign(Algorithm::ES256, "one", &es256)?),
        (
            "the public key as secret",
            sign(Algorithm::HS256, "one", &as_secret)?,
        ),
        ("an unknown key", sign(Algorithm::EdDSA, "two", &other)?),
        ("the demo's secret", Claims::for_account("robot").sign()?),
    ] {
        let reply = stack.send(call(&token)).await?;
        let got = (reply.status, reply.reason());
        assert_eq!(got, (401, "bearer-invalid".to_owned()), "{what}");
    }
    assert_eq!(stack.app.requests(), 2, "only the valid ones arrive");
    Ok(())
}

#[tokio::test]
async fn a_route_without_bearer_removes_the_token_and_uses_the_cookie() -> Result<()> {
    let stack = start_stack().await?;
    let cookie = stack.login_demo().await?;
    let value = bearer_value(&Claims::for_account("robot").sign()?);
    let call = Call::get("/api/headers").header("authorization", &value);
    let seen = forwarded_headers(&stack, call.cookie(&cookie)).await?;
    let tokens: Vec<&String> = seen
        .iter()
        .filter_map(|(name, value)| (name == "authorization").then_some(value))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(*tokens[0] != value, "the client's token arrived");

    let both = [
        ("authorization", value.as_str()),
        ("cookie", cookie.as_str()),
    ];
    let reply = stack.send(Call::get("/api/whoami").headers(&both)).await?;
    assert_eq!(
        reply.json()["account"],
        "robot",
        "a token precedes the cookie"
    );
    assert_eq!(reply.json()["cookies"], json!([]));
    Ok(())
}

#[tokio::test]
async fn a_route_that_allows_anonymous_requests_removes_spoofed_headers() -> Result<()> {
    let mut stack = start_stack().await?;
    let forged = [
        ("authorization", "Bearer forged"),
        ("x-berth-account", "admin"),
        ("x-qlik-session", "1"),
    ];
    for cookie in ["theme=dark", &format!("theme=dark; {UNKNOWN}")] {
        let call = Call::get("/api/headers").headers(&forged).cookie(cookie);
        let seen = forwarded_headers(&stack, call).await?;
        for name in ["authorization", "x-berth-account", "x-qlik-session"] {
            assert!(
                !seen.iter().any(|(have, _)| have == name),
                "{cookie}: {name}"
            );
        }
        assert!(
            seen.contains(&("cookie".into(), "theme=dark".into())),
            "{seen:?}"
        );
    }
    let cookie = stack.login_demo().await?;
    let call = Call::get("/api/headers").cookie(&cookie);
    let seen = forwarded_headers(&stack, call).await?;
    assert!(seen.iter().any(|(name, _)| name == "authorization"));
    // While the service is down, a request that may have a session is rejected (its token is not cached), and a
    // request that cannot have one passes as anonymous.
    let other = stack.login_demo().await?;
    stack.service()?.kill();
    let reply = stack.send(Call::get("/api/headers").cookie(&other)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (503, "service-unreachable")
    );
    forwarded_headers(&stack, Call::get("/api/headers")).await?;
    Ok(())
}

#[tokio::test]
async fn after_a_logout_the_sessions_own_token_is_rejected_as_bearer() -> Result<()> {
    let mut stack = start_stack().await?;
    let cookie = stack.login_demo().await?;
    let session = cookie.trim_start_matches("berth=");
    let service = stack.service()?.addr;
    let call = Call::post_json("/v1/tokens", &json!({"session": session}));
    let minted = call.send(service).await?.json();
    let token = minted["token"]
        .as_str()
        .map(bearer_value)
        .ok_or("no token")?;
    let headers = [("authorization", token.as_str())];
    drop(
        stack
            .upgrade("/app/sales.qvf", &headers)
            .await?
            .into_socket()?,
    );
    let logout = Call::new("POST", "/logout").cookie(&cookie);
    let origin = format!("http://{}", stack.address());
    stack.send(logout.header("origin", &origin)).await?;
    let reply = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_rejection()?;
    let got: (u16, Value) = (reply.status, reply.json()["reason"].clone());
    assert_eq!(got, (401, json!("bearer-invalid")));
    Ok(())
}
