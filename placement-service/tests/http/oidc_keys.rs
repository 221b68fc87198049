//! Keys of an OpenID provider that change.

use crate::fake_provider::{FakeProvider, Signing};
use crate::oidc::{log_in, login_session_id, start_site};
use serde_json::json;

#[tokio::test]
async fn new_keys_of_the_provider_are_fetched_at_a_limited_rate() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    login_session_id(&log_in(&site, &idp).await);
    for (keys, fetched) in [(("k2", "r2"), 2), (("k3", "r3"), 3)] {
        idp.behaviour().published = keys;
        idp.behaviour().signing = Signing::Es256(keys.0);
        login_session_id(&log_in(&site, &idp).await);
        login_session_id(&log_in(&site, &idp).await);
        assert_eq!(idp.requests("/jwks"), fetched);
        site.clock.advance_ms(10_000);
    }
    idp.behaviour().signing = Signing::Es256("invented");
    assert_eq!(log_in(&site, &idp).await.reason(), "id-token-invalid");
    for _ in 0..3 {
        // The key may be new, so the service fetches the keys again later.
        let unsure = log_in(&site, &idp).await;
        assert_eq!(
            (unsure.status, unsure.reason().as_str()),
            (503, "provider-unreachable")
        );
        assert_eq!(unsure.header("retry-after"), "2");
    }
    assert_eq!(idp.requests("/jwks"), 4);
}

#[tokio::test]
async fn a_key_that_changed_under_its_kid_is_fetched_again_once() {
    let idp = FakeProvider::start().await;
    let [es256, _] = &idp.public_keys()[..] else {
        panic!("not two keys")
    };
    let mut other = es256.clone();
    // The public key of RFC 7515 appendix A.3.
    other["x"] = json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    other["y"] = json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    idp.behaviour().key_set = Some(json!({ "keys": [other] }));
    let site = start_site(&idp, "").await;
    for _ in 0..2 {
        // The keys were fetched just now.
        assert_eq!(log_in(&site, &idp).await.reason(), "id-token-invalid");
        assert_eq!(idp.requests("/jwks"), 1);
    }
    site.clock.advance_ms(10_000);
    assert_eq!(log_in(&site, &idp).await.reason(), "id-token-invalid");
    assert_eq!(idp.requests("/jwks"), 2);
    idp.behaviour().key_set = None;
    site.clock.advance_ms(10_000);
    login_session_id(&log_in(&site, &idp).await);
    login_session_id(&log_in(&site, &idp).await);
    assert_eq!(idp.requests("/jwks"), 3);
}

#[tokio::test]
async fn a_clock_set_back_does_not_block_new_keys() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    site.clock.advance_ms(25_000);
    login_session_id(&log_in(&site, &idp).await);
    for keys in [("k2", "r2"), ("k3", "r3")] {
        idp.behaviour().published = keys;
        idp.behaviour().signing = Signing::Es256(keys.0);
        login_session_id(&log_in(&site, &idp).await);
        site.clock.advance_ms(25_000_u64.wrapping_neg());
    }
}
