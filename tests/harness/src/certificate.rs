//! A certificate for Envoy's TLS listener, made anew for each run.

use crate::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::path::{Path, PathBuf};

/// A certificate for loopback, and the files that hold it and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What clients have to trust.
    pub der: CertificateDer<'static>,
    /// The certificate as PEM.
    pub file: PathBuf,
    /// Its key as PEM.
    pub key_file: PathBuf,
}

impl Certificate {
    /// Makes one and writes it into `dir`.
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
