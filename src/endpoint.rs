//! Where to listen or to connect, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
/// A host is an IP address (IPv6 in brackets) or `localhost`, which stands
/// for 127.0.0.1; other names are refused, for looking one up would block.
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
            unix_path(path).map(Self::Unix)
        } else if let Some(path) = text.strip_prefix("unixgram:") {
            unix_path(path).map(Self::UnixDatagram)
        } else if let Some(address) = text.strip_prefix("tcp://") {
            socket_address(address).map(Self::Tcp)
        } else if let Some(address) = text.strip_prefix("udp://") {
            socket_address(address).map(Self::Udp)
        } else if text.contains("://") {
            Err("the schemes are tcp://, udp://, unix: and unixgram:".into())
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

fn unix_path(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        Err("the path is empty; write unix:/run/app.sock".into())
    } else if path.contains('\0') {
        Err("a path holds no NUL".into())
    } else if path.len() > UNIX_PATH_MAX {
        Err(format!(
            "the path has {} bytes, at most {UNIX_PATH_MAX} fit in a Unix socket's address",
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
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("write HOST:PORT, as in 127.0.0.1:7000 or [::1]:7000".into());
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("{port:?} is no port; one is a number from 0 to 65535"));
    };
    if host == "localhost" {
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    } else if host.contains(':') {
        Err(format!("write an IPv6 address in brackets, as in [::1]:{port}"))
    } else if host.is_empty() {
        Err(format!("the host is missing; write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"))
    } else {
        Err("a host is an IP address or localhost; other names are not looked up".into())
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
    fn a_bad_endpoint_says_what_would_be_right() {
        assert!(reason("7000").contains("HOST:PORT"));
        assert!(reason("/run/a.sock").contains("unix:/run/a.sock"));
        assert!(reason("127.0.0.1:70000").contains("0 to 65535"));
        assert!(reason("::1:7000").contains("brackets"));
        assert!(reason(":7000").contains("127.0.0.1:7000"));
        assert!(reason("example.org:80").contains("IP address"));
        assert!(reason("http://127.0.0.1:80").contains("tcp://"));
        assert!(reason("unix:").contains("empty"));
        assert!(reason("unix:/a\0b").contains("NUL"));
        assert!(reason(&format!("unix:/{}", "x".repeat(UNIX_PATH_MAX))).contains("107"));
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
