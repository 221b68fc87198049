//! Certificates of a run: that of Envoy's TLS listener, and authorities for the connections behind it. Each run
//! generates new ones.

use crate::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, IsCa, KeyPair,
    generate_simple_self_signed,
};
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

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // BoringSSL takes a certificate for self-signed whose issuer has its own name.
        let name = DnType::CommonName;
        params.distinguished_name.push(name, "authority of a test");
        let key = KeyPair::generate()?;
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for a DNS name or an IP address.
    ///
    /// # Errors
    /// When the name is neither.
    pub fn issue(&self, name: &str) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`. Returns their paths.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        fs::write(&certificate, &self.certificate)?;
        fs::write(&key, &self.key)?;
        Ok((certificate, key))
    }
}
