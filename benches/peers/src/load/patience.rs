//! The time after which a silent server counts as hung.

use std::time::{Duration, Instant};

use crate::Result;

/// A server that moves nothing for so long has failed.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// When something last moved.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    progress: u64,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), progress: 0 }
    }

    /// Takes note of how far things are, as any number that changes when they
    /// move.
    ///
    /// # Errors
    ///
    /// They have not moved for too long.
    pub(super) fn check(&mut self, progress: u64, now: Instant) -> Result<()> {
        if progress != self.progress {
            self.progress = progress;
            self.since = now;
        }
        if now.duration_since(self.since) < LIMIT {
            Ok(())
        } else {
            Err(format!("nothing came for {LIMIT:?}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_nothing_moves_and_not_before() {
        let mut patience = Patience::new();
        let begin = Instant::now();
        assert!(patience.check(1, begin + LIMIT).is_ok(), "it moved");
        assert!(patience.check(1, begin + LIMIT * 3 / 2).is_ok());
        assert!(patience.check(1, begin + LIMIT * 2).is_err());
    }
}
