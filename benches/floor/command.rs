//! The least that running a command for a client can do: posix_spawn, a read
//! of all its output, a wait. (The standard library spawns with
//! posix_spawn(3) where nothing is to be done between fork and exec.) One
//! connection at a time; no limits, no time-out, nothing killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::Result;

/// Serves each line with `info|BYTES|STATUS`, a line end and the output, as
/// the service does.
pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let listener = super::blocking(listener)?;
    loop {
        let (socket, _) = listener.accept()?;
        let mut lines = BufReader::new(&socket);
        let mut line = String::new();
        let mut reply = Vec::new();
        while lines.read_line(&mut line)? > 0 {
            let mut output = Vec::new();
            let status = run(line.trim_end(), &mut output)?;
            reply.clear();
            writeln!(reply, "info|{}|{status}", output.len())?;
            reply.extend_from_slice(&output);
            (&socket).write_all(&reply)?;
            line.clear();
        }
    }
}

fn run(line: &str, output: &mut Vec<u8>) -> Result<i32> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(output)?;
    }
    let status = child.wait()?;
    Ok(status.code().or_else(|| status.signal()).unwrap_or(-1))
}
