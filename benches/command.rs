//! A command for a client, by the service and by a bare loop of posix_spawn,
//! read and wait. Most of it is the shell's.
//!
//! ```text
//! cargo bench --features command --bench command
//! ```

mod common;
mod floor;

use std::io::{Read, Write};
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Command;

const REPLY: [u8; 12] = *b"info|3|0\nhi\n";

fn measure(c: &mut Criterion, server: &str, address: SocketAddr) {
    let mut group = c.benchmark_group("command");
    let mut connection = common::connect(address);
    group.throughput(Throughput::Elements(1));
    group.bench_function(server, |b| {
        b.iter(|| {
            connection.write_all(b"echo hi\n").expect("the server is there");
            let mut reply = [0; REPLY.len()];
            connection.read_exact(&mut reply).expect("the server answers");
            assert_eq!(reply, REPLY);
        });
    });
    group.finish();
}

fn servers(c: &mut Criterion) {
    measure(c, "posix_spawn, read, wait", common::floor(floor::command::serve));
    let at = common::ours(|| {
        let command = Command::shell();
        let limits = command.limits();
        (command, limits)
    });
    measure(c, "services::Command", at);
}

criterion_group! {
    name = command;
    config = common::criterion();
    targets = servers
}
criterion_main!(command);
