//! Files over real sockets: by sendfile(2) where there is one, and what becomes of a
//! file that is cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use serve_forever::{BoxError, CloseReason, Config, Endpoint, Io, Limits, Origin, StreamHandler};
#[cfg(feature = "tls")]
use serve_forever::{Reactor, Service};

use crate::util::{Client, Server, listen_anywhere, noise};

/// Sends the file of a path, from its first byte to a length.
struct Sender {
    sent: Option<Arc<File>>,
    closed: Vec<String>,
}

impl StreamHandler for Sender {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
        let line = String::from_utf8(input.split_to(end + 1).to_vec())?;
        let (length, path) = line.trim_end().split_once(' ').ok_or("LENGTH PATH")?;
        let file = Arc::new(File::open(path)?);
        self.sent = Some(Arc::clone(&file));
        io.reply(b"here: ");
        let _ = io.send_file(io.id(), file, 0..length.parse()?)?;
        io.reply(b"!");
        io.close(io.id());
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        self.closed.push(format!("{why:?}"));
    }
}

fn sender(directory: &Path) -> (Server<Sender>, [Endpoint; 2]) {
    let unix = Endpoint::Unix(directory.join("socket"));
    let sender = Sender { sent: None, closed: Vec::new() };
    let at = [listen_anywhere(), unix];
    let server = Server::start_with(Config::default(), sender, Limits::default(), &at);
    let locals = [server.locals()[0].clone(), server.locals()[1].clone()];
    (server, locals)
}

fn written(directory: &Path, content: &[u8]) -> PathBuf {
    let path = directory.join("file");
    fs::write(&path, content).expect("there is room");
    path
}

#[test]
fn a_large_file_comes_whole_over_either_socket_in_few_calls() {
    let directory = tempfile::tempdir().expect("a directory");
    let content = noise(32 << 20);
    let path = written(directory.path(), &content);
    let (server, locals) = sender(directory.path());
    for at in &locals {
        let client = Client::connect(at);
        client.send(format!("{} {}\n", content.len(), path.display()));
        let got = client.rest();
        assert!(got == [b"here: ", &content[..], b"!"].concat(), "{} bytes over {at}", got.len());
    }
    server.until_connections(0);
    // A read of the file is none of a socket.
    let calls = server.stats().system;
    assert!(calls.read < 100, "{calls:?}");
    #[cfg(target_os = "linux")]
    {
        let least = 2 * (32 << 20) / Limits::default().file_budget as u64;
        assert!(calls.write >= least, "a turn sends no more than its share: {calls:?}");
    }
    assert_eq!(server.ask(|sender, _| sender.closed.clone()), ["Closed", "Closed"]);
    let is_held = server.ask(|sender, _| Arc::strong_count(sender.sent.as_ref().expect("it was sent")) > 1);
    assert!(!is_held, "nothing holds on to the file");
}

#[test]
fn a_slow_client_gets_all_of_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let content = noise(8 << 20);
    let path = written(directory.path(), &content);
    let (_server, locals) = sender(directory.path());
    for at in &locals {
        let client = Client::connect_small(at);
        client.send(format!("{} {}\n", content.len(), path.display()));
        client.expect("here: ");
        for piece in content.chunks(100_000) {
            client.expect(piece);
        }
        assert_eq!(client.rest(), b"!");
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_is_a_reset() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = written(directory.path(), &noise(32 << 20));
    let (server, [tcp, _]) = sender(directory.path());
    let client = Client::connect_small(&tcp);
    client.send(format!("{} {}\n", 32 << 20, path.display()));
    client.expect("here: ");
    // The buffers of the system hold a part of it.
    File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("it is ours");
    client.expect_reset();
    server.until_connections(0);
    let closed = server.ask(|sender, _| sender.closed.clone());
    assert!(closed[0].starts_with("File(") && closed[0].contains("UnexpectedEof"), "{closed:?}");
}

#[test]
fn what_is_no_regular_file_is_sent_if_it_can_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, [tcp, _]) = sender(directory.path());
    #[cfg(target_os = "linux")]
    {
        let content = fs::read("/proc/version").expect("a Linux with /proc");
        let client = Client::connect(&tcp);
        client.send(format!("{} /proc/version\n", content.len()));
        assert_eq!(client.rest(), [b"here: ", &content[..], b"!"].concat());
    }
    let client = Client::connect(&tcp);
    client.send(format!("10 {}\n", directory.path().display()));
    client.assert_closed();
    server.until_connections(0);
    let closed = server.ask(|sender, _| sender.closed.clone());
    assert!(closed.last().is_some_and(|why| why.starts_with("File(")), "{closed:?}");
}

/// The kernel cannot send it then: it is read, and encrypted.
#[cfg(feature = "tls")]
#[test]
fn behind_tls_a_file_comes_whole_and_one_that_is_cut_has_no_end() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use serve_forever::ListenOptions;
    use serve_forever::tls::rustls::{ClientConnection, StreamOwned};

    use crate::util::PATIENCE;
    use crate::util::certificates::CERTIFICATES;

    let directory = tempfile::tempdir().expect("a directory");
    let content = noise(16 << 20);
    let path = written(directory.path(), &content);
    let (tell, told) = std::sync::mpsc::channel();
    let sender = Sender { sent: None, closed: Vec::new() };
    let prepare = move |reactor: &mut Reactor, service: &Service<Sender>| {
        let layer = Some(CERTIFICATES.tls_server().factory());
        let options = ListenOptions { layer, ..ListenOptions::default() };
        let listener = reactor.listen_with(service, &listen_anywhere(), &options).expect("a free port");
        tell.send(reactor.local(listener).cloned()).expect("the test waits for it");
    };
    let server = Server::start_prepared(Config::default(), sender, Limits::default(), &[], prepare);
    let Ok(Some(Endpoint::Tcp(at))) = told.recv_timeout(PATIENCE) else { panic!("it listens on TCP") };
    let connect = || {
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(CERTIFICATES.rustls_client(), name).expect("good options");
        let stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        let mut tls = StreamOwned::new(connection, stream);
        tls.write_all(format!("{} {}\n", content.len(), path.display()).as_bytes()).expect("it reads");
        tls
    };
    let mut got = Vec::new();
    connect().read_to_end(&mut got).expect("it ends in the way of TLS");
    assert!(got == [b"here: ", &content[..], b"!"].concat(), "{} bytes", got.len());

    let mut tls = connect();
    let mut beginning = [0; 1000];
    tls.read_exact(&mut beginning).expect("it begins");
    // The buffers of the system hold a part of it.
    File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("it is ours");
    assert!(tls.read_to_end(&mut Vec::new()).is_err(), "it is not taken for the whole");
    server.until_connections(0);
    let closed = server.ask(|sender, _| sender.closed.clone());
    assert!(closed.len() == 2 && closed[0] == "Closed" && closed[1].starts_with("File("), "{closed:?}");
}
