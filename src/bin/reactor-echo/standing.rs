//! Announcement of a server on standard output, before it serves.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PIPE_BUF;

/// The time that a reader of standard output may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes `text` to standard output, and waits for a slow reader no longer than
/// `PATIENCE`. If the stream has room, no thread is needed, and a program of
/// one thread waits for events with fewer instructions (glibc makes every wait
/// a cancellation point as soon as there are two threads).
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn say(text: String) -> io::Result<()> {
    if text.len() <= PIPE_BUF && has_room() {
        let mut stdout = io::stdout().lock();
        return stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
    let (tell, told) = mpsc::channel();
    // The thread ends with its write, or with the program.
    thread::Builder::new().name("standing".to_owned()).spawn(move || {
        let mut stdout = io::stdout().lock();
        // The caller may have gone on.
        let _ = tell.send(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    })?;
    match told.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            log::warn!("nobody reads standard output, which says where this listens");
            Ok(())
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it was not written")),
    }
}

/// Whether standard output takes as much as a pipe takes at once (pipe(7)).
fn has_room() -> bool {
    let stdout = io::stdout();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1) && fds[0].revents().contains(PollFlags::OUT)
}
