//! The certificates of tls:// endpoints: read at the start, and again at each SIGHUP.

use serve_forever::BoxError;
use serve_forever::tls::{ClientCertificates, Identity, Roots, Server, ServerOptions};

use super::cli::{Arguments, Served};

/// The TLS of all tls:// endpoints; `None` if there is none.
pub(crate) fn server(arguments: &Arguments) -> Result<Option<Server>, BoxError> {
    if !arguments.served.iter().any(Served::has_tls) {
        return Ok(None);
    }
    Ok(Some(Server::new(&options(arguments)?)?))
}

/// Reads the files again; if one is bad, the old ones stay.
pub(crate) fn read_again(server: &Server, arguments: &Arguments) {
    let outcome = options(arguments).and_then(|options| Ok(server.replace(&options)?));
    match outcome {
        Ok(()) => log::info!("the certificates were read again; connections stay"),
        Err(error) => log::error!("the old certificates stay: {error}"),
    }
}

fn options(arguments: &Arguments) -> Result<ServerOptions, BoxError> {
    let identity = match (&arguments.tls_cert, &arguments.tls_key, &arguments.tls_self_signed) {
        (Some(chain), Some(key), _) => Identity::from_pem_files(chain, key)?,
        (_, _, Some(name)) => self_signed(name)?,
        _ => return Err("tls://: give --tls-cert FILE and --tls-key FILE, or --tls-self-signed NAME".into()),
    };
    let clients = match &arguments.tls_client_ca {
        Some(file) => ClientCertificates::Required(Roots::from_pem_file(file)?),
        None => ClientCertificates::None,
    };
    Ok(ServerOptions { identities: vec![identity], clients, ..ServerOptions::default() })
}

/// A certificate that nobody else has signed, for trying.
fn self_signed(name: &str) -> Result<Identity, BoxError> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
    let identity =
        Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())?;
    log::warn!(
        "nobody has signed the certificate for {name}, made just now; it has the SHA-256 fingerprint {}",
        identity.fingerprint()
    );
    Ok(identity)
}
