//! Standard output to its last byte: what was not written is told.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process;

/// Ends the process as clap does, but for help that cannot be written: that is
/// an error, too.
pub(crate) fn leave(error: &clap::Error) -> ! {
    let written = error.print().and_then(|()| all_is_written());
    match written {
        Err(why) if !error.use_stderr() => {
            // Whether anybody reads it changes nothing.
            let _ = writeln!(io::stderr(), "standard output: {why}");
            process::exit(1)
        }
        _ => process::exit(error.exit_code()),
    }
}

/// Whether all that went to standard output has got there: some file systems
/// tell only at the end (close(2)).
pub(crate) fn all_is_written() -> io::Result<()> {
    io::stdout().flush()?;
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(copy) => Ok(nix::unistd::close(copy)?),
        // It was closed from the start, and nothing was asked of it.
        Err(_) => Ok(()),
    }
}
