//! The proxy of `examples/proxy.rs`, looked at from inside: what waits in it
//! while both of its sides are slower than the other.

#[path = "../../examples/proxy.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod example;

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use bytes::BytesMut;
use example::Proxy;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Endpoint, Io, Limits, Origin, StreamHandler,
};

use crate::util::{Server, eventually, listen_anywhere, noise};

/// A proxy, and the most that has waited in it on the way to the target and
/// on the way back.
struct Watched {
    proxy: Proxy,
    to_target: usize,
    to_client: usize,
}

struct Side {
    other: ConnId,
    is_target: bool,
}

impl StreamHandler for Watched {
    type Session = Side;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Side, BoxError> {
        let is_target = matches!(origin, Origin::Connected { .. });
        Ok(Side { other: self.proxy.open(io, origin)?, is_target })
    }

    fn data(&mut self, io: &mut Io<'_>, side: &mut Side, input: &mut BytesMut) -> Result<(), BoxError> {
        self.proxy.data(io, &mut side.other, input)?;
        let most = if side.is_target { &mut self.to_client } else { &mut self.to_target };
        *most = io.queued(side.other).unwrap_or(0).max(*most);
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, side: &mut Side) -> Result<(), BoxError> {
        self.proxy.drained(io, &mut side.other)
    }

    fn eof(&mut self, io: &mut Io<'_>, side: &mut Side, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.proxy.eof(io, &mut side.other, rest)
    }

    fn close(&mut self, io: &mut Io<'_>, side: Side, why: &CloseReason) {
        self.proxy.close(io, side.other, why);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.proxy.connect_failed(io, tag, error);
    }
}

const PIECE: usize = 1 << 20;
const PIECES: usize = 50;

/// What one end sends through the proxy comes back from the other, and nobody
/// reads it before the proxy holds all that it will hold.
fn holds_no_more_than_its_marks<S: Read + Write>(
    target: Endpoint,
    accept: impl FnOnce() -> S + Send + 'static,
) {
    let limits = Limits::default();
    let (high, most) = (limits.high_mark, limits.high_mark + limits.read_budget);
    let watched = Watched { proxy: Proxy { target: target.to_string() }, to_target: 0, to_client: 0 };
    let server = Server::start_with(Config::default(), watched, limits, &[listen_anywhere()]);
    let client = server.connect();
    let echoing = thread::spawn(move || {
        let mut echo = accept();
        let mut buffer = vec![0; 100_000];
        loop {
            match echo.read(&mut buffer).expect("the proxy writes") {
                0 => break,
                count => echo.write_all(&buffer[..count]).expect("the proxy reads"),
            }
        }
    });
    let sender = client.share();
    let sending = thread::spawn(move || {
        let piece = noise(PIECE);
        for _ in 0..PIECES {
            sender.send(&piece);
        }
        sender.finish();
    });
    let held = |server: &Server<Watched>| server.ask(|watched, _| (watched.to_target, watched.to_client));
    eventually("both ways are full", || {
        let (to_target, to_client) = held(&server);
        to_target > high && to_client > high
    });
    let piece = noise(PIECE);
    for _ in 0..PIECES {
        client.expect(&piece);
    }
    client.expect_eof();
    sending.join().expect("it was all read");
    echoing.join().expect("its end was passed on");
    let (to_target, to_client) = held(&server);
    assert!(to_target <= most, "{to_target} bytes waited for the target");
    assert!(to_client <= most, "{to_client} bytes waited for the client");
    let stats = server.stop();
    assert_eq!((stats.closed, stats.broken, stats.overflowed), (2, 0, 0));
    assert_eq!(stats.bytes_in, stats.bytes_out);
}

#[test]
fn tcp_to_tcp_it_holds_no_more_than_its_marks() {
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = Endpoint::Tcp(target.local_addr().expect("it is bound"));
    holds_no_more_than_its_marks(at, move || target.accept().expect("the proxy connects").0);
}

#[test]
fn tcp_to_unix_it_holds_no_more_than_its_marks() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("target");
    let target = UnixListener::bind(&path).expect("the path is free");
    holds_no_more_than_its_marks(Endpoint::Unix(path), move || {
        target.accept().expect("the proxy connects").0
    });
}
