//! `/login`: forms, JSON, redirects, cookies, and requests from other sites.

use crate::site::{PASSWORD, Site, send_request, session_id};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_form_login_sets_the_cookie_and_redirects_back() {
    let site = Site::start("").await;
    for (return_to, location) in [
        ("", "/"),
        (
            "&return_to=%2Fapp%2Fsales.qvf%3Fx%3D1",
            "/app/sales.qvf?x=1",
        ),
        ("&return_to=https%3A%2F%2Fevil", "/"),
        ("&return_to=%2F%2Fevil", "/"),
        ("&return_to=%2F%5Cevil", "/"),
        ("&return_to=%2Fa%0D%0ASet-Cookie%3A%20x", "/"),
    ] {
        let body = format!("username=demo&password={PASSWORD}{return_to}");
        let answer = send_request(site.post_form("/login", &body)).await;
        assert_eq!((answer.status, answer.header("location")), (303, location));
        let id = session_id(&answer);
        assert_eq!(id.len(), 43);
        let set = format!("berth={id}; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(answer.cookies()[0], set);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_login_replaces_cookies_that_cannot_be_read() {
    let site = Site::start("").await;
    let long = format!("berth={}", "a".repeat(800));
    for cookie in [long.as_str(), "berth=\"quoted\"", "berth=a; berth=b"] {
        let body = format!("username=demo&password={PASSWORD}");
        let form = site.post_form("/login", &body);
        let form = form.header("host", "app.example.com");
        let answer = send_request(form.header("cookie", cookie)).await;
        assert_eq!(answer.status, 303, "{cookie}");
        let cookies = answer.cookies();
        let login = cookies
            .iter()
            .find(|one| one.ends_with("; Path=/; HttpOnly; SameSite=Lax"));
        let id = login.and_then(|one| one.strip_prefix("berth=")?.split(';').next());
        let id = id.unwrap();
        // Cookies of the same name that other software has set for a domain.
        let domains = cookies.iter().filter(|one| one.contains("Domain="));
        let domains: Vec<String> = domains.map(ToString::to_string).collect();
        let expected = ["app.example.com", "example.com"]
            .map(|domain| format!("berth=; Domain={domain}; Path=/; Max-Age=0"));
        let expected = if cookie.contains(';') {
            &expected[..]
        } else {
            &[]
        };
        assert_eq!(domains, expected, "{cookie}");
        assert_eq!(site.token(id).await.status, 200);

        let logout = site.request(Method::POST, "/logout");
        let out = send_request(logout.header("cookie", cookie)).await;
        assert_eq!(out.status, 204, "{cookie}");
        let cleared = "berth=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(out.cookies()[0], cleared);
    }
}

#[tokio::test]
async fn a_json_login_gets_a_json_answer() {
    let site = Site::start("").await;
    let body = json!({"username": "demo", "password": PASSWORD, "return_to": "/app/x"});
    let answer = site.post_json("/login", body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"account": "demo", "display_name": "demo", "roles": ["user"], "return_to": "/app/x"})
    );
    assert_eq!(site.token(&session_id(&answer)).await.status, 200);
}

