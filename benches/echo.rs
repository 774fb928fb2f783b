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
//! latency, most of it the kernel's; `reactor-echo` is there to load a server,
//! and `benches/peers` to compare.

mod common;
mod floor;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Echo;

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
    for count in [1, 50, 1_000] {
        let mut connections: Vec<_> = (0..count).map(|_| common::connect(address)).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new(server, count), |b| b.iter(|| round_trips(&mut connections)));
    }
    group.finish();
}

fn servers(c: &mut Criterion) {
    measure(c, "bare mio", common::floor(floor::echo::serve));
    measure(c, "reactor", common::ours(|| (Echo::new(), Echo::limits())));
}

criterion_group! {
    name = echo;
    config = common::criterion();
    targets = servers
}
criterion_main!(echo);
