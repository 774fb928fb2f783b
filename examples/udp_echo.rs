//! Teaches: a service of datagrams. It sends each one back, and counts them
//! for each host that has sent any.
//!
//! ```text
//! cargo run --example udp_echo -- udp://127.0.0.1:7007
//! echo hello | nc -u -w1 127.0.0.1 7007
//! ```

use std::collections::HashMap;
use std::env;

use serve_forever::{Address, BoxError, Config, DatagramHandler, Io, Limits, Peer, Reactor, Sent, SocketId};

/// Hosts beyond this many are answered, and not counted: anybody can make up
/// as many as they like.
const MOST_HOSTS: usize = 10_000;

#[derive(Default)]
struct CountingEcho {
    counts: HashMap<String, u64>,
}

impl DatagramHandler for CountingEcho {
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError> {
        if io.send_to(on, from, data) == Sent::Dropped {
            return Ok(()); // the queue is full; who asks again is answered then
        }
        let host = match &from.address {
            Address::Inet(address) => address.ip().to_string(),
            other => other.to_string(),
        };
        if self.counts.len() < MOST_HOSTS || self.counts.contains_key(&host) {
            let count = self.counts.entry(host.clone()).or_default();
            *count += 1;
            println!("{} bytes from {from}, datagram {count} of {host}", data.len());
        }
        Ok(())
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "udp://127.0.0.1:7007".into());
    let mut reactor = Reactor::new(Config::default())?;
    let service = reactor.add_datagram(CountingEcho::default(), Limits::default())?;
    let socket = reactor.bind(&service, &at.parse()?)?;
    println!("bound to {}", reactor.local(socket).expect("it was just made"));
    reactor.serve_forever()
}
