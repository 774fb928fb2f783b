//! The least that receiving a file can do: blocking reads of at most 64 KiB,
//! and a write of each into the file. One connection at a time; no check of
//! the name, no temporary file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use super::Result;

/// The most that is read at once.
const PIECE: usize = 64 << 10;

pub(crate) fn serve(listener: TcpListener, into: &Path) -> Result<()> {
    let mut piece = vec![0; PIECE];
    serve_with(listener, into, |socket, file, mut left| {
        while left > 0 {
            let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let count = (&*socket).read(&mut piece[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (&*file).write_all(&piece[..count])?;
            left -= count as u64;
        }
        Ok(())
    })
}

/// Serves `post|SIZE|NAME`, a line end and SIZE bytes, with `ok|SIZE|NAME`.
/// What has come with the header is written here, the rest by `receive`.
pub(super) fn serve_with(
    listener: TcpListener,
    into: &Path,
    mut receive: impl FnMut(&TcpStream, &File, u64) -> io::Result<()>,
) -> Result<()> {
    let listener = super::blocking(listener)?;
    loop {
        let (socket, _) = listener.accept()?;
        let mut input = BufReader::with_capacity(1024, &socket);
        let mut header = String::new();
        while input.read_line(&mut header)? > 0 {
            let mut parts = header.trim_end().split('|').skip(1);
            let (Some(size), Some(name)) = (parts.next(), parts.next()) else {
                return Err("this header is not of the kind that the load sends".into());
            };
            let size: u64 = size.parse()?;
            let file = File::create(into.join(name))?;
            let came = usize::try_from(size).map_or(usize::MAX, |size| size).min(input.buffer().len());
            (&file).write_all(&input.buffer()[..came])?;
            input.consume(came);
            receive(&socket, &file, size - came as u64)?;
            (&socket).write_all(format!("ok|{size}|{name}\n").as_bytes())?;
            header.clear();
        }
    }
}
