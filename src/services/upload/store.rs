//! `Store`: the directory that files are received into, under temporary names
//! first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::header::Header;
use super::refusal::Refusal;

/// The prefix of a file's name while it is received; a random part follows.
const PREFIX: &str = ".upload-";

/// The length of the random part, too long to be guessed: a client that knew
/// the name could upload over the file.
const RANDOM: usize = 20;

/// A directory, and the limits of its files.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
    pub(super) max: u64,
    pub(super) overwrite: bool,
    pub(super) sync: bool,
}

/// A file that is being received. Dropping it without
/// [finishing](Store::finish) it removes it.
#[derive(Debug)]
pub(super) struct Incoming {
    file: NamedTempFile,
    pub(super) name: String,
    pub(super) size: u64,
    /// The bytes that are still to come.
    pub(super) left: u64,
}

/// A complete file under its own name.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) path: PathBuf,
}

impl Store {
    /// Opens the directory that is at this path now, also for after a change of
    /// directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let found = fs::canonicalize(directory).and_then(|path| match fs::metadata(&path)?.is_dir() {
            true => Ok(path),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        let directory = found.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "cannot upload into {}: {error}; give a directory that is there",
                    directory.display()
                ),
            )
        })?;
        Ok(Self { directory, max: 1 << 30, overwrite: false, sync: false })
    }

    /// Begins to receive a file, unless it is refused.
    pub(super) fn begin(&self, header: Header) -> Result<Incoming, Refusal> {
        let Header { size, name } = header;
        if size > self.max {
            return Err(Refusal::TooLarge);
        }
        // The check does not follow links: a link counts as a file, wherever it
        // leads.
        match fs::symlink_metadata(self.path(&name)) {
            Ok(found) if found.is_dir() || !self.overwrite => return Err(Refusal::Exists),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Refusal::Disk(error)),
        }
        let file = self.make_file().map_err(Refusal::Disk)?;
        Ok(Incoming { file, name, size, left: size })
    }

    /// Gives a complete file its name.
    pub(super) fn finish(&self, incoming: Incoming) -> Result<Stored, Refusal> {
        let Incoming { file, name, size, .. } = incoming;
        let path = self.path(&name);
        if self.sync {
            file.as_file().sync_all().map_err(Refusal::Disk)?;
        }
        // Both calls are atomic: they notice a file that was put there after
        // this one began.
        let named = if self.overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        if let Err(failed) = named {
            return Err(match failed.error.kind() {
                io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => Refusal::Exists,
                _ => Refusal::Disk(failed.error),
            });
        }
        if self.sync {
            // The directory holds the name.
            File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(Refusal::Disk)?;
        }
        Ok(Stored { name, size, path })
    }

    /// Makes an empty file under a temporary name.
    fn make_file(&self) -> io::Result<NamedTempFile> {
        // The system's own error: the wrapped one names the path.
        let mut reason = None;
        let make = |path: &Path| {
            // The umask applies to this mode, as to any other new file's.
            let made = OpenOptions::new().write(true).create_new(true).mode(0o666).open(path);
            made.inspect_err(|error| reason = error.raw_os_error())
        };
        let made = tempfile::Builder::new().prefix(PREFIX).rand_bytes(RANDOM).make_in(&self.directory, make);
        made.map_err(|error| reason.map_or(error, io::Error::from_raw_os_error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Incoming {
    /// Writes the part of `input` that belongs to this file, and returns its
    /// length.
    pub(super) fn write(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.file.as_file_mut().write_all(&input[..count]).map_err(Refusal::Disk)?;
        self.left -= count as u64;
        Ok(count)
    }
}
