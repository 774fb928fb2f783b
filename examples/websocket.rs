//! Teaches: WebSocket. It sends back each message, to `ws://…/` alone.
//!
//! ```text
//! cargo run --features ws --example websocket -- 127.0.0.1:8080
//! python3 -m websockets ws://127.0.0.1:8080/
//! ```

use std::env;

use serve_forever::http::{Http, HttpHandler, HttpIo, Request, SocketOptions};
use serve_forever::ws::Message;
use serve_forever::{BoxError, Sent};

#[derive(Default)]
struct Echo {
    options: SocketOptions,
}

impl HttpHandler for Echo {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        io.accept_socket(request, &self.options); // or answers why not
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        if io.send_message(io.id(), message) == Sent::Full {
            io.pause(io.id()); // who does not read is asked for no more
        }
        Ok(())
    }

    fn socket_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    serve_forever::serve(&at, Http::new(Echo::default()))
}
