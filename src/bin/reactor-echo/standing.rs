//! What a program that serves has to say before it does.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long somebody who reads standard output may take for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says it on standard output. Who does not read that keeps nobody waiting:
/// it is read later, or never.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn say(text: String) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    // It ends with its last word, or with the program.
    thread::Builder::new().name("standing".to_owned()).spawn(move || {
        let mut stdout = io::stdout().lock();
        // Who asked may have gone on.
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
