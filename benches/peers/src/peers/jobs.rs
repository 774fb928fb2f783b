//! An echo whose server has jobs done on two threads beside it: by our workers, by tokio's
//! `spawn_blocking`, and by libuv's `uv_queue_work`, in C.
//!
//! A connection whose first bytes are a whole message has all of them back. Of any other,
//! each byte asks for a job of 5 ms, and comes back when that is done.

use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use bytes::BytesMut;
use rustix::time::{ClockId, clock_gettime};
use serve_forever::{Config, Io, Limits, Origin, Reactor, StreamHandler, WorkerOptions, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::announce;
use crate::Result;

/// The time of a job.
pub(crate) const WORK: Duration = Duration::from_millis(5);

/// The threads for jobs.
const THREADS: usize = 2;

/// Asks for a job that waits.
pub(crate) const SLEEPS: u8 = b's';

/// Asks for a job that computes.
pub(crate) const COMPUTES: u8 = b'c';

/// The bytes of a message; fewer at first ask for jobs.
const MESSAGE: usize = 64;

const BUFFER: usize = 16 << 10;

/// A job.
fn work(kind: u8) -> u8 {
    if kind == COMPUTES {
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
        };
        let until = now() + WORK;
        while now() < until {
            std::hint::black_box((0..1000_u64).fold(0, u64::wrapping_add));
        }
    } else {
        sleep(WORK);
    }
    kind
}

/// What a connection is for, once its first bytes have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Messages,
    Jobs,
}

impl For {
    const fn of(first: usize) -> Self {
        if first < MESSAGE { Self::Jobs } else { Self::Messages }
    }
}

struct Ours;

impl StreamHandler for Ours {
    type Session = Option<For>;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<Option<For>> {
        Ok(None)
    }

    fn data(&mut self, io: &mut Io<'_>, session: &mut Option<For>, input: &mut BytesMut) -> Result<()> {
        if *session.get_or_insert(For::of(input.len())) == For::Messages {
            io.reply_buf(input);
            return Ok(());
        }
        for kind in input.split() {
            io.offload(
                move || work(kind),
                |_: &mut Self, io, _, kind| {
                    io.reply(&[kind?]);
                    Ok(())
                },
            )?;
        }
        Ok(())
    }
}

pub(super) fn ours() -> Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    let options = WorkerOptions { threads: THREADS, nice: 10, ..WorkerOptions::default() };
    reactor.set_workers(&Workers::new(options)?);
    let service = reactor.add(Ours, Limits::default())?;
    let listener = reactor.listen(&service, &"127.0.0.1:0".parse()?)?;
    if let Some(serve_forever::Endpoint::Tcp(address)) = reactor.local(listener) {
        announce(*address);
    }
    Ok(reactor.serve_forever()?)
}

pub(super) fn tokio(listener: TcpListener) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().max_blocking_threads(THREADS).build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(serve(stream));
        }
    })
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let first = stream.read(&mut buffer).await?;
    if For::of(first) == For::Messages {
        stream.write_all(&buffer[..first]).await?;
        while let count @ 1.. = stream.read(&mut buffer).await? {
            stream.write_all(&buffer[..count]).await?;
        }
        return Ok(());
    }
    let (mut input, mut output) = stream.into_split();
    let (done, mut results) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        while let Some(kind) = results.recv().await {
            if output.write_all(&[kind]).await.is_err() {
                return;
            }
        }
    });
    let done = Rc::new(done);
    let mut count = first;
    while count > 0 {
        for kind in buffer[..count].iter().copied() {
            let done = Rc::clone(&done);
            tokio::task::spawn_local(async move {
                if let Ok(kind) = tokio::task::spawn_blocking(move || work(kind)).await {
                    // The writer ends with its connection.
                    let _ = done.send(kind);
                }
            });
        }
        count = input.read(&mut buffer).await?;
    }
    Ok(())
}

/// The same in C, and how to make a program of it.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peers/uv_jobs.c");

/// Whether there is a C compiler that finds libuv (Debian: `libuv1-dev`).
pub(crate) fn has_libuv() -> bool {
    let mut command = Command::new("cc");
    command.args(["-luv", "-fsyntax-only", SOURCE]);
    command.output().is_ok_and(|output| output.status.success())
}

/// Becomes the program, once it is compiled.
pub(super) fn libuv() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("uv_jobs");
    let made = Command::new("cc").args(["-O2", "-o"]).arg(&program).args([SOURCE, "-luv"]).output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    // The file may go as soon as the program runs: the child removes it.
    let mut command = Command::new(&program);
    command.env("UV_THREADPOOL_SIZE", THREADS.to_string()).arg(folder.keep());
    Err(format!("{}: {}", program.display(), command.exec()).into())
}
