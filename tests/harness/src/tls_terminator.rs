//! A TLS server in front of another server. It requires certificates of its clients, and does not know what they send.

use crate::Result;
use crate::certificate::{Authority, Issued};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A running server. It ends with the test's runtime.
pub struct TlsTerminator {
    /// Its address.
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl TlsTerminator {
    /// Starts one in front of `server`. Clients need a certificate of `clients`.
    ///
    /// # Errors
    /// When the certificates cannot be used, or no port is free.
    pub async fn start(server: SocketAddr, issued: &Issued, clients: &Authority) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(issued, clients)?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(stream).await else {
                        return;
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    let Ok(mut upstream) = TcpStream::connect(server).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                });
            }
        });
        Ok(Self { address, accepted })
    }

    /// The number of connections whose handshake has succeeded.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn server_config(issued: &Issued, clients: &Authority) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(vec![certificate], key)?;
    Ok(config)
}
