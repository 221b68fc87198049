//! A provider whose answers are wrong in one field: a field that nothing reads breaks no login, and one that is read is
//! named in the log.

use crate::fake_provider::{FakeProvider, Signing, merge_fields, now_s};
use crate::oidc::{log_in, login_session_id, start_site};
use crate::site::{Answer, Site, send_request};
use crate::warnings::Warnings;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Claims of OpenID Connect Core 1.0 and of known providers that the service does not use.
const UNUSED_CLAIMS: &[&str] = &[
    "amr",
    "acr",
    "auth_time",
    "updated_at",
    "c_hash",
    "nbf",
    "jti",
    "name",
    "given_name",
    "family_name",
    "nickname",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "name#de",
    "xms_st",
];

const UNUSED_TOKEN_FIELDS: &[&str] = &[
    "token_type",
    "expires_in",
    "refresh_token",
    "scope",
    "session_state",
    "not-before-policy",
];

/// A value of each JSON type, and some that are empty. `null` removes the field.
pub(crate) fn odd_values() -> [Value; 8] {
    [
        json!(null),
        json!(""),
        json!("2026-01-02T03:04:05.678Z"),
        json!(-5.5),
        json!(true),
        json!([]),
        json!([5, {}]),
        json!({"a": {}}),
    ]
}

pub(crate) fn all_set_to(names: &[&str], value: &Value) -> Value {
    let fields: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), value.clone()))
        .collect();
    fields.into()
}

pub(crate) fn assert_refused(answer: &Answer, log: &mut Warnings, reason: &str, message: &str) {
    assert_eq!(answer.reason(), reason, "{message}: {answer:?}");
    let log = log.take();
    assert!(log.contains(message), "{message} is not in:\n{log}");
}

/// An hour later the service fetches metadata and keys again.
pub(crate) fn advance_an_hour(site: &Site, idp: &FakeProvider) {
    site.clock.advance_ms(3_600_000);
    let now = site.clock.now_s();
    idp.behaviour().claims = json!({"iat": now, "exp": now + 60});
}

pub(crate) async fn begin_login(site: &Site) -> Answer {
    let request = site.request(Method::GET, "/login/oidc/idp");
    send_request(request.header("accept", "application/json")).await
}

#[tokio::test]
async fn claims_that_nothing_reads_break_no_login() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for value in odd_values() {
        idp.behaviour().claims = all_set_to(UNUSED_CLAIMS, &value);
        login_session_id(&log_in(&site, &idp).await);
        // The session is not linked to one of the provider then.
        idp.behaviour().claims = json!({ "sid": value });
        login_session_id(&log_in(&site, &idp).await);
    }
    // As Auth0 and IdentityServer send them.
    idp.behaviour().claims = json!({"updated_at": "2026-01-02T03:04:05.678Z", "amr": "pwd"});
    login_session_id(&log_in(&site, &idp).await);
}

#[tokio::test]
async fn claims_that_prove_the_login_are_verified_and_named() {
    let mut log = Warnings::start();
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for claim in ["iss", "aud", "exp", "iat", "sub"] {
        for value in odd_values() {
            if (claim, value.is_string()) == ("sub", true) && value != "" {
                continue;
            }
            idp.behaviour().claims = json!({ claim: value });
            let refused = log_in(&site, &idp).await;
            let message = format!("the ID token is invalid: {claim} ");
            assert_refused(&refused, &mut log, "id-token-invalid", &message);
        }
    }
    for value in odd_values() {
        idp.behaviour().claims = json!({ "nonce": value });
        assert_eq!(log_in(&site, &idp).await.reason(), "nonce-mismatch");
        for claim in ["azp", "at_hash"] {
            idp.behaviour().claims = json!({ claim: value });
            let answer = log_in(&site, &idp).await;
            if value.is_null() {
                login_session_id(&answer);
            } else {
                let message = format!("the ID token is invalid: {claim} ");
                assert_refused(&answer, &mut log, "id-token-invalid", &message);
            }
        }
    }
    let hash = Sha256::digest("at");
    let hash = URL_SAFE_NO_PAD.encode(&hash[..16]);
    idp.behaviour().claims = json!({"at_hash": hash, "azp": "berth", "exp": now_s() as f64 + 60.5});
    login_session_id(&log_in(&site, &idp).await);
    idp.behaviour().tokens = json!({"access_token": "another"});
    let message = "the ID token is invalid: at_hash ";
    assert_refused(
        &log_in(&site, &idp).await,
        &mut log,
        "id-token-invalid",
        message,
    );
}

