//! TLS (feature `tls`): a [`Layer`] for servers and clients, by rustls.
//!
//! [`Server`] makes the layers of a listener, [`Client`] those of outbound
//! connections. Both speak TLS 1.2 and 1.3, with the cryptography of ring.
//!
//! ```no_run
//! use serve_forever::services::Echo;
//! use serve_forever::tls::{Identity, Server, ServerOptions};
//! use serve_forever::{Config, ListenOptions, Reactor};
//!
//! let identity = Identity::from_pem_files("chain.pem", "key.pem")?;
//! let tls = Server::new(&ServerOptions { identities: vec![identity], ..ServerOptions::default() })?;
//!
//! let mut reactor = Reactor::new(Config::default())?;
//! let echo = reactor.add(Echo::new(), Echo::limits())?;
//! let options = ListenOptions { layer: Some(tls.factory()), ..ListenOptions::default() };
//! reactor.listen_with(&echo, &"0.0.0.0:7443".parse()?, &options)?;
//! reactor.serve_forever()?;
//! # Ok::<(), serve_forever::Error>(())
//! ```
//!
//! A handler asks for what the handshake has agreed on by [`Io::layer`]:
//! `io.layer::<Tls>(io.id())` has the version, the cipher suite, the name that the
//! client has asked for, the protocol (ALPN) and the peer's certificates.
//!
//! docs/tls.md says how to make certificates, how to exchange them while a server
//! runs, and what TLS costs.
//!
//! [`Io::layer`]: crate::Io::layer

mod alert;
mod client;
mod identity;
mod server;

use std::io::{self, Read, Write};

use rustls::Connection;
use rustls::pki_types::CertificateDer;

pub use self::client::{Client, ClientOptions, Roots};
pub use self::identity::Identity;
pub use self::server::{ClientCertificates, Server, ServerOptions};
/// The crate that speaks TLS.
pub use rustls;

use crate::Layer;

/// Decrypted plaintext from which no further record is decrypted until some is read:
/// one record. (rustls refuses to read more behind twice as much.)
const HELD: usize = 16 << 10;

/// How many bytes tell whether a peer speaks another protocol.
const FIRST: usize = 8;

/// The TLS layer of one connection.
pub struct Tls {
    connection: Connection,
    has_ended: bool,
    /// Plaintext that rustls holds.
    held: usize,
    /// The first bytes that came, until the handshake is complete.
    first: Vec<u8>,
}

impl Tls {
    fn new(connection: impl Into<Connection>) -> Self {
        Self { connection: connection.into(), has_ended: false, held: 0, first: Vec::new() }
    }

    /// The version that was agreed on; `None` before the handshake is complete.
    #[must_use]
    pub fn version(&self) -> Option<rustls::ProtocolVersion> {
        self.connection.protocol_version()
    }

    /// The cipher suite that was agreed on; `None` before the handshake is complete.
    #[must_use]
    pub fn suite(&self) -> Option<rustls::CipherSuite> {
        Some(self.connection.negotiated_cipher_suite()?.suite())
    }

    /// The name of the server that the client asks for (SNI, RFC 6066, 3), as the
    /// server has it; `None` at the client's end, and where the client has sent none:
    /// it has an address only.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(connection) => connection.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The protocol that was agreed on (ALPN, RFC 7301).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The peer's certificates, its own first, as DER. They were verified: by a server
    /// as [`ServerOptions::clients`] says, by a client as [`ClientOptions::roots`]
    /// does. `None` if it has presented none.
    #[must_use]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// True if the handshake has resumed an earlier session, and so has computed no
    /// signature.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Layer for Tls {
    fn name(&self) -> &'static str {
        "TLS"
    }

    fn receive(&mut self, wire: &[u8]) -> io::Result<usize> {
        if self.first.len() < FIRST && self.connection.is_handshaking() {
            self.first.extend(&wire[..wire.len().min(FIRST - self.first.len())]);
        }
        let mut rest = wire;
        while !rest.is_empty() && self.held < HELD {
            if self.connection.read_tls(&mut rest)? == 0 {
                // What comes behind the peer's end is nobody's (RFC 8446, 6.1).
                rest = &[];
            }
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| alert::explain(error, &self.first))?;
            self.held = state.plaintext_bytes_to_read();
            self.has_ended = state.peer_has_closed();
        }
        if !self.connection.is_handshaking() {
            self.first = Vec::new();
        }
        Ok(wire.len() - rest.len())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held == 0 {
            return Ok(0);
        }
        let count = self.connection.reader().read(into)?;
        self.held -= count;
        Ok(count)
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(plain)
    }

    fn take_wire(&mut self, into: &mut dyn Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(into)?;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn finish(&mut self) {
        self.connection.send_close_notify();
    }
}

/// The cryptography of all connections.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    rustls::crypto::ring::default_provider().into()
}

/// An error of certificates, keys or options.
fn refused(what: impl Into<String>, reason: impl std::fmt::Display) -> crate::Error {
    crate::Error::Tls { what: what.into(), reason: reason.to_string() }
}
