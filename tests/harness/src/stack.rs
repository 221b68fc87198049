//! The whole stack: engines, application, placement service and Envoy, connected on free ports (tests) or given ones
//! (`make run`). Everything ends when the [`Stack`] is dropped.

mod builder;

pub use builder::{Builder, Ports};

use crate::app::App;
use crate::certificate::Certificate;
use crate::client::{Http2, Upgrade, WebSocket};
use crate::engine::Engine;
use crate::envoy::Envoy;
use crate::process::Process;
use crate::service::Service;
use crate::{Call, FakeService, Qix, Reply, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use tempfile::TempDir;

/// A running stack.
pub struct Stack {
    /// The engines, in the order of their names.
    pub engines: Vec<Engine>,
    /// The application behind `/api/`.
    pub app: App,
    /// The placement service, unless a fake service takes its place.
    pub service: Option<Service>,
    /// Further replicas on the same store. Envoy sends requests to all of them.
    pub replicas: Vec<Service>,
    /// The fake service, if the test uses one.
    pub fake_service: Option<FakeService>,
    /// Envoy with the filter.
    pub envoy: Envoy,
    /// Further Envoys with the same configuration.
    pub further_envoys: Vec<Envoy>,
    /// The certificate of Envoy's listener, if it speaks TLS.
    pub certificate: Option<Certificate>,
    /// Folder of the configurations, logs and store of this run.
    pub dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Stack {
    /// A builder with three engines, the demonstration's configuration, one Envoy worker and free ports.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address of Envoy's listener, for clients.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.envoy.http
    }

    /// The placement service.
    ///
    /// # Errors
    /// When a fake service takes its place.
    pub fn service(&mut self) -> Result<&mut Service> {
        self.service
            .as_mut()
            .ok_or_else(|| "this stack has a fake service".into())
    }

    /// The fake service.
    ///
    /// # Errors
    /// When the stack has a real placement service.
    pub fn fake_service(&self) -> Result<&FakeService> {
        self.fake_service
            .as_ref()
            .ok_or_else(|| "this stack has a real service".into())
    }

    /// Logs in through Envoy and returns the cookie, `berth=...`.
    ///
    /// # Errors
    /// When the login is rejected.
    pub async fn login(&self, username: &str, password: &str) -> Result<String> {
        let form = Call::post_form("/login", &[("username", username), ("password", password)]);
        let origin = format!("http://{}", self.address());
        let reply = form.header("origin", &origin).send(self.address()).await?;
        reply
            .set_cookie("berth")
            .ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
    }

    /// Logs in with the demo account.
    ///
    /// # Errors
    /// When the login is rejected.
    pub async fn login_demo(&self) -> Result<String> {
        self.login("demo", "demo-password").await
    }

    /// Sends a request through Envoy.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn send(&self, call: Call) -> Result<Reply> {
        call.send(self.address()).await
    }

    /// Connects to Envoy with HTTP/2 over TLS.
    ///
    /// # Errors
    /// When its listener does not speak TLS.
    pub async fn http2(&self) -> Result<Http2> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.ok_or("this stack speaks plain http")?;
        Http2::connect(self.address(), &certificate.der).await
    }

    /// Requests a WebSocket through Envoy.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Upgrade> {
        WebSocket::upgrade(self.address(), path, headers).await
    }

    /// Opens a WebSocket with a login cookie and waits for the engine's first message.
    ///
    /// # Errors
    /// When it is rejected.
    pub async fn open_socket(&self, path: &str, cookie: &str) -> Result<WebSocket> {
        let mut socket = self
            .upgrade(path, &[("cookie", cookie)])
            .await?
            .into_socket()?;
        socket.next_message().await?;
        Ok(socket)
    }

    /// Opens a QIX session through Envoy with a login cookie.
    ///
    /// # Errors
    /// When it is rejected.
    pub async fn open_qix(&self, path: &str, cookie: &str) -> Result<Qix> {
        Qix::open(self.upgrade(path, &[("cookie", cookie)]).await?).await
    }

    /// Every running process of the stack.
    pub fn processes(&mut self) -> Vec<&mut Process> {
        let mut all: Vec<&mut Process> = self
            .engines
            .iter_mut()
            .filter_map(Engine::process)
            .collect();
        let services = self.service.iter_mut().chain(&mut self.replicas);
        all.extend(services.filter_map(Service::process));
        all.push(self.envoy.process());
        all.extend(self.further_envoys.iter_mut().map(Envoy::process));
        all
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(dir) = self.temporary.take()
        {
            eprintln!(
                "logs and configurations are kept in {}",
                dir.keep().display()
            );
        }
    }
}
