//! A TCP proxy between a client and a server, with the faults of a network: connections that are cut, and one request
//! that arrives late. Knows no protocol.

use berth_harness::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

const BUFFER_BYTES: usize = 16 * 1024;

/// A proxy to one server at a time. It ends with the test's runtime.
pub struct FaultProxy {
    open: watch::Sender<bool>,
    server: watch::Sender<String>,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    connections: AtomicU32,
    /// The next request that contains the text is delayed.
    late: Mutex<Option<(String, Duration)>>,
}

impl FaultProxy {
    /// Starts a proxy to the server of a URL. Returns the URL through the proxy, too.
    ///
    /// # Errors
    /// When the URL has no host, or no port is free.
    pub async fn start(url: &str) -> Result<(Self, String)> {
        let (scheme, rest) = url.split_once("://").ok_or("a URL")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (format!("{user}@"), server),
            None => (String::new(), authority),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address: SocketAddr = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        let faults = Arc::new(Faults::default());
        let (server, current_server) = watch::channel(server.to_owned());
        tokio::spawn(serve(listener, current_server, is_open, faults.clone()));
        let url = format!("{scheme}://{user}{address}/{path}");
        let proxy = Self {
            open,
            server,
            faults,
        };
        Ok((proxy, url))
    }

    /// Leads new connections to the server at this loopback port, as a name or a virtual address does after a
    /// failover. Open connections stay with the previous server.
    pub fn lead_to(&self, port: u16) {
        self.server.send_replace(format!("127.0.0.1:{port}"));
    }

    /// Closes every connection, and accepts no other until [`Self::restore`].
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Ends [`Self::cut`].
    pub fn restore(&self) {
        self.open.send_replace(true);
    }

    /// Delays the next request that contains this text.
    pub fn delay_once(&self, text: &str, by: Duration) {
        let mut late = self
            .faults
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *late = Some((text.to_owned(), by));
    }

    /// Whether the request of [`Self::delay_once`] has come.
    #[must_use]
    pub fn has_delayed(&self) -> bool {
        let late = self
            .faults
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        late.is_none()
    }

    /// The number of connections that clients have opened so far.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.faults.connections.load(Ordering::Relaxed)
    }
}

impl Faults {
    fn take_delay(&self, request: &[u8]) -> Option<Duration> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |(text, _): &mut (String, Duration)| {
            request
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        late.take_if(concerns).map(|(_, by)| by)
    }
}

async fn serve(
    listener: TcpListener,
    server: watch::Receiver<String>,
    is_open: watch::Receiver<bool>,
    faults: Arc<Faults>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, mut is_open, faults) = (server.clone(), is_open.clone(), faults.clone());
        if !*is_open.borrow_and_update() {
            continue;
        }
        faults.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let address = server.borrow().clone();
            let Ok(upstream) = TcpStream::connect(address).await else {
                return;
            };
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = upstream.into_split();
            tokio::select! {
                () = forward_requests(from_client, to_server, &faults) => {}
                _ = copy(&mut from_server, &mut to_client) => {}
                // Also when it is restored before this task runs.
                _ = is_open.changed() => {}
            }
        });
    }
}

async fn forward_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count) = from.read(&mut buffer).await {
        let Some(request) = buffer.get(..count).filter(|request| !request.is_empty()) else {
            return;
        };
        if let Some(delay) = faults.take_delay(request) {
            sleep(delay).await;
        }
        if to.write_all(request).await.is_err() {
            return;
        }
    }
}
