//! A scenario with several users and programs. It uses every kind of secret and records each.

use super::oidc_logins;
use super::secrets::Secrets;
use berth_harness::oidc_provider::OidcProvider;
use berth_harness::token::Claims;
use berth_harness::{Call, Reply, Result, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// The account of the scenario. Its name is not secret.
pub(crate) const ACCOUNT: &str = "leak-probe";
/// The path of a request is in the access log: this text proves that the search finds what is there.
pub(crate) const CANARY: &str = "canary-in-the-path-of-a-request";
const PASSWORD: &str = "Kx9!correct horse/battery";
const WRONG_PASSWORD: &str = "wrong&horse-battery-staple";
/// A password typed into the name field.
const MISTYPED_PASSWORD: &str = "Kx9-typed-into-the-name";
const OPERATOR: &str = "operator-secret-of-the-leak-test";
const GATEWAY: &str = "gateway-secret-of-the-leak-test";
const WEBHOOK: &str = "webhook-secret-of-the-leak-test";
/// A session expires after this time without activity.
const IDLE: Duration = Duration::from_secs(12);

/// The service's part of the configuration.
pub(crate) fn service_config() -> Value {
    json!({
        "log": {"level": "trace", "format": "json"},
        "session": {"idle_timeout": "12s", "cleanup": {"interval": "1s"}},
        "gateways": {"secret": {"inline": GATEWAY}},
        "api": {"clients": [{"name": "op", "role": "operator", "secret": {"inline": OPERATOR}}]},
        "webhooks": [{"name": "nobody", "url": "http://127.0.0.1:9/", "secret": {"inline": WEBHOOK}}],
    })
}

/// The filter's part.
pub(crate) fn filter_config() -> Value {
    let mut routes = vec![
        json!({"path": "/api/open", "action": "authenticate", "anonymous": "allow"}),
        json!({"prefix": "/app/", "action": "place", "bearer": "allow"}),
        json!({"prefix": "/doc/", "action": "place"}),
        json!({"prefix": "/api/", "action": "authenticate", "bearer": "allow"}),
    ];
    for path in [
        "/login",
        "/logout",
        "/session",
        "/session/renew",
        "/session/placements",
    ] {
        routes.push(json!({"path": path, "action": "bypass"}));
    }
    routes.push(json!({"prefix": "/login/oidc/", "action": "bypass"}));
    json!({"service": {"secret": GATEWAY}, "routes": routes})
}

/// Plays the scenario and returns the secrets that it has used.
pub(crate) async fn play(stack: &mut Stack, provider: &OidcProvider) -> Result<Secrets> {
    let mut secrets = Secrets::default();
    for (what, value) in [
        ("the password", PASSWORD),
        ("a wrong password", WRONG_PASSWORD),
        ("a password in the name's field", MISTYPED_PASSWORD),
        ("the operator's secret", OPERATOR),
        ("the webhook's secret", WEBHOOK),
        ("the database's password", berth_databases::PASSWORD),
    ] {
        secrets.add(what, value);
    }
    stack.service()?.add_account(ACCOUNT, PASSWORD, &["user"])?;
    let mut story = Scenario {
        service: stack.service()?.addr,
        stack,
        secrets,
    };
    story.send(Call::get(&format!("/api/{CANARY}"))).await?;
    story.play_logins().await?;
    story.send_stray_cookies().await?;
    story.play_programs().await?;
    story.play_child_session().await?;
    story.end_as_operator().await?;
    story.await_idle_expiry().await?;
    let Scenario { stack, secrets, .. } = &mut story;
    oidc_logins::log_in_and_out(stack, provider, secrets).await?;
    story.record_engine_tokens().await?;
    Ok(story.secrets)
}

/// Adds the secrets that may appear in Envoy's own configuration dump only.
pub(crate) fn add_configured_secrets(secrets: &mut Secrets) {
    secrets.add("the gateway's secret", GATEWAY);
    secrets.add("the key of the tokens", berth_harness::token::SECRET);
}

struct Scenario<'a> {
    service: std::net::SocketAddr,
    stack: &'a Stack,
    secrets: Secrets,
}

