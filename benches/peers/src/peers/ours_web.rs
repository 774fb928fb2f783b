//! The features `http` and `ws`: a page of text, JSON, and WebSockets that send
//! binary messages back and texts to everybody.

use std::fs::File;
use std::sync::Arc;

use serve_forever::http::{Http, HttpHandler, HttpIo, Request, SocketOptions, StatusCode};
use serve_forever::ws::{Message, text_frame};
use serve_forever::{BoxError, GroupId, Limits, Sent};

use super::{FILE_SIZE, JSON, PLAINTEXT, file};

#[derive(Default)]
pub(super) struct Web {
    options: SocketOptions,
    room: Option<GroupId>,
    file: Option<Arc<File>>,
}

pub(super) fn web() -> (Http<Web>, Limits) {
    (Http::new(Web::default()), Http::<Web>::limits())
}

impl HttpHandler for Web {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        match request.path() {
            "/plaintext" => _ = io.answer(StatusCode::OK).text(PLAINTEXT),
            "/json" => _ = io.answer(StatusCode::OK).json(JSON),
            "/file" => {
                let file = match &self.file {
                    Some(file) => Arc::clone(file),
                    None => self.file.insert(Arc::new(file()?)).clone(),
                };
                _ = io.answer(StatusCode::OK).file_range(file, 0..FILE_SIZE);
            }
            "/socket" => _ = io.accept_socket(request, &self.options),
            _ => _ = io.answer(StatusCode::NOT_FOUND).empty(),
        }
        Ok(())
    }

    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let room = match self.room {
            Some(room) => room,
            None => *self.room.insert(io.group()?),
        };
        io.join(room, io.id())?;
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        match (message, self.room) {
            (Message::Text(text), Some(room)) => _ = io.broadcast(room, &text_frame(text), None),
            (message, _) if io.send_message(io.id(), message) == Sent::Full => io.pause(io.id()),
            _ => {}
        }
        Ok(())
    }

    fn socket_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}
