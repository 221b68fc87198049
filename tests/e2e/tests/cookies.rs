//! Cookies of other software: a login cookie that cannot be read blocks neither the login nor the logout, and a browser
//! with many cookies is served over HTTP/2.

use berth_harness::client::Http2;
use berth_harness::{Call, Result, Stack};

const LONG: usize = 800;

fn unreadable() -> [String; 3] {
    [
        format!("berth={}", "a".repeat(LONG)),
        "berth=\"quoted\"".to_owned(),
        "berth=a; berth=b".to_owned(),
    ]
}

#[tokio::test]
async fn a_cookie_that_cannot_be_read_does_not_block_login_and_logout() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let origin = format!("http://{}", stack.address());
    for cookie in unreadable() {
        // A page goes to the login. An API call and an upgrade are refused.
        let page = Call::get("/app/sales.qvf").header("sec-fetch-mode", "navigate");
        let reply = stack.send(page.cookie(&cookie)).await?;
        assert_eq!(
            (reply.status, reply.header("location")),
            (302, "/login"),
            "{cookie}"
        );
        let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
        assert_eq!(reply.status, 400, "{cookie}");
        let upgrade = stack
            .upgrade("/app/sales.qvf", &[("cookie", &cookie)])
            .await?;
        assert_eq!(upgrade.into_rejection()?.status, 400, "{cookie}");

        let reply = stack.send(Call::get("/login").cookie(&cookie)).await?;
        assert_eq!(reply.status, 200, "{cookie}");
        let form = [("username", "demo"), ("password", "demo-password")];
        let form = Call::post_form("/login", &form).header("origin", &origin);
        let reply = stack.send(form.cookie(&cookie)).await?;
        assert_eq!(reply.status, 303, "{cookie}: {}", reply.text());
        let login = reply.set_cookie("berth").ok_or("no cookie")?;
        let reply = stack.send(Call::get("/api/whoami").cookie(&login)).await?;
        assert_eq!(reply.status, 200, "{cookie}");

        let logout = Call::new("POST", "/logout").header("origin", &origin);
        let reply = stack.send(logout.cookie(&cookie)).await?;
        assert_eq!(reply.status, 204, "{cookie}: {}", reply.text());
        assert_eq!(reply.set_cookie("berth").as_deref(), Some("berth="));
    }
    Ok(())
}

#[tokio::test]
async fn a_browser_with_180_cookies_is_served_over_http2() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut client = Http2::connect_plain(stack.address()).await?;
    let with_cookies = |count: usize, bytes: usize| {
        let value = "v".repeat(bytes);
        let cookies = (0..count).map(|number| format!("c{number}={value}"));
        cookies.fold(Call::get("/api/whoami").cookie(&cookie), |call, one| {
            call.cookie(&one)
        })
    };
    let reply = client.send(with_cookies(180, 100)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // What limits them is their size.
    let too_large = client.send(with_cookies(180, 400)).await;
    let refused = too_large.map_or(true, |reply| reply.status == 431);
    assert!(refused, "a head of 72 KB");
    Ok(())
}
