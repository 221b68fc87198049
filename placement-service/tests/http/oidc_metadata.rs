//! Metadata of an OpenID provider that are wrong in one field.

use crate::fake_provider::FakeProvider;
use crate::oidc::{log_in, login_session_id, start_site};
use crate::oidc_fields::{advance_an_hour, all_set_to, assert_refused, begin_login, odd_values};
use crate::warnings::Warnings;
use serde_json::{Value, json};

/// Metadata of OpenID Connect Discovery 1.0 and RFC 8414 that the service does not use.
const UNUSED_METADATA: &[&str] = &[
    "registration_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "id_token_encryption_alg_values_supported",
    "userinfo_signing_alg_values_supported",
    "request_object_signing_alg_values_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "service_documentation",
    "ui_locales_supported",
    "claims_parameter_supported",
    "op_policy_uri",
    "op_tos_uri",
    "revocation_endpoint",
    "introspection_endpoint",
    "code_challenge_methods_supported",
    "signed_metadata",
    "backchannel_logout_supported",
];

#[tokio::test]
async fn metadata_that_nothing_reads_break_no_login() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let url = "/.well-known/openid-configuration";
    for (index, value) in (1..).zip(odd_values()) {
        let mut metadata = all_set_to(UNUSED_METADATA, &value);
        // Only logouts use the first, and only logins whose ID token lacks a claim use the second.
        for endpoint in ["end_session_endpoint", "userinfo_endpoint"] {
            metadata[endpoint] = value.clone();
        }
        idp.behaviour().metadata = metadata;
        advance_an_hour(&site, &idp);
        login_session_id(&log_in(&site, &idp).await);
        // The keys are fetched only after the metadata are accepted.
        assert_eq!((idp.requests(url), idp.requests("/jwks")), (index, index));
    }
}

#[tokio::test]
async fn metadata_without_which_no_login_works_are_named() {
    let mut log = Warnings::start();
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for field in [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
    ] {
        for value in odd_values() {
            idp.behaviour().metadata = json!({ field: value });
            site.clock.advance_ms(1_000);
            let refused = begin_login(&site).await;
            let message = format!("metadata: {field} ");
            assert_refused(&refused, &mut log, "provider-response-invalid", &message);
        }
    }
}

#[tokio::test]
async fn optional_metadata_are_named_where_they_are_used() {
    let mut log = Warnings::start();
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    // An ID token without a claim that the configuration names makes the service ask for it.
    for value in odd_values() {
        idp.behaviour().metadata = json!({"userinfo_endpoint": value});
        advance_an_hour(&site, &idp);
        idp.behaviour().claims["tenant"] = json!(null);
        let answer = log_in(&site, &idp).await;
        if value.is_null() {
            login_session_id(&answer);
        } else {
            let message = "metadata: userinfo_endpoint is not an https URL";
            assert_refused(&answer, &mut log, "provider-response-invalid", message);
        }
    }
    // Whether a callback without `iss` is one of this provider depends on this field.
    let field = "authorization_response_iss_parameter_supported";
    for value in odd_values() {
        idp.behaviour().metadata = json!({ field: value });
        advance_an_hour(&site, &idp);
        let answer = log_in(&site, &idp).await;
        match value {
            Value::Null => drop(login_session_id(&answer)),
            Value::Bool(_) => assert_eq!(answer.reason(), "issuer-mismatch"),
            _ => {
                let message = format!("metadata: {field} is not a boolean");
                assert_refused(&answer, &mut log, "provider-response-invalid", &message);
            }
        }
    }
    // The client authenticates in the default way.
    let field = "token_endpoint_auth_methods_supported";
    log.take();
    for value in odd_values() {
        idp.behaviour().metadata = json!({ field: value });
        advance_an_hour(&site, &idp);
        login_session_id(&log_in(&site, &idp).await);
        let message = format!("metadata: {field} is not a list");
        let is_wrong = !value.is_null() && !value.is_array();
        assert_eq!(log.take().contains(&message), is_wrong, "{value}");
    }
}
