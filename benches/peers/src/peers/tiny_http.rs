//! HTTP by tiny_http: its own threads read, and one takes all requests, as its
//! README has it.

use std::io::Seek;

use tiny_http::{Header, Response, Server};

use super::{JSON, PLAINTEXT, announce, file};
use crate::Result;

pub(super) fn serve() -> Result<()> {
    let server = Server::http("127.0.0.1:0").map_err(|error| error.to_string())?;
    announce(server.server_addr().to_ip().ok_or("it listens on TCP")?);
    let header = |kind: &str| Header::from_bytes("content-type", kind).map_err(|()| "a field");
    let mut large = None;
    for request in server.incoming_requests() {
        if request.url() == "/file" {
            if large.is_none() {
                large = Some(file()?);
            }
            if let Some(large) = &mut large {
                large.rewind()?;
                // With its length, as the others have it, and not in chunks.
                let response = Response::from_file(large.try_clone()?).with_chunked_threshold(usize::MAX);
                let _ = request.respond(response);
            }
            continue;
        }
        let (kind, body) = match request.url() {
            "/plaintext" => ("text/plain; charset=utf-8", PLAINTEXT),
            _ => ("application/json", JSON),
        };
        // A client that is gone is no matter.
        let _ = request.respond(Response::from_string(body).with_header(header(kind)?));
    }
    Ok(())
}
