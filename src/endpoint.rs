//! Endpoints: the addresses to listen at or to connect to, parsed and displayed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;
use crate::printable::{Printable, write_path};

/// The longest path of a Unix socket in bytes: `sun_path` has 108 on Linux
/// (unix(7)), the last of them for the terminating NUL.
pub const UNIX_PATH_MAX: usize = 107;

/// An address with its transport: `127.0.0.1:7000`, `tcp://[::1]:7000`,
/// `udp://127.0.0.1:7000`, `unix:/run/app.sock`, `unixgram:/run/app.sock`.
///
/// A host is an IP address or `localhost`, which stands for 127.0.0.1; other
/// names are refused, for looking one up would block. An IPv6 address is in
/// brackets, a link-local one with its interface as `%eth0` or `%2`; the name
/// of an interface is what the system calls it at the moment of reading.
/// Port 0 asks the system for a free one.
///
/// ```
/// use serve_forever::Endpoint;
///
/// let at: Endpoint = "127.0.0.1:7000".parse()?;
/// assert_eq!(at.to_string(), "tcp://127.0.0.1:7000");
/// assert!(!at.is_datagram());
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `HOST:PORT` or `tcp://HOST:PORT`.
    Tcp(SocketAddr),
    /// `udp://HOST:PORT`.
    Udp(SocketAddr),
    /// `unix:PATH`: a stream socket in the file system.
    Unix(PathBuf),
    /// `unixgram:PATH`: a datagram socket in the file system.
    UnixDatagram(PathBuf),
}

impl Endpoint {
    /// True for the transports that carry datagrams rather than a stream.
    #[must_use]
    pub const fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UnixDatagram(_))
    }
}

impl From<SocketAddr> for Endpoint {
    /// A TCP endpoint.
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Reads the forms that the type's own documentation lists.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`], which names the text, what is wrong with it, and
    /// what would be right.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = if let Some(path) = text.strip_prefix("unix:") {
            unix_path("unix:", path).map(Self::Unix)
        } else if let Some(path) = text.strip_prefix("unixgram:") {
            unix_path("unixgram:", path).map(Self::UnixDatagram)
        } else if let Some(address) = text.strip_prefix("tcp://") {
            socket_address(address).map(Self::Tcp)
        } else if let Some(address) = text.strip_prefix("udp://") {
            socket_address(address).map(Self::Udp)
        } else if let Some(reason) = scheme(text) {
            Err(reason)
        } else if text.contains('/') {
            Err(format!("a path needs its scheme; write unix:{}", Printable(text)))
        } else {
            socket_address(text).map(Self::Tcp)
        };
        parsed.map_err(|reason| Error::Endpoint { text: text.into(), reason })
    }
}

impl fmt::Display for Endpoint {
    /// The endpoint with its scheme. Reading it back gives the same endpoint,
    /// but for what no plain text says: a path that is not UTF-8 or holds
    /// characters that do not print, which are escaped
    /// ([`Printable`](crate::Printable)), and an IPv6 flow label.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => {
                f.write_str("unix:")?;
                write_path(path, f)
            }
            Self::UnixDatagram(path) => {
                f.write_str("unixgram:")?;
                write_path(path, f)
            }
        }
    }
}

/// What is wrong with the scheme, if there is one.
fn scheme(text: &str) -> Option<String> {
    const SCHEMES: &str = "the schemes are tcp://HOST:PORT, udp://HOST:PORT, unix:PATH and unixgram:PATH";
    let (scheme, rest) = text.split_once(':')?;
    let rest = Printable(rest.trim_start_matches('/'));
    match scheme.to_ascii_lowercase().as_str() {
        known @ ("tcp" | "udp") => Some(format!("write {known}://{rest}")),
        known @ ("unix" | "unixgram") => Some(format!("a scheme has small letters; write {known}:PATH")),
        _ if text.contains("://") => Some(SCHEMES.into()),
        _ => None,
    }
}

