//! Certificates for tests, made once for the process: an authority, and what it has
//! issued.

use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serve_forever::tls::rustls::pki_types::pem::PemObject;
use serve_forever::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serve_forever::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use serve_forever::tls::{Client, ClientOptions, Identity, Roots, Server, ServerOptions};

/// A certificate and its key, in PEM.
pub(crate) struct Pem {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pem {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).expect("a good certificate")
    }
}

/// What the tests need.
pub(crate) struct Certificates {
    /// The authority's own.
    pub(crate) authority: String,
    /// For `localhost`, `127.0.0.1` and `server.test`.
    pub(crate) server: Pem,
    /// For `other.test`.
    pub(crate) other: Pem,
    /// For a client.
    pub(crate) client: Pem,
    /// For a client, by another authority.
    pub(crate) stranger: Pem,
}

/// The certificates as files of a directory: `ca.pem`, `server.pem`, `server.key`, and
/// so on. It is removed with this, as a `static` would not remove it.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Certificates {
    /// All of them, written anew.
    pub(crate) fn files(&self) -> Files {
        let files = Files(tempfile::tempdir().expect("a temporary directory"));
        let write = |name: &str, text: &str| {
            std::fs::write(files.path(name), text).expect("it can be written");
        };
        write("ca.pem", &self.authority);
        let named = [
            ("server", &self.server),
            ("other", &self.other),
            ("client", &self.client),
            ("stranger", &self.stranger),
        ];
        for (name, pem) in named {
            write(&format!("{name}.pem"), &pem.certificate);
            write(&format!("{name}.key"), &pem.key);
        }
        files
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.authority.as_bytes()).expect("a good certificate")
    }

    /// A server with the first certificate.
    pub(crate) fn tls_server(&self) -> Server {
        let options = ServerOptions { identities: vec![self.server.identity()], ..ServerOptions::default() };
        Server::new(&options).expect("good options")
    }

    /// The same, as rustls has it.
    pub(crate) fn rustls_server(&self) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_slice(self.server.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes());
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the versions that there are")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"));
        Arc::new(config.expect("they belong together"))
    }

    /// A client that believes the authority, as rustls has it.
    pub(crate) fn rustls_client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).expect("PEM");
        roots.add(authority).expect("a good certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the versions that there are")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A client that believes the authority.
    pub(crate) fn tls_client(&self) -> Client {
        Client::new(&ClientOptions::new(self.roots())).expect("good options")
    }
}

pub(crate) static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let (authority, elsewhere) = (new_authority("test authority"), new_authority("another authority"));
    Certificates {
        server: issue(
            &authority,
            &["localhost", "127.0.0.1", "server.test"],
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        other: issue(&authority, &["other.test"], ExtendedKeyUsagePurpose::ServerAuth),
        client: issue(&authority, &["client.test"], ExtendedKeyUsagePurpose::ClientAuth),
        stranger: issue(&elsewhere, &["client.test"], ExtendedKeyUsagePurpose::ClientAuth),
        authority: authority.pem(),
    }
});

fn new_authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

fn issue(by: &CertifiedIssuer<'static, KeyPair>, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Pem {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).expect("good names");
    params.distinguished_name.push(rcgen::DnType::CommonName, names[0].as_str());
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    Pem { certificate: certificate.pem(), key: key.serialize_pem() }
}
