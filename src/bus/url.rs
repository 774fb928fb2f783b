//! `BusUrl`: where the Redis of a bus is, and who the bus is there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::Endpoint;
use crate::Error;

/// The port of Redis where the URL names none.
const PORT: u16 = 6379;

/// The prefix of keys and channels where the URL names none.
const PREFIX: &str = "bus";

/// The longest prefix in bytes.
const LONGEST_PREFIX: usize = 128;

/// The Redis of a bus, as a URL:
/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/PREFIX]`,
/// `redis+unix:PATH[?prefix=PREFIX]`, and with TLS `rediss://` as `redis://`.
///
/// The port is 6379 unless given, the prefix `bus`: all keys and channels begin with it,
/// and nodes are together if they name the same Redis and prefix. (It is no number of a
/// database: channels belong to all databases of a Redis, and the bus uses the first.)
/// User, password and prefix may have percent-encoded characters. HOST is an address,
/// with an IPv6 address in brackets, or with the feature `workers` a name; `localhost`
/// stands for 127.0.0.1, also where a certificate has to be valid for it.
///
/// Neither `Display` nor `Debug` shows the password.
///
/// ```
/// use serve_forever::bus::BusUrl;
///
/// let url: BusUrl = "redis://:secret@127.0.0.1/chat".parse()?;
/// assert_eq!(url.to_string(), "redis://:***@127.0.0.1:6379/chat");
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BusUrl {
    pub(super) place: Place,
    pub(super) login: Option<Login>,
    prefix: String,
    pub(super) security: Security,
}

/// The address of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Address(Endpoint),
    /// `HOST:PORT`, to be looked up.
    Name(String),
}

/// A user with its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// Empty: the default user.
    pub(super) user: String,
    pub(super) password: String,
}

/// Whether the link is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    Tls,
}

impl BusUrl {
    /// The prefix of keys and channels.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The same Redis with this user and password (ACL); an empty user is the default
    /// one. For a password that stands in a file rather than in a URL.
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Login { user: user.into(), password: password.into() });
        self
    }

    /// The same Redis with this prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Bus`] if it is empty, longer than 128 bytes, or has control characters.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Result<Self, Error> {
        self.prefix = prefix.into();
        check_prefix(&self.prefix).map_err(refused)?;
        Ok(self)
    }

    /// The name or address that a certificate has to be valid for.
    #[cfg(feature = "tls")]
    pub(super) fn server(&self) -> String {
        match &self.place {
            Place::Address(Endpoint::Tcp(address)) => address.ip().to_string(),
            Place::Address(_) => "localhost".into(),
            Place::Name(name) => name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host).into(),
        }
    }
}

impl fmt::Display for BusUrl {
    /// The URL, with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Place::Address(Endpoint::Unix(path)) = &self.place {
            return write!(
                f,
                "redis+{}?prefix={}",
                Endpoint::Unix(path.clone()),
                self.prefix.escape_default()
            );
        }
        f.write_str(if self.security == Security::Tls { "rediss://" } else { "redis://" })?;
        if let Some(login) = &self.login {
            write!(f, "{}:***@", login.user.escape_default())?;
        }
        match &self.place {
            Place::Address(Endpoint::Tcp(address)) => write!(f, "{address}")?,
            Place::Address(other) => write!(f, "{other}")?,
            Place::Name(name) => f.write_str(name)?,
        }
        write!(f, "/{}", self.prefix.escape_default())
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl FromStr for BusUrl {
    type Err = Error;

    /// Reads the forms that the type's own documentation lists.
    ///
    /// # Errors
    ///
    /// [`Error::Bus`], which says what is wrong and what would be right. It does not
    /// repeat the URL, for that may hold a password.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(rest) = text.strip_prefix("redis+unix:") {
            unix(rest).map_err(refused)
        } else if let Some(rest) = text.strip_prefix("redis://") {
            inet(rest, Security::Plain).map_err(refused)
        } else if let Some(rest) = text.strip_prefix("rediss://") {
            if cfg!(feature = "tls") {
                inet(rest, Security::Tls).map_err(refused)
            } else {
                Err(refused("rediss:// needs the feature `tls`".into()))
            }
        } else {
            Err(refused(FORMS.into()))
        }
    }
}

const FORMS: &str = "write redis://[[USER]:PASSWORD@]HOST[:PORT][/PREFIX] or redis+unix:PATH[?prefix=PREFIX]";

fn refused(reason: String) -> Error {
    Error::Bus { what: "the URL of the bus", reason }
}

fn unix(rest: &str) -> Result<BusUrl, String> {
    let (path, prefix) = match rest.split_once('?') {
        None => (rest, PREFIX.to_owned()),
        Some((path, query)) => match query.split_once('=') {
            Some(("prefix", prefix)) if !prefix.contains('&') => (path, decoded("the prefix", prefix)?),
            _ => return Err("behind ? only prefix=PREFIX is known".into()),
        },
    };
    check_prefix(&prefix)?;
    let endpoint = format!("unix:{path}").parse().map_err(|error| match error {
        Error::Endpoint { reason, .. } => reason,
        other => other.to_string(),
    })?;
    Ok(BusUrl { place: Place::Address(endpoint), login: None, prefix, security: Security::Plain })
}