#[tokio::test]
async fn the_cookie_is_a_host_cookie_by_default() {
    let site = Site::start("session: { cookie: { same_site: strict } }").await;
    let body = json!({"username": "demo", "password": PASSWORD});
    let answer = site.post_json("/login", body).await;
    let set = answer.cookies()[0].to_owned();
    assert!(set.starts_with("__Host-berth="), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{set}"
    );
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_get_the_same_answer() {
    let site = Site::start("").await;
    let cases = [("demo", "wrong"), ("nobody", PASSWORD), ("a b\n", "x")];
    let mut answers = Vec::new();
    let mut fastest = [Duration::MAX; 3];
    // The cases take turns, so that other load on the machine slows all of them alike.
    for _ in 0..5 {
        for ((username, password), fastest) in cases.iter().zip(&mut fastest) {
            let started_at = Instant::now();
            let body = json!({"username": username, "password": password});
            let answer = site.post_json("/login", body).await;
            *fastest = started_at.elapsed().min(*fastest);
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (401, "login-failed")
            );
            assert!(answer.cookies().is_empty());
            answers.push(answer.text);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    // Without hashing, an answer takes a hundredth of this. Another test counts the hashes (one per login); the bound
    // here leaves room for a busy machine.
    let min_time = fastest.iter().max().unwrap().mul_f32(0.1);
    assert!(fastest.iter().all(|time| *time > min_time), "{fastest:?}");
    assert!(min_time > Duration::from_millis(1));
    assert_eq!(site.session_rows().await, 0);
}

#[tokio::test]
async fn a_failed_form_shows_the_page_again() {
    let site = Site::start("").await;
    let body = "username=d%3Cemo&password=wrong&return_to=%2Fapp%2Fx";
    let wrong = send_request(site.post_form("/login", body)).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("content-type").starts_with("text/html"));
    assert!(
        wrong
            .text
            .contains("The name or the password is wrong, or the account is locked")
    );
    assert!(wrong.text.contains("value=\"d&lt;emo\"") && wrong.text.contains("value=\"/app/x\""));
    assert!(!wrong.text.contains("value=\"wrong\""));
    assert!(wrong.cookies().is_empty());
    let empty = send_request(site.post_form("/login", "username=demo")).await;
    assert_eq!(empty.status, 400);
    assert!(empty.text.contains("Please give a name and a password."));
}

#[tokio::test]
async fn the_page_keeps_a_valid_return_to() {
    let site = Site::start("").await;
    let page = site
        .get("/login?return_to=%2Fapp%2Fsales.qvf%3Fa%3D%22", "")
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.text
            .contains("name=\"return_to\" value=\"/app/sales.qvf?a=&quot;\"")
    );
    for evil in ["%2F%2Fevil", "https:%2F%2Fevil", "%2F%0A", "javascript:x"] {
        let page = site.get(&format!("/login?return_to={evil}"), "").await;
        assert!(
            page.text.contains("name=\"return_to\" value=\"\""),
            "{evil}"
        );
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_session_id_never_comes_from_the_client() {
    let site = Site::start("").await;
    let planted = "A".repeat(43);
    let body = format!("username=demo&password={PASSWORD}");
    let request = site.post_form("/login", &body);
    let given = send_request(request.header("cookie", format!("berth={planted}"))).await;
    assert_ne!(session_id(&given), planted);
    assert_eq!(site.token(&planted).await.reason(), "unknown-session");
}

#[tokio::test]
async fn a_second_login_ends_the_previous_session() {
    let site = Site::start("").await;
    let (first, other) = (site.login().await, site.login().await);
    let body = format!("username=demo&password={PASSWORD}");
    let request = site.post_form("/login", &body);
    let again = send_request(request.header("cookie", format!("berth={first}"))).await;
    assert_eq!(again.status, 303);
    assert_eq!(site.token(&first).await.reason(), "unknown-session");
    assert_eq!(site.token(&session_id(&again)).await.status, 200);
    assert_eq!(site.token(&other).await.status, 200, "another browser's");
    assert_eq!(site.session_rows().await, 2);
}

#[tokio::test]
async fn a_failed_login_keeps_the_previous_session() {
    let site = Site::start("").await;
    let first = site.login().await;
    let request = site.post_form("/login", "username=demo&password=wrong");
    send_request(request.header("cookie", format!("berth={first}"))).await;
    assert_eq!(site.token(&first).await.status, 200);
}

#[tokio::test]
async fn other_sites_cannot_log_a_user_in() {
    let site =
        Site::start("login: { rate: null, trusted_origins: ['https://portal.example'] }").await;
    let body = format!("username=demo&password={PASSWORD}");
    let own = format!("http://{}", site.address);
    for (headers, status) in [
        (&[("sec-fetch-site", "cross-site")][..], 403),
        // Another host or port of the same site.
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "same-site"), ("origin", &own)], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "null"), ("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-origin")], 303),
        (&[("origin", own.as_str())], 303),
        (&[("origin", "https://portal.example")], 303),
        (
            &[
                ("origin", "https://portal.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            303,
        ),
        // Not a browser, so there are no cookies to abuse.
        (&[], 303),
    ] {
        let request = site.post_form("/login", &body);
        let request = headers
            .iter()
            .fold(request, |r, (name, value)| r.header(*name, *value));
        let answer = send_request(request).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 403 {
            assert_eq!(answer.reason(), "cross-site");
            assert!(answer.cookies().is_empty());
        }
    }
    assert_eq!(site.session_rows().await, 5);
}

#[tokio::test]
async fn a_page_over_http_is_another_site_than_one_over_https() {
    for (secure, over_http) in [(true, 403), (false, 303)] {
        let site = Site::start(&format!("session: {{ cookie: {{ secure: {secure} }} }}")).await;
        let body = format!("username=demo&password={PASSWORD}");
        for (scheme, status) in [("http", over_http), ("https", 303)] {
            let origin = format!("{scheme}://{}", site.address);
            let request = site.post_form("/login", &body).header("origin", origin);
            assert_eq!(
                send_request(request).await.status,
                status,
                "{secure} {scheme}"
            );
        }
    }
}

#[tokio::test]
async fn bodies_have_a_size_limit_and_a_known_type() {
    let site = Site::start("").await;
    let large = "x".repeat(100_000);
    let too_large = send_request(site.post_form("/login", &large)).await;
    assert_eq!(
        (too_large.status, too_large.reason().as_str()),
        (413, "body-too-large")
    );
    let request = site.request(Method::POST, "/login").body("{}");
    let unknown = send_request(request.header("content-type", "text/plain")).await;
    assert_eq!(
        (unknown.status, unknown.reason().as_str()),
        (415, "unsupported-media-type")
    );
    for (body, detail) in [
        ("{}", "username is missing"),
        (
            "{\"username\":\"a\",\"password\":7}",
            "password is of the wrong type",
        ),
        ("{", "the body is not JSON"),
    ] {
        let answer = site.post_json("/login", body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "invalid-request")
        );
        assert_eq!(answer.json()["detail"], detail);
    }
}

#[tokio::test]
async fn a_store_outage_is_not_reported_as_a_wrong_password() {
    let site = Site::start("").await;
    site.break_store().await;
    let body = json!({"username": "demo", "password": PASSWORD});
    let answer = site.post_json("/login", body).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "store-down")
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.cookies().is_empty());
}
