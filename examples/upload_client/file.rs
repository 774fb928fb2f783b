//! What is sent: files, read piece by piece.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::Framing;

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
        let opened = File::open(&self.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (size, file) = opened.map_err(|error| error.to_string())?;
        Ok(Reading { file, size, left: size })
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
    file: File,
    pub(crate) size: u64,
    left: u64,
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
        self.file.read_exact(piece).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.changed(),
            _ => error.to_string(),
        })?;
        self.left -= wanted as u64;
        let now = self.file.metadata().map_or(self.size, |now| now.len());
        if self.is_done() && now != self.size {
            return Err(self.changed());
        }
        Ok(piece)
    }

    fn changed(&self) -> String {
        let now = self.file.metadata().map_or_else(|error| error.to_string(), |now| now.len().to_string());
        format!("its size changed from {} to {now} bytes while it was sent", self.size)
    }
}
