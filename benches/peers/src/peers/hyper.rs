//! HTTP by hyper, on tokio's current thread: its own example of a server, with
//! pipelined answers flushed together.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

use super::{FILE_SIZE, JSON, PLAINTEXT, file};
use crate::Result;

pub(super) fn serve(listener: TcpListener) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let file = Rc::new(OnceCell::new());
        loop {
            let (stream, _) = listener.accept().await?;
            let file = Rc::clone(&file);
            spawn_local(async move {
                let connection = http1::Builder::new().pipeline_flush(true).serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| answer(request, Rc::clone(&file))),
                );
                // Whatever ends it ends this connection alone.
                let _ = connection.await;
            });
        }
    })
}

/// The file, once somebody has asked for it.
type Shelf = Rc<OnceCell<Rc<File>>>;

async fn answer(request: Request<Incoming>, shelf: Shelf) -> io::Result<Response<Either<Full<Bytes>, Part>>> {
    if request.uri().path() == "/file" {
        let file = Rc::clone(shelf.get_or_init(|| Rc::new(file().expect("there is room for it"))));
        return Ok(Response::new(Either::Right(Part { file, at: 0 })));
    }
    let (status, kind, body) = match request.uri().path() {
        "/plaintext" => (StatusCode::OK, "text/plain; charset=utf-8", PLAINTEXT),
        "/json" => (StatusCode::OK, "application/json", JSON),
        _ => (StatusCode::NOT_FOUND, "text/plain", ""),
    };
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(body.as_bytes()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// The rest of a file, read in pieces as the client takes them: without a thread for
/// it, which tokio's own files would have.
struct Part {
    file: Rc<File>,
    at: u64,
}

/// The bytes that are read at a time.
const PIECE: u64 = 64 << 10;

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let count = PIECE.min(FILE_SIZE - self.at);
        if count == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; count as usize];
        let read = self.file.read_exact_at(&mut piece, self.at);
        self.at += count;
        Poll::Ready(Some(read.map(|()| Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(FILE_SIZE - self.at)
    }
}
