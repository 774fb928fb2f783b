//! The file to send, read piece by piece.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

use tempfile::SpooledTempFile;

use crate::Framing;

/// Files that say to be larger are taken at their word. The rest is read before
/// its size is announced: what is in /proc and /sys has another one than it
/// says (proc(5)).
const SMALL: u64 = 1 << 20;

/// How much of a file that says to be small is read, in memory as far as it is,
/// beyond that into a temporary file.
const MOST: u64 = 1 << 30;

/// A file that is to be sent.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// What the server will call it.
    pub(crate) name: String,
    /// Its size when the program started, for the progress bar.
    pub(crate) size: u64,
}

impl Source {
    /// Looks whether it can be sent at all.
    pub(crate) fn new(path: &Path, framing: Framing) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{}: {why}", shown(path)));
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) => return bad(&error.to_string()),
        };
        if !found.is_file() {
            return bad("it is no regular file");
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return bad("its name is not UTF-8, which no server could tell from another name");
        };
        // In a header, a line end would be its end.
        if name.contains(char::is_control) {
            return bad("its name has control characters, which no server takes");
        }
        if framing == Framing::Chunk && name.trim_ascii_end() != name {
            return bad("its name ends with a space, which is lost in chunks");
        }
        Ok(Self { path: path.to_owned(), name: name.to_owned(), size: found.len() })
    }

    /// Opens it, with the size that it has now.
    pub(crate) fn open(&self) -> Result<Reading, String> {
        let open = || {
            let file = File::open(&self.path)?;
            let size = file.metadata()?.len();
            if size > SMALL {
                return Ok((size, Content::File(file)));
            }
            let mut copy = SpooledTempFile::new(SMALL as usize);
            let size = io::copy(&mut file.take(MOST + 1), &mut copy)?;
            copy.rewind()?;
            Ok((size, Content::Copy(copy)))
        };
        match open() {
            Ok((size, Content::Copy(_))) if size > MOST => {
                Err(format!("it says to be small, and has more than {MOST} bytes to be read"))
            }
            Ok((size, content)) => Ok(Reading { content, size, left: size }),
            Err(error) => Err(io::Error::to_string(&error)),
        }
    }

    /// What it is called on this side, fit for a terminal.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Reading {
    content: Content,
    pub(crate) size: u64,
    left: u64,
}

#[derive(Debug)]
enum Content {
    File(File),
    /// All of it, as it was at one time.
    Copy(SpooledTempFile),
}

impl Reading {
    /// True when all of it has been read.
    pub(crate) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Reads the next piece; fails before the last byte has been given out if
    /// the file has not the size that was announced.
    pub(crate) fn piece<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8], String> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let piece = &mut buffer[..wanted];
        let read = match &mut self.content {
            Content::File(file) => file.read_exact(piece),
            Content::Copy(copy) => copy.read_exact(piece),
        };
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof if self.size_now() != self.size => self.changed(),
            ErrorKind::UnexpectedEof => {
                format!("it ended before the {} bytes that it says to have", self.size)
            }
            _ => error.to_string(),
        })?;
        self.left -= wanted as u64;
        if self.is_done() && self.size_now() != self.size {
            return Err(self.changed());
        }
        Ok(piece)
    }

    fn size_now(&self) -> u64 {
        match &self.content {
            Content::File(file) => file.metadata().map_or(self.size, |now| now.len()),
            Content::Copy(_) => self.size,
        }
    }

    fn changed(&self) -> String {
        format!("its size changed from {} to {} bytes while it was sent", self.size, self.size_now())
    }
}
