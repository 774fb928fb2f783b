//! Connect, one echo, close: what a connection costs, by the reactor and by a
//! bare mio loop.
//!
//! ```text
//! cargo bench --bench churn
//! ```

mod common;
mod floor;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Echo;
use socket2::{Domain, Socket, Type};

/// Each address of the loopback has some 28,000 ports, and each of them rests
/// for a minute after its connection (TIME_WAIT).
const ADDRESSES: usize = 250;

fn connect(server: SocketAddr, made: usize) -> TcpStream {
    let last = u8::try_from(made % ADDRESSES).expect("there are 250") + 1;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 2, last], 0)).into()).expect("a free port");
    socket.connect(&server.into()).expect("the server listens");
    socket.into()
}

fn measure(c: &mut Criterion, server: &str, address: SocketAddr) {
    let mut group = c.benchmark_group("churn");
    let mut made = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function(server, |b| {
        b.iter(|| {
            made += 1;
            let mut connection = connect(address, made);
            connection.write_all(&[b'x'; 64]).expect("the server is there");
            let mut reply = [0; 64];
            connection.read_exact(&mut reply).expect("the server answers");
            assert_eq!(reply, [b'x'; 64]);
        });
    });
    group.finish();
}

fn servers(c: &mut Criterion) {
    measure(c, "bare mio", common::floor(floor::echo::serve));
    measure(c, "reactor", common::ours(|| (Echo::new(), Echo::limits())));
}

criterion_group! {
    name = churn;
    config = common::criterion();
    targets = servers
}
criterion_main!(churn);
