//! Log lines with text of strangers in them. A client chooses the path of its Unix
//! socket, and most of the text of errors; none of it may look like a line of its own.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::{
    BoxError, CloseReason, Config, DatagramHandler, Endpoint, Io, Limits, Origin, Peer, Reactor, SocketId,
    StreamHandler,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{alone, captured_logs};

/// A line of its own, a line that is wiped out, a C1 control, and text that
/// reads from right to left.
const FORGED: &str = "x\nERROR all is lost\r\x1b[2J\u{9b}31m\u{202e}\x7f";

/// Fails with what it was sent, as a codec or a parser may.
struct Fails;

impl StreamHandler for Fails {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        match origin.peer().to_string().contains("refused") {
            true => Err(FORGED.into()),
            false => Ok(()),
        }
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let text = String::from_utf8_lossy(input).into_owned();
        assert!(!text.starts_with("panic"), "{text}");
        Err(text.into())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        log::info!("it says: {why}");
    }
}

impl DatagramHandler for Fails {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        let _ = io.send_to(on, from, b"an answer");
        Err(String::from_utf8_lossy(data).into())
    }
}

/// A connection of a client whose own path is that.
fn connect(from: &Path, to: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a descriptor is free");
    socket.bind(&SockAddr::unix(from).expect("a short path")).expect("a free path");
    socket.connect(&SockAddr::unix(to).expect("a short path")).expect("it listens");
    socket
}

fn turn(reactor: &mut Reactor) {
    for _ in 0..3 {
        reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    }
}

/// So many records hold the path, and every record is one line that a terminal
/// just shows.
#[track_caller]
fn look(directory: &Path, named: usize) -> Vec<String> {
    let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
    let logs: Vec<String> = captured_logs().into_iter().map(|(_, text)| text).collect();
    for text in &logs {
        assert!(!text.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{text:?}");
    }
    let of_it: Vec<String> = logs.into_iter().filter(|text| text.contains(&name)).collect();
    assert_eq!(of_it.len(), named, "{of_it:#?}");
    for text in &of_it {
        assert!(text.contains(r"x\nERROR all is lost\r\u{1b}[2J\u{9b}31m\u{202e}\u{7f}"), "{text}");
    }
    of_it
}

fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let _ = captured_logs(); // from here on
    let directory = tempfile::tempdir().expect("a directory");
    let (server, client) = (directory.path().join("socket"), directory.path().join(FORGED));
    (directory, server, client)
}

#[test]
fn a_client_of_a_stream_cannot_forge_a_line() {
    alone("logs::a_client_of_a_stream_cannot_forge_a_line", || {
        let (directory, path, forged) = place();
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let limits = Limits { max_connections: 1, linger: Duration::ZERO, ..Limits::default() };
        let service = reactor.add(Fails, limits).expect("good limits");
        reactor.listen(&service, &Endpoint::Unix(path.clone())).expect("the path is free");
        for (end, word) in [("", "one line\nand another"), ("2", "panic\n\x1b[2J"), ("refused", "")] {
            let forged = forged.with_file_name(format!("{FORGED}{end}"));
            let mut first = connect(&forged, &path);
            let _second = (end == "2").then(|| connect(&forged.with_file_name(format!("{FORGED}3")), &path));
            turn(&mut reactor);
            let _ = first.write_all(word.as_bytes());
            drop(first);
            turn(&mut reactor);
        }
        // One was turned away, and one refused.
        look(directory.path(), 2);
        assert_eq!((reactor.stats().refused_full, reactor.stats().closed), (1, 2));
        let text: Vec<_> = captured_logs().into_iter().map(|(_, text)| text).collect();
        for said in [
            r"it says: failed: one line\nand another",
            r"a callback of connection",
            r"it says: panicked: panic\n\u{1b}",
        ] {
            assert!(text.iter().any(|text| text.contains(said)), "{said}: {text:#?}");
        }
    });
}

#[test]
fn a_sender_of_datagrams_cannot_forge_a_line() {
    alone("logs::a_sender_of_datagrams_cannot_forge_a_line", || {
        let (directory, path, forged) = place();
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let limits = Limits { max_datagram: 100, ..Limits::default() };
        let service = reactor.add_datagram(Fails, limits).expect("good limits");
        reactor.bind(&service, &Endpoint::UnixDatagram(path.clone())).expect("the path is free");
        let client = UnixDatagram::bind(&forged).expect("a free path");
        client.send_to(b"odd\nthing", &path).expect("it is there");
        client.send_to(&[b'x'; 200], &path).expect("it is there");
        turn(&mut reactor);
        // It cannot be answered any more.
        client.send_to(b"odd\nthing", &path).expect("it is there");
        drop(client);
        turn(&mut reactor);
        let said = look(directory.path(), 4);
        assert!(said[0].ends_with(r"failed: odd\nthing"), "{said:#?}");
        assert!(said.iter().any(|text| text.contains("too long")), "{said:#?}");
        assert!(said.iter().any(|text| text.contains("is lost")), "{said:#?}");
    });
}

#[cfg(feature = "command")]
#[test]
fn a_wrong_token_cannot_forge_a_line() {
    alone("logs::a_wrong_token_cannot_forge_a_line", || {
        let (directory, path, forged) = place();
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let command = serve_forever::services::Command::shell().token("secret").expect("a token");
        let limits = command.limits();
        let service = reactor.add(command, limits).expect("good limits");
        reactor.listen(&service, &Endpoint::Unix(path.clone())).expect("the path is free");
        let mut client = connect(&forged, &path);
        turn(&mut reactor);
        client.write_all(b"a guess\n").expect("it is there");
        turn(&mut reactor);
        assert!(look(directory.path(), 1)[0].ends_with(": a wrong token"));
    });
}
