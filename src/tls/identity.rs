//! `Identity`: a certificate with its chain and its private key.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

use rustls::CipherSuite;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{provider, refused};
use crate::Result;

/// A certificate, its chain and its private key: what a server, or a client of a
/// server that asks for it, proves itself with.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

impl Identity {
    /// The identity of a chain of certificates, its own first, and a private key
    /// (PKCS #8, PKCS #1 or SEC1), both in PEM. RSA, ECDSA (P-256, P-384) and
    /// Ed25519 are understood.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if either cannot be read, or they do not
    /// belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self> {
        let certificates = certificates(chain, "the certificate chain")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| refused("the private key", format!("{error}; give one key in PEM")))?;
        let certified = CertifiedKey::from_der(certificates, key, &provider());
        certified.map(|certified| Self(certified.into())).map_err(|error| {
            refused(
                "the certificate and its key",
                format!("{error}; give a key that belongs to the certificate"),
            )
        })
    }

    /// The same from two files.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), and if a file cannot be read.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        Self::from_pem(&read(chain)?, &read(key)?).map_err(|error| match error {
            crate::Error::Tls { what, reason } => {
                refused(format!("{what} ({}, {})", chain.display(), key.display()), reason)
            }
            error => error,
        })
    }

    /// The SHA-256 fingerprint of its own certificate, as programs show it: two
    /// hexadecimal digits for each byte, with colons between.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = sha256(self.0.cert.first().map_or(&[][..], |certificate| certificate));
        digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// Its certificates as DER, its own first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.0.cert.len()).finish_non_exhaustive()
    }
}

/// The certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| refused(what, format!("{error}; give PEM")))?;
    if certificates.is_empty() {
        return Err(refused(what, "there is no certificate in it; give PEM with BEGIN CERTIFICATE"));
    }
    Ok(certificates)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let hash = provider().cipher_suites.iter().find_map(|suite| {
        let suite = suite.tls13()?;
        (suite.common.suite == CipherSuite::TLS13_AES_128_GCM_SHA256).then_some(suite.common.hash_provider)
    });
    hash.map(|hash| hash.hash(bytes).as_ref().to_vec()).unwrap_or_default()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| refused(path.display().to_string(), error))
}
