//! The address argument of a client: an endpoint, or a host by name.

use std::fmt;
use std::io;

use serve_forever::{
    ConnId, ConnectOptions, Endpoint, Error, Io, Reactor, Result, Service, StreamHandler, WorkerOptions,
    Workers,
};

use super::tls::{Secured, TlsArguments};

/// The address of a server, as its user has written it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    text: String,
    /// `None` for the name of a host.
    endpoint: Option<Endpoint>,
    /// The host, where it is spoken to through TLS.
    tls_host: Option<String>,
    /// What [`secure`](Self::secure) has made for that.
    secured: Option<Secured>,
}

impl Address {
    /// Makes what TLS needs, if that is what the address asks for.
    pub(crate) fn secure(&mut self, arguments: &TlsArguments) -> Result<()> {
        self.secured = self.tls_host.as_deref().map(|host| arguments.client(host)).transpose()?;
        Ok(())
    }

    fn options(&self) -> Result<ConnectOptions> {
        Ok(ConnectOptions { layer: self.secured.as_ref().map(Secured::layer).transpose()? })
    }

    /// Connects to the server, with tag 0. Every address of a name is tried.
    pub(crate) fn connect<S: StreamHandler>(
        &self,
        reactor: &mut Reactor,
        service: &Service<S>,
    ) -> Result<ConnId> {
        if self.endpoint.is_none() {
            // A lookup may wait for a name server, and the loop does not.
            let options = WorkerOptions { name: "names".into(), threads: 1, ..WorkerOptions::default() };
            reactor.set_workers(&Workers::new(options)?);
        }
        reactor.connect_name_with(service, &self.text, 0, self.options()?)
    }

    /// Connects to the server once more.
    #[allow(dead_code, reason = "upload_client alone does")]
    pub(crate) fn connect_again(&self, io: &mut Io<'_>) -> Result<ConnId> {
        io.connect_name_with(&self.text, 0, self.options()?)
    }

    /// The text for a connection that was not made. The error for a name has the name, and
    /// every address that was tried.
    pub(crate) fn failure(&self, error: &io::Error) -> String {
        match self.endpoint {
            Some(_) => format!("cannot connect to {self}: {error}"),
            None => format!("cannot connect: {error}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(Endpoint::Tcp(at)) if self.tls_host.is_some() => write!(f, "tls://{at}"),
            None if self.tls_host.is_some() => write!(f, "tls://{}", self.text),
            Some(endpoint) => endpoint.fmt(f),
            None => f.write_str(&self.text),
        }
    }
}

/// Reads an endpoint for streams, `HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT` or
/// `unix:PATH`, where HOST may be a name.
pub(crate) fn parse(text: &str) -> std::result::Result<Address, String> {
    match text.strip_prefix("tls://") {
        None => parse_plain(text),
        Some(at) => {
            let address = parse_plain(at)?;
            let host = at.rsplit_once(':').map_or(at, |(host, _)| host).trim_matches(['[', ']']);
            match address.endpoint {
                Some(Endpoint::Unix(_)) => Err("tls:// is for HOST:PORT".into()),
                _ => Ok(Address { tls_host: Some(host.to_owned()), ..address }),
            }
        }
    }
}

fn parse_plain(text: &str) -> std::result::Result<Address, String> {
    let text = text.to_owned();
    if is_name_with_port(&text) {
        return Ok(Address { text, endpoint: None, tls_host: None, secured: None });
    }
    match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.is_datagram() => {
            Err(format!("{text} is for datagrams; this client speaks tcp://HOST:PORT and unix:PATH"))
        }
        Ok(endpoint) => Ok(Address { text, endpoint: Some(endpoint), tls_host: None, secured: None }),
        Err(Error::Endpoint { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// True for a host name with a port. The library is better at saying what is wrong with
/// anything else.
fn is_name_with_port(text: &str) -> bool {
    let name = text.strip_prefix("tcp://").unwrap_or(text);
    name.rsplit_once(':').is_some_and(|(host, port)| {
        host.contains(char::is_alphabetic)
            && host.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_'))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
