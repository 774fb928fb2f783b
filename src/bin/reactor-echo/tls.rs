//! The TLS options of a client, and the layers that they make.

use std::path::PathBuf;

use serve_forever::tls::{Client, ClientOptions, Identity, Roots};
use serve_forever::{Layer, Result};

/// Whose certificates a client believes, and its own, for `tls://HOST:PORT`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArguments {
    /// For tls://: the certificates that are believed, in PEM, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "tls_insecure")]
    tls_ca: Option<PathBuf>,
    /// For tls://: believe any certificate, which is no protection against somebody on
    /// the way
    #[arg(long)]
    tls_insecure: bool,
    /// For tls://: the certificate and its chain, in PEM, for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// For tls://: the private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl TlsArguments {
    /// The maker of layers for one server.
    pub(crate) fn client(&self, host: &str) -> Result<Secured> {
        if self.tls_insecure {
            eprintln!("warning: --tls-insecure: nobody knows whether this is {host}");
        }
        let roots = match (&self.tls_ca, self.tls_insecure) {
            (_, true) => Roots::insecure(),
            (Some(file), false) => Roots::from_pem_file(file)?,
            (None, false) => Roots::system()?,
        };
        let identity = match self.tls_cert.as_ref().zip(self.tls_key.as_ref()) {
            Some((chain, key)) => Some(Identity::from_pem_files(chain, key)?),
            None => None,
        };
        let client = Client::new(&ClientOptions { identity, ..ClientOptions::new(roots) })?;
        // A name that no certificate can have is better refused now.
        client.layer(host)?;
        Ok(Secured { client, host: host.to_owned() })
    }
}

/// A server that is spoken to through TLS.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    client: Client,
    host: String,
}

impl Secured {
    /// The layer of one connection.
    pub(crate) fn layer(&self) -> Result<Box<dyn Layer>> {
        self.client.layer(&self.host)
    }
}
