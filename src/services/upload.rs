//! `Upload`: receives files of clients into one directory.

mod header;
#[cfg(feature = "workers")]
mod on_workers;
mod refusal;
mod store;
#[cfg(feature = "workers")]
mod work;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use self::header::Header;
use self::refusal::Refusal;
use self::store::{Incoming, Store, Stored};
#[cfg(feature = "workers")]
use self::work::AtWork;
use super::framing::{FIRST_REQUEST, Framing, Stream};
use super::http_guard::HttpGuard;
use crate::{
    AfterEof, BoxError, CloseReason, Deadline, Io, Limits, LogRate, Origin, Peer, Sent, StreamHandler,
    TimerId,
};

/// The most files finished in one callback; further ones wait until other
/// connections had their turn.
const AT_ONCE: usize = 16;

type OnFile = Box<dyn FnMut(&UploadedFile<'_>) + Send>;

/// Receives files into one directory (feature `upload`).
///
/// A client sends `post|SIZE|NAME` and a line end, 1,024 bytes at most, and
/// then SIZE bytes. The file appears under NAME when it is complete, at once
/// and whole, and the answer is `ok|SIZE|NAME`. Any number of files may follow
/// one another on a connection, and the client need not wait for the answers.
///
/// A refused file is answered with `err|REASON`, if possible before its data,
/// and the service closes the connection without losing that reply:
///
/// | REASON | what it means |
/// | --- | --- |
/// | `bad header` | it is not `post`, a decimal SIZE that fits 64 bits, and a NAME; or it is too long |
/// | `bad name` | empty, `.`, `..`, longer than 255 bytes, not UTF-8, or with `/`, `\` or a control character |
/// | `too large` | SIZE is over [`max`](Self::max) |
/// | `exists` | the name is taken, and [`overwrite`](Self::overwrite) is off, or a directory has it |
/// | `disk: …` | the system's reason |
///
/// A file that is cut off, by the end of the connection or by
/// [`stall`](Self::stall), leaves nothing behind. The service writes an
/// incoming file to a file `.upload-…` in the same directory, and holds at most
/// one read of it in memory. A process that is killed leaves that file.
///
/// # In chunks
///
/// With [`Framing::Chunk`] a header is the content of one read, without a line
/// end; the SIZE bytes follow, and the next read behind them is the next
/// header. This is for clients that send and never read: a received file gets
/// no answer. A refusal is answered with `err|REASON`, without a line end, as
/// the only sign for a client that calls `recv` in the end; sends of a client
/// that does not fail once [`Limits::linger`] is over.
///
/// # What it needs
///
/// Each incoming file needs a descriptor, beside that of its connection: for
/// many, lower [`Limits::max_connections`] or raise the process's limit.
///
/// Writes go through the system's cache; a disk that cannot keep up blocks the loop,
/// and so does [`sync`](Self::sync). With workers (feature `workers`,
/// `Reactor::set_workers`) both block a worker instead: the service gives it each file
/// piece by piece, reads a client no further until its piece is written, and keeps every
/// other promise.
///
/// # Trust
///
/// Where file sizes are limited (RLIMIT_FSIZE, setrlimit(2)), a write beyond
/// that raises SIGXFSZ, which ends the process by default.
/// [`Signals`](crate::Signals) makes the write fail instead, as `disk: …`; a
/// program without them has to install a handler itself, which may do nothing.
/// The library installs none unasked.
///
/// Every client that can connect may write, up to the last byte of the disk:
/// the service has no password, no quota, and no limit on the number of files.
/// Give it a file system or a quota of its own, and an address that only
/// trusted clients can reach. No name leads out of the directory, no link is
/// followed, and without `overwrite` nothing is replaced. Within the directory
/// a client chooses any name, hidden ones too, so choose a directory from which
/// nothing is run or configured.
///
/// ```
/// use serve_forever::services::Upload;
/// use serve_forever::{Config, Reactor};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let mut reactor = Reactor::new(Config::default())?;
/// let upload = Upload::into(directory)?
///     .max(100 << 20)
///     .on_file(|file| println!("{} sent {:?}, {} bytes", file.peer, file.name, file.size));
/// let upload = reactor.add(upload, Upload::limits())?;
/// reactor.listen(&upload, &"127.0.0.1:0".parse()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Upload {
    framing: Framing,
    store: Store,
    stall: Duration,
    on_file: Option<OnFile>,
    log: Rates,
}

/// The rates of log lines that clients can cause without a file.
#[derive(Debug, Default)]
struct Rates {
    disk: LogRate,
    refused: LogRate,
    http: LogRate,
    cut: LogRate,
}

/// A completely received file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct UploadedFile<'a> {
    /// Its sender.
    pub peer: &'a Peer,
    /// The name that the client gave: a file name, without control characters.
    pub name: &'a str,
    /// Its path.
    pub path: &'a Path,
    /// Its size in bytes.
    pub size: u64,
}

/// A client of an [`Upload`].
#[derive(Debug)]
pub struct Uploader {
    peer: Peer,
    /// The incoming file.
    incoming: Option<Incoming>,
    /// The timer to continue with buffered input.
    go_on: Option<TimerId>,
    /// The step that the workers take.
    #[cfg(feature = "workers")]
    at_work: Option<AtWork>,
}

