//! One client that has a command run, and the next when the reply is there.
//! Each says something else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::connect::Connector;
use super::patience::Patience;
use super::{Bound, Effort, Target, Work, unless_blocked};
use crate::Result;

/// See [`Load::run`](super::Load::run). What is counted are commands.
pub(super) fn run(target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(target, effort)?;
    load.drive(Bound::Time(effort.warmup()))?;
    Work::measure(target, || load.drive(Bound::Time(effort.window)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(commands: u64, target: &Target, effort: &Effort) -> Result<u64> {
    Load::new(target, effort)?.drive(Bound::Count(commands))
}

struct Load {
    stream: TcpStream,
    asked: u64,
}

impl Load {
    fn new(target: &Target, effort: &Effort) -> Result<Self> {
        let stream = Connector::new(target.address).connect()?;
        stream.set_nonblocking(effort.spins)?;
        Ok(Self { stream, asked: 0 })
    }

    /// Asks within the bound; returns how many were answered.
    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let began = Instant::now();
        let mut answered = 0;
        while bound.allows(began.elapsed(), answered) {
            self.ask()?;
            answered += 1;
        }
        Ok(answered)
    }

    fn ask(&mut self) -> Result<()> {
        self.asked += 1;
        let output = format!("hi {}\n", self.asked);
        let request = format!("echo {output}");
        // It is small, and all that was before it has been read.
        if (&self.stream).write(request.as_bytes())? < request.len() {
            return Err("a request could not be sent at once".into());
        }
        let expected = format!("info|{}|0\n{output}", output.len());
        let mut reply = Vec::with_capacity(expected.len());
        let mut patience = Patience::new();
        let mut buffer = [0; 1024];
        while reply.len() < expected.len() {
            match unless_blocked((&self.stream).read(&mut buffer))? {
                Some(0) => return Err("the server closed the connection".into()),
                Some(count) => reply.extend_from_slice(&buffer[..count]),
                None => patience.check(reply.len() as u64, Instant::now())?,
            }
        }
        if reply == expected.as_bytes() {
            Ok(())
        } else {
            let reply = String::from_utf8_lossy(&reply);
            Err(format!("{request:?} was answered by {reply:?}, not {expected:?}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, EFFORT};
    use super::*;

    #[test]
    fn an_answer_that_is_not_the_output_is_an_error() {
        let honest = testing::serve(|_, line| {
            let output = &line["echo ".len()..];
            [format!("info|{}|0\n", output.len()).as_bytes(), output].concat()
        });
        assert_eq!(count(3, &honest, &EFFORT).expect("it answers"), 3);
        let stale = testing::serve(|_, _| b"info|5|0\nhi 1\n".to_vec());
        assert!(count(3, &stale, &EFFORT).is_err(), "the second has to say something else");
    }
}
