//! Chat on tokio, after `examples/chat.rs` of its repository: a channel of
//! strings for each member, `LinesCodec`, and a write for each line. Without
//! the names and the greetings.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{Mutex, mpsc};
use tokio_util::codec::{Framed, LinesCodec};

use crate::Result;

type Members = Arc<Mutex<HashMap<SocketAddr, mpsc::UnboundedSender<String>>>>;

pub(super) fn serve(listener: TcpListener) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let members = Members::default();
        loop {
            let (stream, address) = listener.accept().await?;
            let members = Arc::clone(&members);
            tokio::spawn(async move {
                // Whatever ends it ends this member alone.
                let _ = process(&members, stream, address).await;
                members.lock().await.remove(&address);
            });
        }
    })
}

async fn process(members: &Members, stream: TcpStream, address: SocketAddr) -> Result<()> {
    let mut lines = Framed::new(stream, LinesCodec::new());
    let (sender, mut messages) = mpsc::unbounded_channel();
    members.lock().await.insert(address, sender);
    loop {
        tokio::select! {
            Some(message) = messages.recv() => lines.send(&message).await?,
            line = lines.next() => match line {
                Some(line) => broadcast(members, address, &line?).await,
                None => return Ok(()),
            },
        }
    }
}

async fn broadcast(members: &Members, from: SocketAddr, line: &str) {
    for (address, member) in members.lock().await.iter() {
        if *address != from {
            // A member who has just left is no error.
            let _ = member.send(line.into());
        }
    }
}
