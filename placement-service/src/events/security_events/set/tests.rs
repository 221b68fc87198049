//! Each fault of a token has its own error, without verifying the signature.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::json;

fn header() -> Value {
    json!({"alg": "ES256", "typ": "secevent+jwt", "kid": "k"})
}

fn claims() -> Value {
    json!({"iss": "i", "aud": "a", "iat": 1_700_000_000, "jti": "j", "events": {"e": {}}})
}

fn token(header: &Value, claims: &Value) -> String {
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2ln", encode(header), encode(claims))
}

fn fault(header: &Value, claims: &Value) -> String {
    let text = token(header, claims);
    let result = UnverifiedSet::parse(text.as_bytes());
    result.map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

/// The fault of a token with a changed header.
fn fault_with_header(field: &str, value: Value) -> String {
    let mut header = header();
    header[field] = value;
    fault(&header, &claims())
}

/// The fault of a token with a changed claim; `null` removes it.
fn fault_with_claim(field: &str, value: Value) -> String {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(field);
    } else {
        claims[field] = value;
    }
    fault(&header(), &claims)
}

#[test]
fn a_valid_token_is_parsed() {
    let mut claims = claims();
    claims["aud"] = json!(["x", "a"]);
    claims["iat"] = json!(1_700_000_000.9);
    claims["sub_id"] = json!({"format": "opaque", "id": "s"});
    let text = token(&header(), &claims);
    let event_token = UnverifiedSet::parse(text.as_bytes()).unwrap();
    assert_eq!(
        (event_token.jws.algorithm, event_token.jws.kid.as_deref()),
        (Algorithm::ES256, Some("k"))
    );
    assert_eq!(
        format!("{}.{}", event_token.jws.message, event_token.jws.signature),
        text
    );
    assert_eq!(event_token.claims.audience, ["x", "a"]);
    assert_eq!(event_token.claims.issued_at, 1_700_000_000);
    let subject = Subject::Session("s".to_owned());
    assert_eq!(event_token.claims.subject, Some(subject.clone()));
    // The form before RFC 9493.
    claims["events"]["e"] = json!({"subject": claims["sub_id"]});
    claims.as_object_mut().unwrap().remove("sub_id");
    let text = token(&header(), &claims);
    let event_token = UnverifiedSet::parse(text.as_bytes()).unwrap();
    assert_eq!(event_token.claims.subject, Some(subject));
}

#[test]
fn each_fault_has_its_own_error() {
    let no_token = "invalid_request: the body is not a signed token";
    for garbage in ["", "x", "..", "a.b.c", "\u{1F980}.e30.c2ln", "{}"] {
        let error = UnverifiedSet::parse(garbage.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), no_token, "{garbage}");
    }
    assert_eq!(
        UnverifiedSet::parse(b"\xff.\xff.\xff")
            .unwrap_err()
            .to_string(),
        no_token
    );
    let unsigned = token(&header(), &claims());
    let unsigned = unsigned.strip_suffix("c2ln").unwrap();
    let error = UnverifiedSet::parse(unsigned.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), no_token);
    for alg in ["none", "None", "HS256", "HS512", "RSA-OAEP", "es256", ""] {
        assert_eq!(
            fault_with_header("alg", json!(alg)),
            "invalid_key: alg is not accepted"
        );
    }
    for typ in [json!("JWT"), json!("jwt+secevent"), json!(""), Value::Null] {
        assert_eq!(
            fault_with_header("typ", typ),
            "invalid_request: typ is not secevent+jwt"
        );
    }
    for valid_type in ["secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"] {
        assert_eq!(fault_with_header("typ", json!(valid_type)), "none");
    }
    let crit = "invalid_request: crit names what is not understood";
    assert_eq!(fault_with_header("crit", json!(["b64"])), crit);
    let too_long = json!("k".repeat(2000));
    assert_eq!(
        fault_with_header("kid", too_long.clone()),
        "invalid_key: kid is too long"
    );
    for claim in ["iss", "aud", "iat", "jti", "events"] {
        let missing = format!("invalid_request: {claim} is missing");
        assert_eq!(fault_with_claim(claim, Value::Null), missing);
    }
    assert_eq!(
        fault_with_claim("jti", json!("")),
        "invalid_request: jti is missing"
    );
    assert_eq!(
        fault_with_claim("jti", too_long),
        "invalid_request: jti is too long"
    );
    assert_eq!(
        fault_with_claim("events", json!({})),
        "invalid_request: events is missing"
    );
    for date in [json!(-1), json!(1e300)] {
        assert_eq!(
            fault_with_claim("iat", date),
            "invalid_request: iat or exp is not a date"
        );
    }
    let other = "invalid_request: the claims are not those of a security event";
    assert_eq!(fault_with_claim("iat", json!("now")), other);
    assert_eq!(fault_with_claim("events", json!({"e": 5})), other);
    let in_order = json!(["i", "a", 1_700_000_000, null, "j", {"e": {}}, null]);
    assert_eq!(fault(&header(), &in_order), other);
    let subject = "invalid_request: sub_id is malformed";
    assert_eq!(fault_with_claim("sub_id", json!("demo")), subject);
}

proptest! {
    #[test]
    fn no_body_panics(body: Vec<u8>, claims in "\\PC{0,200}") {
        let _ = UnverifiedSet::parse(&body);
        let _ = Claims::parse(claims.as_bytes());
    }
}
