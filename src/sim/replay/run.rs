//! Running a replay: the turns of the recording, in a reactor that was made as the
//! recorded one was.

use std::time::Duration;

use super::driver::Replay;
use super::outcome::{ReplayError, Replayed};
use crate::Reactor;
use crate::driver::Notice;
use crate::record::{Call, Entry};

impl<const SHORT: bool> Replay<SHORT> {
    /// Takes the turns of the recording, to its end.
    ///
    /// ```no_run
    /// use serve_forever::record::Dump;
    /// use serve_forever::services::Echo;
    /// use serve_forever::sim::Replay;
    /// use serve_forever::{Config, Reactor};
    ///
    /// let driver: Replay = Replay::new(Dump::open("incident.1")?)?;
    /// let mut reactor = Reactor::with_driver(driver, Config::default())?;
    /// let echo = reactor.add(Echo::new(), Echo::limits())?;
    /// reactor.listen(&echo, &"127.0.0.1:7007".parse()?)?;
    /// println!("{:?}", Replay::run(&mut reactor)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReplayError::Diverged`] at the first difference, [`ReplayError::Program`] where
    /// the program has to act.
    pub fn run(reactor: &mut Reactor<Self>) -> Result<Replayed, ReplayError> {
        while Self::step(reactor)? {}
        let source = &reactor.driver().source;
        Ok(Replayed { turns: source.turn(), calls: source.calls(), lost_calls: source.lost_calls() })
    }

    /// Takes one turn of the recording, or all of a
    /// [`serve_forever`](Reactor::serve_forever). `false` at the end.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn step(reactor: &mut Reactor<Self>) -> Result<bool, ReplayError> {
        let source = &reactor.driver().source;
        if let Some(divergence) = source.divergence() {
            return Err(ReplayError::Diverged(divergence.clone()));
        }
        let outcome = match source.end_turn().map(next) {
            None => {
                source.end();
                return Ok(false);
            }
            Some(Next::Turn(max_wait)) => reactor.turn(max_wait).map(drop),
            Some(Next::ServeForever) => reactor.serve_forever(),
            Some(Next::Shutdown(deadline)) => {
                reactor.shutdown(deadline);
                Ok(())
            }
            Some(Next::Program(call)) => return Err(ReplayError::Program { turn: source.turn(), call }),
            Some(Next::More(entry)) => {
                source.diverge(&entry, "the turn ends".into());
                Ok(())
            }
        };
        let source = &reactor.driver().source;
        match (source.divergence(), outcome) {
            (Some(divergence), _) => Err(ReplayError::Diverged(divergence.clone())),
            (None, _) if source.has_ended() => Ok(false),
            (None, Ok(())) => Ok(true),
            // The error is the recorded one: no other comes from here.
            (None, Err(_)) => Ok(true),
        }
    }
}

/// What comes next, between turns.
enum Next<'a> {
    Turn(Option<Duration>),
    ServeForever,
    Shutdown(Duration),
    /// A call of the program.
    Program(String),
    /// More of the turn that is over in the replay.
    More(Entry<'a>),
}

fn next(entry: Entry<'_>) -> Next<'_> {
    match entry.call {
        Call::Notice(Notice::Turn(max_wait)) => Next::Turn(max_wait),
        Call::Notice(Notice::Serving) => Next::ServeForever,
        Call::Notice(Notice::Shutdown(deadline)) => Next::Shutdown(deadline),
        Call::Listen { .. }
        | Call::CloseListener { .. }
        | Call::Bind { .. }
        | Call::CloseSocket { .. }
        | Call::Adopt
        | Call::AdoptOneWay { .. }
        | Call::AdoptListener { .. } => Next::Program(entry.to_string()),
        _ => Next::More(entry),
    }
}
