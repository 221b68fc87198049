//! Back-channel logout from the OpenID provider.

use crate::fake_provider::{FakeProvider, Signing, merge_fields, now_s};
use crate::oidc::{log_in, login_session_id, oidc_config, start_site};
use crate::site::{Answer, LONG_CACHE, Site, eventually, send_request};
use serde_json::{Value, json};

const BACK_CHANNEL_LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn logout_claims(idp: &FakeProvider, jti: &str) -> Value {
    json!({"iss": idp.issuer(), "aud": "berth", "iat": now_s(), "exp": now_s() + 60, "jti": jti,
        "sub": "u-1", "sid": "idp-session-1", "events": {BACK_CHANNEL_LOGOUT: {}}})
}

async fn send_logout_token(site: &Site, token: &str) -> Answer {
    let body = format!("logout_token={token}");
    send_request(site.post_form("/login/oidc/idp/back-channel-logout", &body)).await
}

#[tokio::test]
async fn a_logout_token_ends_the_sessions_that_it_names() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let local = site.login().await;
    let mut ids = Vec::new();
    for (sub, sid) in [
        ("u-1", "s-1"),
        ("u-1", "s-2"),
        ("u-1", "s-3"),
        ("u-2", "s-4"),
    ] {
        idp.behaviour().claims = json!({"sub": sub, "sid": sid});
        ids.push(login_session_id(&log_in(&site, &idp).await));
    }
    let live = async || {
        let mut live = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            if site.token(id).await.status == 200 {
                live.push(index);
            }
        }
        live
    };
    for (jti, over, left) in [
        ("a", json!({"sub": "u-1", "sid": "s-1"}), vec![1, 2, 3]),
        ("b", json!({"sub": null, "sid": "s-2"}), vec![2, 3]),
        // The token is late: sessions that were created after it stay.
        (
            "late",
            json!({"sub": "u-1", "sid": null, "iat": now_s() - 120}),
            vec![2, 3],
        ),
        // The session belongs to another subject.
        ("c", json!({"sub": "u-1", "sid": "s-4"}), vec![2, 3]),
        ("d", json!({"sub": "u-1", "sid": null}), vec![3]),
        ("e", json!({"sub": "u-9", "sid": null}), vec![3]),
    ] {
        let claims = merge_fields(logout_claims(&idp, jti), &over);
        let done = send_logout_token(&site, &idp.sign_logout_token(&claims)).await;
        assert_eq!((done.status, done.text.as_str()), (200, ""), "{jti}");
        assert_eq!(done.header("cache-control"), "no-store");
        assert_eq!(live().await, left, "{jti}");
    }
    assert_eq!(site.token(&local).await.status, 200);
    let metrics = site.get("/metrics", "").await.text;
    let line = "berth_sessions_ended_total{cause=\"back-channel\"} 3";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn an_invalid_logout_token_ends_nothing() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let id = login_session_id(&log_in(&site, &idp).await);
    let good = logout_claims(&idp, "used");
    for (over, description) in [
        (
            json!({"aud": "other"}),
            "aud is not this client and trusted audiences",
        ),
        (
            json!({"iss": "https://evil.example"}),
            "iss is not the provider",
        ),
        (
            json!({"iat": now_s() - 400}),
            "iat is missing, too old or in the future",
        ),
        (
            json!({"iat": now_s() + 400}),
            "iat is missing, too old or in the future",
        ),
        (json!({"exp": now_s() - 60}), "exp is missing or past"),
        (json!({"nonce": "n"}), "nonce must not be there"),
        (
            json!({"events": null}),
            "events does not name a back-channel logout",
        ),
        (
            json!({"sub": null, "sid": null}),
            "sub and sid are missing or malformed",
        ),
        (json!({"jti": null}), "jti is missing or malformed"),
    ] {
        let refused = send_logout_token(
            &site,
            &idp.sign_logout_token(&merge_fields(good.clone(), &over)),
        )
        .await;
        assert_eq!(refused.status, 400, "{over}");
        assert_eq!(refused.header("cache-control"), "no-store");
        let expected = json!({"error": "invalid_request", "error_description": description});
        assert_eq!(refused.json(), expected, "{over}");
    }
    for (signing, description) in [
        (
            Signing::UnpublishedKey,
            "no key of the provider has this kid",
        ),
        (
            Signing::Es256("invented"),
            "no key of the provider has this kid",
        ),
        (Signing::Unsigned, "alg is not allowed"),
        (Signing::PublicAsSecret, "alg is not allowed"),
    ] {
        idp.behaviour().signing = signing;
        // Tokens with an unknown key may cause one fetch of the keys in this time.
        site.clock.advance_ms(10_000);
        let refused = send_logout_token(&site, &idp.sign_logout_token(&good)).await;
        assert_eq!(refused.status, 400, "{signing:?}");
        assert_eq!(
            refused.json()["error_description"],
            description,
            "{signing:?}"
        );
    }
    // Refused tokens have not used up their `jti`.
    idp.behaviour().signing = Signing::Es256("k1");
    assert_eq!(site.token(&id).await.status, 200);
    let token = idp.sign_logout_token(&good);
    assert_eq!(send_logout_token(&site, &token).await.status, 200);
    assert_eq!(site.token(&id).await.reason(), "unknown-session");
    let after = login_session_id(&log_in(&site, &idp).await);
    let replayed = send_logout_token(&site, &token).await;
    assert_eq!(replayed.status, 400);
    assert_eq!(replayed.json()["error_description"], "jti was used before");
    assert_eq!(site.token(&after).await.status, 200);
    for body in ["", "logout_token=a&logout_token=b", "token=x"] {
        let refused =
            send_request(site.post_form("/login/oidc/idp/back-channel-logout", body)).await;
        let description = refused.json()["error_description"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            (refused.status, description.as_str()),
            (400, "logout_token is missing or came twice")
        );
    }
    let metrics = site.get("/metrics", "").await.text;
    assert!(
        metrics.contains("berth_refusals_total{reason=\"logout-token-invalid\"} 17"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_failed_back_channel_logout_may_be_sent_again() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let id = login_session_id(&log_in(&site, &idp).await);
    let token = idp.sign_logout_token(&logout_claims(&idp, "j"));
    idp.behaviour().down = true;
    let fresh = Site::start(&oidc_config(&idp.issuer(), "")).await;
    let down = send_logout_token(&fresh, &token).await;
    assert_eq!(
        (down.status, down.reason().as_str()),
        (503, "provider-unreachable")
    );
    let path = "/login/oidc/other/back-channel-logout";
    let unknown = send_request(site.post_form(path, &format!("logout_token={token}"))).await;
    assert_eq!(
        (unknown.status, unknown.reason().as_str()),
        (404, "unknown-provider")
    );
    // With `events`, the store fails after the token has been verified and before its sessions end.
    for table in ["used", "events"] {
        site.rename_table(table, "gone").await;
        let down = send_logout_token(&site, &token).await;
        assert_eq!((down.status, down.reason().as_str()), (503, "store-down"));
        site.rename_table("gone", table).await;
        eventually("the session stays active", async || {
            site.token(&id).await.status == 200
        })
        .await;
    }
    assert_eq!(send_logout_token(&site, &token).await.status, 200);
    assert_eq!(site.token(&id).await.reason(), "unknown-session");
}

#[tokio::test]
async fn a_back_channel_logout_at_one_replica_holds_on_the_other() {
    let idp = FakeProvider::start().await;
    let one = start_site(&idp, LONG_CACHE).await;
    let other = one
        .start_replica(&oidc_config(&idp.issuer(), LONG_CACHE))
        .await;
    let id = login_session_id(&log_in(&one, &idp).await);
    assert_eq!(other.token(&id).await.status, 200);
    let token = idp.sign_logout_token(&logout_claims(&idp, "j"));
    assert_eq!(send_logout_token(&one, &token).await.status, 200);
    let started_at = std::time::Instant::now();
    while other.token(&id).await.status == 200 {
        assert!(
            started_at.elapsed().as_secs() < 1,
            "the other replica still accepts the session"
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(
        send_logout_token(&other, &token).await.json()["error_description"],
        "jti was used before"
    );
}

#[tokio::test]
async fn logout_tokens_follow_the_audiences_and_the_type_of_their_provider() {
    let idp = FakeProvider::start().await;
    let default = start_site(&idp, "").await;
    let config = oidc_config(&idp.issuer(), "").replace(
        "client_id: berth,",
        "client_id: berth, trusted_audiences: [project], logout_token_type: any,",
    );
    let other = Site::start(&config).await;
    let (accepted, refused_type, refused_aud) = (
        (200, ""),
        (400, "typ is not logout+jwt"),
        (400, "aud is not this client and trusted audiences"),
    );
    for (typ, aud, by_default, by_config) in [
        (Some("logout+jwt"), json!("berth"), accepted, accepted),
        (Some("JWT"), json!("berth"), refused_type, accepted),
        (None, json!("berth"), refused_type, accepted),
        (Some("at+jwt"), json!("berth"), refused_type, refused_type),
        (
            Some("logout+jwt"),
            json!(["berth", "project"]),
            refused_aud,
            accepted,
        ),
        (
            Some("logout+jwt"),
            json!(["berth", "x"]),
            refused_aud,
            refused_aud,
        ),
    ] {
        let jti = format!("{typ:?} {aud}");
        let claims = merge_fields(logout_claims(&idp, &jti), &json!({ "aud": aud }));
        let token = idp.sign(typ, &claims);
        for (site, (status, description)) in [(&default, by_default), (&other, by_config)] {
            let answer = send_logout_token(site, &token).await;
            assert_eq!(answer.status, status, "{jti}: {answer:?}");
            if status == 400 {
                assert_eq!(answer.json()["error_description"], description, "{jti}");
            }
        }
    }
}
