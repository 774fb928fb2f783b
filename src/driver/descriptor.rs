//! One-way descriptors that the program gives to the reactor: checks their
//! direction and makes them non-blocking.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use socket2::{Socket, Type};

use crate::origin::Side;

/// The kind of a descriptor that was taken over.
#[derive(Debug)]
pub(super) enum Handed {
    /// A file, which is always ready.
    File(OwnedFd),
    Socket(Socket),
    /// A pipe, a terminal, or anything else that can be polled.
    Pipe(OwnedFd),
}

/// Takes a descriptor over, to be read or written without blocking.
pub(super) fn take(descriptor: OwnedFd, side: Side) -> io::Result<Handed> {
    let status = rustix::fs::fstat(&descriptor)?;
    let kind = FileType::from_raw_mode(status.st_mode);
    if kind == FileType::Directory {
        return Err(unfit("it is a directory; a pipe, a terminal, a socket or a file is read or written"));
    }
    let flags = rustix::fs::fcntl_getfl(&descriptor)?;
    check_way(flags, side, kind == FileType::Fifo)?;
    match kind {
        FileType::RegularFile | FileType::BlockDevice => Ok(Handed::File(descriptor)),
        FileType::Socket => {
            let socket = Socket::from(descriptor);
            if socket.r#type()? != Type::STREAM {
                return Err(unfit("the descriptor is a socket for datagrams; Reactor::bind makes these"));
            }
            if socket.is_listener()? {
                return Err(unfit("the descriptor is a socket that listens; adopt_listener takes it"));
            }
            socket.set_nonblocking(true)?;
            Ok(Handed::Socket(socket))
        }
        _ => {
            let own = if is_the_same_again(&descriptor, kind, status.st_rdev) {
                reopen(&descriptor, flags).ok()
            } else {
                None
            };
            Ok(Handed::Pipe(match own {
                Some(own) => own,
                None => {
                    rustix::io::ioctl_fionbio(&descriptor, true)?;
                    descriptor
                }
            }))
        }
    }
}

/// Checks that a descriptor has the given direction. The system would report no
/// more than EBADF, and only at the first read or write.
fn check_way(flags: OFlags, side: Side, is_pipe: bool) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if flags.contains(OFlags::PATH) {
        return Err(unfit(
            "the descriptor was opened with O_PATH, and can be neither read nor written (open(2)); open it for reading or writing",
        ));
    }
    let mode = flags.intersection(OFlags::RWMODE);
    Err(unfit(match (side, is_pipe) {
        (Side::Input, true) if mode == OFlags::WRONLY => {
            "the descriptor is the end of a pipe that is written to; its other end can be read, and adopt_output takes this one"
        }
        (Side::Input, false) if mode == OFlags::WRONLY => {
            "the descriptor was opened for writing alone; open it for reading, or give it to adopt_output"
        }
        (Side::Output, true) if mode == OFlags::RDONLY => {
            "the descriptor is the end of a pipe that is read from; its other end can be written to, and adopt_input takes this one"
        }
        (Side::Output, false) if mode == OFlags::RDONLY => {
            "the descriptor was opened for reading alone; open it for writing, or give it to adopt_input"
        }
        _ => return Ok(()),
    }))
}

fn unfit(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Whether opening a descriptor's file once more gives the same object, which
/// is known of an anonymous pipe and of a terminal's own end. Opening
/// `/dev/ptmx` would give the master of another terminal, a FIFO forgets which
/// writers there were (fifo(7)), `/dev/tty` is the current terminal of the
/// process, and a network tunnel or an input device has separate state for each
/// open.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_the_same_again(descriptor: &OwnedFd, kind: FileType, device: u64) -> bool {
    /// statfs(2)
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    match kind {
        FileType::Fifo => rustix::fs::fstatfs(descriptor)
            .is_ok_and(|system| u64::try_from(system.f_type).is_ok_and(|magic| magic == PIPEFS_MAGIC)),
        // Virtual consoles (`/dev/tty1`; tty0 is the one that is shown), and
        // the slave ends of pseudoterminals (pts(4)).
        FileType::CharacterDevice => {
            matches!((rustix::fs::major(device), rustix::fs::minor(device)), (4, 1..=63) | (136..=143, _))
        }
        _ => false,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_the_same_again<T>(_: &OwnedFd, _: FileType, _: T) -> bool {
    false
}

/// Opens a descriptor's file a second time, in the same mode but non-blocking,
/// which is a property of the open file description, and other processes may
/// share that (open(2), "Open file descriptions").
#[cfg(any(target_os = "linux", target_os = "android"))]
fn reopen(descriptor: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    // `O_DIRECT` makes the open of a packet-mode pipe (pipe(2)) fail, for it
    // cannot be opened as one again.
    let same = flags.intersection(OFlags::RWMODE.union(OFlags::DIRECT));
    let flags = same.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn reopen(_: &OwnedFd, _: OFlags) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
