//! TLS of the connections inside an installation: reads PEM files, and builds the configuration of either side. Names
//! the file and the fault, never the content. Knows no listener and no peer.

mod stream;
mod verifiers;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;
pub use stream::MaybeTlsStream;
use verifiers::{FixedNameVerifier, SameCertificateVerifier};

/// TLS 1.2 and 1.3.
const VERSIONS: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

/// What is wrong with a PEM file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct PemFault {
    /// The setting with the file: `certificate`, `key` or `ca`.
    pub field: &'static str,
    pub message: String,
}

impl PemFault {
    fn new(field: &'static str, message: impl ToString) -> Self {
        Self {
            field,
            message: message.to_string(),
        }
    }
}

/// The PEM files of a server. Equal files have equal content. The key is a secret.
#[derive(PartialEq, Eq)]
pub struct ServerFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Certificates that sign those of clients; `None`: clients have no certificates.
    ca: Option<Vec<u8>>,
}

impl ServerFiles {
    /// Reads the files.
    pub fn read(certificate: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, PemFault> {
        Ok(Self {
            certificate: read("certificate", certificate)?,
            key: read("key", key)?,
            ca: ca.map(|ca| read("ca", ca)).transpose()?,
        })
    }

    /// A server for HTTP/2 and HTTP/1.1. A client may omit its certificate; one that it sends must be valid.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, PemFault> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(|e| PemFault::new("certificate", e))?;
        let builder = match &self.ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(parse_roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build();
                builder.with_client_cert_verifier(verifier.map_err(|e| PemFault::new("ca", e))?)
            }
        };
        let chain = parse_certificates("certificate", &self.certificate)?;
        let key = parse_key(&self.key)?;
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(key_fault)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A client that accepts servers whose certificate is signed by `ca` and valid for `name`, whatever their address is.
/// `identity` is the client's own certificate and its key.
pub fn fixed_name_client(
    ca: &Path,
    name: &ServerName<'static>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, PemFault> {
    let roots = parse_roots(&read("ca", ca)?)?;
    let verifier = FixedNameVerifier::new(roots, name.clone());
    let verifier = verifier.map_err(|e| PemFault::new("ca", e))?;
    let builder = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = parse_certificates("certificate", &read("certificate", certificate)?)?;
    let key = parse_key(&read("key", key)?)?;
    let config = builder.with_client_auth_cert(chain, key);
    config.map_err(key_fault)
}

/// A client that accepts only the server that has the first certificate of this file.
pub fn same_certificate_client(certificate: &Path) -> Result<ClientConfig, PemFault> {
    let chain = parse_certificates("certificate", &read("certificate", certificate)?)?;
    let first = chain.into_iter().next();
    let first = first.ok_or_else(|| PemFault::new("certificate", NO_CERTIFICATE))?;
    let verifier = SameCertificateVerifier::new(first);
    Ok(client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The name that a server's certificate must be valid for.
pub fn parse_server_name(text: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(text.to_owned())
}

const NO_CERTIFICATE: &str = "contains no certificate in PEM";

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, PemFault>
{
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(VERSIONS)
        .map_err(|e| PemFault::new("ca", e))
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, PemFault> {
    std::fs::read(path).map_err(|e| PemFault::new(field, format!("{}: {e}", path.display())))
}

fn parse_certificates(
    field: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(PemFault::new(field, NO_CERTIFICATE)),
    }
}

fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemFault> {
    let key = PrivateKeyDer::from_pem_slice(pem);
    key.map_err(|_| PemFault::new("key", "contains no private key in PEM"))
}

fn key_fault(error: rustls::Error) -> PemFault {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            PemFault::new("key", "does not belong to the certificate")
        }
        error => PemFault::new("key", error),
    }
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, PemFault> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates("ca", pem)? {
        let added = roots.add(certificate);
        added.map_err(|e| PemFault::new("ca", e))?;
    }
    Ok(roots)
}
