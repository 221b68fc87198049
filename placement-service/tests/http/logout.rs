//! `POST /logout`: the end of the session, the redirect, and requests from other sites.

use crate::site::{Site, send_request};
use reqwest::{Method, RequestBuilder};

#[tokio::test]
async fn logout_ends_the_session_on_the_server() {
    let site = Site::start("").await;
    let (id, other) = (site.login().await, site.login().await);
    let token = site.token(&id).await;
    assert_eq!(token.status, 200);
    let request = site.request(Method::POST, "/logout");
    let out = send_request(request.header("cookie", format!("berth={id}"))).await;
    assert_eq!(out.status, 204);
    assert_eq!(
        out.cookies(),
        ["berth=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"]
    );
    assert_eq!(out.header("clear-site-data"), "\"cache\", \"storage\"");
    assert_eq!(site.token(&id).await.reason(), "unknown-session");
    assert_eq!(site.token(&other).await.status, 200);
    assert_eq!(site.session_rows().await, 1);
}

#[tokio::test]
async fn a_form_logout_redirects_to_the_login_page() {
    let site = Site::start("").await;
    let id = site.login().await;
    let request = site
        .post_form("/logout", "")
        .header("cookie", format!("berth={id}"));
    let out = send_request(request).await;
    let page = "/login?state=logged-out";
    assert_eq!((out.status, out.header("location")), (303, page));
    let page = site.get(page, "").await.text;
    assert!(page.contains("You are logged out.") && page.contains("password"));
    assert_eq!(site.token(&id).await.reason(), "unknown-session");
}

#[tokio::test]
async fn a_logout_without_a_session_succeeds() {
    let site = Site::start("").await;
    let unknown = format!("berth={}", "A".repeat(43));
    for cookie in ["", "berth=x", &unknown] {
        let request = site.request(Method::POST, "/logout");
        let out = send_request(request.header("cookie", cookie)).await;
        assert_eq!((out.status, out.cookies().len()), (204, 1));
    }
}

#[tokio::test]
async fn other_sites_cannot_log_a_user_out() {
    let site = Site::start("login: { trusted_origins: ['https://portal.example'] }").await;
    let own = format!("http://{}", site.address);
    let id = site.login().await;
    let log_out = async |headers: &[(&str, &str)], id: &str| {
        let request = site.post_form("/logout", "");
        let request = request.header("cookie", format!("berth={id}"));
        let with =
            |request: RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
        send_request(headers.iter().fold(request, with)).await
    };
    let foreign: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "cross-site")],
        // Another host or port of the same site: the browser sends a Lax cookie with the request.
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "same-site"), ("origin", &own)],
        &[("origin", "https://evil")],
        &[("origin", "null")],
        &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        &[("origin", "https://portal.example.evil")],
    ];
    for headers in foreign {
        let out = log_out(headers, &id).await;
        assert_eq!((out.status, out.reason().as_str()), (403, "cross-site"));
        assert!(out.cookies().is_empty());
        assert_eq!(out.header("clear-site-data"), "");
    }
    assert_eq!(site.token(&id).await.status, 200);
    let own: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
        &[("origin", &own)],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://portal.example"),
        ],
        &[],
    ];
    for headers in own {
        let id = site.login().await;
        assert_eq!(log_out(headers, &id).await.status, 303);
        assert_eq!(site.token(&id).await.status, 401);
    }
}

#[tokio::test]
async fn a_logout_fails_when_the_store_fails() {
    let site = Site::start("").await;
    let id = site.login().await;
    site.break_store().await;
    let request = site.request(Method::POST, "/logout");
    let out = send_request(request.header("cookie", format!("berth={id}"))).await;
    assert_eq!((out.status, out.reason().as_str()), (503, "store-down"));
    assert!(out.cookies().is_empty());
}

#[tokio::test]
async fn a_page_over_http_is_another_site_if_cookies_are_secure() {
    let site = Site::start("session: { cookie: { secure: true } }").await;
    for (scheme, status) in [("http", 403), ("https", 303)] {
        let origin = format!("{scheme}://{}", site.address);
        let request = site.post_form("/logout", "").header("origin", origin);
        assert_eq!(send_request(request).await.status, status, "{scheme}");
    }
}
