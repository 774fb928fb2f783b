//! The address argument of a client: how its user writes it, and what it resolves to.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use serve_forever::Endpoint;

/// All addresses that an endpoint stands for, of which one is in use; the
/// next one's turn comes when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    text: String,
    all: Vec<Endpoint>,
    current: usize,
    /// What those before it said.
    failures: Vec<String>,
}

impl Address {
    /// The one in use.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.all[self.current]
    }

    /// The one in use could not be connected to.
    ///
    /// # Errors
    ///
    /// There is no other: what each of them said.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Result<&Endpoint, String> {
        self.failures.push(format!("{}: {error}", self.endpoint()));
        if self.current + 1 < self.all.len() {
            self.current += 1;
            return Ok(self.endpoint());
        }
        let each = std::mem::take(&mut self.failures).join("; ");
        Err(match self.all.len() {
            1 => format!("cannot connect to {each}"),
            count => format!("cannot connect to {self}, which is {count} addresses: {each}"),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.all[..] {
            [only] => only.fmt(f),
            _ => f.write_str(&self.text),
        }
    }
}

/// An endpoint for streams: `HOST:PORT`, `tcp://HOST:PORT` or `unix:PATH`.
/// Names are looked up, which the library leaves to programs: it blocks.
pub(crate) fn resolve(text: &str) -> Result<Address, String> {
    let address = |all| Address { text: text.to_owned(), all, current: 0, failures: Vec::new() };
    let name = text.strip_prefix("tcp://").unwrap_or(text);
    if let Some((host, port)) = host_and_port(name) {
        let found =
            (host, port).to_socket_addrs().map_err(|error| format!("{host} is not known: {error}"))?;
        let mut all: Vec<Endpoint> = Vec::new();
        for endpoint in found.map(Endpoint::Tcp) {
            if !all.contains(&endpoint) {
                all.push(endpoint);
            }
        }
        return if all.is_empty() { Err(format!("{host} has no address")) } else { Ok(address(all)) };
    }
    match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.is_datagram() => {
            Err(format!("{text} is for datagrams; this client speaks tcp://HOST:PORT and unix:PATH"))
        }
        Ok(endpoint) => Ok(address(vec![endpoint])),
        Err(serve_forever::Error::Endpoint { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// A name that can be looked up, and its port; not what only the library reads,
/// and is better at saying what is wrong with.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_name = host.contains(char::is_alphanumeric)
        && host.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_'))
        && host.parse::<IpAddr>().is_err();
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_name && is_number { Some((host, port.parse().ok()?)) } else { None }
}