/// The next step after as much input as possible was taken.
enum Then {
    /// Wait for more input.
    Wait,
    /// Wait until the client has taken its answers.
    Drain,
    /// Continue with buffered input, once other connections had their turn.
    GoOn,
}

impl Upload {
    /// Makes a service that receives files into `directory`.
    ///
    /// # Errors
    ///
    /// If the directory does not exist. The message names it.
    pub fn into(directory: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            framing: Framing::Lines,
            store: Store::open(directory.as_ref())?,
            stall: Duration::from_secs(60),
            on_file: None,
            log: Rates::default(),
        })
    }

    /// Sets the largest file, in bytes. Default 1 GiB.
    #[must_use]
    pub const fn max(mut self, bytes: u64) -> Self {
        self.store.max = bytes;
        self
    }

    /// Sets whether a file replaces one of the same name, in one step. A
    /// symbolic link is replaced, never followed; a directory never is. The new
    /// file has the permissions of a new file. Default `false`.
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.store.overwrite = overwrite;
        self
    }

    /// Sets whether the service syncs a file, and then its directory, to the
    /// disk before it answers, so that the file survives a loss of power. Without
    /// workers this blocks the loop, and with it all connections, for as long as the
    /// disk takes. Default `false`.
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.store.sync = sync;
        self
    }

    /// Sets the framing of headers. Default [`Framing::Lines`].
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Sets the time that a client may take for the next bytes of a file. After
    /// it the connection ends, and nothing remains of the file. The deadlines
    /// of [`Limits`] apply beside it: those of frames to headers, the idle
    /// deadline throughout. Default 60 s.
    #[must_use]
    pub const fn stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// Sets a function to call with each received file, before the client is
    /// answered. It blocks the loop while it runs.
    #[must_use]
    pub fn on_file(mut self, on_file: impl FnMut(&UploadedFile<'_>) + Send + 'static) -> Self {
        self.on_file = Some(Box::new(on_file));
        self
    }

    /// The proposed limits: the defaults, with 30 s for the first header, and
    /// with four times the read budget, so that a large file needs fewer waits
    /// for events between its reads.
    #[must_use]
    pub fn limits() -> Limits {
        let default = Limits::default();
        Limits { first_frame: Some(FIRST_REQUEST), read_budget: 4 * default.read_budget, ..default }
    }

    /// Takes input, on the workers if there are some.
    fn take_somewhere(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &mut BytesMut,
        stream: Stream,
    ) -> Result<Then, Refusal> {
        #[cfg(feature = "workers")]
        if io.has_workers() {
            return self.take_on_worker(io, client, input, stream).map(|()| Then::Wait);
        }
        self.take(io, client, input, stream)
    }

    /// Takes input: data of the incoming file, and the header of the next.
    fn take(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &mut BytesMut,
        stream: Stream,
    ) -> Result<Then, Refusal> {
        let header = match stream {
            Stream::Open => Header::next,
            Stream::Ended => Header::last,
        };
        for _ in 0..AT_ONCE {
            let incoming = match &mut client.incoming {
                Some(incoming) => incoming,
                None => match header(self.framing, input)? {
                    Some(header) => client.incoming.insert(self.store.begin(header)?),
                    None => return Ok(Then::Wait),
                },
            };
            input.advance(incoming.write(input)?);
            if incoming.left > 0 {
                return Ok(Then::Wait);
            }
            if self.finish(io, client)? == Sent::Full {
                return Ok(Then::Drain);
            }
        }
        Ok(if input.is_empty() { Then::Wait } else { Then::GoOn })
    }

    /// Finishes the incoming file, which is complete.
    fn finish(&mut self, io: &mut Io<'_>, client: &mut Uploader) -> Result<Sent, Refusal> {
        let Some(incoming) = client.incoming.take() else { return Ok(Sent::Queued) };
        let stored = self.store.finish(incoming)?;
        self.announce(&client.peer, &stored);
        Ok(self.answer(io, &stored))
    }

    /// Tells the program of a file that is complete.
    fn announce(&mut self, peer: &Peer, stored: &Stored) {
        let Stored { name, size, path } = stored;
        log::info!("{peer} sent {name:?}, {size} bytes");
        if let Some(on_file) = &mut self.on_file {
            on_file(&UploadedFile { peer, name, path, size: *size });
        }
    }

    /// Tells the client of a file that is complete.
    fn answer(&self, io: &mut Io<'_>, stored: &Stored) -> Sent {
        let Stored { name, size, .. } = stored;
        match self.framing {
            Framing::Lines => io.write(format!("ok|{size}|{name}\n").as_bytes()),
            Framing::Chunk => Sent::Queued,
        }
    }

    /// Answers with the reason of a refusal, and ends the connection.
    fn refuse(&mut self, io: &mut Io<'_>, client: &mut Uploader, refusal: &Refusal) {
        let (now, peer) = (io.now(), &client.peer);
        if let Refusal::Disk(error) = refusal {
            if let Some(more) = self.log.disk.allows(now) {
                log::error!("cannot take a file of {peer}: {error}{more}");
            }
        } else if let Some(more) = self.log.refused.allows(now) {
            log::info!("refused a file of {peer}: {refusal}{more}");
        }
        client.incoming = None;
        // A client whose output has ended needs no reason.
        io.reply(format!("err|{refusal}{}", self.framing.end()).as_bytes());
        io.close(io.id());
    }

    /// Drops the incoming file, if there is one. Its file is removed at once,
    /// so that nothing of it is left when the connection ends.
    fn give_up(&mut self, io: &Io<'_>, client: &mut Uploader, why: &dyn fmt::Display) {
        let came = client.incoming.take().map(|incoming| {
            let came = incoming.size - incoming.left;
            (incoming.name, incoming.size, came)
        });
        #[cfg(feature = "workers")]
        let came = came.or_else(|| client.at_work.take().map(|step| (step.name, step.size, step.came)));
        if let Some((name, size, came)) = came
            && let Some(more) = self.log.cut.allows(io.now())
        {
            let peer = &client.peer;
            log::info!("{peer} sent {came} of {size} bytes of {name:?}: {why}{more}");
        }
    }

    /// Updates the busy flag and the deadline, which belong to an incoming file.
    fn watch(&self, io: &mut Io<'_>, client: &Uploader) {
        // A shutdown waits for a busy connection.
        let is_incoming = client.incoming.is_some();
        #[cfg(feature = "workers")]
        let is_busy = is_incoming || client.at_work.is_some();
        #[cfg(not(feature = "workers"))]
        let is_busy = is_incoming;
        io.set_busy(io.id(), is_busy);
        io.set_deadline(io.id(), is_incoming.then_some(self.stall));
    }
}