fn unix_path(scheme: &str, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        Err(format!("the path is empty; write {scheme}/run/app.sock"))
    } else if path.contains('\0') {
        Err(format!("a path holds no NUL; write one without, as in {scheme}/run/app.sock"))
    } else if path.len() > UNIX_PATH_MAX {
        Err(format!(
            "the path has {} bytes, and {UNIX_PATH_MAX} at most fit in a Unix socket's address (unix(7)); \
             choose a shorter one, or one relative to the working directory",
            path.len()
        ))
    } else {
        Ok(path.into())
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.is_empty() {
        return Err("there is nothing; write HOST:PORT, as in 127.0.0.1:7000".into());
    }
    if text.contains(char::is_whitespace) {
        return Err("there is white space in it; write HOST:PORT without, as in 127.0.0.1:7000".into());
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err("an IPv6 address goes in brackets, and its port behind them, as in [::1]:7000".into());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        return in_brackets(bracketed);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let missing = if digits { "host" } else { "port" };
        return Err(format!("the {missing} is missing; write HOST:PORT, as in 127.0.0.1:7000"));
    };
    let port = number_of_port(port)?;
    if host == "localhost" {
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    } else if host.is_empty() {
        Err(format!("the host is missing; write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"))
    } else if host == "*" {
        Err(format!("every interface is 0.0.0.0:{port}, or [::]:{port} for IPv6"))
    } else if host.contains(':') {
        let host = Printable(host);
        Err(format!("{host} is no host; an IPv6 address goes in brackets, as in [::1]:{port}"))
    } else if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        Err(format!("{host} is no IPv4 address; one is four numbers from 0 to 255, as in 127.0.0.1:{port}"))
    } else {
        let host = Printable(host);
        Err(format!(
            "{host} is no address; a host is an IP address or localhost: other names are not looked up"
        ))
    }
}

/// What stands behind an opening bracket and could not be read as it is.
fn in_brackets(text: &str) -> Result<SocketAddr, String> {
    let Some((host, port)) = text.split_once(']') else {
        return Err("the bracket is not closed; write [::1]:7000".into());
    };
    let shown = Printable(host);
    let Some(port) = port.strip_prefix(':') else {
        let missing = if port.is_empty() { "the port is missing" } else { "a colon and the port follow it" };
        return Err(format!("{missing}; write [{shown}]:PORT, as in [::1]:7000"));
    };
    let port = number_of_port(port)?;
    if host.parse::<Ipv4Addr>().is_ok() {
        return Err(format!("brackets are for IPv6; write {host}:{port}"));
    }
    let Some((address, zone)) = host.split_once('%') else {
        return Err(format!("{shown} is no IPv6 address; write one, as in [::1]:{port}"));
    };
    if address.parse::<Ipv6Addr>().is_err() {
        let address = Printable(address);
        return Err(format!("{address} is no IPv6 address; write one, as in [fe80::1%eth0]:{port}"));
    }
    // The host is a number, which is not looked up anywhere; its zone is.
    let found = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        let zone = Printable(zone);
        format!(
            "{zone} is no interface that this address can have; write the name or the number of one to a \
             link-local address, as in [fe80::1%eth0]:{port} or [fe80::1%2]:{port}"
        )
    })
}

