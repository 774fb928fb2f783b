//! `Server`: makes the TLS layers of accepted connections, with certificates that can
//! be exchanged while connections come.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::{Identity, Roots, Tls, provider, refused};
use crate::{Layer, LayerFactory, Result};

/// Which certificates clients present.
#[derive(Clone, Debug, Default)]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    None,
    /// One is asked for. A client that has none is let in, one with a certificate
    /// that these roots have not issued is refused.
    Asked(Roots),
    /// One that these roots have issued is required.
    Required(Roots),
}

/// The options of a [`Server`].
///
/// Always end with `..ServerOptions::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The certificates to serve with, at least one. A client gets the first that is
    /// valid for the name it asks for and that it can verify; if none is, or it asks
    /// for no name, the first that it can verify.
    pub identities: Vec<Identity>,
    /// The certificates that clients present. Default none.
    pub clients: ClientCertificates,
    /// The protocols to agree on (ALPN, RFC 7301), the preferred one first. A client
    /// that names only others is refused. Default none: nothing is agreed on.
    pub alpn: Vec<Vec<u8>>,
    /// Sessions that are kept for clients that come again: a handshake that resumes
    /// one computes no signature. The oldest makes room for a new one, and each takes
    /// a kilobyte or so. 0: none is kept. Default 4,096.
    pub sessions: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { identities: Vec::new(), clients: ClientCertificates::None, alpn: Vec::new(), sessions: 4096 }
    }
}

/// The maker of the TLS layers of accepted connections. The order of cipher suites is
/// the server's: with AES before ChaCha20. Clones are one server:
/// [`replace`](Self::replace) on one of them, from whichever thread, holds for all.
#[derive(Clone, Debug)]
pub struct Server(Arc<Mutex<Arc<ServerConfig>>>);

impl Server {
    /// Makes a server.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if there is no identity, or the roots of the
    /// clients' certificates cannot be used.
    pub fn new(options: &ServerOptions) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(configured(options)?))))
    }

    /// Makes a server of a configuration of rustls', for what [`ServerOptions`] has no
    /// option for: another verifier, a ticketer that processes share, one version of
    /// TLS alone. Early data (0-RTT) is not supported.
    #[must_use]
    pub fn from_rustls(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    /// Exchanges the certificates and all other options for the connections that come
    /// from now on. Those that there are go on as they began, and none of their
    /// sessions is resumed.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); then everything stays as it was.
    pub fn replace(&self, options: &ServerOptions) -> Result<()> {
        let config = configured(options)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The factory for [`ListenOptions::layer`](crate::ListenOptions::layer).
    #[must_use]
    pub fn factory(&self) -> LayerFactory {
        let server = self.clone();
        LayerFactory::new(move || server.make())
    }

    /// A layer for [`Io::start_layer`](crate::Io::start_layer), at the server's end of
    /// STARTTLS.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls) if rustls refuses the configuration.
    pub fn layer(&self) -> Result<Box<dyn Layer>> {
        self.make().map_err(|error| refused("a TLS layer", error))
    }

    fn make(&self) -> std::io::Result<Box<dyn Layer>> {
        let config = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
        Ok(Box::new(Tls::new(connection)))
    }
}

fn configured(options: &ServerOptions) -> Result<Arc<ServerConfig>> {
    if options.identities.is_empty() {
        return Err(refused("ServerOptions::identities", "it is empty; give one identity or more"));
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("the versions of TLS", error))?;
    let verifier = |roots: &Roots, is_required: bool| {
        let builder = WebPkiClientVerifier::builder_with_provider(roots.store()?, provider());
        let builder = if is_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| refused("ServerOptions::clients", error))
    };
    let builder = match &options.clients {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Asked(roots) => builder.with_client_cert_verifier(verifier(roots, false)?),
        ClientCertificates::Required(roots) => builder.with_client_cert_verifier(verifier(roots, true)?),
    };
    let identities = options.identities.iter().map(|identity| Arc::clone(&identity.0)).collect();
    let mut config = builder.with_cert_resolver(Arc::new(ByName { identities }));
    config.alpn_protocols.clone_from(&options.alpn);
    config.ignore_client_order = true;
    if options.sessions == 0 {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.session_storage = ServerSessionMemoryCache::new(options.sessions);
        // Each ticket is one entry.
        config.send_tls13_tickets = 1;
    }
    Ok(Arc::new(config))
}

/// Chooses an identity by the name that a client asks for.
#[derive(Debug)]
struct ByName {
    identities: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(schemes).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_named =
            |identity: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_valid_for(identity, name));
        let named = self.identities.iter().filter(fits).find(is_named);
        named.or_else(|| self.identities.iter().find(fits)).cloned()
    }
}

fn is_valid_for(identity: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let Ok(certificate) = identity.end_entity_cert() else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}