impl Scenario<'_> {
    async fn send(&mut self, call: Call) -> Result<Reply> {
        let reply = self.stack.send(call).await?;
        for set in reply.headers.get_all("set-cookie") {
            let pair = set.to_str()?.split(';').next().unwrap_or_default();
            self.secrets.add_cookie("a cookie that was set", pair);
        }
        Ok(reply)
    }

    fn with_origin(&self, call: Call) -> Call {
        let origin = format!("http://{}", self.stack.address());
        call.header("origin", &origin)
    }

    async fn login(&mut self, name: &str, password: &str, old: &str) -> Result<Reply> {
        let body = json!({"username": name, "password": password});
        let call = Call::post_json("/login", &body).cookie(old);
        let call = self.with_origin(call);
        self.send(call).await
    }

    async fn login_cookie(&mut self, old: &str) -> Result<String> {
        let reply = self.login(ACCOUNT, PASSWORD, old).await?;
        let cookie = reply.set_cookie("berth");
        cookie.ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
    }

    /// The JWT that the application receives.
    async fn jwt(&mut self, call: Call) -> Result<String> {
        let reply = self.send(call).await?;
        let seen: Vec<(String, String)> = serde_json::from_slice(&reply.body)?;
        let token = seen.into_iter().find(|(name, _)| name == "authorization");
        let (_, token) = token.ok_or("no token reached the application")?;
        self.secrets.add_jwt("a token at the application", &token);
        Ok(token)
    }

    async fn play_logins(&mut self) -> Result<()> {
        for (name, password) in [(ACCOUNT, WRONG_PASSWORD), (MISTYPED_PASSWORD, PASSWORD)] {
            assert_eq!(self.login(name, password, "a=b").await?.status, 401);
        }
        let form = Call::post_form(
            "/login",
            &[
                ("username", ACCOUNT),
                ("password", "wrong%26horse-battery-staple"),
            ],
        );
        let form = self.with_origin(form);
        assert_eq!(self.send(form).await?.status, 401);
        let first = self.login_cookie("a=b").await?;
        let cookie = self.login_cookie(&first).await?;
        self.jwt(Call::get("/api/headers?berth_tab=t1").cookie(&cookie))
            .await?;
        for path in [
            "/app/sales.qvf",
            "/doc/doc/drugcases.qvf",
            "/doc/session-doc",
        ] {
            self.stack.open_qix(path, &cookie).await?;
        }
        self.stack
            .open_with_enigma(&cookie, &["/app/sales.qvf"])
            .await?;
        self.send(Call::get("/session").cookie(&cookie)).await?;
        self.send(Call::get("/session/placements").cookie(&cookie))
            .await?;
        let renew = Call::new("POST", "/session/renew").cookie(&cookie);
        let renew = self.with_origin(renew);
        assert_eq!(self.send(renew).await?.status, 200);
        let logout = Call::new("POST", "/logout").cookie(&cookie);
        let logout = self.with_origin(logout);
        self.send(logout).await?;
        self.await_rejection(&cookie).await?;
        self.record_engine_tokens().await
    }

    /// The other replica learns of a session's end a moment later.
    async fn await_rejection(&mut self, cookie: &str) -> Result<()> {
        let stack = self.stack;
        let refused = || async {
            let call = Call::get("/api/headers").cookie(cookie);
            let reply = stack.send(call).await.ok()?;
            (reply.status == 440).then_some(())
        };
        let limit = Duration::from_secs(5);
        wait::poll_until("the end of a session", limit, refused).await?;
        self.send(Call::get("/api/headers").cookie(cookie)).await?;
        Ok(())
    }

    async fn record_engine_tokens(&mut self) -> Result<()> {
        let mut tokens = 0;
        for engine in &self.stack.engines {
            for upgrade in engine.upgrades().await? {
                for token in upgrade.header("authorization") {
                    self.secrets.add_jwt("a token at an engine", token);
                    tokens += 1;
                }
            }
        }
        assert!(tokens >= 6, "prepared and opened: {tokens}");
        Ok(())
    }

    /// Cookies that name no session, and malformed ones.
    async fn send_stray_cookies(&mut self) -> Result<()> {
        let long = format!("berth={}", "Zq8".repeat(60));
        for cookie in [
            "berth=u7Yh2unknownunknownunknownunknownunknown0AA",
            "berth=no-id-at-all-but-secret",
            "berth=one-of-two-cookies; berth=the-other-of-two",
            "berth=with \"quotes\" and blanks",
            &long,
        ] {
            for pair in cookie.split("; ") {
                self.secrets.add_cookie("a stray cookie", pair);
            }
            self.send(Call::get("/api/headers").cookie(cookie)).await?;
            self.send(Call::get("/api/open").cookie(cookie)).await?;
            self.send(Call::get("/session").cookie(cookie)).await?;
            let page = Call::get("/app/sales.qvf").header("sec-fetch-mode", "navigate");
            self.send(page.cookie(cookie)).await?;
            let headers = [("cookie", cookie)];
            self.stack
                .upgrade("/app/sales.qvf", &headers)
                .await?
                .into_rejection()?;
        }
        Ok(())
    }

    async fn play_programs(&mut self) -> Result<()> {
        let good = Claims::for_account("robot").sign()?;
        let mut over = Claims::for_account("robot");
        over.exp = 1_000_000_000;
        let foreign =
            Claims::for_account("robot").sign_with("another secret, not the one of the filter")?;
        for token in [
            good,
            over.sign()?,
            foreign,
            "no-jwt-but-a-secret".to_owned(),
        ] {
            self.secrets.add_jwt("a program's token", &token);
            let value = format!("Bearer {token}");
            let headers = [("authorization", value.as_str())];
            self.send(Call::get("/api/headers").headers(&headers))
                .await?;
            drop(self.stack.upgrade("/app/sales.qvf", &headers).await?);
            // Directly to the service, without the filter.
            let body =
                json!({"token": token, "method": "GET", "path": "/app/sales.qvf", "host": "h"});
            let call = Call::post_json("/v1/placements", &body);
            let gateway = format!("Bearer {GATEWAY}");
            call.header("authorization", &gateway)
                .send(self.service)
                .await?;
        }
        let basic = Call::get("/api/headers").header("authorization", "Basic c2VjcmV0OnNlY3JldA==");
        self.secrets
            .add("a password by Basic", "c2VjcmV0OnNlY3JldA==");
        self.send(basic).await?;
        Ok(())
    }

    async fn send_as_operator(&self, call: Call) -> Result<Reply> {
        let secret = format!("Bearer {OPERATOR}");
        call.header("authorization", &secret)
            .send(self.service)
            .await
    }

    /// The `session_ref` of a session.
    async fn session_ref(&self, cookie: &str) -> Result<String> {
        let session = cookie.trim_start_matches("berth=");
        let call = Call::post_json("/v1/tokens", &json!({"session": session}));
        let gateway = format!("Bearer {GATEWAY}");
        let reply = call
            .header("authorization", &gateway)
            .send(self.service)
            .await?;
        let found = reply.json()["session_ref"].as_str().map(str::to_owned);
        found.ok_or_else(|| format!("no session: {}", reply.text()).into())
    }

    /// Starts and uses a child session, which ends with its parent.
    async fn play_child_session(&mut self) -> Result<()> {
        let parent = self.login_cookie("a=b").await?;
        let path = format!("/v1/sessions/{}/children", self.session_ref(&parent).await?);
        let reply = self
            .send_as_operator(Call::post_json(&path, &json!({})))
            .await?;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let id = reply.json()["id"].as_str().unwrap_or_default().to_owned();
        self.secrets
            .add_cookie("a child's id", &format!("berth={id}"));
        self.jwt(Call::get("/api/headers").cookie(&format!("berth={id}")))
            .await?;
        let logout = Call::new("POST", "/logout").cookie(&parent);
        let logout = self.with_origin(logout);
        self.send(logout).await?;
        Ok(())
    }

    async fn end_as_operator(&mut self) -> Result<()> {
        let cookie = self.login_cookie("a=b").await?;
        self.jwt(Call::get("/api/headers").cookie(&cookie)).await?;
        let path = format!("/v1/sessions/{}", self.session_ref(&cookie).await?);
        let reply = self.send_as_operator(Call::new("DELETE", &path)).await?;
        assert!(reply.status < 300, "{}", reply.text());
        let wrong =
            Call::new("DELETE", &path).header("authorization", "Bearer wrong-operator-secret");
        self.secrets.add("a wrong secret", "wrong-operator-secret");
        assert_eq!(wrong.send(self.service).await?.status, 403);
        Ok(())
    }

    /// A session without activity expires, and one of the replicas removes it.
    async fn await_idle_expiry(&mut self) -> Result<()> {
        let cookie = self.login_cookie("a=b").await?;
        let addrs = self.stack.replicas.iter().map(|replica| replica.addr);
        let addrs: Vec<_> = addrs.chain([self.service]).collect();
        let swept = || async {
            for addr in &addrs {
                let metrics = Call::get("/metrics").send(*addr).await.ok()?.text();
                let prefix = "berth_sessions_ended_total{cause=\"idle-timeout\"} ";
                let count = metrics.lines().find_map(|line| line.strip_prefix(prefix));
                if count.is_some_and(|count| count != "0") {
                    return Some(());
                }
            }
            None
        };
        wait::poll_until("the cleanup of an idle session", 3 * IDLE, swept).await?;
        self.await_rejection(&cookie).await
    }
}
