//! Files that clients send.

mod header;
mod refusal;
mod store;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use self::header::Header;
use self::refusal::Refusal;
use self::store::{Incoming, Store, Stored};
use super::framing::Framing;
use super::http_guard::HttpGuard;
use crate::{
    AfterEof, BoxError, CloseReason, Io, Limits, LogRate, Origin, Peer, Sent, StreamHandler, TimerId,
};

/// Files that are finished in one callback; with more in direct, the others have
/// their turn first.
const AT_ONCE: usize = 16;

type OnFile = Box<dyn FnMut(&UploadedFile<'_>) + Send>;

/// Receives files into one directory (feature `upload`).
///
/// A client sends `post|SIZE|NAME` and a line end, 1,024 bytes at most, and
/// then SIZE bytes. The file appears under NAME when it is complete, at once
/// and whole, and the answer is `ok|SIZE|NAME`. Any number of files may follow
/// one another on a connection, and the client need not wait for the answers.
///
/// What is not taken is answered with `err|REASON`, if possible before its
/// data, and the connection is closed without losing that reply:
///
/// | REASON | what it means |
/// | --- | --- |
/// | `bad header` | it is not `post`, a decimal SIZE that fits 64 bits, and a NAME; or it is too long |
/// | `bad name` | empty, `.`, `..`, longer than 255 bytes, not UTF-8, or with `/`, `\` or a control character |
/// | `too large` | SIZE is over [`max`](Self::max) |
/// | `exists` | the name is taken, and [`overwrite`](Self::overwrite) is off, or a directory has it |
/// | `disk: …` | the system's reason |
///
/// A file that is cut off, by the end of the connection or for want of a byte
/// in [`stall`](Self::stall), leaves nothing behind. While a file comes it is
/// written to a file `.upload-…` in the same directory, and no more of it than
/// one read is ever in memory. A process that is killed leaves that one.
///
/// # In chunks
///
/// With [`Framing::Chunk`] a header is what one read returned, without a line
/// end, the SIZE bytes follow, and what is read behind them is the next header.
/// It is for clients that send and never listen: nothing is answered to a file
/// that is taken. A refusal is still told, as `err|REASON` without a line end,
/// since a client of this kind that does call `recv` in the end has nothing
/// else to learn it from; to one that does not, its sending fails once
/// [`Limits::linger`] is over.
///
/// # What it needs
///
/// Each file under way has a descriptor, beside the one of its connection: with
/// many, lower [`Limits::max_connections`] or raise the process's limit. Writing
/// goes through the system's cache; a disk that does not keep up with it blocks
/// the loop, and so does [`sync`](Self::sync).
///
/// # Whom to trust
///
/// Where file sizes are limited (RLIMIT_FSIZE, setrlimit(2)), a write beyond
/// that raises SIGXFSZ, of which a process dies by default, and everybody with
/// it. [`Signals`](crate::Signals) has it fail instead, as `disk: …`; a program
/// without them installs a handler itself, which may do nothing. The library
/// installs none unasked.
///
/// Everybody who can connect may write, up to the last byte of the disk: there
/// is no password, no quota, no limit on the number of files. Give it a file
/// system or a quota of its own, and an address that only the right people can
/// reach. No name leads out of the directory, no link is followed, and without
/// `overwrite` nothing is replaced; but within it a client chooses any name,
/// hidden ones too, so let it be one that nothing is run or configured from.
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

/// For each kind of line that strangers can cause, and that tells of no file.
#[derive(Debug, Default)]
struct Rates {
    disk: LogRate,
    refused: LogRate,
    http: LogRate,
    cut: LogRate,
}

/// A file that has come whole.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct UploadedFile<'a> {
    /// Who sent it.
    pub peer: &'a Peer,
    /// What the client called it: a file name, without control characters.
    pub name: &'a str,
    /// Where it is now.
    pub path: &'a Path,
    /// Its size in bytes.
    pub size: u64,
}

/// A client of an [`Upload`].
#[derive(Debug)]
pub struct Uploader {
    peer: Peer,
    /// What it is sending.
    incoming: Option<Incoming>,
    /// When to look whether one has; it may outlive a file.
    look: Option<TimerId>,
    /// When to go on with what has come already.
    go_on: Option<TimerId>,
}

/// What follows when all that can be has been taken of what has come.
enum Then {
    /// More has to come.
    Wait,
    /// The client has to take its answers.
    Drain,
    /// There is more in direct, when others have had their turn.
    GoOn,
}

