//! The whole stack: engines, application, placement service and Envoy, wired together on free ports
//! (tests) or given ones (`make run`). Everything ends when the [`Stack`] is dropped.

mod builder;

pub use builder::{Builder, Ports};

use crate::app::App;
use crate::certificate::Certificate;
use crate::client::{Http2, Upgrade, WebSocket};
use crate::engine::Engine;
use crate::envoy::Envoy;
use crate::process::Process;
use crate::service::Service;
use crate::{Call, Qix, Reply, Result, StandIn};
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
    /// The placement service, unless a stand-in takes its place.
    pub service: Option<Service>,
    /// Further replicas of it, on the same store; Envoy takes turns.
    pub replicas: Vec<Service>,
    /// The stand-in, if the test wanted one.
    pub stand_in: Option<StandIn>,
    /// Envoy with the filter.
    pub envoy: Envoy,
    /// Further ones, wired up alike.
    pub further_envoys: Vec<Envoy>,
    /// The certificate of Envoy's listener, if that speaks TLS.
    pub certificate: Option<Certificate>,
    /// Where configurations, logs and the store of this run lie.
    pub dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Stack {
    /// Three engines, the demo's configuration, one Envoy worker, free ports.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Envoy's address, where clients go.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.envoy.http
    }

    /// The placement service.
    ///
    /// # Errors
    /// When a stand-in takes its place.
    pub fn service(&mut self) -> Result<&mut Service> {
        self.service
            .as_mut()
            .ok_or_else(|| "this stack has a stand-in".into())
    }

    /// The stand-in.
    ///
    /// # Errors
    /// When the stack has a real placement service.
    pub fn stand_in(&self) -> Result<&StandIn> {
        self.stand_in
            .as_ref()
            .ok_or_else(|| "this stack has a real service".into())
    }

    /// Logs in through Envoy; returns the cookie, `berth=...`.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn login(&self, username: &str, password: &str) -> Result<String> {
        let form = Call::post_form("/login", &[("username", username), ("password", password)]);
        let origin = format!("http://{}", self.http());
        let reply = form.header("origin", &origin).send(self.http()).await?;
        reply
            .set_cookie("berth")
            .ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
    }

    /// Logs the demo account in.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn login_demo(&self) -> Result<String> {
        self.login("demo", "demo-password").await
    }

    /// Sends a request through Envoy.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, call: Call) -> Result<Reply> {
        call.send(self.http()).await
    }

    /// Connects to Envoy by HTTP/2 over TLS.
    ///
    /// # Errors
    /// When its listener does not speak TLS.
    pub async fn http2(&self) -> Result<Http2> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.ok_or("this stack speaks plain http")?;
        Http2::connect(self.http(), &certificate.der).await
    }

    /// Asks for a WebSocket through Envoy.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Upgrade> {
        WebSocket::upgrade(self.http(), path, headers).await
    }

    /// Opens a WebSocket with a login cookie and awaits the engine's first word.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn socket(&self, path: &str, cookie: &str) -> Result<WebSocket> {
        let mut socket = self.upgrade(path, &[("cookie", cookie)]).await?.open()?;
        socket.next().await?;
        Ok(socket)
    }

    /// Opens a QIX session through Envoy with a login cookie.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn qix(&self, path: &str, cookie: &str) -> Result<Qix> {
        Qix::open(self.upgrade(path, &[("cookie", cookie)]).await?).await
    }

    /// Every process of the stack that runs.
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
