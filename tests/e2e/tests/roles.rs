//! Routes that only some roles may use: WebSockets and plain requests, with a login cookie and with a program's token.

use berth_harness::client::Upgrade;
use berth_harness::token::Claims;
use berth_harness::{Call, Result, Stack};
use serde_json::json;

/// `open` is for any account, `admin` for administrators.
async fn start() -> Result<Stack> {
    let place = |area: &str, roles: &[&str]| json!({"path": format!("/{area}/{{document}}"), "pool": "qix", "open": {"document": "{document}"}, "bearer": "allow", "roles": roles});
    let authenticate = |path: &str, roles: &[&str]| json!({"path": path, "action": "authenticate", "bearer": "allow", "roles": roles});
    let administrators: &[&str] = &["auditor", "admin"];
    let app = json!({
        "name": "app",
        "addresses": ["127.0.0.1:1"],
        "routes": [authenticate("/api/whoami", &[]), authenticate("/api/headers", administrators)],
    });
    let config = json!({
        "routes": [place("open", &[]), place("admin", administrators)],
        "edge": {"applications": [app]},
    });
    let mut stack = Stack::builder()
        .engines(1)
        .service_config(&config)
        .start()
        .await?;
    stack
        .service()?
        .add_account("root", "root-password-1", &["user", "admin"])?;
    Ok(stack)
}

async fn status_of_upgrade(stack: &Stack, path: &str, header: (&str, &str)) -> Result<String> {
    match stack.upgrade(path, &[header]).await? {
        Upgrade::Open(mut socket) => {
            socket.next_message().await?;
            Ok("101 ".to_owned())
        }
        Upgrade::Rejected(reply) => Ok(format!("{} {}", reply.status, reply.reason())),
    }
}

/// The results at `open` and `admin`, of upgrades and of plain requests.
async fn check(stack: &Stack, header: (&str, &str), admin: [&str; 2]) -> Result<()> {
    let [upgrade, plain] = admin;
    // Twice: the first request calls the service, the second one may find the token in the filter's cache.
    for _ in 0..2 {
        for (path, expected) in [("/open/sales.qvf", "101 "), ("/admin/sales.qvf", upgrade)] {
            let got = status_of_upgrade(stack, path, header).await?;
            assert_eq!(got, expected, "{path}");
        }
        for (path, expected) in [("/api/whoami", "200 "), ("/api/headers", plain)] {
            let reply = stack.send(Call::get(path).headers(&[header])).await?;
            let reason = if reply.status == 200 {
                String::new()
            } else {
                reply.reason()
            };
            assert_eq!(format!("{} {reason}", reply.status), expected, "{path}");
        }
    }
    Ok(())
}

const REFUSED: [&str; 2] = ["403 forbidden"; 2];
const ACCEPTED: [&str; 2] = ["101 ", "200 "];

#[tokio::test]
async fn a_session_needs_one_of_the_roles_of_the_route() -> Result<()> {
    let stack = start().await?;
    let (demo, root) = (
        stack.login_demo().await?,
        stack.login("root", "root-password-1").await?,
    );
    check(&stack, ("cookie", &demo), REFUSED).await?;
    check(&stack, ("cookie", &root), ACCEPTED).await?;
    // The application received nothing of what was refused.
    assert_eq!(stack.app.requests(), 6);
    Ok(())
}

#[tokio::test]
async fn a_program_needs_one_of_the_roles_of_the_route() -> Result<()> {
    let stack = start().await?;
    let token = |roles: &[&str]| {
        let mut claims = Claims::for_account("robot");
        claims.roles = roles.iter().map(|&role| role.to_owned()).collect();
        claims.sign()
    };
    for (roles, expected) in [
        (&["user"][..], REFUSED),
        (&[], REFUSED),
        (&["administrator"], REFUSED),
        (&["user", "auditor"], ACCEPTED),
    ] {
        let value = format!("Bearer {}", token(roles)?);
        check(&stack, ("authorization", &value), expected).await?;
    }
    Ok(())
}
