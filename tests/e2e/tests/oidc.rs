//! Logins and logouts with a real OpenID provider, through Envoy and two replicas of the service.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::oidc_provider::OidcProvider;
use berth_harness::{Browser, Call, Reply, Result, Stack, wait};
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

async fn start_site() -> Result<(Stack, OidcProvider, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    let provider = OidcProvider::start(dir.path()).await?;
    let config = json!({"oidc": provider.config()});
    let stack = Stack::builder()
        .engines(1)
        .services(2)
        .service_config(&config);
    let stack = stack.start().await?;
    provider.register(stack.address()).await?;
    Ok((stack, provider, dir))
}

async fn whoami(stack: &Stack, cookie: &str) -> Result<Reply> {
    stack.send(Call::get("/api/whoami").cookie(cookie)).await
}

/// Waits until every replica rejects the session. The delay itself is measured by another test, because this machine
/// may be busy.
async fn await_session_end(stack: &Stack, cookie: &str) -> Result<()> {
    let over = || async {
        for _ in 0..4 {
            (whoami(stack, cookie).await.ok()?.status == 440).then_some(())?;
        }
        Some(())
    };
    wait::poll_until("the session to end", Duration::from_secs(5), over).await
}

#[tokio::test]
async fn users_of_a_real_provider_log_in_and_their_logout_ends_both_sessions() -> Result<()> {
    let (stack, provider, _dir) = start_site().await?;
    let start = "/login/oidc/idp?return_to=%2Fapi%2Fwhoami";
    let mut ada = Browser::default();
    let page = ada.log_in(&stack, start, "ada").await?;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.json()["account"], "ada", "{}", page.text());
    assert_eq!(page.json()["roles"], json!(["user"]), "{}", page.text());
    let mut root = Browser::default();
    let page = root.log_in(&stack, start, "root").await?;
    assert_eq!(
        page.json()["roles"],
        json!(["admin", "user"]),
        "{}",
        page.text()
    );
    stack
        .open_qix("/app/sales.qvf", &ada.login_cookie(&stack)?)
        .await?;

    // A user without a role, and a user that the provider rejects.
    for (name, status, words) in [
        ("eve", 403, "may not log in here"),
        ("nobody", 403, "not allowed at the provider"),
    ] {
        let page = Browser::default().log_in(&stack, start, name).await?;
        assert_eq!(page.status, status, "{}", page.text());
        assert!(page.text().contains(words), "{}", page.text());
    }

    // New signing keys of the provider are accepted.
    provider.rotate_keys().await?;
    let page = Browser::default().log_in(&stack, start, "ada").await?;
    assert_eq!(page.json()["account"], "ada", "{}", page.text());

    // A logout at Berth is also a logout at the provider: the next login shows the provider's form.
    let again = ada.log_in(&stack, start, "asked?").await?;
    let before = ada.login_cookie(&stack)?;
    assert_eq!(
        again.json()["account"],
        "ada",
        "the provider knows ada: {}",
        again.text()
    );
    let (_, page) = ada
        .navigate(stack.address(), Call::post_form("/logout", &[]))
        .await?;
    let at = ada.confirm_logout(provider.addr, &page).await?;
    assert_eq!(at, stack.address(), "back at the site");
    assert!(ada.login_cookie(&stack).is_err());
    await_session_end(&stack, &before).await?;
    let page = ada.navigate(stack.address(), Call::get(start)).await?.1;
    assert!(page.text().contains("name=\"login\""), "{}", page.text());
    Ok(())
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_on_every_replica() -> Result<()> {
    let (stack, provider, _dir) = start_site().await?;
    let start = "/login/oidc/idp?return_to=%2Fapi%2Fwhoami";
    let mut ada = Browser::default();
    ada.log_in(&stack, start, "ada").await?;
    let mut root = Browser::default();
    root.log_in(&stack, start, "root").await?;
    let (cookie, other) = (ada.login_cookie(&stack)?, root.login_cookie(&stack)?);
    let mut socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    let mut others = stack.open_socket("/app/sales.qvf", &other).await?;
    // Both replicas have the session in their cache.
    for _ in 0..4 {
        assert_eq!(whoami(&stack, &cookie).await?.status, 200);
    }
    let (_, page) = ada
        .navigate(provider.addr, Call::get("/session/end"))
        .await?;
    ada.confirm_logout(provider.addr, &page).await?;
    // The replica that receives the reports of its gateway closes its socket.
    let closed = async {
        loop {
            socket.send(Message::text("{}")).await?;
            if let Message::Close(frame) = socket.next_message().await? {
                let code = frame.map(|frame| u16::from(frame.code));
                return Result::<Option<u16>>::Ok(code);
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(20), closed).await??;
    assert_eq!(code, Some(4403));
    let ended = await_session_end(&stack, &cookie).await;
    ended.map_err(|e| format!("{e}\n{}", provider.process.tail()))?;
    assert_eq!(whoami(&stack, &other).await?.status, 200);
    others.send(Message::text("{}")).await?;
    others.next_message().await?;
    Ok(())
}
