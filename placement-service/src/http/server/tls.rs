//! TLS of the service's listener. Reads the files again when they change, so that a certificate is renewed without a
//! restart, and recognises gateways by their certificates. Knows nothing of requests.

use crate::config::ServiceTls;
use crate::core::ticker::ticker;
use crate::core::tls::{PemFault, ServerFiles, parse_server_name};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are compared with those in use.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The client of a connection has proved with its certificate that it is a gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayCertificate;

/// TLS for the connections of a listener. Dropping it ends the task that reads the files.
pub struct ServerTls {
    current: watch::Receiver<Arc<ServerConfig>>,
    /// The names of gateways.
    gateways: Vec<ServerName<'static>>,
    reload: AbortHandle,
}

impl Drop for ServerTls {
    fn drop(&mut self) {
        self.reload.abort();
    }
}

/// Reads the files of the settings.
pub fn read_files(settings: &ServiceTls) -> Result<ServerFiles, PemFault> {
    let ca = settings
        .clients
        .as_ref()
        .map(|clients| clients.ca.as_path());
    ServerFiles::read(&settings.certificate, &settings.key, ca)
}

impl ServerTls {
    /// Begins with these files.
    pub fn start(settings: &ServiceTls, files: ServerFiles) -> Result<Arc<Self>, PemFault> {
        let (sender, current) = watch::channel(files.server_config()?);
        let names = settings
            .clients
            .iter()
            .flat_map(|clients| &clients.gateways);
        let gateways = names.filter_map(|name| parse_server_name(name).ok());
        let reload = tokio::spawn(reload(settings.clone(), files, sender)).abort_handle();
        Ok(Arc::new(Self {
            current,
            gateways: gateways.collect(),
            reload,
        }))
    }

    /// Completes the handshake of a new connection.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Option<GatewayCertificate>)> {
        let config = self.current.borrow().clone();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates
            .and_then(|chain| chain.first())
            .and_then(|first| ParsedCertificate::try_from(first).ok())
            .filter(|certificate| self.names_gateway(certificate))
            .map(|_| GatewayCertificate);
        Ok((stream, certificate))
    }

    fn names_gateway(&self, certificate: &ParsedCertificate<'_>) -> bool {
        let mut names = self.gateways.iter();
        names.any(|name| verify_server_name(certificate, name).is_ok())
    }
}

/// Replaces the configuration when the files have other content that can be used. Until then the previous one is used.
async fn reload(
    settings: ServiceTls,
    mut used: ServerFiles,
    current: watch::Sender<Arc<ServerConfig>>,
) {
    let settings = Arc::new(settings);
    let mut ticks = ticker(RELOAD_INTERVAL);
    let mut logged = None;
    loop {
        ticks.tick().await;
        let settings = settings.clone();
        let read = tokio::task::spawn_blocking(move || read_files(&settings)).await;
        let result = match read {
            Ok(Ok(files)) if files == used => continue,
            Ok(Ok(files)) => files.server_config().map(|config| (files, config)),
            Ok(Err(fault)) => Err(fault),
            // The runtime shuts down.
            Err(_) => return,
        };
        match result {
            Ok((files, config)) => {
                used = files;
                logged = None;
                current.send_replace(config);
                tracing::info!("the files of tls have changed: new connections use them");
            }
            // Two files may be replaced one after the other, so this may last for a moment only.
            Err(fault) => {
                if logged.as_ref() != Some(&fault) {
                    tracing::warn!(%fault, "the files of tls have changed and cannot be used: new connections use the previous ones");
                    logged = Some(fault);
                }
            }
        }
    }
}
