//! An echo over TCP on the loopback, by the reactor and by a bare mio loop
//! that does the least an echo can do: the difference is what the library
//! costs. Both run in the same process, one after the other, against the same
//! client.
//!
//! ```text
//! cargo bench --bench echo
//! ```
//!
//! The client blocks, one connection after the other, so what is measured is
//! latency, most of it the kernel's; `reactor-echo` is there to load a server.

#[path = "echo/bare.rs"]
mod bare;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint, Reactor};

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Sends a message on each connection, then reads what comes back on each.
fn round_trips(connections: &mut [TcpStream]) {
    for connection in &mut *connections {
        connection.write_all(&MESSAGE).expect("the server is there");
    }
    for connection in connections {
        let mut reply = [0; MESSAGE.len()];
        connection.read_exact(&mut reply).expect("the server answers");
        assert_eq!(reply, MESSAGE);
    }
}

fn measure(c: &mut Criterion, server: &str, address: SocketAddr) {
    let mut group = c.benchmark_group("echo");
    for count in [1, 50] {
        let connect = |_| {
            let connection = TcpStream::connect(address).expect("the server listens");
            connection.set_nodelay(true).expect("an option of TCP");
            connection
        };
        let mut connections: Vec<_> = (0..count).map(connect).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new(server, count), |b| b.iter(|| round_trips(&mut connections)));
    }
    group.finish();
}

fn reactor(c: &mut Criterion) {
    // A reactor stays on the thread that made it.
    let (tell, told) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut reactor = Reactor::new(Config::default()).expect("a reactor");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let any_port = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = reactor.listen(&echo, &any_port).expect("a free port");
        let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else { panic!("not TCP") };
        tell.send((address, reactor.handle(&echo))).expect("the bench waits for it");
        reactor.serve_forever().expect("it serves");
    });
    let (address, handle) = told.recv().expect("the server starts");
    measure(c, "reactor", address);
    handle.shutdown(Duration::ZERO);
    server.join().expect("the server ends");
}

fn bare_mio(c: &mut Criterion) {
    let mut server = bare::Server::bind().expect("a free port");
    let (address, stop) = (server.address(), server.stopper());
    thread::scope(|scope| {
        scope.spawn(|| server.run().expect("it serves"));
        measure(c, "bare mio", address);
        stop.wake().expect("it runs");
    });
}

criterion_group! {
    name = echo;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = bare_mio, reactor
}
criterion_main!(echo);
