//! A certificate for Envoy's TLS listener. Each run generates a new one.

use crate::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::path::{Path, PathBuf};

/// A self-signed certificate for loopback, with the files that contain it and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate that clients must trust.
    pub der: CertificateDer<'static>,
    /// File with the certificate (PEM).
    pub file: PathBuf,
    /// File with its key (PEM).
    pub key_file: PathBuf,
}

impl Certificate {
    /// Generates one and writes it into `dir`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(dir: &Path) -> Result<Self> {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let (file, key_file) = (dir.join("tls.crt"), dir.join("tls.key"));
        fs::write(&file, cert.pem())?;
        fs::write(&key_file, signing_key.serialize_pem())?;
        let der = cert.der().clone();
        Ok(Self {
            der,
            file,
            key_file,
        })
    }
}
