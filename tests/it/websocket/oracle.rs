//! Against tungstenite, on both sides, over real sockets.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use serve_forever::http::{Http, HttpHandler, HttpIo, Request, SocketRequest};
use serve_forever::ws::{CloseCode, Message};
use serve_forever::{BoxError, Config, Endpoint, Reactor};
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::sockets::Sockets;
use crate::util::{PATIENCE, Server};

/// Messages of all kinds of lengths.
fn messages() -> Vec<tungstenite::Message> {
    let lengths = [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 300_000];
    let texts = lengths.map(|length| tungstenite::Message::text("ä".repeat(length / 2)));
    let binaries = lengths.map(|length| tungstenite::Message::binary(vec![0xff; length]));
    texts.into_iter().chain(binaries).collect()
}

fn port(at: &Endpoint) -> u16 {
    at.to_string().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

#[test]
fn a_client_of_theirs_is_understood() {
    let server = Server::start(Http::new(Sockets::default()), Http::<Sockets>::limits());
    let stream = TcpStream::connect(("127.0.0.1", port(server.at()))).expect("the server is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let config = WebSocketConfig::default().max_message_size(None);
    let (mut socket, _) =
        tungstenite::client::client_with_config("ws://127.0.0.1/socket", stream, Some(config))
            .expect("a handshake");
    for message in messages() {
        socket.send(message.clone()).expect("it is taken");
        assert_eq!(socket.read().expect("it comes back"), message);
    }
    socket.send(tungstenite::Message::Ping("ping".into())).expect("it is taken");
    assert_eq!(socket.read().expect("an answer"), tungstenite::Message::Pong("ping".into()));
    let frame = CloseFrame { code: TheirCode::Library(4321), reason: "done".into() };
    socket.close(Some(frame)).expect("it is taken");
    loop {
        match socket.read() {
            Ok(tungstenite::Message::Close(frame)) => {
                assert_eq!(frame.map(|frame| frame.code), Some(TheirCode::Library(4321)))
            }
            Ok(other) => panic!("{other:?}"),
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    server.until_connections(0);
    assert_eq!(server.ask(|http, _| http.handler().closed.clone()), [Some(4321)]);
}

/// A client that sends what it is told, and tells what it gets.
struct Dialer {
    told: Sender<String>,
}

impl HttpHandler for Dialer {
    fn request(&mut self, _: &mut HttpIo<'_, '_>, _: &Request<'_>) -> Result<(), BoxError> {
        Err("nobody asks a client".into())
    }

    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.told.send("open".into())?;
        for length in [0, 125, 126, 65_536, 200_000] {
            let _ = io.send_text(io.id(), "ö".repeat(length / 2));
            let _ = io.send_binary(io.id(), vec![7; length]);
        }
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        self.told.send(format!("{:?} {}", matches!(message, Message::Text(_)), message.as_bytes().len()))?;
        if message.as_bytes() == [7; 200_000] {
            io.close_socket(io.id(), CloseCode::NORMAL, "done");
        }
        Ok(())
    }

    fn socket_closed(&mut self, io: &mut HttpIo<'_, '_>, _: Option<CloseCode>) {
        let _ = self.told.send("closed".into());
        io.shutdown(Duration::ZERO);
    }

    fn connect_failed(&mut self, io: &mut HttpIo<'_, '_>, tag: u64, error: &io::Error) {
        let _ = self.told.send(format!("failed {tag}: {error}"));
        io.shutdown(Duration::ZERO);
    }
}

/// Connects to a port; what the client tells.
fn dial(port: u16) -> (Receiver<String>, thread::JoinHandle<()>) {
    let (told, tells) = mpsc::channel();
    let reactor = thread::spawn(move || {
        let mut reactor = Reactor::new(Config::default()).expect("a reactor");
        let service = reactor.add(Http::new(Dialer { told }), Http::<Dialer>::limits()).expect("good limits");
        let to: Endpoint = format!("127.0.0.1:{port}").parse().expect("a good endpoint");
        reactor
            .handle(&service)
            .call(move |http, io| {
                let request = SocketRequest { host: "localhost", path: "/x?y", ..SocketRequest::default() };
                http.with(io, |_, io| _ = io.connect_socket(&to, request, 5).expect("room for one"));
            })
            .expect("room for one");
        reactor.serve_forever().expect("the loop runs");
    });
    (tells, reactor)
}

#[test]
fn a_server_of_theirs_is_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let config = WebSocketConfig::default().max_message_size(None);
        let mut socket = tungstenite::accept_with_config(stream, Some(config)).expect("a handshake");
        loop {
            match socket.read() {
                Ok(tungstenite::Message::Close(frame)) => return frame.map(|frame| frame.reason.to_string()),
                Ok(message) => socket.send(message).expect("it is taken"),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let (tells, reactor) = dial(port);
    let told: Vec<_> = std::iter::from_fn(|| tells.recv_timeout(PATIENCE).ok()).take(12).collect();
    let lengths = [0, 124, 126, 65_536, 200_000].into_iter().zip([0, 125, 126, 65_536, 200_000]);
    let expected: Vec<_> = std::iter::once("open".to_owned())
        .chain(lengths.flat_map(|(text, binary)| [format!("true {text}"), format!("false {binary}")]))
        .chain(["closed".into()])
        .collect();
    assert_eq!(told, expected);
    assert_eq!(server.join().expect("it keeps its promises"), Some("done".into()));
    reactor.join().expect("it ends");
}

#[test]
fn a_server_that_speaks_no_websocket_is_told_of() {
    for (answer, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "failed 5: the server answered the handshake with 404, not 101",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "failed 5: the server's answer to the handshake is none",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (tells, reactor) = dial(port);
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        assert!(head.starts_with(b"GET /x?y HTTP/1.1\r\nhost: localhost\r\n"));
        stream.write_all(answer.as_bytes()).expect("it is taken");
        assert_eq!(tells.recv_timeout(PATIENCE).expect("word of it"), expected);
        reactor.join().expect("it ends");
    }
}
