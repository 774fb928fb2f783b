//! Ending a connection, and ending it again.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::{BoxError, Config, Endpoint, Io, Limits, Origin, Reactor, StreamHandler};

/// Answers with `bye` and closes; then does as it is told.
struct Bye(fn(&mut Io<'_>) -> Result<(), BoxError>);

impl StreamHandler for Bye {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        let _ = io.write(b"bye");
        io.close(io.id());
        (self.0)(io)
    }
}

/// What a client reads that says something to `handler`, until the end.
fn reply_of(handler: Bye) -> io::Result<Vec<u8>> {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    let any_port = "127.0.0.1:0".parse().expect("an endpoint");
    let listener = reactor.listen(&service, &any_port).expect("a free port");
    let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else { panic!("not TCP") };
    let handle = reactor.handle(&service);
    let client = thread::spawn(move || {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(b"hello")?;
        let mut reply = Vec::new();
        let outcome = socket.read_to_end(&mut reply);
        drop(socket);
        handle.shutdown(Duration::ZERO);
        outcome.map(|_| reply)
    });
    reactor.serve_forever().expect("it serves");
    client.join().expect("the client does not panic")
}

#[test]
fn closing_twice_is_closing_once() {
    let close_again = |io: &mut Io<'_>| {
        io.close(io.id());
        Ok(())
    };
    assert_eq!(reply_of(Bye(close_again)).expect("no reset"), b"bye");
}

#[test]
fn an_error_after_closing_does_not_drop_the_reply() {
    assert_eq!(reply_of(Bye(|_| Err("too late".into()))).expect("no reset"), b"bye");
}