#[tokio::test]
async fn token_responses_are_read_only_where_needed() {
    let mut log = Warnings::start();
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for value in odd_values() {
        idp.behaviour().tokens = all_set_to(UNUSED_TOKEN_FIELDS, &value);
        login_session_id(&log_in(&site, &idp).await);
        idp.behaviour().tokens = json!({ "access_token": value });
        login_session_id(&log_in(&site, &idp).await);
        idp.behaviour().tokens = json!({ "id_token": value });
        let refused = log_in(&site, &idp).await;
        let (reason, message) = match value.as_str() {
            Some(text) if !text.is_empty() => ("id-token-invalid", "not a signed JWT"),
            _ => (
                "provider-response-invalid",
                "token response: id_token is missing or not a text",
            ),
        };
        assert_refused(&refused, &mut log, reason, message);
    }
    // The userinfo request needs the access token.
    idp.behaviour().claims = json!({"tenant": null});
    for value in [json!(null), json!(""), json!(5), json!("a b")] {
        idp.behaviour().tokens = json!({ "access_token": value });
        let refused = log_in(&site, &idp).await;
        let message = "token response: access_token is missing or malformed";
        assert_refused(&refused, &mut log, "provider-response-invalid", message);
    }
    for value in odd_values() {
        let error =
            json!({"error": "invalid_grant", "error_description": value, "error_uri": value});
        idp.behaviour().token_error = Some((400, error));
        let refused = log_in(&site, &idp).await;
        assert_refused(&refused, &mut log, "provider-refused", "invalid_grant");
    }
    idp.behaviour().token_error = Some((400, json!({"error": 5})));
    let refused = log_in(&site, &idp).await;
    assert_refused(
        &refused,
        &mut log,
        "provider-response-invalid",
        "token response: error: ",
    );
}

#[tokio::test]
async fn userinfo_is_about_the_same_subject_and_otherwise_free() {
    let mut log = Warnings::start();
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    idp.behaviour().claims = json!({"groups": null, "tenant": null});
    for value in odd_values() {
        let mut userinfo = all_set_to(UNUSED_CLAIMS, &value);
        (userinfo["sub"], userinfo["groups"]) = (json!("u-1"), json!("staff"));
        userinfo["tenant"] = value.clone();
        idp.behaviour().userinfo = userinfo.clone();
        login_session_id(&log_in(&site, &idp).await);
        userinfo["sub"] = value.clone();
        idp.behaviour().userinfo = userinfo;
        let refused = log_in(&site, &idp).await;
        let message = "userinfo: sub is not that of the ID token";
        assert_refused(&refused, &mut log, "provider-response-invalid", message);
        idp.behaviour().userinfo = json!({"sub": "u-1", "groups": value});
        assert_eq!(log_in(&site, &idp).await.reason(), "not-permitted");
        log.take();
    }
    for answer in [json!([]), json!("a.b.c"), json!(null)] {
        idp.behaviour().userinfo = answer;
        let refused = log_in(&site, &idp).await;
        let message = "userinfo: the answer is not a JSON object";
        assert_refused(&refused, &mut log, "provider-response-invalid", message);
    }
}

#[tokio::test]
async fn a_key_that_is_not_usable_does_not_spoil_the_others() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for value in odd_values() {
        let used = ["kty", "crv", "x", "y", "use", "key_ops", "alg", "kid"];
        let unused = ["x5c", "x5t", "x5t#S256", "x5u", "exp", "issuer"];
        for (kid, spoils_good_key) in [("k1", false), ("k2", true)] {
            // A key set that is not accepted leaves the service with keys of the other name.
            idp.behaviour().published = (kid, "r1");
            idp.behaviour().signing = Signing::Es256(kid);
            let [good, other] = &idp.public_keys()[..] else {
                panic!("not two keys")
            };
            let spoil = |names: &[&str]| merge_fields(good.clone(), &all_set_to(names, &value));
            let mut keys: Vec<Value> = used.iter().map(|member| spoil(&[member])).collect();
            keys.extend([value.clone(), other.clone()]);
            keys.push(if spoils_good_key {
                spoil(&unused)
            } else {
                good.clone()
            });
            idp.behaviour().key_set = Some(json!({"keys": keys, "extra": value}));
            advance_an_hour(&site, &idp);
            login_session_id(&log_in(&site, &idp).await);
        }
    }
    let mut log = Warnings::start();
    let site = start_site(&idp, "").await;
    for value in odd_values() {
        idp.behaviour().key_set = Some(merge_fields(json!({}), &json!({ "keys": value })));
        site.clock.advance_ms(1_000);
        let refused = begin_login(&site).await;
        assert_refused(
            &refused,
            &mut log,
            "provider-response-invalid",
            "jwks_uri: ",
        );
    }
}
