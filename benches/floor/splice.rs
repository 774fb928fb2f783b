//! Receiving a file without its bytes ever coming into the process: by
//! splice(2), from the socket into a pipe, from the pipe into the file.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

use super::Result;

/// The most that is moved at once, and the size of the pipe: what everybody
/// may have (`/proc/sys/fs/pipe-max-size`, pipe(7)).
const PIPE: usize = 1 << 20;

pub(crate) fn serve(listener: TcpListener, into: &Path) -> Result<()> {
    let (read, write) = pipe()?;
    let size = fcntl_setpipe_size(&write, PIPE)?;
    super::upload::serve_with(listener, into, |socket, file, mut left| {
        while left > 0 {
            let most = usize::try_from(left).map_or(size, |left| left.min(size));
            let count = splice(socket, None, &write, None, most, SpliceFlags::MOVE)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut inside = count;
            while inside > 0 {
                inside -= splice(&read, None, file, None, inside, SpliceFlags::MOVE)?;
            }
            left -= count as u64;
        }
        Ok(())
    })
}
