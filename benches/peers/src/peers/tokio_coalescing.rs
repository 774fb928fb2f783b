//! Chat on tokio as a careful user writes it: lines are shared and not copied,
//! there is no lock, and each member has a task that writes all that has come
//! for it at once.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::rc::Rc;

use serve_forever::bytes::{Bytes, BytesMut};
use slab::Slab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use crate::Result;

/// The room for a read.
const BUFFER: usize = 16 << 10;

/// The most lines that one write takes.
const BATCH: usize = 1024;

type Members = Rc<RefCell<Slab<mpsc::UnboundedSender<Bytes>>>>;

/// Serves the chat, and an echo beside it if it is given a listener for one.
pub(super) fn serve(listener: TcpListener, echoes: Option<UnixListener>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        if let Some(echoes) = echoes {
            echoes.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(echoes)?;
            // Not `spawn_local`: there an echo would wait behind all writers.
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(echo(stream));
                }
            });
        }
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let members = Members::default();
        loop {
            let (stream, _) = listener.accept().await?;
            spawn_local(member(Rc::clone(&members), stream));
        }
    })
}

/// Sends back what comes, until the client has left.
async fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

async fn member(members: Members, stream: TcpStream) {
    let (input, output) = stream.into_split();
    let (sender, lines) = mpsc::unbounded_channel();
    let place = members.borrow_mut().insert(sender);
    let writer = spawn_local(write(lines, output));
    // Whatever ends it ends this member alone; its writer ends with its sender.
    let _ = read(&members, place, input).await;
    members.borrow_mut().remove(place);
    let _ = writer.await;
}

async fn read(members: &Members, place: usize, mut input: OwnedReadHalf) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(BUFFER);
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            for (other, member) in members.borrow().iter() {
                if other != place {
                    // One who has just left is no error.
                    let _ = member.send(line.clone());
                }
            }
        }
    }
}

async fn write(mut lines: mpsc::UnboundedReceiver<Bytes>, mut output: OwnedWriteHalf) {
    let mut batch = Vec::new();
    let mut buffer = Vec::new();
    while lines.recv_many(&mut batch, BATCH).await > 0 {
        buffer.clear();
        for line in batch.drain(..) {
            buffer.extend_from_slice(&line);
        }
        if output.write_all(&buffer).await.is_err() {
            return;
        }
    }
}