fn inet(rest: &str, security: Security) -> Result<BusUrl, String> {
    // A password may hold a slash; a prefix that holds @ encodes it.
    let (login, rest) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((login, rest)) => {
            let (user, password) = login
                .split_once(':')
                .ok_or("before @ stands USER:PASSWORD, or :PASSWORD for the default user")?;
            let user = decoded("the user", user)?;
            (Some(Login { user, password: decoded("the password", password)? }), rest)
        }
    };
    if rest.contains('?') || rest.contains('#') {
        return Err("nothing stands behind the prefix; a ? or # in it is %3F or %23".into());
    }
    let (host, prefix) = match rest.split_once('/') {
        None | Some((_, "")) => (rest.trim_end_matches('/'), PREFIX.to_owned()),
        Some((host, prefix)) => (host, decoded("the prefix", prefix)?),
    };
    check_prefix(&prefix)?;
    Ok(BusUrl { place: place(host)?, login, prefix, security })
}

fn place(host: &str) -> Result<Place, String> {
    if host.is_empty() {
        return Err("the host is missing; write redis://HOST".into());
    }
    let has_port =
        host.rsplit_once(':').is_some_and(|(before, _)| before.ends_with(']') || !before.contains(':'));
    let with_port = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
    let (name, port) = with_port.rsplit_once(':').unwrap_or((&with_port, ""));
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        return Err("the port is a number from 1 to 65535".into());
    }
    if let Ok(endpoint) = format!("tcp://{with_port}").parse() {
        return Ok(Place::Address(endpoint));
    }
    let is_name = name.contains(char::is_alphabetic)
        && !name.contains(|letter: char| {
            letter.is_whitespace() || letter.is_control() || "[]:*\\".contains(letter)
        });
    if !is_name {
        return Err("the host is an address or a name; an IPv6 address stands in brackets".into());
    }
    if cfg!(feature = "workers") {
        Ok(Place::Name(with_port))
    } else {
        Err("a host by name needs the feature `workers`; give an address".into())
    }
}

fn decoded(what: &str, text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| format!("{what} is not UTF-8"))?;
    Ok(decoded.into_owned())
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || prefix.contains(char::is_control) {
        return Err(format!("the prefix has 1 to {LONGEST_PREFIX} bytes, without control characters"));
    }
    Ok(())
}

impl From<PathBuf> for BusUrl {
    /// The Redis at this Unix socket, with the prefix `bus`.
    fn from(path: PathBuf) -> Self {
        let place = Place::Address(Endpoint::Unix(path));
        Self { place, login: None, prefix: PREFIX.into(), security: Security::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<BusUrl>().map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    #[test]
    fn urls_are_read_and_shown_without_the_password() {
        for (text, expected) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379/bus"),
            ("redis://127.0.0.1/", "redis://127.0.0.1:6379/bus"),
            ("redis://127.0.0.1:7000/chat", "redis://127.0.0.1:7000/chat"),
            ("redis://[::1]", "redis://[::1]:6379/bus"),
            ("redis://[::1]:7/a%20b", "redis://[::1]:7/a b"),
            ("redis://:p%40ss@127.0.0.1", "redis://:***@127.0.0.1:6379/bus"),
            ("redis://me:a/b:c@127.0.0.1/x", "redis://me:***@127.0.0.1:6379/x"),
            ("redis+unix:/run/redis.sock", "redis+unix:/run/redis.sock?prefix=bus"),
            ("redis+unix:/run/redis.sock?prefix=chat", "redis+unix:/run/redis.sock?prefix=chat"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let url: BusUrl = "redis://me:s3cret%2F@127.0.0.1".parse().expect("a URL");
        assert_eq!(url.login.as_ref().map(|login| login.password.as_str()), Some("s3cret/"));
        assert!(!format!("{url:?} {url} {:?}", url.login).contains("s3cret"), "{url:?}");
    }

    #[cfg(feature = "workers")]
    #[test]
    fn a_host_may_have_a_name() {
        assert_eq!(shown("redis://redis.internal/chat"), "redis://redis.internal:6379/chat");
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        for (text, expected) in [
            ("127.0.0.1:6379", "write redis://"),
            ("http://127.0.0.1", "write redis://"),
            ("redis://", "host is missing"),
            ("redis://s3cret@127.0.0.1", "USER:PASSWORD"),
            ("redis://:s3cret@", "host is missing"),
            ("redis://:s3cret@127.0.0.1:0", "port is a number"),
            ("redis://:s3cret@127.0.0.1:x", "port is a number"),
            ("redis://:s3cret@127.0.0.1/a?b", "nothing stands behind"),
            ("redis://:s3cret@::1", "brackets"),
            ("redis://127.0.0.1/a%0Ab", "control characters"),
            ("redis+unix:", "path"),
            ("redis+unix:/a?b=c", "only prefix="),
        ] {
            let error =
                text.parse::<BusUrl>().map_or_else(|error| error.to_string(), |url| format!("{url:?}"));
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
