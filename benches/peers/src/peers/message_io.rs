//! Echo on message-io, as in its README: TCP without frames, every message
//! sent back. It runs threads of its own, all of them where the process is
//! pinned to.

use message_io::network::{NetEvent, Transport};
use message_io::node;

use super::announce;
use crate::Result;

pub(super) fn serve() -> Result<()> {
    let (handler, listener) = node::split::<()>();
    let (_, address) = handler.network().listen(Transport::Tcp, "127.0.0.1:0")?;
    announce(address);
    listener.for_each(move |event| {
        if let NetEvent::Message(endpoint, data) = event.network() {
            handler.network().send(endpoint, data);
        }
    });
    Err("message-io stopped".into())
}
