//! The clients of the tests: HTTP/1.1 requests that are sent exactly as given (duplicate or spoofed headers
//! included), and WebSockets. They assert nothing.

mod browser;
mod enigma;
mod http2;
mod qix;
mod raw;
mod websocket;

pub use browser::Browser;
pub use http2::Http2;
pub use qix::{GLOBAL, Qix};
pub use raw::RawReply;
pub use websocket::{Carrier, Upgrade, WebSocket, upgrade_head};

use crate::Result;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Upper bound for every exchange in this module.
const LIMIT: Duration = Duration::from_secs(30);

/// Body and trailers of a request.
type Body = BoxBody<Bytes, Infallible>;

/// A request to send.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    trailers: Vec<(String, String)>,
    from: Option<IpAddr>,
}

impl Call {
    /// A request with this method and path.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: vec![],
            body: Bytes::new(),
            trailers: vec![],
            from: None,
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST of JSON.
    #[must_use]
    pub fn post_json(path: &str, body: &serde_json::Value) -> Self {
        Self::new("POST", path)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// A POST of a form. Names and values are sent without encoding.
    #[must_use]
    pub fn post_form(path: &str, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Self::new("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"))
    }

    /// Adds a header and keeps earlier headers of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds several headers.
    #[must_use]
    pub fn headers(self, headers: &[(&str, &str)]) -> Self {
        headers
            .iter()
            .fold(self, |call, (name, value)| call.header(name, value))
    }

    /// Adds a `Cookie` header.
    #[must_use]
    pub fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a trailer. Only HTTP/2 sends it.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.into(), value.into()));
        self
    }

    /// Sends it from this local address, such as 127.0.0.2.
    #[must_use]
    pub fn from(mut self, address: impl Into<IpAddr>) -> Self {
        self.from = Some(address.into());
        self
    }

    /// Sends it on a new connection and reads the whole response.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn send(self, address: SocketAddr) -> Result<Reply> {
        let request = format!("{} {}", self.method, self.path);
        let exchange = timeout(LIMIT, self.exchange(address)).await;
        exchange
            .map_err(|_| format!("{request}: no response in {LIMIT:?}"))?
            .map_err(|e| format!("{request}: {e}").into())
    }

    async fn exchange(self, address: SocketAddr) -> Result<Reply> {
        let stream = match self.from {
            None => TcpStream::connect(address).await?,
            Some(source_address) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((source_address, 0).into())?;
                socket.connect(address).await?
            }
        };
        let host = address.to_string();
        Connection::from_stream(stream, host)
            .await?
            .exchange(self)
            .await
    }

    fn request(self, uri: &str) -> Result<Request<Body>> {
        let body = Full::new(self.body);
        let body = if self.trailers.is_empty() {
            body.boxed()
        } else {
            let trailers = header_map(self.trailers)?;
            body.with_trailers(async { Some(Ok(trailers)) }).boxed()
        };
        let request = Request::builder().method(self.method.as_str()).uri(uri);
        let mut request = request.body(body)?;
        *request.headers_mut() = header_map(self.headers)?;
        Ok(request)
    }
}

fn header_map(pairs: Vec<(String, String)>) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(map)
}

/// A connection for many requests.
pub struct Connection {
    sender: SendRequest<Body>,
    host: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nothing listens at the address.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::from_stream(TcpStream::connect(address).await?, address.to_string()).await
    }

    async fn from_stream(stream: TcpStream, host: String) -> Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn send(&mut self, call: Call) -> Result<Reply> {
        timeout(LIMIT, self.exchange(call)).await?
    }

    async fn exchange(&mut self, call: Call) -> Result<Reply> {
        let uri = call.path.clone();
        let mut request = call.request(&uri)?;
        if !request.headers().contains_key(HOST) {
            let host = HeaderValue::try_from(self.host.as_str())?;
            request.headers_mut().insert(HOST, host);
        }
        Reply::read(self.sender.send_request(request).await?).await
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// The first header of that name; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The reason of a refusal, from its problem details or its page; empty when it has none.
    #[must_use]
    pub fn reason(&self) -> String {
        let problem = self.json();
        let reason = problem.get("reason").and_then(serde_json::Value::as_str);
        let text = self.text();
        let page = text.split_once("Reason: <code>");
        let page = page.and_then(|(_, rest)| rest.split_once("</code>"));
        let reason = reason.or(page.map(|(reason, _)| reason));
        reason.unwrap_or_default().to_owned()
    }

    /// `name=value` of the first `Set-Cookie` for this name.
    #[must_use]
    pub fn set_cookie(&self, name: &str) -> Option<String> {
        let all = self
            .headers
            .get_all("set-cookie")
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut pairs = all.filter_map(|cookie| cookie.split(';').next());
        pairs
            .find(|pair| pair.split('=').next() == Some(name))
            .map(str::to_owned)
    }
}
