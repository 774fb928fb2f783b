//! WebSockets by tokio-tungstenite, on tokio's current thread, as a careful user
//! writes it: messages are shared and not copied, there is no lock, and each member
//! has a task that writes all that has come for it at once.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use slab::Slab;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::Result;

/// The most messages that one flush takes.
const BATCH: usize = 1024;

type Members = Rc<RefCell<Slab<mpsc::UnboundedSender<Message>>>>;

pub(super) fn serve(listener: TcpListener) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let members = Members::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let members = Rc::clone(&members);
            // Whatever ends it ends this member alone.
            spawn_local(async move { drop(member(members, stream).await) });
        }
    })
}

async fn member(members: Members, stream: TcpStream) -> tungstenite::Result<()> {
    let (mut output, mut input) = tokio_tungstenite::accept_async(stream).await?.split();
    let (sender, mut messages) = mpsc::unbounded_channel();
    let place = members.borrow_mut().insert(sender.clone());
    let writer = spawn_local(async move {
        let mut batch = Vec::new();
        while messages.recv_many(&mut batch, BATCH).await > 0 {
            for message in batch.drain(..) {
                output.feed(message).await?;
            }
            output.flush().await?;
        }
        Ok::<(), tungstenite::Error>(())
    });
    while let Some(Ok(message)) = input.next().await {
        match message {
            Message::Binary(_) => drop(sender.send(message)),
            Message::Text(_) => {
                for (_, member) in members.borrow().iter() {
                    // One who has just left is no error.
                    let _ = member.send(message.clone());
                }
            }
            _ => {}
        }
    }
    members.borrow_mut().remove(place);
    drop(sender);
    let _ = writer.await;
    Ok(())
}
