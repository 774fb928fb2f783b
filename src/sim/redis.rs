//! `Redis`: a simulated one, for handlers on a [`Bus`](crate::bus::Bus) (features `bus`
//! and `sim`).
//!
//! It understands what a bus asks of it, and nothing else. Its faults happen in virtual
//! time: it is restarted, with its data, without it, or with what it had saved a while
//! before; it hangs, has no memory, becomes a replica, forgets scripts, drops the
//! beginning of its logs, and resets links at any byte.
//!
//! ```
//! use std::time::Duration;
//! use serve_forever::bus::{Bus, BusHandler, BusOptions, Gap, Message, OnBus};
//! use serve_forever::bytes::BytesMut;
//! use serve_forever::driver::sim::{Conditions, Script};
//! use serve_forever::sim::World;
//! use serve_forever::sim::redis::{Fault, Redis};
//! use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};
//!
//! struct Lobby(Bus);
//!
//! impl StreamHandler for Lobby {
//!     type Session = ();
//!
//!     fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
//!         let id = io.id();
//!         self.0.join(io, "lobby", id)?;
//!         Ok(())
//!     }
//!
//!     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
//!         self.0.publish(io, "lobby", input.split())?;
//!         Ok(())
//!     }
//! }
//!
//! impl BusHandler for Lobby {
//!     fn bus(&mut self) -> &mut Bus {
//!         &mut self.0
//!     }
//!
//!     fn message(&mut self, io: &mut Io<'_>, message: Message) {
//!         self.0.broadcast(io, "lobby", &message.payload);
//!     }
//!
//!     fn gap(&mut self, _: &mut Io<'_>, gap: Gap) {
//!         panic!("{gap:?}");
//!     }
//! }
//!
//! let options = BusOptions { seed: Some(1), ..BusOptions::default() };
//! let lobby = OnBus::new(Lobby(Bus::new("redis://192.0.2.1".parse()?, options)?));
//! let mut world = World::<_, true>::new(1, Conditions::calm(), lobby, Limits::default())?;
//! let redis = Redis::new();
//! redis.host(world.net_mut(), &"192.0.2.1:6379".parse()?);
//! let second = Duration::from_secs(1);
//! redis.will(second, Fault::ResetAll); // what is said then is delivered after all
//! let client = world.play(Script::new().send("hello").after(second).send(", ").send("world"));
//! world.run_for(5 * second)?;
//! assert_eq!(world.client(client).received(), b"hello, world");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

mod data;
mod link;
mod reply;
mod state;

use std::time::Duration;

pub use self::link::RedisLink;
use self::state::Shared;
pub use self::state::{Fault, Survives};
use crate::Endpoint;
use crate::driver::sim::{Cut, Network, Rng};

/// A simulated Redis. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Redis(Shared);

impl Redis {
    /// One that nothing happens to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One to which something happens now and then in its first `time`, and never again.
    #[must_use]
    pub fn seeded(rng: &mut Rng, time: Duration) -> Self {
        let redis = Self::new();
        for _ in 0..rng.below(8) {
            let at = Duration::from_millis(rng.between(0, u64::try_from(time.as_millis()).unwrap_or(0)));
            let period = Duration::from_millis(rng.between(0, 4000));
            let fault = match rng.below(13) {
                0 => Fault::Restart(Survives::Everything, period),
                1 | 2 => Fault::Restart(Survives::WhatWasSaved, period),
                3 => Fault::Restart(Survives::Nothing, period),
                4 | 5 => Fault::ResetAll,
                6 => Fault::Hang(8 * period),
                7 => Fault::OutOfMemory(period),
                8 => Fault::ReadOnly(period),
                9 => Fault::Loading(period),
                10 => Fault::ForgetScripts,
                11 => Fault::Trim(rng.size(0, 8)),
                _ => Fault::Flush,
            };
            redis.will(at, fault);
        }
        let mut state = redis.0.lock();
        state.chance = (rng.below(2) == 0).then(|| rng.fork());
        state.answers_first = rng.below(2) == 0;
        drop(state);
        redis
    }

    /// Makes it the host at an endpoint.
    pub fn host(&self, net: &mut Network, at: &Endpoint) {
        let redis = self.clone();
        net.host_with(at, move || RedisLink::new(redis.0.clone()));
    }

    /// Has something happen at this time of the simulation, or when somebody speaks to it
    /// next.
    pub fn will(&self, at: Duration, fault: Fault) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.0.lock().faults.entry(at).or_default().push(fault);
    }

    /// Has something happen once `byte` of what it sends on the next connection have left;
    /// called again, on the one after that.
    pub fn will_cut(&self, byte: usize, cut: Cut) {
        self.0.lock().cuts.push_back((byte, cut));
    }

    /// Has it answer a command before what that tells the connection that it came by, as
    /// Redis does from 7.2 on. Without this it does so behind it, as Redis did before.
    #[must_use]
    pub fn answering_first(self) -> Self {
        self.0.lock().answers_first = true;
        self
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.0.lock().struck
    }
}