impl StreamHandler for Upload {
    type Session = Uploader;

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<Uploader, BoxError> {
        Ok(Uploader {
            peer: origin.peer().clone(),
            incoming: None,
            go_on: None,
            #[cfg(feature = "workers")]
            at_work: None,
        })
    }

    fn data(&mut self, io: &mut Io<'_>, client: &mut Uploader, input: &mut BytesMut) -> Result<(), BoxError> {
        let is_http = client.incoming.is_none() && HttpGuard::default().is_http_chunk(input);
        match self.take_somewhere(io, client, input, Stream::Open) {
            Ok(Then::Wait) => {}
            Ok(Then::Drain) => io.pause(io.id()),
            Ok(Then::GoOn) => {
                io.pause(io.id());
                client.go_on = Some(io.after(Duration::ZERO)?);
            }
            Err(refusal) => {
                if is_http && let Some(more) = self.log.http.allows(io.now()) {
                    let peer = &client.peer;
                    log::warn!("{peer}: HTTP, of a web page perhaps: nothing is taken of it{more}");
                }
                self.refuse(io, client, &refusal);
            }
        }
        self.watch(io, client);
        Ok(())
    }

    /// Takes data of the incoming file without a copy, except its last piece.
    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        let is_within = |incoming: &&mut Incoming| incoming.left > input.len() as u64;
        #[cfg(feature = "workers")]
        if io.has_workers() {
            return Ok(0);
        }
        let Some(incoming) = client.incoming.as_mut().filter(is_within) else { return Ok(0) };
        if let Err(refusal) = incoming.write(input) {
            self.refuse(io, client, &refusal);
        }
        self.watch(io, client);
        Ok(input.len())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        if let Err(refusal) = self.take_somewhere(io, client, rest, Stream::Ended) {
            self.refuse(io, client, &refusal);
        }
        #[cfg(feature = "workers")]
        if client.at_work.is_some() {
            // The step ends the connection when it is taken, however long it takes.
            self.watch(io, client);
            return Ok(AfterEof::Stay);
        }
        self.give_up(io, client, &"the client ended its side");
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut Uploader) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, client: &mut Uploader, timer: TimerId) -> Result<(), BoxError> {
        if client.go_on != Some(timer) {
            return Ok(());
        }
        client.go_on = None;
        #[cfg(feature = "workers")]
        match self.give_again(io, client) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(refusal) => {
                self.refuse(io, client, &refusal);
                return Ok(());
            }
        }
        io.resume(io.id());
        Ok(())
    }

    /// Removes the incoming file before the client sees the end.
    fn last_word(&mut self, io: &mut Io<'_>, client: &mut Uploader, why: &CloseReason) {
        match why {
            CloseReason::TimedOut(Deadline::Handler) => {
                let stall = self.stall;
                self.give_up(io, client, &format_args!("no byte of its file for {stall:?}"));
            }
            _ => self.give_up(io, client, why),
        }
    }

    fn close(&mut self, io: &mut Io<'_>, mut client: Uploader, why: &CloseReason) {
        self.give_up(io, &mut client, why);
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { framing, store, stall, on_file: _, log: _ } = self;
        f.debug_struct("Upload")
            .field("framing", framing)
            .field("store", store)
            .field("stall", stall)
            .finish_non_exhaustive()
    }
}
