//! A member, and how far it has heard each sender out.

use std::io::Read;

use mio::net::TcpStream;

use super::super::unless_blocked;
use super::script::{LINE, SENDER, Script};
use crate::Result;

pub(super) struct Member {
    index: usize,
    pub(super) stream: TcpStream,
    hearing: Hearing,
}

impl Member {
    pub(super) fn new(index: usize, stream: TcpStream, senders: usize) -> Self {
        Self { index, stream, hearing: Hearing::new(senders) }
    }

    /// All that was said is heard; now each other sender says its burst.
    pub(super) fn begin_round(&mut self, script: &Script) {
        self.hearing.begin_round(self.index, script);
    }

    /// Reads and checks what is there; returns how many lines that was.
    pub(super) fn read(&mut self, script: &Script, buffer: &mut [u8], until_empty: bool) -> Result<u64> {
        let index = self.index;
        let mut lines = 0;
        loop {
            let outcome = unless_blocked(self.stream.read(buffer));
            let count = match outcome.map_err(|error| format!("member {index}: {error}"))? {
                Some(0) => return Err(format!("member {index} was closed").into()),
                Some(count) => count,
                None => return Ok(lines),
            };
            lines += self
                .hearing
                .hear(script, &buffer[..count])
                .map_err(|error| format!("member {index}: {error}"))?;
            if count < buffer.len() && !until_empty {
                return Ok(lines);
            }
        }
    }
}

/// What is left to be heard in a round.
#[derive(Debug)]
struct Hearing {
    /// Bytes heard of each sender's burst.
    heard: Vec<usize>,
    /// The beginning of a line whose end has not come yet.
    begun: [u8; LINE],
    held: usize,
}

impl Hearing {
    fn new(senders: usize) -> Self {
        Self { heard: vec![0; senders], begun: [0; LINE], held: 0 }
    }

    fn begin_round(&mut self, own: usize, script: &Script) {
        self.heard.fill(0);
        // Nobody hears itself: of its own there is nothing left to come.
        if own < script.senders() {
            self.heard[own] = script.burst(own).len();
        }
    }

    fn hear(&mut self, script: &Script, mut data: &[u8]) -> Result<u64> {
        let mut lines = 0;
        if self.held > 0 {
            let taken = data.len().min(LINE - self.held);
            self.begun[self.held..self.held + taken].copy_from_slice(&data[..taken]);
            self.held += taken;
            data = &data[taken..];
            if self.held < LINE {
                return Ok(0);
            }
            self.held = 0;
            let line = self.begun;
            lines += self.hear_lines(script, &line)? as u64;
        }
        while data.len() >= LINE {
            let count = self.hear_lines(script, data)?;
            lines += count as u64;
            data = &data[count * LINE..];
        }
        self.begun[..data.len()].copy_from_slice(data);
        self.held = data.len();
        Ok(lines)
    }

    /// Takes one line, or all that are left of its sender if they follow;
    /// returns how many.
    fn hear_lines(&mut self, script: &Script, data: &[u8]) -> Result<usize> {
        let unexpected = || format!("this line was not said, or not now: {}", text(&data[..LINE]));
        let sender = std::str::from_utf8(&data[..SENDER]).ok().and_then(|digits| digits.parse().ok());
        let sender: usize = sender.filter(|sender| *sender < script.senders()).ok_or_else(unexpected)?;
        let left = &script.burst(sender)[self.heard[sender]..];
        if left.is_empty() {
            return Err(unexpected().into());
        }
        let count = if data.starts_with(left) {
            left.len() / LINE
        } else if data[..LINE] == left[..LINE] {
            1
        } else {
            return Err(unexpected().into());
        };
        self.heard[sender] += count * LINE;
        Ok(count)
    }
}

fn text(line: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of two senders with three lines each, for a member who listens.
    fn round() -> (Script, Hearing) {
        let mut script = Script::new(2, 3);
        script.next_round();
        let mut hearing = Hearing::new(2);
        hearing.begin_round(7, &script);
        (script, hearing)
    }

    #[test]
    fn all_lines_count_once_however_they_are_cut_and_mixed() {
        let (script, _) = round();
        let (a, b) = (script.burst(0), script.burst(1));
        let mixed = [&a[..LINE], &b[..2 * LINE], &a[LINE..], &b[2 * LINE..]].concat();
        for cut in 1..mixed.len() {
            let mut hearing = round().1;
            let pieces = mixed.chunks(cut);
            let lines: u64 = pieces.map(|piece| hearing.hear(&script, piece).expect("all is right")).sum();
            assert_eq!((lines, hearing.held), (6, 0), "pieces of {cut}");
        }
    }

    #[test]
    fn what_is_not_in_order_twice_changed_or_stale_is_an_error() {
        let (mut script, mut hearing) = round();
        let burst = script.burst(0).to_vec();
        assert!(hearing.hear(&script, &burst[LINE..]).is_err(), "the second line is not the first");
        let (_, mut hearing) = round();
        hearing.hear(&script, &burst).expect("all is right");
        assert!(hearing.hear(&script, &burst[..LINE]).is_err(), "it was heard already");
        let (_, mut hearing) = round();
        let mut changed = burst.clone();
        changed[LINE - 2] ^= 1;
        assert!(hearing.hear(&script, &changed).is_err());
        script.next_round();
        assert!(round().1.hear(&script, &burst).is_err(), "it is of the last round");
    }

    #[test]
    fn a_sender_does_not_hear_itself() {
        let (script, mut hearing) = round();
        hearing.begin_round(1, &script);
        assert!(hearing.hear(&script, script.burst(1)).is_err());
        assert_eq!(hearing.hear(&script, script.burst(0)).expect("all is right"), 3);
    }
}
