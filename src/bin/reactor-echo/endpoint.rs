//! `Endpoint`: the address of a server on the command line.

use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serve_forever::Printable;

/// The longest path `sockaddr_un` holds, without the terminating NUL.
const UNIX_PATH_MAX: usize = 107;

/// The address of a stream server: `HOST:PORT`, `tcp://HOST:PORT`,
/// `tls://HOST:PORT` or `unix:PATH`.
///
/// The host is kept as written and resolved when it is used, so a report names
/// what the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A TCP port of a host.
    Tcp {
        /// A name or an address; an IPv6 address stands here without brackets.
        host: String,
        /// The port; 0 lets a server take any free one.
        port: u16,
    },
    /// The same behind TLS; the host has to be one that the server's certificate is for.
    Tls {
        /// As above.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Parses the host and port in `rest`, which follows the scheme; `text` is the
    /// whole, for errors.
    fn host_and_port(text: &str, rest: &str) -> Result<(String, u16), InvalidEndpoint> {
        let wrong = |why: &str| Err(InvalidEndpoint::new(text, why));
        if rest.contains(char::is_whitespace) {
            return wrong("there is white space in it");
        }
        if rest.parse::<Ipv6Addr>().is_ok() {
            return wrong("an IPv6 address goes in brackets, as in [::1]:7000");
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                None => return wrong("its bracket is not closed, as in [::1]:7000"),
                Some((host, _))
                    if host.split('%').next().is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) =>
                {
                    return wrong("the brackets do not hold an IPv6 address, as in [::1]:7000");
                }
                Some((_, "")) => return wrong("it has no port"),
                Some((host, port)) => match port.strip_prefix(':') {
                    Some(port) => (host, port),
                    None => return wrong("a colon and the port follow the bracket, as in [::1]:7000"),
                },
            },
            None => match rest.rsplit_once(':') {
                None => return wrong("it has no port"),
                Some((host, _)) if host.contains(':') => {
                    return wrong("an IPv6 address goes in brackets, as in [::1]:7000");
                }
                Some(parts) => parts,
            },
        };
        if host.is_empty() {
            return wrong("it has no host");
        }
        match port.parse() {
            Ok(port_number) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok((host.to_owned(), port_number))
            }
            _ => wrong("the port is not a number from 0 to 65535"),
        }
    }

    fn tcp(text: &str, rest: &str) -> Result<Self, InvalidEndpoint> {
        Self::host_and_port(text, rest).map(|(host, port)| Self::Tcp { host, port })
    }

    fn tls(text: &str, rest: &str) -> Result<Self, InvalidEndpoint> {
        Self::host_and_port(text, rest).map(|(host, port)| Self::Tls { host, port })
    }

    fn unix(text: &str, path: &str) -> Result<Self, InvalidEndpoint> {
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        match path.as_os_str().len() {
            0 => Err(InvalidEndpoint::new(text, "it has no path")),
            1..=UNIX_PATH_MAX => Ok(Self::Unix(path.to_owned())),
            _ => Err(InvalidEndpoint::new(
                text,
                "the path is longer than the 107 bytes a Unix socket address holds",
            )),
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(text, path);
        }
        if text.starts_with("udp:") {
            let why = "UDP may drop and reorder datagrams, and this program checks every byte \
                       of an ordered stream";
            return Err(InvalidEndpoint::new(text, why));
        }
        match text.split_once("://") {
            Some(("tcp", rest)) => Self::tcp(text, rest),
            Some(("tls", rest)) => Self::tls(text, rest),
            Some((scheme, _)) => {
                Err(InvalidEndpoint::new(text, &format!("{scheme}:// is not a scheme it knows")))
            }
            None if text.starts_with("tcp:") => Err(InvalidEndpoint::new(text, "two slashes follow tcp:")),
            None => Self::tcp(text, text),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Tls { host, port } if host.contains(':') => write!(f, "tls://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "tls://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", Printable(path.display())),
        }
    }
}

/// The error of a text that does not name an endpoint, with the correct form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidEndpoint {
    /// The whole message.
    message: String,
}

impl InvalidEndpoint {
    fn new(text: &str, why: &str) -> Self {
        Self {
            message: format!(
                "{text:?} is no endpoint: {why}; write HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH"
            ),
        }
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for InvalidEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn reads_every_form() {
        assert_eq!("localhost:7".parse(), Ok(tcp("localhost", 7)));
        assert_eq!("tcp://127.0.0.1:65535".parse(), Ok(tcp("127.0.0.1", 65535)));
        assert_eq!("[::1]:0".parse(), Ok(tcp("::1", 0)));
        assert_eq!("tcp://[fe80::2]:80".parse(), Ok(tcp("fe80::2", 80)));
        assert_eq!("[fe80::2%eth0]:80".parse(), Ok(tcp("fe80::2%eth0", 80)));
        let tls = Endpoint::Tls { host: "localhost".to_owned(), port: 443 };
        assert_eq!("tls://localhost:443".parse(), Ok(tls));
        assert_eq!("unix:/run/a:b.sock".parse(), Ok(Endpoint::Unix("/run/a:b.sock".into())));
        assert_eq!("unix:rel".parse(), Ok(Endpoint::Unix("rel".into())));
    }

    #[test]
    fn what_it_prints_it_reads_back() {
        for text in ["tcp://h:1", "tcp://[::1]:7000", "tls://h:1", "tls://[::1]:1", "unix:/run/x.sock"] {
            let endpoint: Endpoint = text.parse().expect("a valid endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn refuses_with_the_reason_and_the_remedy() {
        for (text, reason) in [
            ("", "no port"),
            ("localhost", "no port"),
            (":80", "no host"),
            ("tcp://:80", "no host"),
            ("tls://:80", "no host"),
            ("h:", "port is not a number"),
            ("h:65536", "port is not a number"),
            ("h:-1", "port is not a number"),
            ("::1:80", "goes in brackets"),
            ("::1", "goes in brackets"),
            ("a:b:80", "goes in brackets"),
            ("[::1]", "no port"),
            ("[::1]80", "a colon"),
            ("[::1]:+80", "port is not a number"),
            ("h:+80", "port is not a number"),
            ("h :80", "white space"),
            ("tcp:h:80", "two slashes"),
            ("[::1:80", "not closed"),
            ("[127.0.0.1]:80", "do not hold an IPv6 address"),
            ("udp://h:1", "UDP may drop"),
            ("udp:h:1", "UDP may drop"),
            ("http://h:1", "http:// is not a scheme"),
            ("unix:", "no path"),
        ] {
            let message = text.parse::<Endpoint>().expect_err("an invalid endpoint").to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
            assert!(message.contains("write HOST:PORT"), "{text:?}: {message}");
        }
    }

    #[test]
    fn bounds_the_unix_path_where_the_system_does() {
        let longest = format!("unix:{}", "p".repeat(UNIX_PATH_MAX));
        assert!(longest.parse::<Endpoint>().is_ok());
        assert!(format!("{longest}p").parse::<Endpoint>().is_err());
    }
}
