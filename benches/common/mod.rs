//! Starting and measuring of servers, for the benches that talk to one. A server runs on
//! a thread of its own until the program ends, and costs nothing while it is idle.
#![allow(dead_code, reason = "not every bench needs all of it")]

pub(crate) mod room;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use criterion::Criterion;
use serve_forever::{Config, Endpoint, Limits, Reactor, StreamHandler};
use socket2::{Domain, Socket, Type};

/// Few samples: what is measured is a round of many messages.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
}

/// Starts a reactor with one service; it is made on the reactor's thread.
pub(crate) fn ours<S: StreamHandler>(make: impl FnOnce() -> (S, Limits) + Send + 'static) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut reactor = Reactor::new(Config::default()).expect("a reactor");
        let (handler, limits) = make();
        let service = reactor.add(handler, limits).expect("good limits");
        let any_port = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = reactor.listen(&service, &any_port).expect("a free port");
        let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else { panic!("not TCP") };
        tell.send(address).expect("the bench waits for it");
        reactor.serve_forever().expect("it serves");
    });
    told.recv().expect("the server starts")
}

/// Starts a floor. What it accepts inherits `TCP_NODELAY` from the listener, as
/// in the library.
pub(crate) fn floor<E: std::fmt::Debug>(
    serve: impl FnOnce(TcpListener) -> Result<(), E> + Send + 'static,
) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_tcp_nodelay(true).expect("an option of TCP");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(1024).expect("it is bound");
    socket.set_nonblocking(true).expect("an option of sockets");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(listener).expect("it serves"));
    address
}

/// A connection that does not wait for more to send.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(to).expect("the server listens");
    connection.set_nodelay(true).expect("an option of TCP");
    connection
}
