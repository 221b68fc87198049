//! Lets a client program, such as a test in Node.js, kill and restart the placement service of a stack over HTTP.

use crate::Result;
use crate::service::Service;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A running control. It owns the service, which ends when this is dropped.
pub struct Control {
    /// Its listening address.
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens on a free port of loopback. `POST /service/restart` kills the service and responds when it is ready
    /// again.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(service: Service) -> Result<Self> {
        let router = Router::new()
            .route("/service/restart", post(restart))
            .with_state(Arc::new(Mutex::new(service)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { addr, task })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn restart(State(service): State<Arc<Mutex<Service>>>) -> Result<(), (StatusCode, String)> {
    let restarted = service.lock().await.restart().await;
    restarted.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
