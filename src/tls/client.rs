//! `Client`: makes the TLS layers of outbound connections; and `Roots`, which decide
//! whose certificates are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::identity::{certificates, read};
use super::{Identity, Tls, provider, refused};
use crate::{Layer, Result};

/// The authorities whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Roots(Trust);

#[derive(Clone, Debug)]
enum Trust {
    Issuers(Arc<RootCertStore>),
    Anybody,
}

impl Roots {
    /// Certificates in PEM: of authorities, or one that has signed itself.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if there is none in it, or one cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(pem, "the root certificates")? {
            store.add(certificate).map_err(|error| refused("a root certificate", error))?;
        }
        Ok(Self(Trust::Issuers(Arc::new(store))))
    }

    /// The same from a file.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), and if it cannot be read.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_pem(&read(path)?).map_err(|error| match error {
            crate::Error::Tls { what, reason } => refused(format!("{what} ({})", path.display()), reason),
            error => error,
        })
    }

    /// The authorities that the operating system believes.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if it has none where they are looked for.
    pub fn system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // A store has some that nobody can read; the others are what it is for.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let reason = found.errors.first().map_or_else(|| "there is none".into(), ToString::to_string);
            return Err(refused("the system's root certificates", reason));
        }
        Ok(Self(Trust::Issuers(Arc::new(store))))
    }

    /// Believes every certificate of a server, whoever has made it. **It is no
    /// protection against somebody on the way**: for tests, and for a server whose
    /// certificate the program compares itself ([`Tls::peer_certificates`]).
    #[must_use]
    pub const fn insecure() -> Self {
        Self(Trust::Anybody)
    }

    /// The store, for a server that asks for certificates.
    pub(super) fn store(&self) -> Result<Arc<RootCertStore>> {
        match &self.0 {
            Trust::Issuers(store) => Ok(Arc::clone(store)),
            Trust::Anybody => {
                Err(refused("ServerOptions::clients", "a server has to name the issuers that it believes"))
            }
        }
    }
}

/// The options of a [`Client`].
///
/// A literal names all of them: there is no default for whom to believe.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whose certificates are believed.
    pub roots: Roots,
    /// The certificate for servers that ask for one.
    pub identity: Option<Identity>,
    /// The protocols to agree on (ALPN, RFC 7301), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// Servers whose sessions are kept, to resume them; 0: none.
    pub sessions: usize,
}

impl ClientOptions {
    /// The options with these roots, no certificate of our own, no ALPN, and the
    /// sessions of 256 servers.
    #[must_use]
    pub const fn new(roots: Roots) -> Self {
        Self { roots, identity: None, alpn: Vec::new(), sessions: 256 }
    }
}

/// The maker of the TLS layers of outbound connections. Clones share their sessions.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if the options cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("the versions of TLS", error))?;
        let builder = match &options.roots.0 {
            Trust::Issuers(store) => builder.with_root_certificates(Arc::clone(store)),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
            }
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.0))))
            }
        };
        config.alpn_protocols.clone_from(&options.alpn);
        config.resumption = match options.sessions {
            0 => Resumption::disabled(),
            sessions => Resumption::in_memory_sessions(sessions),
        };
        Ok(Self(Arc::new(config)))
    }

    /// Makes a client of a configuration of rustls', for what [`ClientOptions`] has no
    /// option for.
    #[must_use]
    pub const fn from_rustls(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    /// A layer for a connection to this server: a host's name or an address, which its
    /// certificate has to be valid for. It is for
    /// [`ConnectOptions::layer`](crate::ConnectOptions::layer), or at the client's end
    /// of STARTTLS for [`Io::start_layer`](crate::Io::start_layer).
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if that is no name and no address.
    pub fn layer(&self, server: &str) -> Result<Box<dyn Layer>> {
        let name = ServerName::try_from(server.to_owned())
            .map_err(|error| refused(format!("the name of the server, {server:?}"), error))?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name)
            .map_err(|error| refused("a TLS layer", error))?;
        Ok(Box::new(Tls::new(connection)))
    }
}

/// Believes every certificate, but checks that the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
