//! The logins of the scenario at an OpenID provider, with everything that browsers, Berth and the provider exchange.

use super::secrets::Secrets;
use berth_harness::oidc_provider::{CLIENT_SECRET, OidcProvider};
use berth_harness::{Browser, Call, Result, Stack, wait};
use std::time::Duration;

const START: &str = "/login/oidc/idp?return_to=%2Fapi%2Fheaders";
/// Parameters of redirect locations that are not secret.
const PUBLIC_PARAMETERS: [&str; 10] = [
    "client_id",
    "code_challenge_method",
    "error",
    "error_description",
    "iss",
    "post_logout_redirect_uri",
    "redirect_uri",
    "response_type",
    "return_to",
    "scope",
];

/// Two users log in and out, one at Berth and one at the provider. A third user is rejected and then tries the code
/// of another login.
pub(crate) async fn log_in_and_out(
    stack: &Stack,
    provider: &OidcProvider,
    secrets: &mut Secrets,
) -> Result<()> {
    secrets.add("the client's secret", CLIENT_SECRET);
    let (mut here, mut there) = (Browser::default(), Browser::default());
    let mut sessions = vec![];
    for (browser, name) in [(&mut here, "ada"), (&mut there, "root")] {
        let page = browser.log_in(stack, START, name).await?;
        assert_eq!(page.status, 200, "{}", page.text());
        for (name, token) in serde_json::from_slice::<Vec<(String, String)>>(&page.body)? {
            if name == "authorization" {
                secrets.add_jwt("a token at the application", &token);
            }
        }
        let session = browser.login_cookie(stack)?;
        stack.open_qix("/app/sales.qvf", &session).await?;
        sessions.push(session);
    }

    let logout = Call::post_form("/logout", &[]);
    let (_, page) = here.navigate(stack.address(), logout).await?;
    here.confirm_logout(provider.addr, &page).await?;
    let (_, page) = there
        .navigate(provider.addr, Call::get("/session/end"))
        .await?;
    there.confirm_logout(provider.addr, &page).await?;
    for session in &sessions {
        let over = || async {
            let call = Call::get("/api/headers").cookie(session);
            (stack.send(call).await.ok()?.status == 440).then_some(())
        };
        let limit = Duration::from_secs(20);
        wait::poll_until("the end of a provider's session", limit, over).await?;
    }

    let mut stranger = Browser::default();
    let page = stranger.log_in(stack, START, "nobody").await?;
    assert_eq!(page.status, 403, "{}", page.text());
    // A used code, without the cookie of its login.
    let path = |at: &&String| at.contains("/callback?code=");
    let used = here.redirects.iter().find(path).ok_or("no code")?;
    let path = used.trim_start_matches(&format!("http://{}", stack.address()));
    let again = stranger.navigate(stack.address(), Call::get(path)).await?.1;
    assert!(again.status >= 400, "{}", again.text());

    for browser in [&here, &there, &stranger] {
        record_secrets(browser, secrets);
    }
    let issued = provider.issued_tokens().await?;
    for token in &issued {
        secrets.add_jwt("a token of the provider", token);
    }
    // Each login has an access token and an ID token, and both logouts have a logout token.
    assert!(issued.len() >= 6, "{}", issued.len());
    Ok(())
}

/// Adds the cookies and the secrets in redirect locations: codes, states, nonces, challenges, tokens.
fn record_secrets(browser: &Browser, secrets: &mut Secrets) {
    for pair in &browser.received_cookies {
        let of = if pair.starts_with("berth") {
            "a cookie that was set"
        } else {
            "a cookie of the provider"
        };
        secrets.add_cookie(of, pair);
    }
    for address in &browser.redirects {
        let (_, query) = address.split_once('?').unwrap_or_default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            // The `state` of a logout is the same for everybody.
            if !PUBLIC_PARAMETERS.contains(&name) && value != "logged-out" {
                secrets.add_jwt(&format!("`{name}` in an address"), value);
            }
        }
    }
}
