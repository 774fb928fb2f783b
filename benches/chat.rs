//! A burst of lines to everybody in a room: by a broadcast for each line, by
//! the chat that the library has, and by a bare mio loop that writes once to
//! each member at the end of its tick.
//!
//! ```text
//! cargo bench --bench chat
//! ```
//!
//! The client reads one member after the other and blocks, so the server may
//! be ahead of it; `benches/peers` has a load that is not in the way.

mod common;
mod floor;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::room::Room;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::Limits;
use serve_forever::services::Chat;

/// In a burst; each is of 64 bytes.
const LINES: usize = 16;

/// Connects so many and waits until all of them are members.
fn meet(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut members: Vec<_> = (0..count).map(|_| common::connect(address)).collect();
    // A server accepts in the order of connecting: who hears the last one is a
    // member, and so is everybody. Then the last one hears the first, behind
    // whatever it was greeted with.
    let (last, others) = members.split_last_mut().expect("somebody is there");
    last.write_all(b"that is all\n").expect("it reads");
    others.iter_mut().for_each(|member| hear_out(member, b"that is all\n"));
    others[0].write_all(b"welcome\n").expect("it reads");
    members[1..].iter_mut().for_each(|member| hear_out(member, b"welcome\n"));
    members
}

/// Reads until a text has come that ends so.
fn hear_out(member: &mut TcpStream, end: &[u8]) {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let mut byte = [0];
        member.read_exact(&mut byte).expect("it is told");
        heard.push(byte[0]);
    }
}

/// The first one says a burst, and everybody else hears it. What a server puts
/// in front of each line is of a known length.
fn round(members: &mut [TcpStream], burst: &[u8], heard: &mut [u8]) {
    let (sender, others) = members.split_first_mut().expect("somebody is there");
    sender.write_all(burst).expect("the server is there");
    for member in others {
        member.read_exact(heard).expect("everybody is told");
    }
}

/// A server of its own for each number of members: nobody leaves.
fn measure(c: &mut Criterion, server: &str, start: impl Fn() -> SocketAddr, prefix: usize) {
    let mut group = c.benchmark_group("chat");
    let mut line = vec![b'x'; 63];
    line.push(b'\n');
    let burst = line.repeat(LINES);
    for count in [10, 100] {
        let mut members = meet(start(), count);
        let mut heard = vec![0; (prefix + line.len()) * LINES];
        group.throughput(Throughput::Elements((LINES * (count - 1)) as u64));
        group.bench_function(BenchmarkId::new(server, count), |b| {
            b.iter(|| round(&mut members, &burst, &mut heard));
        });
        assert!(heard.ends_with(&line), "what was heard is what was said");
    }
    group.finish();
}

fn servers(c: &mut Criterion) {
    measure(c, "bare mio", || common::floor(floor::chat::serve), 0);
    measure(c, "a broadcast a line", || common::ours(|| (Room::default(), Limits::default())), 0);
    measure(c, "services::Chat", || common::ours(|| (Chat::new(), Chat::limits())), "<guest1> ".len());
}

criterion_group! {
    name = chat;
    config = common::criterion();
    targets = servers
}
criterion_main!(chat);
