//! The latency of one message: one connection, one message at a time, and on this side
//! no poll, only reads until the answer is there.

use std::io::{Read, Write};
use std::time::Instant;

use super::connect::Connector;
use super::patience::Patience;
use super::pattern::{Pattern, Place};
use super::{Effort, Target, unless_blocked};
use crate::Result;

/// Bytes in a message.
const SIZE: usize = 64;

/// The median in nanoseconds of all that fit into the window, after the
/// warm-up.
///
/// # Errors
///
/// The server falls silent, closes, or sends other bytes than it got.
pub(crate) fn run(target: &Target, effort: &Effort) -> Result<f64> {
    let stream = Connector::new(target.address).connect()?;
    stream.set_nonblocking(effort.spins)?;
    let pattern = Pattern::new();
    let mut place = Place::of_connection(0);
    let mut times = Vec::new();
    let began = Instant::now();
    loop {
        let message = pattern.piece(place, SIZE as u64);
        place.advance(SIZE);
        let mut reply = [0; SIZE];
        let mut received = 0;
        let mut patience = Patience::new();
        let sent = Instant::now();
        if (&stream).write(message)? < SIZE {
            return Err("a message could not be sent at once".into());
        }
        while received < SIZE {
            match unless_blocked((&stream).read(&mut reply[received..]))? {
                Some(0) => return Err("the server closed the connection".into()),
                Some(count) => received += count,
                None => patience.check(received as u64, Instant::now())?,
            }
        }
        let now = Instant::now();
        if reply != message {
            return Err("the connection got other bytes than it sent".into());
        }
        let spent = now.duration_since(began);
        if spent >= effort.warmup() {
            times.push(now.duration_since(sent).as_nanos() as f64);
        }
        if spent >= effort.warmup() + effort.window {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, EFFORT};
    use super::*;

    #[test]
    fn an_honest_echo_has_a_latency_and_another_an_error() {
        let honest = testing::serve(|_, bytes| bytes.to_vec());
        assert!(run(&honest, &EFFORT).expect("it echoes") > 0.0);
        let changes =
            testing::serve(|at, bytes| if at > 500 { bytes.to_ascii_uppercase() } else { bytes.into() });
        assert!(run(&changes, &EFFORT).is_err());
    }
}
