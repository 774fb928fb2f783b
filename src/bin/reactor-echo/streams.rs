//! End of standard output: reports what could not be written.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process;

/// Ends the process as clap does, but for help that cannot be written: that is
/// an error, too.
pub(crate) fn leave(error: &clap::Error) -> ! {
    let written = error.print().and_then(|()| all_is_written());
    match written {
        Err(why) if !error.use_stderr() => {
            // The program goes on without a reader.
            let _ = writeln!(io::stderr(), "standard output: {why}");
            process::exit(1)
        }
        _ => process::exit(error.exit_code()),
    }
}

/// Checks that all of standard output was written: some file systems report
/// errors only at the close (close(2)).
pub(crate) fn all_is_written() -> io::Result<()> {
    io::stdout().flush()?;
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(copy) => Ok(nix::unistd::close(copy)?),
        // The stream was closed from the start.
        Err(_) => Ok(()),
    }
}
