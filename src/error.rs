//! What can go wrong outside a callback, and the error type inside one.

use std::error::Error as StdError;
use std::{fmt, io};

/// What a callback may fail with: anything that is an error, or a string.
///
/// `?` turns every error type into it, and `"reason".into()` makes one from a
/// text. It ends the connection of that callback alone, as
/// [`CloseReason::Failed`](crate::CloseReason::Failed).
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of a reactor's operation; callbacks use
/// `Result<T, BoxError>` instead.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation of the reactor was not carried out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no [`Endpoint`](crate::Endpoint).
    Endpoint {
        /// The text as it was given.
        text: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The endpoint could not be listened on: in use, not permitted, no such
    /// directory, of a kind that this service does not serve.
    Listen {
        /// The endpoint, as [`Endpoint`](crate::Endpoint) displays it.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The endpoint could not be bound for datagrams, for reasons of the same
    /// kind.
    Bind {
        /// The endpoint, as [`Endpoint`](crate::Endpoint) displays it.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A field of [`Limits`](crate::Limits) or [`Config`](crate::Config)
    /// contradicts another one or cannot work.
    Limits {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A bounded table of the reactor is full.
    Full {
        /// What there are too many of: `"timers"`, `"groups"`, …
        what: &'static str,
        /// The limit, as configured; of connections, those left out that the
        /// program has for itself (in the background, or adopted to read or to
        /// write alone).
        limit: usize,
    },
    /// The [`Service`](crate::Service) belongs to another reactor.
    ForeignService,
    /// The reactor is at the end of its shutdown, where it drops everything:
    /// it begins nothing new.
    Over,
    /// The operating system refused what the loop itself cannot do without.
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: the system's refusal of `what`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { text, reason } => write!(f, "bad endpoint {text:?}: {reason}"),
            Self::Listen { endpoint, source } => {
                write!(f, "cannot listen on {endpoint}: {source}{}", remedy(endpoint, source))
            }
            Self::Bind { endpoint, source } => {
                write!(f, "cannot bind {endpoint}: {source}{}", remedy(endpoint, source))
            }
            Self::Limits { reason } => write!(f, "bad limits: {reason}"),
            Self::Full { what, limit } => write!(f, "too many {what}: the limit is {limit}"),
            Self::Over => f.write_str("the reactor is at its end, and begins nothing new"),
            Self::ForeignService => f.write_str("the service belongs to another reactor"),
            Self::System { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// What would be right, behind the system's own words for what is wrong.
fn remedy(endpoint: &str, source: &io::Error) -> &'static str {
    let is_path = endpoint.starts_with("unix");
    if source.raw_os_error().is_none() {
        return ""; // it is ours, and says so itself
    }
    match source.kind() {
        io::ErrorKind::AddrInUse if !is_path => "; end what has it, or choose another port (0: a free one)",
        io::ErrorKind::AddrNotAvailable => {
            "; choose an address of this machine (0.0.0.0 or [::]: all), with %INTERFACE if it is link-local"
        }
        io::ErrorKind::PermissionDenied if is_path => "; choose a directory that may be written to",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or ask for CAP_NET_BIND_SERVICE",
        io::ErrorKind::NotFound if is_path => "; make its directory first",
        io::ErrorKind::NotADirectory if is_path => "; choose a path whose directories are directories",
        io::ErrorKind::InvalidInput if !is_path => {
            "; a link-local address needs its interface, as in [fe80::1%eth0]"
        }
        _ => "",
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Bind { source, .. } | Self::System { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_and_why() {
        let error = Error::Listen {
            endpoint: "tcp://127.0.0.1:80".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(error.to_string(), "cannot listen on tcp://127.0.0.1:80: permission denied");
        assert!(error.source().is_some());
        let error = Error::Full { what: "timers", limit: 7 };
        assert_eq!(error.to_string(), "too many timers: the limit is 7");
        assert!(error.source().is_none());
        let in_use = io::Error::from_raw_os_error(rustix::io::Errno::ADDRINUSE.raw_os_error());
        let error = Error::Bind { endpoint: "udp://127.0.0.1:7".into(), source: in_use };
        assert!(
            error.to_string().contains("in use") && error.to_string().contains("another port"),
            "{error}"
        );
    }
}
