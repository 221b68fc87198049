//! TLS behind Envoy: to the service, where Envoy authenticates with its certificate, and to engines. A server with
//! another name, or with a certificate of another authority, receives nothing.

use berth_engine_sim::{Document, Engine, Options};
use berth_harness::certificate::Authority;
use berth_harness::envoy::find_cluster;
use berth_harness::stack::Builder;
use berth_harness::tls_terminator::TlsTerminator;
use berth_harness::{Call, Result, Stack, token, wait};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const PATH: &str = "/app/sales.qvf";
const TIMEOUT: Duration = Duration::from_secs(20);
const ENGINE_NAME: &str = "engines.internal";
const SERVICE_NAME: &str = "service.internal";
/// The JSON pointer to the authority in a cluster.
const TRUSTED_CA: &str =
    "/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename";

/// The parts that the stack does not start itself, and their certificates.
struct Inside {
    files: TempDir,
    engine: Engine,
    terminator: TlsTerminator,
}

impl Inside {
    async fn start() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let folder = files.path();
        let (services, gateways) = (Authority::new()?, Authority::new()?);
        let (engines, engine_clients) = (Authority::new()?, Authority::new()?);
        for (name, authority) in [
            ("services-ca", &services),
            ("gateways-ca", &gateways),
            ("engines-ca", &engines),
            ("other-ca", &Authority::new()?),
        ] {
            fs::write(folder.join(format!("{name}.pem")), authority.pem())?;
        }
        services.issue(SERVICE_NAME)?.write(folder, "service")?;
        gateways.issue("edge.internal")?.write(folder, "edge")?;
        gateways.issue("app.internal")?.write(folder, "app")?;
        engine_clients.issue("berth")?.write(folder, "client")?;
        let options = Options {
            jwt_secret: Some(token::SECRET.to_owned()),
            documents: vec![Document::new("sales.qvf", 100)],
            ..Options::default()
        };
        let engine = berth_engine_sim::start(options).await?;
        let issued = engines.issue(ENGINE_NAME)?;
        let terminator = TlsTerminator::start(engine.api_addr(), &issued, &engine_clients).await?;
        Ok(Self {
            files,
            engine,
            terminator,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A stack whose Envoy presents this certificate to the service and expects this authority and name.
    fn builder(&self, own: &str, ca: &str, name: &str) -> Builder {
        let file = |name: &str| self.file(name);
        let engine =
            json!({"name": "engine", "ip": "127.0.0.1", "port": self.terminator.address.port()});
        let pool = json!({
            "discovery": {"static": [engine]},
            "tls": {
                "ca": file("engines-ca.pem"), "name": ENGINE_NAME,
                "certificate": file("client.pem"), "key": file("client.key"),
            },
        });
        let config = json!({
            "tls": {
                "certificate": file("service.pem"), "key": file("service.key"),
                "clients": {"ca": file("gateways-ca.pem"), "gateways": ["edge.internal"]},
            },
            "edge": {"service_tls": {
                "ca": file(ca), "name": name,
                "certificate": file(&format!("{own}.pem")), "key": file(&format!("{own}.key")),
            }},
        });
        Stack::builder()
            .engines(0)
            .pool(&pool)
            .service_config(&config)
    }
}

/// A login cookie from the service itself: Envoy may not reach it.
async fn status_of_upgrade(stack: &Stack, cookie: &str) -> Result<(u16, String)> {
    let upgrade = stack.upgrade(PATH, &[("cookie", cookie)]).await?;
    let reply = upgrade.into_rejection()?;
    Ok((reply.status, reply.reason()))
}

#[tokio::test]
async fn a_socket_is_placed_and_ended_with_tls_on_every_connection_behind_envoy() -> Result<()> {
    let inside = Inside::start().await?;
    let stack = inside.builder("edge", "services-ca.pem", SERVICE_NAME);
    let stack = stack.start().await?;
    let cookie = stack.login_demo().await?;
    let probes = inside.terminator.accepted();
    let mut qix = stack.open_qix(PATH, &cookie).await?;
    assert_eq!(qix.session_state, "SESSION_ATTACHED");
    // The service prepares the session, and Envoy opens the socket.
    assert!(inside.terminator.accepted() >= probes + 2);
    assert_eq!(inside.engine.sessions().len(), 1);
    let service = stack.service.as_ref().ok_or("a service")?.addr;
    assert!(Call::get("/health/live").send(service).await.is_err());
    // The gateway's call stream and its reports use the connection, too.
    let logout = Call::new("POST", "/logout").cookie(&cookie);
    let origin = format!("http://{}", stack.address());
    let reply = stack.send(logout.header("origin", &origin)).await?;
    assert!(reply.status < 400, "{}", reply.text());
    qix.socket.receive_until_closed().await?;
    let ended = async || inside.engine.sessions().is_empty().then_some(());
    wait::poll_until("the engine session has ended", TIMEOUT, ended).await
}

const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn envoy_sends_nothing_to_a_service_with_another_authority_or_name() -> Result<()> {
    let inside = Inside::start().await?;
    for (ca, name) in [
        ("other-ca.pem", SERVICE_NAME),
        ("services-ca.pem", "other.internal"),
    ] {
        let stack = inside.builder("edge", ca, name).start().await?;
        let refused = status_of_upgrade(&stack, UNKNOWN).await?;
        assert_eq!(
            refused,
            (503, "service-unreachable".to_owned()),
            "{ca} {name}"
        );
        // The pages of the service have the same cluster settings.
        assert_eq!(stack.send(Call::get("/login")).await?.status, 503);
        // Several connections have been tried, and none has become usable.
        let tried = stack
            .envoy
            .stat("cluster.placement.upstream_cx_connect_fail");
        assert!(tried.await?.unwrap_or_default() > 0, "{ca} {name}");
        let passed = stack.envoy.stat("cluster.placement.ssl.handshake").await?;
        assert_eq!(passed, Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_the_service_with_another_certificate_is_no_gateway() -> Result<()> {
    let inside = Inside::start().await?;
    let stack = inside.builder("app", "services-ca.pem", SERVICE_NAME);
    let stack = stack.start().await?;
    let cookie = stack.login_demo().await?;
    let refused = status_of_upgrade(&stack, &cookie).await?;
    assert_eq!(refused, (403, "unknown-gateway".to_owned()));
    assert!(inside.engine.sessions().is_empty());
    Ok(())
}

/// Replaces Envoy's settings of the engines: the service's own checks would not place a socket there.
async fn open_with(inside: &Inside, edit: fn(&mut Value, &Path) -> Result<()>) -> Result<u16> {
    let folder = inside.files.path().to_owned();
    let stack = inside.builder("edge", "services-ca.pem", SERVICE_NAME);
    let stack = stack.edit_envoy(move |config, _| edit(find_cluster(config, "engines")?, &folder));
    let stack = stack.start().await?;
    let cookie = stack.login_demo().await?;
    let upgrade = stack.upgrade(PATH, &[("cookie", cookie.as_str())]).await?;
    let status = upgrade.into_rejection()?.status;
    let passed = stack.envoy.stat("cluster.engines.ssl.handshake").await?;
    assert_eq!(passed, Some(0));
    Ok(status)
}

#[tokio::test]
async fn envoy_sends_nothing_to_an_engine_with_another_authority_or_name() -> Result<()> {
    let inside = Inside::start().await?;
    let other_authority = |cluster: &mut Value, folder: &Path| {
        let file = cluster.pointer_mut(TRUSTED_CA).ok_or("no authority")?;
        *file = json!(folder.join("other-ca.pem"));
        Ok(())
    };
    let other_name = |cluster: &mut Value, _: &Path| {
        let text = cluster.to_string();
        let text = text.replace(ENGINE_NAME, "other.internal");
        *cluster = serde_json::from_str(&text)?;
        Ok(())
    };
    assert_eq!(open_with(&inside, other_authority).await?, 503);
    assert_eq!(open_with(&inside, other_name).await?, 503);
    Ok(())
}
