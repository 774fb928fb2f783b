//! Servers for the tests, with a thread for each connection: honest ones and
//! others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::{Effort, Target};
use crate::system::process::Process;

/// Little, and without spinning, as the tests share the CPUs.
pub(super) const EFFORT: Effort = Effort { window: Duration::from_millis(50), spins: false };

/// Answers what comes, given how much had come before, with what `answer`
/// says; closes when that is nothing.
pub(super) fn serve(answer: impl Fn(usize, &[u8]) -> Vec<u8> + Send + Copy + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut buffer = [0; 1000];
                let mut before = 0;
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let reply = answer(before, &buffer[..count]);
                    before += count;
                    if reply.is_empty() || stream.write_all(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    target(address)
}

/// This process as the server.
pub(super) fn target(address: SocketAddr) -> Target {
    Target { address, process: Process::new(std::process::id()), folder: None, other: None }
}
