//! Layers over real sockets, at both ends of a connection: accepted, outbound, and
//! begun on an adopted connection.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::sim::Toy;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnectOptions, Endpoint, Io, Layer, Limits, ListenOptions,
    Origin, Reactor, StreamHandler,
};

use super::util::Client;

const SIZE: usize = 3 << 20;

fn layered() -> ListenOptions {
    ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() }
}

fn pattern(from: usize, count: usize) -> Vec<u8> {
    #[allow(clippy::cast_possible_truncation, reason = "a pattern of bytes")]
    (from..from + count).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Sends a pattern to an echo through a layer, as far as it is taken, and checks what
/// comes back.
#[derive(Default)]
struct Sender {
    sent: usize,
    received: usize,
    ended: Vec<String>,
    failed: Vec<String>,
}

impl Sender {
    fn send(&mut self, io: &mut Io<'_>) {
        while self.sent < SIZE {
            let piece = pattern(self.sent, (SIZE - self.sent).min(10_000));
            match io.write(&piece) {
                serve_forever::Sent::Queued => self.sent += piece.len(),
                serve_forever::Sent::Full => {
                    self.sent += piece.len();
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        io.finish(io.id());
    }
}

impl StreamHandler for Sender {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        assert!(io.layer::<Toy>(io.id()).is_some_and(Layer::is_ready));
        self.send(io);
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        assert!(input[..] == pattern(self.received, input.len())[..], "behind {}", self.received);
        self.received += input.len();
        input.clear();
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.send(io);
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        Ok(AfterEof::Finish)
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), why: &CloseReason) {
        self.ended.push(format!("{why:?}"));
        io.shutdown(Duration::from_secs(10));
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &std::io::Error) {
        self.failed.push(error.to_string());
        io.shutdown(Duration::ZERO);
    }
}

fn echoes(at: &Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen_with(&echo, at, &layered()).expect("a free port");
    let at = reactor.local(listener).expect("it listens").clone();
    let sender = reactor.add(Sender::default(), Limits::default()).expect("good limits");
    let options = ConnectOptions { layer: Some(Box::new(Toy::client(1))) };
    reactor.connect_with(&sender, &at, 0, options).expect("there is room");
    reactor.serve_forever().expect("it ends");
    assert_eq!(reactor.stats().handshakes, 2);
    let sender = reactor.get(&sender);
    assert_eq!((sender.received, &sender.ended[..]), (SIZE, &["Finished".to_owned()][..]));
}

#[test]
fn a_stream_goes_through_layers_at_both_ends() {
    echoes(&"127.0.0.1:0".parse().expect("an endpoint"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    echoes(&Endpoint::Unix(directory.path().join("layered")));
}

#[test]
fn an_outbound_connection_whose_handshake_fails_is_told_so() {
    // An echo without a layer sends the hello back.
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = reactor.listen(&echo, &"127.0.0.1:0".parse().expect("an endpoint")).expect("a free port");
    let at = reactor.local(listener).expect("it listens").clone();
    let sender = reactor.add(Sender::default(), Limits::default()).expect("good limits");
    let options = ConnectOptions { layer: Some(Box::new(Toy::client(1))) };
    reactor.connect_with(&sender, &at, 0, options).expect("there is room");
    reactor.serve_forever().expect("it ends");
    let sender = reactor.get(&sender);
    assert_eq!(sender.failed, ["a record of this kind is not expected here"]);
    assert_eq!(sender.ended.len(), 0);
}

/// Begins a layer on each connection as it opens, and answers through it.
struct Starter;

impl StreamHandler for Starter {
    type Session = u32;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<u32, BoxError> {
        io.reply(b"in the clear\n");
        assert!(io.start_layer(io.id(), Box::new(Toy::server(3))));
        Ok(0)
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, ready: &mut u32) -> Result<(), BoxError> {
        *ready += 1;
        io.reply(b"behind the layer");
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, ready: &mut u32, input: &mut BytesMut) -> Result<(), BoxError> {
        assert_eq!(*ready, 1, "no input comes before");
        io.reply_buf(input);
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, _: u32, _: &CloseReason) {
        io.shutdown(Duration::ZERO);
    }
}

/// Carries on with a client's layer until `done`.
fn talk(socket: &Client, layer: &mut Toy, done: impl Fn(&Toy, &[u8]) -> bool) -> Vec<u8> {
    let mut plain = Vec::new();
    while !done(layer, &plain) {
        let mut wire = Vec::new();
        layer.take_wire(&mut wire).expect("a vector takes everything");
        (&socket.0).write_all(&wire).expect("the server reads");
        let mut buffer = [0; 1000];
        let count = (&socket.0).read(&mut buffer).expect("the server answers");
        assert!(count > 0, "a FIN before the end: {plain:?}");
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let taken = layer.receive(rest).expect("good records");
            rest = &rest[taken..];
            let mut buffer = [0; 1000];
            let count = layer.read(&mut buffer).expect("it gives what it has");
            plain.extend(&buffer[..count]);
        }
    }
    plain
}

#[test]
fn a_layer_begins_on_an_adopted_connection() {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let service = reactor.add(Starter, Limits::default()).expect("good limits");
    let (client, theirs) = Client::pair();
    reactor.adopt(&service, theirs).expect("a socket");
    let client = std::thread::spawn(move || {
        client.expect("in the clear\n");
        let mut layer = Toy::client(9);
        let welcome = talk(&client, &mut layer, |_, plain| plain.len() >= 16);
        layer.write(b"hello").expect("it is ready");
        let answer = talk(&client, &mut layer, |_, plain| plain.len() >= 5);
        layer.finish();
        talk(&client, &mut layer, |layer, _| layer.has_ended());
        client.expect_eof();
        (welcome, answer)
    });
    reactor.serve_forever().expect("it ends");
    let (welcome, answer) = client.join().expect("it does not panic");
    assert_eq!((&welcome[..], &answer[..]), (&b"behind the layer"[..], &b"hello"[..]));
}
