//! `RedisLink`: one connection to a simulated Redis, as an actor.

use std::time::Duration;

use super::reply::take_command;
use super::state::{Shared, millis};
use crate::driver::sim::{Actor, ActorIo, End};

/// One connection to a [`Redis`](super::Redis).
#[derive(Debug)]
pub struct RedisLink {
    redis: Shared,
    input: Vec<u8>,
}

impl RedisLink {
    pub(super) const fn new(redis: Shared) -> Self {
        Self { redis, input: Vec::new() }
    }

    /// Answers what has come, unless Redis hangs.
    fn answer(&mut self, io: &mut ActorIo<'_>) {
        let mut redis = self.redis.lock();
        redis.pass(io);
        if let Some(until) = redis.hangs_until(millis(io.now())) {
            let left = until - millis(io.now());
            io.set_timer(Duration::from_millis(left), 0);
            return;
        }
        while redis.is_connected(io.id())
            && let Some(command) = take_command(&mut self.input)
        {
            redis.execute(io, &command);
            redis.run_left_behind(io);
        }
        redis.run_left_behind(io);
    }
}

impl Actor for RedisLink {
    fn connected(&mut self, io: &mut ActorIo<'_>) {
        let mut redis = self.redis.lock();
        redis.pass(io);
        redis.connect(io);
    }

    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.answer(io);
    }

    fn timer(&mut self, io: &mut ActorIo<'_>, _: u64) {
        self.answer(io);
    }

    fn end(&mut self, io: &mut ActorIo<'_>, _: End) {
        self.redis.lock().disconnect(io, std::mem::take(&mut self.input));
    }
}
