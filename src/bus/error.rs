//! `BusError` and `PublishError`: why a bus is down, and why a message was not
//! published.

use std::fmt;
use std::time::Duration;

/// The reason for which a [`Bus`](super::Bus) has no Redis. It tries again, after 50 ms
/// to 5 s, whatever the reason is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusError {
    /// There was no connection: the reason of the system.
    Connect(String),
    /// The link ended: how.
    Closed(String),
    /// Redis answered nothing for this time.
    Silent(Duration),
    /// Redis is older than 6.0, or something else answered: it does not know `HELLO 3`.
    TooOld(String),
    /// Redis does not accept user and password.
    Login(String),
    /// It is a replica, which takes no messages.
    Replica,
    /// It is a node of a cluster, which has only a part of the keys.
    Cluster,
    /// It has no memory left (`maxmemory`).
    OutOfMemory,
    /// It is loading its data.
    Loading,
    /// It refuses to write because it cannot save (`MISCONF`).
    CannotSave,
    /// It refused a command for another reason, such as an ACL.
    Refused(String),
    /// It said something that is not RESP3, or not the answer to what it was asked; or a
    /// frame was longer than [`BusLimits`](super::BusLimits) allow.
    Protocol(String),
}

impl BusError {
    /// The reason that an error of Redis stands for.
    pub(super) fn from_redis(text: &str) -> Self {
        // Redis 6 wraps the errors of a script's commands in one of its own.
        let has = |code: &str| text.contains(code);
        if has("READONLY") || text.starts_with("MASTERDOWN") {
            Self::Replica
        } else if text.starts_with("OOM") || has("-OOM ") {
            Self::OutOfMemory
        } else if text.starts_with("LOADING") {
            Self::Loading
        } else if has("MISCONF") {
            Self::CannotSave
        } else if text.starts_with("MOVED")
            || text.starts_with("CROSSSLOT")
            || text.starts_with("CLUSTERDOWN")
        {
            Self::Cluster
        } else if ["NOAUTH", "WRONGPASS", "ERR invalid password", "ERR Client sent AUTH", "ERR AUTH"]
            .iter()
            .any(|code| text.starts_with(code))
        {
            Self::Login(text.into())
        } else {
            Self::Refused(text.into())
        }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "it cannot be connected to: {why}"),
            Self::Closed(how) => write!(f, "the link ended: {how}"),
            Self::Silent(time) => write!(f, "it answered nothing for {time:?}"),
            Self::TooOld(said) => {
                write!(f, "it does not know HELLO 3; the bus needs Redis 6.0 or later ({said})")
            }
            Self::Login(said) => write!(f, "it does not accept the user and password of the URL ({said})"),
            Self::Replica => f.write_str("it is a replica, which takes no messages; name the master"),
            Self::Cluster => {
                f.write_str("it is a node of a cluster; the bus needs one Redis that has all keys")
            }
            Self::OutOfMemory => {
                f.write_str("it is out of memory; raise its maxmemory, or lower BusLimits::history")
            }
            Self::Loading => f.write_str("it is loading its data"),
            Self::CannotSave => {
                f.write_str("it cannot save its data and takes no messages (MISCONF); see its log")
            }
            Self::Refused(said) => write!(f, "it refused a command: {said}"),
            Self::Protocol(what) => write!(f, "it does not speak as a Redis does: {what}"),
        }
    }
}

impl std::error::Error for BusError {}

/// The reason for which a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// Too much waits already ([`BusLimits::max_waiting`](super::BusLimits::max_waiting)),
    /// and Redis is there.
    Full,
    /// Too much waits already, and Redis is away.
    Offline,
    /// It waited for [`BusLimits::publish_timeout`](super::BusLimits::publish_timeout),
    /// and was never sent.
    TimedOut,
    /// It was sent, and no answer came in time, or until the bus ended: nobody knows
    /// whether it was published. The room does: it comes as a message if it was.
    Unknown,
    /// It went to the members on this node alone ([`Offline::ServeOwn`](super::Offline::ServeOwn)).
    OnlyHere,
    /// It is longer than [`BusLimits::max_payload`](super::BusLimits::max_payload).
    TooLong,
    /// The room has no name, or one longer than 255 bytes or with control characters.
    BadRoom,
    /// The bus has ended, with its reactor's shutdown, or was never started.
    Ended,
    /// Redis refused a command of the script that publishes. If that was not the first
    /// one, such as a PUBLISH that an ACL does not allow, the message may be kept all the
    /// same, and come.
    Refused(String),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many messages wait for an answer; publish more slowly",
            Self::Offline => "the bus is down, and as many messages as may wait do",
            Self::TimedOut => "the bus was down for too long",
            Self::Unknown => "no answer came: it may have been published",
            Self::OnlyHere => "the bus is down: it went to the members on this node alone",
            Self::TooLong => "it is longer than BusLimits::max_payload",
            Self::BadRoom => "a room has a name of 1 to 255 bytes without control characters",
            Self::Ended => "the bus has ended",
            Self::Refused(said) => return write!(f, "Redis refused it: {said}"),
        })
    }
}

impl std::error::Error for PublishError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_redis_are_told_apart_in_both_forms() {
        for (text, expected) in [
            ("READONLY You can't write against a read only replica.", BusError::Replica),
            (
                "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write",
                BusError::Replica,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", BusError::OutOfMemory),
            ("ERR Error running script (call to f_0): @user_script:1: -OOM command", BusError::OutOfMemory),
            ("LOADING Redis is loading the dataset in memory", BusError::Loading),
            ("MISCONF Redis is configured to save RDB snapshots", BusError::CannotSave),
            ("MOVED 3999 127.0.0.1:6381", BusError::Cluster),
            ("WRONGPASS invalid", BusError::Login("WRONGPASS invalid".into())),
            ("NOPERM this user", BusError::Refused("NOPERM this user".into())),
        ] {
            assert_eq!(BusError::from_redis(text), expected, "{text}");
        }
    }
}
