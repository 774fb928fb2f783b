//! TLS for the peers: one configuration of rustls for all of them, with a certificate
//! of its own for P-256.

use std::net::TcpListener;
use std::sync::Arc;

use serve_forever::services::Echo;
use serve_forever::tls::Server;
use serve_forever::tls::rustls::pki_types::PrivatePkcs8KeyDer;
use serve_forever::tls::rustls::server::ServerSessionMemoryCache;
use serve_forever::tls::rustls::{ServerConfig, crypto};
use serve_forever::{Config, LayerFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

use crate::Result;

/// As for the echo without TLS.
const BUFFER: usize = 16 << 10;

fn config() -> Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.session_storage = ServerSessionMemoryCache::new(4096);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

pub(super) fn ours() -> Result<()> {
    super::ours::serve(Config::default(), Echo::new(), Echo::limits(), Some(factory()?))
}

fn factory() -> Result<LayerFactory> {
    Ok(Server::from_rustls(config()?).factory())
}

pub(super) fn tokio(listener: TcpListener) -> Result<()> {
    let acceptor = TlsAcceptor::from(config()?);
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(echo(acceptor.clone(), stream));
        }
    })
}

async fn echo(acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
