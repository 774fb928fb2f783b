//! Teaches: files, and back-pressure by `is_full`. A line names a file of one
//! directory; the answer is its size, a line end, and its bytes.
//!
//! ```text
//! cargo run --example download -- 127.0.0.1:7000 /srv/files
//! printf 'film.mkv\n' | nc -N 127.0.0.1 7000 | tail -c +2
//! ```
//!
//! The bytes go from the file to the socket without passing through this process.
//! A file that is cut while it is sent ends the connection with a reset.

use std::env;
use std::fs::File;
use std::path::PathBuf;

use bytes::BytesMut;
use serve_forever::{BoxError, Config, Io, Limits, Origin, Reactor, StreamHandler};

pub(crate) struct Download {
    pub(crate) directory: PathBuf,
}

impl Download {
    /// A file of the directory, and its size. No name leads out of it.
    fn open_file(&self, name: &str) -> Result<(File, u64), BoxError> {
        if name.contains(['/', '\0']) || name.starts_with('.') {
            return Err("no such name".into());
        }
        let file = File::open(self.directory.join(name))?;
        let metadata = file.metadata()?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err("no file".into()) }
    }
}

impl StreamHandler for Download {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            if io.is_full(io.id()) {
                io.pause(io.id()); // the next file when this one is nearly out
                break;
            }
            let line = input.split_to(end + 1);
            match self.open_file(std::str::from_utf8(line.trim_ascii())?) {
                Ok((file, size)) => {
                    io.reply(format!("{size}\n").as_bytes());
                    let _ = io.send_file(io.id(), file, 0..size)?; // `is_full` says the same
                }
                Err(error) => io.reply(format!("! {error}\n").as_bytes()),
            }
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let (Some(at), Some(directory)) = (args.next(), args.next()) else {
        return Err("usage: download ENDPOINT DIRECTORY".into());
    };
    let mut reactor = Reactor::new(Config::default())?;
    let download = reactor.add(Download { directory: directory.into() }, Limits::default())?;
    let listener = reactor.listen(&download, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
