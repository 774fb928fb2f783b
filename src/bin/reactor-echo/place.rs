//! `Place`: where a server listens, and what it speaks there.

use std::str::FromStr;

use serve_forever::Endpoint;

/// How connections carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Plain,
    Tls,
}

/// An endpoint as a command line has it: those of the library, and `tls://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Endpoint,
    pub(crate) channel: Channel,
}

impl Place {
    /// An endpoint as it is written, where the system has given it a port.
    pub(crate) fn shown(&self, local: &Endpoint) -> String {
        match (self.channel, local) {
            (Channel::Tls, Endpoint::Tcp(at)) => format!("tls://{at}"),
            _ => local.to_string(),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (channel, at) = match text.strip_prefix("tls://") {
            Some(at) => (Channel::Tls, at),
            None => (Channel::Plain, text),
        };
        let at: Endpoint = at.parse().map_err(|error: serve_forever::Error| error.to_string())?;
        if channel == Channel::Tls && !matches!(at, Endpoint::Tcp(_)) {
            return Err(format!("tls:// is for HOST:PORT, and {at} is none"));
        }
        Ok(Self { at, channel })
    }
}
