//! `Refusal`: the reasons for which a file is not taken.

use std::{fmt, io};

/// A reason, displayed as the client gets it.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A malformed header, or one that is too long.
    BadHeader,
    /// A name that no file may have.
    BadName,
    /// More bytes than a file may have.
    TooLarge,
    /// A file of this name exists and is not replaced.
    Exists,
    /// The system's error.
    Disk(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHeader => f.write_str("bad header"),
            Self::BadName => f.write_str("bad name"),
            Self::TooLarge => f.write_str("too large"),
            Self::Exists => f.write_str("exists"),
            // A text that is not the system's own may name paths of this
            // machine.
            Self::Disk(error) if error.raw_os_error().is_none() => write!(f, "disk: {}", error.kind()),
            Self::Disk(error) => write!(f, "disk: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_error_says_why_and_never_where() {
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert_eq!(Refusal::Disk(full).to_string(), "disk: No space left on device (os error 28)");
        let wrapped = io::Error::new(io::ErrorKind::NotFound, "no /home/secret/.upload-1");
        assert_eq!(Refusal::Disk(wrapped).to_string(), "disk: entity not found");
    }
}
