//! `Error`, for operations of the reactor, and `BoxError`, for callbacks.

use std::error::Error as StdError;
use std::{fmt, io};

/// The error of a callback: any error type, or a string.
///
/// `?` turns every error type into it, and `"reason".into()` makes one from a
/// text. The reactor ends the connection of that callback alone, as
/// [`CloseReason::Failed`](crate::CloseReason::Failed).
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of a reactor's operation; callbacks use
/// `Result<T, BoxError>` instead.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason for which an operation of the reactor failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A text that does not parse as an [`Endpoint`](crate::Endpoint).
    Endpoint {
        /// The text as it was given.
        text: String,
        /// The fault, and what would be right.
        reason: String,
    },
    /// The system or the driver refused to listen on the endpoint: it is in
    /// use, not permitted, in a directory that does not exist, or of a kind
    /// that this service does not serve.
    Listen {
        /// The endpoint, as [`Endpoint`](crate::Endpoint) displays it.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The system or the driver refused to bind the endpoint for datagrams, for
    /// reasons of the same kind.
    Bind {
        /// The endpoint, as [`Endpoint`](crate::Endpoint) displays it.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A field of [`Limits`](crate::Limits) or [`Config`](crate::Config)
    /// contradicts another one or cannot work.
    Limits {
        /// The contradiction, and what would be right.
        reason: String,
    },
    /// A bounded table of the reactor is full.
    Full {
        /// The contents of the table: `"timers"`, `"groups"`, …
        what: &'static str,
        /// The field that sets the limit: `"Config::max_timers"`, …; `None` if no
        /// field does.
        field: Option<&'static str>,
        /// The limit, as configured. The limit of connections does not count
        /// those that the program has for itself (in the background, or adopted
        /// to read or to write alone).
        limit: usize,
    },
    /// The handler's `started` failed, or panicked: the service is not there.
    NotStarted {
        /// The type of the handler.
        handler: &'static str,
        /// The error of the callback.
        source: BoxError,
    },
    /// The [`Service`](crate::Service) belongs to another reactor.
    ForeignService,
    /// The reactor is at the end of its shutdown, where it drops everything: it
    /// refuses to begin anything.
    Over,
    /// The reactor has no workers for a job or for the lookup of a name.
    #[cfg(feature = "workers")]
    NoWorkers,
    /// A certificate, a key or an option of TLS cannot be used (feature `tls`).
    Tls {
        /// The thing that cannot be used.
        what: String,
        /// The fault, and what would be right.
        reason: String,
    },
    /// A URL, a position, a room or an option of the bus cannot be used (feature `bus`).
    Bus {
        /// The thing that cannot be used.
        what: &'static str,
        /// The fault, and what would be right.
        reason: String,
    },
    /// The operating system refused a call that the loop itself needs.
    System {
        /// The purpose of the call.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Makes the function for `map_err` that wraps the system's refusal of
    /// `what`.
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
            Self::Full { what, field: Some(field), limit } => {
                write!(f, "too many {what}: {field} is {limit}")
            }
            Self::Full { what, field: None, limit } => write!(f, "too many {what}: {limit} is the most"),
            Self::NotStarted { handler, source } => {
                write!(f, "the service {handler} did not start: {source}")
            }
            Self::Over => f.write_str(
                "the reactor is at the end of its shutdown, and begins nothing new; \
                 begin it when the reactor runs again",
            ),
            Self::ForeignService => {
                f.write_str("the service belongs to another reactor; give one that this reactor added")
            }
            #[cfg(feature = "workers")]
            Self::NoWorkers => {
                f.write_str("the reactor has no workers; give it some by Reactor::set_workers")
            }
            Self::Tls { what, reason } => write!(f, "{what} cannot be used for TLS: {reason}"),
            Self::Bus { what, reason } => write!(f, "{what} cannot be used: {reason}"),
            Self::System { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// A remedy, to append to the system's own text.
fn remedy(endpoint: &str, source: &io::Error) -> &'static str {
    let is_path = endpoint.starts_with("unix");
    if source.raw_os_error().is_none() {
        return ""; // the library's own text names the remedy itself
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
            Self::NotStarted { source, .. } => Some(&**source),
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
        let error = Error::Full { what: "timers", field: Some("Config::max_timers"), limit: 7 };
        assert_eq!(error.to_string(), "too many timers: Config::max_timers is 7");
        assert!(error.source().is_none());
        let in_use = io::Error::from_raw_os_error(rustix::io::Errno::ADDRINUSE.raw_os_error());
        let error = Error::Bind { endpoint: "udp://127.0.0.1:7".into(), source: in_use };
        assert!(
            error.to_string().contains("in use") && error.to_string().contains("another port"),
            "{error}"
        );
    }
}
