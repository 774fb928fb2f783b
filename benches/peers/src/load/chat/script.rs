//! The lines of a chat: each is different and names its sender.

use std::io::Write;

/// Bytes in a line, its end included.
pub(super) const LINE: usize = 64;

/// Digits of the sender's number, with which a line begins.
pub(super) const SENDER: usize = 6;

/// The lines of one round.
#[derive(Debug)]
pub(super) struct Script {
    bursts: Vec<Vec<u8>>,
    lines: usize,
    round: u64,
}

impl Script {
    pub(super) fn new(senders: usize, lines: usize) -> Self {
        Self { bursts: vec![Vec::with_capacity(lines * LINE); senders], lines, round: 0 }
    }

    pub(super) fn next_round(&mut self) {
        self.round += 1;
        for (sender, burst) in self.bursts.iter_mut().enumerate() {
            burst.clear();
            for line in 0..self.lines {
                let before = burst.len();
                write!(burst, "{sender:0SENDER$} {line:06} {:012} ", self.round).expect("a Vec takes it");
                burst.resize(before + LINE - 1, b'-');
                burst.push(b'\n');
            }
        }
    }

    /// What a sender says in this round.
    pub(super) fn burst(&self, sender: usize) -> &[u8] {
        &self.bursts[sender]
    }

    pub(super) fn senders(&self) -> usize {
        self.bursts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lines_are_alike() {
        let mut script = Script::new(3, 4);
        let mut lines = std::collections::HashSet::new();
        for _ in 0..5 {
            script.next_round();
            for sender in 0..3 {
                let burst = script.burst(sender);
                assert_eq!(burst.len(), 4 * LINE);
                lines.extend(burst.chunks(LINE).map(<[u8]>::to_vec));
            }
        }
        assert_eq!(lines.len(), 5 * 3 * 4);
        assert!(lines.iter().all(|line| line.iter().position(|byte| *byte == b'\n') == Some(LINE - 1)));
    }
}
