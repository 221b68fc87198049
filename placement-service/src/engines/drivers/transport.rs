//! How the service connects to the engines of a pool: plain TCP, or TLS with the pool's certificate authority and name.
//! Knows no protocol of an engine.

use crate::config;
use crate::core::tls::{self, MaybeTlsStream, PemFault};
use reqwest::ClientBuilder;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The transport to the engines of a pool.
#[derive(Clone, Default)]
pub struct EngineTransport(Option<EngineTls>);

#[derive(Clone)]
struct EngineTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl std::fmt::Debug for EngineTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "TLS" } else { "TCP" })
    }
}

impl EngineTransport {
    /// Reads the certificates of a pool.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn from_config(pool: &config::Pool) -> Result<Self, PemFault> {
        let Some(settings) = &pool.tls else {
            return Ok(Self(None));
        };
        let name = tls::parse_server_name(&settings.name).map_err(|e| PemFault {
            field: "name",
            message: e.to_string(),
        })?;
        let config = tls::fixed_name_client(&settings.ca, &name, settings.identity())?;
        let config = Arc::new(config);
        Ok(Self(Some(EngineTls { config, name })))
    }

    /// Connects. The caller sets a time limit.
    pub async fn connect(&self, engine: SocketAddr) -> io::Result<MaybeTlsStream> {
        let stream = TcpStream::connect(engine).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.0 else {
            return Ok(MaybeTlsStream::Plain(stream));
        };
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector.connect(tls.name.clone(), stream).await?;
        Ok(MaybeTlsStream::Tls(Box::new(stream)))
    }

    /// The scheme of HTTP requests to the engine's own port.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.0.is_some() { "https" } else { "http" }
    }

    /// Gives an HTTP client this transport for `https`.
    pub fn apply_to(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.0 {
            Some(tls) => builder.tls_backend_preconfigured((*tls.config).clone()),
            None => builder,
        }
    }
}
