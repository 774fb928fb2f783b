//! Files of Unix sockets: removes a stale one before a bind, and our own after
//! a close.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{SockAddr, Type};

use super::unix;

use crate::printable::Printable;

/// Frees a path for a listener: removes a stale socket there, which no process
/// listens on any more.
///
/// Two programs that start at the same moment on one stale path can both find
/// it stale; the second then takes the first one's place.
///
/// # Errors
///
/// `AddrInUse` if a process listens there, `AlreadyExists` if the file is not a
/// socket, or the system's error.
pub(super) fn make_free(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let message = "a file that is no socket is there; remove it, or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    // A blocking probe of a live socket with a full backlog would hang; this
    // one gets EAGAIN. A live datagram socket returns EPROTOTYPE.
    let probe = unix::socket(Type::STREAM)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("{}: replacing a stale socket", Printable(path.display()));
            fs::remove_file(path)
        }
        // The file was removed in this very moment, or this process may not
        // connect to it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => {
            let message = "it is in use, by another process or by another endpoint of this one; \
                           end that, or choose another path";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

/// The file of a socket that this process made. Dropping it removes the file,
/// if it is still the same one, and only in the process that made it: a fork
/// drops a copy.
#[derive(Debug)]
pub(super) struct OwnedPath {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// The id of the process that made it.
    maker: u32,
}

impl OwnedPath {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // An absolute path still leads to the file after a change of directory.
        let path = std::path::absolute(path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino(), maker: std::process::id() })
    }

    /// The device and inode.
    pub(super) const fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if self.maker != std::process::id() {
            return;
        }
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.dev() == self.device && metadata.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            let path = Printable(self.path.display());
            log::warn!("{path}: the socket's file cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        make_free(&path).expect("nothing is there");
        let listener = UnixListener::bind(&path).expect("the path is free");
        assert_eq!(make_free(&path).expect_err("it is live").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        make_free(&path).expect("it is stale");
        assert!(!path.exists());
        fs::write(&path, "precious").expect("a file");
        assert_eq!(make_free(&path).expect_err("it is a file").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("the file is still there"), b"precious");
    }

    #[test]
    fn a_file_that_is_not_ours_any_more_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let first = UnixListener::bind(&path).expect("the path is free");
        let owned = OwnedPath::of(&path).expect("it was just made");
        fs::remove_file(&path).expect("it is there");
        let _second = UnixListener::bind(&path).expect("the path is free");
        drop(owned);
        assert!(path.exists(), "the second listener's file stays");
        drop(OwnedPath::of(&path).expect("it is there"));
        assert!(!path.exists());
        drop(first);
    }

    // A fork would take `unsafe`; another `maker` id has the same effect.
    #[test]
    fn a_file_stays_when_a_child_of_its_maker_lets_go_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).expect("the path is free");
        let mut copy = OwnedPath::of(&path).expect("it was just made");
        assert_eq!(copy.maker, std::process::id());
        copy.maker -= 1;
        drop(copy);
        assert!(path.exists(), "its maker still listens there");
    }
}