fn number_of_port(text: &str) -> Result<u16, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if is_number => Ok(port),
        _ if text.is_empty() => {
            Err("the port is missing behind the colon; one is a number from 0 to 65535".into())
        }
        _ => Err(format!("{} is no port; one is a number from 0 to 65535", Printable(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        match text.parse::<Endpoint>() {
            Err(Error::Endpoint { text: named, reason }) => {
                assert_eq!(named, text);
                reason
            }
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn each_form_is_read_and_displayed_with_its_scheme() {
        for (text, shown) in [
            ("127.0.0.1:7000", "tcp://127.0.0.1:7000"),
            ("tcp://[::1]:0", "tcp://[::1]:0"),
            ("localhost:7", "tcp://127.0.0.1:7"),
            ("udp://127.0.0.1:53", "udp://127.0.0.1:53"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:relative.sock", "unix:relative.sock"),
            ("unixgram:/run/a.sock", "unixgram:/run/a.sock"),
        ] {
            let endpoint: Endpoint = text.parse().expect("a good endpoint");
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse::<Endpoint>().expect("what is displayed is read back"), endpoint);
        }
    }

    #[test]
    fn an_interface_is_named_or_numbered() {
        for text in ["[fe80::1%1]:80", "[fe80::1%lo]:80"] {
            let Ok(Endpoint::Tcp(SocketAddr::V6(address))) = text.parse() else { panic!("{text}") };
            assert_eq!((address.scope_id(), address.port()), (1, 80), "{text}");
        }
    }

    #[test]
    fn a_bad_endpoint_says_what_is_wrong_and_what_would_be_right() {
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_MAX));
        for (text, wrong, right) in [
            ("", "nothing", "HOST:PORT"),
            ("tcp://", "nothing", "HOST:PORT"),
            ("7000", "the host is missing", "HOST:PORT"),
            ("nowhere", "the port is missing", "HOST:PORT"),
            ("127.0.0.1", "the port is missing", "HOST:PORT"),
            ("127.0.0.1:", "the port is missing", "0 to 65535"),
            ("127.0.0.1:70000", "70000 is no port", "0 to 65535"),
            ("127.0.0.1:http", "http is no port", "0 to 65535"),
            ("localhost:+17303", "+17303 is no port", "0 to 65535"),
            ("localhost:-1", "-1 is no port", "0 to 65535"),
            ("[::1]:+1", "+1 is no port", "0 to 65535"),
            ("127.0.0.1:1/path", "", "unix:"),
            ("tcp://127.0.0.1:1/path", "1/path is no port", "0 to 65535"),
            (" 127.0.0.1:80", "white space", "HOST:PORT"),
            ("127.0.0.1 :80", "white space", "HOST:PORT"),
            (":7000", "the host is missing", "127.0.0.1:7000"),
            ("*:7000", "every interface", "0.0.0.0:7000"),
            ("::1", "in brackets", "[::1]:7000"),
            ("::1:7000", "in brackets", "[::1]:7000"),
            ("fe80::1%eth0:7000", "fe80::1%eth0 is no host", "[::1]:7000"),
            ("[::1]", "the port is missing", "[::1]:PORT"),
            ("[::1]:", "the port is missing", "0 to 65535"),
            ("[::1]7000", "a colon", "[::1]:PORT"),
            ("[::1:7000", "not closed", "[::1]:7000"),
            ("[]:7000", "is no IPv6 address", "[::1]:7000"),
            ("[::g]:7000", "::g is no IPv6 address", "[::1]:7000"),
            ("[localhost]:7000", "localhost is no IPv6 address", "[::1]:7000"),
            ("[127.0.0.1]:7000", "brackets are for IPv6", "127.0.0.1:7000"),
            ("[fe80::1%nosuch0]:7", "nosuch0 is no interface", "[fe80::1%eth0]:7"),
            ("[fe80::1%]:7", "is no interface", "[fe80::1%eth0]:7"),
            ("[::g%lo]:7", "::g is no IPv6 address", "[fe80::1%eth0]:7"),
            ("256.0.0.1:80", "256.0.0.1 is no IPv4 address", "127.0.0.1:80"),
            ("127.0.1:80", "127.0.1 is no IPv4 address", "127.0.0.1:80"),
            ("127.0.0.01:80", "127.0.0.01 is no IPv4 address", "127.0.0.1:80"),
            ("example.org:80", "example.org is no address", "an IP address or localhost"),
            ("user@127.0.0.1:80", "user@127.0.0.1 is no address", "an IP address or localhost"),
            ("/run/a.sock", "needs its scheme", "unix:/run/a.sock"),
            ("./a", "needs its scheme", "unix:./a"),
            ("udp:127.0.0.1:9", "", "write udp://127.0.0.1:9"),
            ("tcp:/127.0.0.1:9", "", "write tcp://127.0.0.1:9"),
            ("TCP://127.0.0.1:9", "", "write tcp://127.0.0.1:9"),
            ("Unix:/x", "small letters", "unix:PATH"),
            ("http://127.0.0.1:80", "schemes", "tcp://"),
            ("unix:", "empty", "unix:/run"),
            ("unixgram:", "empty", "unixgram:/run"),
            ("unix:/a\0b", "NUL", "without"),
            (&long, "108 bytes", "107"),
        ] {
            let reason = reason(text);
            assert!(reason.contains(wrong) && reason.contains(right), "{text:?}: {reason}");
        }
    }
}

#[cfg(test)]
mod properties {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
            (any::<[u8; 16]>(), any::<u16>(), any::<u32>()).prop_map(|(host, port, scope)| {
                SocketAddrV6::new(Ipv6Addr::from(host), port, 0, scope).into()
            }),
        ]
    }

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        let path = || "[^\0]{1,26}".prop_filter("it prints", |path| prints(path)).prop_map(PathBuf::from);
        prop_oneof![
            address().prop_map(Endpoint::Tcp),
            address().prop_map(Endpoint::Udp),
            path().prop_map(Endpoint::Unix),
            path().prop_map(Endpoint::UnixDatagram),
        ]
    }

    fn prints(text: &str) -> bool {
        Printable(text).to_string() == text
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_read_back(endpoint in endpoint()) {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().expect("it was displayed"), endpoint);
        }

        /// Any text at all is an endpoint or an error that names it.
        #[test]
        fn no_text_is_too_odd(scheme in "|tcp://|udp://|unix:|unixgram:|tcp:|localhost:|\\[::1", rest in any::<String>()) {
            let text = scheme + &rest;
            match text.parse::<Endpoint>() {
                Ok(endpoint) => {
                    let shown = endpoint.to_string();
                    prop_assert!(prints(&shown));
                    if prints(&text) {
                        prop_assert_eq!(shown.parse::<Endpoint>().expect("it was displayed"), endpoint);
                    }
                }
                Err(Error::Endpoint { text: named, reason }) => {
                    prop_assert_eq!(named, text);
                    prop_assert!(!reason.is_empty());
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
