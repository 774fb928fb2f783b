//! The tail of requests over HTTP beside clients that send theirs a byte at a time (slow
//! loris).

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::Events;

use super::connect::Connector;
use super::patience::Patience;
use super::unless_blocked;
use super::web::{self, Web, What};
use super::{EVENTS, Effort, Target};
use crate::Result;

/// Connections that ask for the plaintext again as soon as they have it.
const BUSY: usize = 50;

/// The time from one byte of a slow client to its next: well within the deadlines of
/// servers between two bytes.
const PERIOD: Duration = Duration::from_secs(5);

/// The beginning of a head; bytes of the last field's value follow.
const HEAD: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// The 99th percentile of the time from a request of the busy connections to its whole
/// answer, in nanoseconds, after the warm-up, beside so many slow clients.
///
/// # Errors
///
/// The server falls silent, closes, or sends another answer.
pub(crate) fn run(slow: usize, target: &Target, effort: &Effort) -> Result<f64> {
    let mut slow = Slow::connect(slow, target)?;
    let web = Web { what: What::Plaintext, connections: BUSY, pipeline: 1 };
    let mut load = web::Load::new(web, target, *effort)?;
    let request = load.script.request.clone();
    let mut sent_at = vec![Instant::now(); BUSY];
    for connection in &mut load.connections {
        connection.ask(&request)?;
    }
    let (mut events, mut patience) = (Events::with_capacity(EVENTS), Patience::new());
    let mut times = Vec::new();
    let began = Instant::now();
    let mut answers = 0;
    loop {
        load.effort.wait(&mut load.poll, &mut events)?;
        let spent = began.elapsed();
        if spent >= effort.warmup() + effort.window {
            break;
        }
        slow.send(spent)?;
        patience.check(answers, Instant::now())?;
        for event in &events {
            let place = event.token().0;
            let connection = &mut load.connections[place];
            if connection.read(&load.script, &mut load.buffer)? == 0 {
                connection.write(&request)?;
                continue;
            }
            let now = Instant::now();
            answers += 1;
            if spent >= effort.warmup() {
                times.push(now.duration_since(sent_at[place]).as_nanos() as f64);
            }
            sent_at[place] = now;
            connection.ask(&request)?;
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().ok_or_else(|| "there was no answer in the time given".into())
}

/// The slow clients.
struct Slow {
    streams: Vec<TcpStream>,
    /// Bytes that all of them have sent.
    sent: usize,
}

impl Slow {
    fn connect(count: usize, target: &Target) -> Result<Self> {
        let mut connector = Connector::new(target.address);
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = connector.connect()?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        Ok(Self { streams, sent: 0 })
    }

    /// Sends what is due by now, one client after the other.
    fn send(&mut self, spent: Duration) -> Result<()> {
        let due = spent.as_secs_f64() / PERIOD.as_secs_f64() * self.streams.len() as f64;
        while (self.sent as f64) < due {
            let (turn, place) = (self.sent / self.streams.len(), self.sent % self.streams.len());
            let byte = HEAD.get(turn).copied().unwrap_or(b'a');
            match unless_blocked(self.streams[place].write(&[byte])) {
                Ok(Some(1)) => self.sent += 1,
                outcome => return Err(format!("a slow client could not send: {outcome:?}").into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, EFFORT};
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn an_honest_server_has_a_tail_and_another_an_error() {
        let honest = testing::serve(|_, _| ANSWER.to_vec());
        assert!(run(0, &honest, &EFFORT).expect("it answers") > 0.0);
        let others = testing::serve(|at, _| if at > 500 { b"HTTP/1.1 404".into() } else { ANSWER.to_vec() });
        assert!(run(0, &others, &EFFORT).is_err());
    }
}
