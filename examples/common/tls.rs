//! The TLS options of a client, and the layer that they make.

use std::path::PathBuf;

use serve_forever::tls::{Client, ClientOptions, Roots};
use serve_forever::{ConnectOptions, Result};

/// Whose certificates a client believes, for `tls://HOST:PORT`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TlsArguments {
    /// For tls://: the certificates that are believed, in PEM, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "tls_insecure")]
    tls_ca: Option<PathBuf>,
    /// For tls://: believe any certificate, which is no protection against somebody on
    /// the way
    #[arg(long)]
    tls_insecure: bool,
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
        let client = Client::new(&ClientOptions::new(roots))?;
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
    pub(crate) fn options(&self) -> Result<ConnectOptions> {
        Ok(ConnectOptions { layer: Some(self.client.layer(&self.host)?) })
    }
}
