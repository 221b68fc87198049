//! A client with one HTTP/2 connection: requests, and WebSockets by extended CONNECT (RFC 8441), as browsers open
//! them.

use super::websocket::{Carrier, Upgrade, WebSocket, unlimited_config};
use super::{Body, Call, LIMIT, Reply};
use crate::Result;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// An HTTP/2 connection.
pub struct Http2 {
    sender: SendRequest<Body>,
    origin: String,
}

impl Http2 {
    /// Connects over TLS and trusts this certificate alone.
    ///
    /// # Errors
    /// When nothing listens, the certificate differs, or the server does not speak HTTP/2.
    pub async fn connect(
        address: SocketAddr,
        certificate: &CertificateDer<'static>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = timeout(LIMIT, connector.connect(name, tcp)).await??;
        Self::from_stream(stream, format!("https://{address}")).await
    }

    /// Connects without TLS, with prior knowledge (RFC 9113, section 3.3).
    ///
    /// # Errors
    /// When nothing listens or the server does not speak HTTP/2.
    pub async fn connect_plain(address: SocketAddr) -> Result<Self> {
        Self::from_stream(
            TcpStream::connect(address).await?,
            format!("http://{address}"),
        )
        .await
    }

    async fn from_stream(stream: impl Carrier + 'static, origin: String) -> Result<Self> {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, origin })
    }

    /// The origin of pages of this server: scheme and address.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn send(&mut self, call: Call) -> Result<Reply> {
        let request = call.request_to(&self.origin)?;
        Reply::read(timeout(LIMIT, self.sender.send_request(request)).await??).await
    }

    /// Sends the head of a request without ever sending its body, and waits for the response without a limit. Further
    /// requests on other streams need not wait for this one.
    ///
    /// # Errors
    /// When the connection or the stream ends without a response.
    pub async fn send_without_body(&self, call: Call) -> Result<Reply> {
        let mut request = call.request_to(&self.origin)?;
        *request.body_mut() = BodyExt::boxed(StreamBody::new(stream::pending()));
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Reply::read(sender.send_request(request).await?).await
    }

    /// Requests a WebSocket on a stream of this connection. Send a request first: the server's settings must have
    /// arrived.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn upgrade(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Upgrade> {
        let call = Call::new("CONNECT", path).headers(headers);
        let mut request = call.request_to(&self.origin)?;
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let response = timeout(LIMIT, self.sender.send_request(request)).await??;
        if response.status() != 200 {
            return Ok(Upgrade::Rejected(Reply::read(response).await?));
        }
        let headers = response.headers().clone();
        let carrier = hyper::upgrade::on(response).await?;
        let carrier: Box<dyn Carrier> = Box::new(TokioIo::new(carrier));
        let stream =
            WebSocketStream::from_raw_socket(carrier, Role::Client, Some(unlimited_config())).await;
        Ok(Upgrade::Open(Box::new(WebSocket { stream, headers })))
    }
}

impl Call {
    /// The request with an absolute URI, from which HTTP/2 takes scheme and authority.
    fn request_to(self, origin: &str) -> Result<hyper::Request<Body>> {
        let uri = format!("{origin}{}", self.path);
        self.request(&uri)
    }
}
