//! Commands that run, and write a little all the while.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

/// What one command writes at once, and how often.
const LINE: usize = 1000;
const LINES: usize = 4;

/// Clients, each with a command that runs.
pub(crate) struct Commands {
    clients: Vec<BufReader<TcpStream>>,
    begun: usize,
    answered: usize,
}

impl Commands {
    /// So many clients.
    pub(crate) fn connect(to: SocketAddr, count: usize) -> Self {
        let connect = |_| BufReader::new(TcpStream::connect(to).expect("the server listens"));
        Self { clients: (0..count).map(connect).collect(), begun: 0, answered: 0 }
    }

    /// How many replies came.
    pub(crate) const fn answered(&self) -> usize {
        self.answered
    }

    /// Has each client's commands run, one after the other, until it is over.
    pub(crate) fn run(&mut self, is_over: &AtomicBool) {
        let mut running: Vec<usize> = Vec::new();
        for client in &mut self.clients {
            running.push(begin(client, &mut self.begun));
        }
        // They take equally long: whose turn it is has hardly to be waited for.
        while !is_over.load(Ordering::Relaxed) {
            for (client, number) in self.clients.iter_mut().zip(&mut running) {
                self.answered += end(client, *number);
                *number = begin(client, &mut self.begun);
            }
        }
        for (client, number) in self.clients.iter_mut().zip(running) {
            self.answered += end(client, number);
        }
    }
}

/// What the command of this number writes at once.
fn line_of(number: usize) -> String {
    format!("{number:0LINE$}\n")
}

/// Asks for the next command.
fn begin(client: &mut BufReader<TcpStream>, begun: &mut usize) -> usize {
    *begun += 1;
    let line = line_of(*begun);
    let (line, sleep) = (line.trim_end(), "sleep 0.2");
    let script = format!("for n in $(seq {LINES}); do echo {line}; {sleep}; done; exit 7\n");
    client.get_mut().write_all(script.as_bytes()).expect("the server reads");
    *begun
}

/// Waits for its end; one more that was answered.
fn end(client: &mut BufReader<TcpStream>, number: usize) -> usize {
    let mut header = String::new();
    client.read_line(&mut header).expect("the server answers");
    let expected = line_of(number).repeat(LINES);
    assert_eq!(header, format!("info|{}|7\n", expected.len()));
    let mut payload = vec![0; expected.len()];
    client.read_exact(&mut payload).expect("the server answers");
    assert!(payload == expected.as_bytes(), "the output of {number} is another's");
    1
}