impl Upload {
    /// Receives lines and files into `directory`.
    ///
    /// # Errors
    ///
    /// If there is no such directory. The message names it.
    pub fn into(directory: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            framing: Framing::Lines,
            store: Store::open(directory.as_ref())?,
            stall: Duration::from_secs(60),
            on_file: None,
            log: Rates::default(),
        })
    }

    /// The largest file, in bytes. Default 1 GiB.
    #[must_use]
    pub const fn max(mut self, bytes: u64) -> Self {
        self.store.max = bytes;
        self
    }

    /// Whether a file replaces one that has its name, in one step. A symbolic
    /// link is replaced, never followed; a directory never is. The new file
    /// has the permissions of a new file. Default `false`.
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.store.overwrite = overwrite;
        self
    }

    /// Whether a file, and then its name, is written to the disk itself before
    /// it is answered, so that it survives a loss of power. This stalls the
    /// loop, and with it everybody, for as long as the disk takes. Default
    /// `false`.
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.store.sync = sync;
        self
    }

    /// How a header ends. Default [`Framing::Lines`].
    #[must_use]
    pub const fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// How long a client may take for the next bytes of a file. After that its
    /// connection ends, and nothing remains of the file. The deadlines of
    /// [`Limits`] hold beside it: those of frames for headers, that of idling
    /// throughout. Default 60 s.
    #[must_use]
    pub const fn stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// Calls this with each file that has come, before the client is answered.
    /// While it runs, nothing else does.
    #[must_use]
    pub fn on_file(mut self, on_file: impl FnMut(&UploadedFile<'_>) + Send + 'static) -> Self {
        self.on_file = Some(Box::new(on_file));
        self
    }

    /// The limits proposed for it: the defaults, with four times the read
    /// budget, so that a large file is not a wait for events between any two
    /// reads.
    #[must_use]
    pub fn limits() -> Limits {
        let default = Limits::default();
        Limits { read_budget: 4 * default.read_budget, ..default }
    }

    /// Takes what has come: data of the file under way, the header of the next.
    /// `is_last` says that nothing will come behind it.
    fn take(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &mut BytesMut,
        is_last: bool,
    ) -> Result<Then, Refusal> {
        for _ in 0..AT_ONCE {
            let incoming = match &mut client.incoming {
                Some(incoming) => incoming,
                None => match Header::take(self.framing, input, is_last)? {
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

    /// The file under way has come whole.
    fn finish(&mut self, io: &mut Io<'_>, client: &mut Uploader) -> Result<Sent, Refusal> {
        let Some(incoming) = client.incoming.take() else { return Ok(Sent::Queued) };
        let Stored { name, size, path } = self.store.finish(incoming)?;
        log::info!("{} sent {name:?}, {size} bytes", client.peer);
        if let Some(on_file) = &mut self.on_file {
            on_file(&UploadedFile { peer: &client.peer, name: &name, path: &path, size });
        }
        Ok(match self.framing {
            Framing::Lines => io.write(format!("ok|{size}|{name}\n").as_bytes()),
            Framing::Chunk => Sent::Queued,
        })
    }

    /// Says why, and takes nothing more.
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
        // A client that takes no output any more needs no reason either.
        let _ = io.write(format!("err|{refusal}{}", self.framing.end()).as_bytes());
        io.close(io.id());
    }

    /// Nothing more will come of the file under way, if there is one. It is
    /// removed at once: who sees the connection end finds nothing of it.
    fn give_up(&mut self, io: &Io<'_>, client: &mut Uploader, why: &dyn fmt::Display) {
        if let Some(Incoming { name, size, left, .. }) = client.incoming.take()
            && let Some(more) = self.log.cut.allows(io.now())
        {
            let (came, peer) = (size - left, &client.peer);
            log::info!("{peer} sent {came} of {size} bytes of {name:?}: {why}{more}");
        }
    }

    /// Sees to what holds while a file is under way and not otherwise.
    fn watch(&self, io: &mut Io<'_>, client: &mut Uploader) -> Result<(), BoxError> {
        // A shutdown is to wait for it as well.
        io.set_busy(io.id(), client.incoming.is_some());
        if client.incoming.is_some() && client.look.is_none() {
            client.look = Some(io.after(self.stall)?);
        }
        Ok(())
    }
}

impl StreamHandler for Upload {
    type Session = Uploader;

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<Uploader, BoxError> {
        let peer = origin.peer().clone();
        Ok(Uploader { peer, incoming: None, look: None, go_on: None })
    }

    fn data(&mut self, io: &mut Io<'_>, client: &mut Uploader, input: &mut BytesMut) -> Result<(), BoxError> {
        let is_http = client.incoming.is_none() && HttpGuard::default().is_http_chunk(input);
        match self.take(io, client, input, false) {
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
        self.watch(io, client)
    }

    /// Data of the file under way, but for its last piece: most of a large one.
    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        let is_within = |incoming: &&mut Incoming| incoming.left > input.len() as u64;
        let Some(incoming) = client.incoming.as_mut().filter(is_within) else { return Ok(0) };
        if let Err(refusal) = incoming.write(input) {
            self.refuse(io, client, &refusal);
            self.watch(io, client)?;
        }
        Ok(input.len())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        if let Err(refusal) = self.take(io, client, rest, true) {
            self.refuse(io, client, &refusal);
        }
        self.give_up(io, client, &"the client ended its side");
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut Uploader) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, client: &mut Uploader, timer: TimerId) -> Result<(), BoxError> {
        if client.go_on == Some(timer) {
            client.go_on = None;
            io.resume(io.id());
            return Ok(());
        }
        client.look = None;
        if client.incoming.is_some() {
            let silent = io
                .last_activity(io.id())
                .map_or(Duration::ZERO, |last| io.now().saturating_duration_since(last));
            let Some(left) = self.stall.checked_sub(silent).filter(|left| !left.is_zero()) else {
                let why = format!("no byte of its file for {silent:.1?}");
                self.give_up(io, client, &why);
                return Err(why.into());
            };
            client.look = Some(io.after(left)?);
        }
        Ok(())
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
