//! `Upload`: a subject that receives files (feature `upload`).

#[cfg(feature = "workers")]
mod on_workers;

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use tempfile::TempDir;

#[cfg(feature = "workers")]
pub use self::on_workers::OnWorkers;
use super::log::Life;
use super::subject::Subject;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::services;
use crate::{AfterEof, BoxError, CloseReason, Io, Limits, Origin, StreamHandler, TimerId};

/// The time of [`services::Upload::stall`] by default.
const STALL: Duration = Duration::from_secs(60);

type Uploader = <services::Upload as StreamHandler>::Session;

/// [`services::Upload`], into a temporary directory of each run: at the end
/// every file in it equals, byte for byte, a file that a client has sent whole,
/// and nothing is left of files that were cut.
///
/// The directory is real, so a run takes longer than others; the trace does not
/// include it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upload;

/// The handler of [`Upload`], and its directory.
#[derive(Debug)]
pub struct UploadHandler {
    upload: services::Upload,
    directory: TempDir,
    /// The names of the files that were stored.
    stored: mpsc::Receiver<String>,
    is_shutting_down: bool,
}

impl Subject for Upload {
    type Handler = UploadHandler;

    /// # Panics
    ///
    /// If the system refuses a temporary directory.
    fn handler(&self) -> UploadHandler {
        let directory = tempfile::tempdir().expect("temporary directories can be made");
        let (announce, stored) = mpsc::channel();
        let upload = services::Upload::into(directory.path()).expect("it was just made");
        let upload = upload.on_file(move |file| {
            // The handler has the other end.
            let _ = announce.send(file.name.to_owned());
        });
        UploadHandler { upload, directory, stored, is_shutting_down: false }
    }

    fn limits(&self) -> Limits {
        services::Upload::limits()
    }

    /// Files of all sizes. The last one may be refused, or incomplete.
    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let post = |rng: &mut Rng, name: &str, size: usize| {
            let content = (0..size).map(|_| rng.draw().to_le_bytes()[0]);
            [format!("post|{size}|{name}\n").into_bytes(), content.collect()].concat()
        };
        let mut number = 0;
        while bytes.len() < len {
            let most = [0, 1, 64, 4096][rng.size(0, 3)];
            let size = rng.size(0, most.min(len));
            bytes.extend(post(rng, &format!("{client}-{number}"), size));
            number += 1;
        }
        if number > 0 {
            let size = rng.size(1, 100);
            match rng.below(8) {
                0 => bytes.extend(post(rng, &format!("{client}-0"), size)),
                1 => bytes.extend(post(rng, "../outside", size)),
                2 => bytes.extend(b"get|me\n"),
                3 => {
                    let last = post(rng, "cut", size);
                    bytes.extend(&last[..rng.size(1, last.len() - 1)]);
                }
                _ => {}
            }
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let expected = Taken::of(seen.sent(), Stream::Ended).replies;
        let received = String::from_utf8_lossy(seen.received());
        if !expected.starts_with(&*received) || whole && expected != *received {
            return Err(format!("client {client} was answered {received:?}, not {expected:?}"));
        }
        Ok(())
    }

    fn check_handler(&self, handler: &UploadHandler, lives: &[Life]) -> Result<(), String> {
        let mut expected = BTreeMap::new();
        for life in lives {
            let left = if life.saw_eof() { 0 } else { life.left().len() };
            let stream = if life.saw_eof() { Stream::Ended } else { Stream::Open };
            let taken = &life.input()[..life.input().len() - left];
            expected.extend(Taken::of(taken, stream).files);
        }
        let found = contents(&handler.directory).map_err(|error| error.to_string())?;
        if let Some(name) = handler.stored.try_iter().find(|name| !found.contains_key(name)) {
            return Err(format!("{name} was stored, and is not there"));
        }
        for name in found.keys().chain(expected.keys()) {
            let sizes = (found.get(name).map(Vec::len), expected.get(name).map(Vec::len));
            match sizes {
                (Some(_), None) => return Err(format!("{name} is left, of which not all was taken")),
                (None, _) => return Err(format!("{name} was taken, and is not there")),
                _ if found.get(name) != expected.get(name) => {
                    return Err(format!("{name} is not what was sent: its size and that are {sizes:?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The handler does not wait for its answers, which may overflow.
    fn may_overflow(&self) -> bool {
        true
    }

    fn own_deadline(&self) -> Option<Duration> {
        Some(STALL)
    }
}

/// The files of a directory.
fn contents(directory: &TempDir) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(found)
}

/// Whether more can follow the bytes that have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Open,
    Ended,
}

/// The expected outcome of a stream.
#[derive(Debug, Default)]
struct Taken {
    files: BTreeMap<String, Vec<u8>>,
    replies: String,
}

impl Taken {
    /// Parses the bytes of a stream.
    fn of(mut bytes: &[u8], stream: Stream) -> Self {
        let mut taken = Self::default();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let header = match end {
                Some(end) => &bytes[..end],
                None if stream == Stream::Ended => bytes,
                None => break,
            };
            bytes = &bytes[header.len() + usize::from(end.is_some())..];
            match taken.begin(&String::from_utf8_lossy(header)) {
                Ok((name, size)) if size <= bytes.len() => {
                    taken.replies += &format!("ok|{size}|{name}\n");
                    taken.files.insert(name, bytes[..size].to_vec());
                    bytes = &bytes[size..];
                }
                Ok(_) => break,
                Err(reason) => {
                    taken.replies += &format!("err|{reason}\n");
                    break;
                }
            }
        }
        taken
    }

    fn begin(&self, header: &str) -> Result<(String, usize), &'static str> {
        let (size, name) =
            header.strip_prefix("post|").and_then(|rest| rest.split_once('|')).ok_or("bad header")?;
        let size = size.parse().map_err(|_| "bad header")?;
        if name.is_empty() || name.contains('/') {
            return Err("bad name");
        }
        if self.files.contains_key(name) { Err("exists") } else { Ok((name.into(), size)) }
    }
}

impl StreamHandler for UploadHandler {
    type Session = Uploader;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Uploader, BoxError> {
        self.upload.open(io, origin)
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Uploader,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        self.upload.data(io, session, input)
    }

    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Uploader,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        self.upload.data_in_place(io, session, input)
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Uploader,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        self.upload.eof(io, session, rest)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut Uploader) -> Result<(), BoxError> {
        self.upload.drained(io, session)
    }

    fn timer(&mut self, io: &mut Io<'_>, session: &mut Uploader, timer: TimerId) -> Result<(), BoxError> {
        self.upload.timer(io, session, timer)
    }

    fn last_word(&mut self, io: &mut Io<'_>, session: &mut Uploader, why: &CloseReason) {
        self.upload.last_word(io, session, why);
    }

    fn close(&mut self, io: &mut Io<'_>, session: Uploader, why: &CloseReason) {
        self.upload.close(io, session, why);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.is_shutting_down = true;
        self.upload.shutting_down(io);
    }

    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        session: Option<&mut Uploader>,
        done: crate::JobDone,
    ) -> Result<(), BoxError> {
        self.upload.job_done(io, session, done)
    }
}
