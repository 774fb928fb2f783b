//! The address argument of a client: an endpoint, or a host by name.

use std::fmt;
use std::io;

use serve_forever::{
    ConnId, Endpoint, Error, Io, Reactor, Result, Service, StreamHandler, WorkerOptions, Workers,
};

/// The address of a server, as its user has written it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    text: String,
    /// `None` for the name of a host.
    endpoint: Option<Endpoint>,
}

impl Address {
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
        reactor.connect_name(service, &self.text, 0)
    }

    /// Connects to the server once more.
    #[allow(dead_code, reason = "upload_client alone does")]
    pub(crate) fn connect_again(&self, io: &mut Io<'_>) -> Result<ConnId> {
        io.connect_name(&self.text, 0)
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
            Some(endpoint) => endpoint.fmt(f),
            None => f.write_str(&self.text),
        }
    }
}

/// Reads an endpoint for streams, `HOST:PORT`, `tcp://HOST:PORT` or `unix:PATH`, where
/// HOST may be a name.
pub(crate) fn parse(text: &str) -> std::result::Result<Address, String> {
    let text = text.to_owned();
    if is_name_with_port(&text) {
        return Ok(Address { text, endpoint: None });
    }
    match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.is_datagram() => {
            Err(format!("{text} is for datagrams; this client speaks tcp://HOST:PORT and unix:PATH"))
        }
        Ok(endpoint) => Ok(Address { text, endpoint: Some(endpoint) }),
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
