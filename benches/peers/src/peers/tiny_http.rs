//! HTTP by tiny_http: its own threads read, and one takes all requests, as its
//! README has it.

use tiny_http::{Header, Response, Server};

use super::{JSON, PLAINTEXT, announce};
use crate::Result;

pub(super) fn serve() -> Result<()> {
    let server = Server::http("127.0.0.1:0").map_err(|error| error.to_string())?;
    announce(server.server_addr().to_ip().ok_or("it listens on TCP")?);
    let header = |kind: &str| Header::from_bytes("content-type", kind).map_err(|()| "a field");
    for request in server.incoming_requests() {
        let (kind, body) = match request.url() {
            "/plaintext" => ("text/plain; charset=utf-8", PLAINTEXT),
            _ => ("application/json", JSON),
        };
        // A client that is gone is no matter.
        let _ = request.respond(Response::from_string(body).with_header(header(kind)?));
    }
    Ok(())
}
