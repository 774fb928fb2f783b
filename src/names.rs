//! Host names with ports: their lookup, and the order in which their addresses are
//! tried (feature `workers`).

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::printable::Printable;

/// The most addresses of one name that are tried.
pub(crate) const MOST_ADDRESSES: usize = 32;

/// The answer to a lookup.
pub(crate) type Resolved = io::Result<Vec<SocketAddr>>;

/// A host name and a port, to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookUp {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The target of an outbound connection, as a text names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An endpoint that needs no lookup.
    Endpoint(Endpoint),
    /// A host by name.
    Name(LookUp),
}

impl FromStr for Target {
    type Err = Error;

    /// Reads an endpoint, or `HOST:PORT` with an optional `tcp://` before it.
    /// `localhost` is a name here: it may have several addresses.
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("tcp://").unwrap_or(text);
        let endpoint = text.parse();
        let Some((host, port)) = rest.rsplit_once(':').filter(|(host, _)| is_name(host)) else {
            return endpoint.map(Self::Endpoint);
        };
        if host != "localhost" && (endpoint.is_ok() || SCHEMES.contains(&host)) {
            return endpoint.map(Self::Endpoint);
        }
        match port.parse() {
            Ok(port @ 1..) => Ok(Self::Name(LookUp { host: host.into(), port })),
            _ => Err(Error::Endpoint {
                text: text.into(),
                reason: format!(
                    "{} is no port to connect to; give a number from 1 to 65535",
                    Printable(port)
                ),
            }),
        }
    }
}

/// Schemes of endpoints, which are no hosts.
const SCHEMES: [&str; 4] = ["tcp", "udp", "unix", "unixgram"];

/// True for the form of a host name: none of an address, a path or a scheme.
fn is_name(host: &str) -> bool {
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || "[]/\\:*@".contains(letter);
    host.contains(char::is_alphabetic) && !host.contains(odd)
}

impl LookUp {
    /// Asks the system, which may take as long as its name servers let it
    /// (getaddrinfo(3)): /etc/hosts, /etc/nsswitch.conf and search domains hold.
    pub(crate) fn ask_system(&self) -> Resolved {
        (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect)
    }
}

/// The addresses of a name in the order of attempts (RFC 8305, section 4): the order of
/// the system, which sorts by RFC 6724, with the families taking turns. Addresses that
/// repeat are left out, and at most [`MOST_ADDRESSES`] are kept.
pub(crate) fn in_order_of_attempts(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = VecDeque::new();
    while ordered.len() < MOST_ADDRESSES && !(first.is_empty() && second.is_empty()) {
        for family in [&mut first, &mut second] {
            if let Some(address) = family.pop_front()
                && !ordered.contains(&address)
            {
                ordered.push_back(address);
            }
        }
    }
    ordered.truncate(MOST_ADDRESSES);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_the_system_says_which_is_first() {
        let given = addresses(&["[::1]:7", "[::2]:7", "[::3]:7", "10.0.0.1:7", "10.0.0.2:7", "[::1]:7"]);
        let wanted = addresses(&["[::1]:7", "10.0.0.1:7", "[::2]:7", "10.0.0.2:7", "[::3]:7"]);
        assert_eq!(in_order_of_attempts(given), wanted);
        let given = addresses(&["10.0.0.1:7", "10.0.0.2:7", "[::1]:7"]);
        let wanted = addresses(&["10.0.0.1:7", "[::1]:7", "10.0.0.2:7"]);
        assert_eq!(in_order_of_attempts(given), wanted);
        assert!(in_order_of_attempts(Vec::new()).is_empty());
    }

    #[test]
    fn no_more_addresses_are_tried_than_the_limit() {
        let many: Vec<_> = (1..=u16::MAX).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(in_order_of_attempts(many).len(), MOST_ADDRESSES);
    }

    #[test]
    fn an_endpoint_is_one_and_everything_else_with_a_port_is_a_name() {
        let name = |host: &str, port| Target::Name(LookUp { host: host.into(), port });
        let parsed = |text: &str| text.parse::<Target>().expect(text);
        assert_eq!(parsed("db.internal:5432"), name("db.internal", 5432));
        assert_eq!(parsed("tcp://db-1.internal.:5432"), name("db-1.internal.", 5432));
        assert_eq!(parsed("localhost:80"), name("localhost", 80));
        assert_eq!(parsed("bücher.example:80"), name("bücher.example", 80));
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/a.sock", "tcp://10.0.0.1:80"] {
            assert_eq!(parsed(text), Target::Endpoint(text.parse().expect(text)));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let texts = [
            "db", ":80", "a:0", "a:x", "a:65536", "a b:80", "1.2.3:80", "[::1:80", "a/b:80", "u@a:80",
            "unix:",
        ];
        for text in texts {
            let error = text.parse::<Target>().expect_err(text);
            assert!(matches!(error, Error::Endpoint { .. }), "{text}: {error}");
        }
    }
}
