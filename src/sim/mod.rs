//! Testing your handler over a simulated network (feature `sim`).
//!
//! A test beside real sockets waits for them, and sees only what the kernel
//! does that day. Over [`driver::sim`](crate::driver::sim) the same reactor
//! runs the same handler in one thread, in virtual time: a day passes in a
//! jump, bytes are cut anywhere, calls are interrupted, peers reset, and one
//! number, the seed, decides all of it. So thousands of hostile schedules are
//! an ordinary test, and a failure comes again for whoever has its number.
//!
//! ```toml
//! [dev-dependencies]
//! serve-forever = { version = "0.1", features = ["sim"] }
//! ```
//!
//! # 1. A script
//!
//! A [`World`] is your handler in a reactor over a simulated network, checked
//! after every turn. A [`Script`](crate::driver::sim::Script) is what a client
//! does:
//!
//! ```
//! use std::time::Duration;
//! use serve_forever::driver::sim::{Script, Conditions};
//! use serve_forever::services::Echo;
//! use serve_forever::sim::World;
//! use serve_forever::Limits;
//!
//! let limits = Limits { idle: Some(Duration::from_secs(24 * 3600)), ..Echo::limits() };
//! let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), limits)?;
//! let client = world.play(Script::new().send("hello"));
//! world.run()?; // until nothing happens any more: a day, in a millisecond
//!
//! assert_eq!(world.client(client).received(), b"hello");
//! assert_eq!(world.life(client).and_then(|life| life.closed()), Some("TimedOut(Idle)"));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # 2. Conditions
//!
//! Under [`Conditions::calm`](crate::driver::sim::Conditions::calm) nothing goes
//! wrong by itself. Turn on what you mean to test, or draw it from a seed.
//! Here is a handler with a bug: it answers each line, and throws away what
//! stands behind the last line end, a line that has not come whole yet.
//!
//! ```
//! use serve_forever::bytes::BytesMut;
//! use serve_forever::driver::sim::{Rng, Script, Conditions};
//! use serve_forever::sim::World;
//! use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};
//!
//! struct Shout;
//!
//! impl StreamHandler for Shout {
//!     type Session = ();
//!
//!     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
//!         Ok(())
//!     }
//!
//!     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
//!         while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
//!             io.reply(&input.split_to(end + 1).to_ascii_uppercase());
//!         }
//!         input.clear(); // the bug: the rest of the frame is forgotten
//!         Ok(())
//!     }
//! }
//!
//! /// Whether all is well under this seed.
//! fn holds(seed: u64) -> bool {
//!     let conditions = Conditions::seeded(&mut Rng::new(seed));
//!     let mut world = World::<_>::new(seed, conditions, Shout, Limits::default()).expect("good limits");
//!     let client = world.play_unix(Script::new().send("one\ntwo\n").send("three\n").finish());
//!     world.run().expect("the reactor keeps its promises");
//!     // Unless it was the network that lost it, which it says.
//!     let seen = world.client(client);
//!     seen.was_lost() || seen.received() == b"ONE\nTWO\nTHREE\n"
//! }
//!
//! // A kind network cuts no line in two, and the bug is not seen. Others do:
//! let mut world = World::<_, true>::new(0, Conditions::calm(), Shout, Limits::default())?;
//! let client = world.play(Script::new().send("one\ntwo\n").send("three\n").finish());
//! world.run()?;
//! assert_eq!(world.client(client).received(), b"ONE\nTWO\nTHREE\n");
//!
//! let found = (0..100).find(|seed| !holds(*seed)).expect("a seed that finds it");
//! assert!(!holds(found), "and finds it again, each time");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! The fix is to delete the line. To see what happened under a seed, record
//! its trace: `world.net_mut().trace_mut().record()` before, and
//! `println!("{}", world.net().trace())` after.
//!
//! # 3. Children
//!
//! The programs that a handler starts are scripted too, by name
//! ([`Network::install`](crate::driver::sim::Network::install)): what they
//! write and read, how they end and how they take a signal, and whether they
//! leave something behind that holds their pipes.
//!
//! ```
//! use std::time::Duration;
//! use serve_forever::driver::sim::{Grandchild, Program, Script, Conditions};
//! use serve_forever::process::Command;
//! use serve_forever::sim::World;
//! # use serve_forever::bytes::BytesMut;
//! use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};
//!
//! struct Backup;
//!
//! impl StreamHandler for Backup {
//!     type Session = ();
//!
//!     fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
//!         if !matches!(origin, Origin::Pipe { .. }) {
//!             io.spawn(Command::new("backup").timeout(Duration::from_secs(3600)), 0)?;
//!         }
//!         Ok(())
//!     }
//! #   fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
//! #       Ok(input.clear())
//! #   }
//! }
//!
//! let mut world = World::<_, true>::new(1, Conditions::calm(), Backup, Limits::default())?;
//! let day = Duration::from_secs(24 * 3600);
//! let stubborn = Program::new().after(day).ignoring_terminate().leaving(Grandchild::for_ever());
//! world.net_mut().install("backup", stubborn);
//! world.play(Script::new().finish());
//! world.run()?;
//!
//! let told = &world.recording().told()[0];
//! let took = told.at() - world.epoch();
//! assert!(took >= Duration::from_secs(3601) && took < Duration::from_secs(3602), "killed, a second later");
//! world.check_baseline()?; // no child is left, and no pipe
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # 4. Exploring
//!
//! Say once what your clients send and what they must receive, as a
//! [`Subject`], and let a [`Plan`] made of a seed decide the rest: who comes
//! when, sends in which pieces, reads how slowly, and resets in the middle;
//! limits, buffers, faults. [`run`] runs it, [`shrink`] makes one that fails
//! smaller, until its trace can be read in a minute.
//!
//! ```
//! use serve_forever::sim::{Plan, Record, run, shrink, subject::Upper};
//!
//! for seed in 0..20 {
//!     let plan = Plan::new(seed);
//!     if let Err(failure) = run(&Upper, &plan, Record::Nothing) {
//!         let smaller = shrink(&plan, 1000, |plan| Some(run(&Upper, plan, Record::Nothing).err()?.violation.what));
//!         let trace = run(&Upper, &smaller, Record::Trace).expect_err("it still fails").trace;
//!         panic!("seed {seed}: {failure}\n{smaller:#?}\n{trace}");
//!     }
//! }
//! ```
//!
//! `examples/explore.rs` does so for as many seeds as one has time for, and
//! says what they covered.
//!
//! # What is checked
//!
//! After every turn, whatever the handler: see [`World`] and [`Recording`].
//! The right answers of *your* handler are not checked: a test has to know them.

pub mod commands;
mod explore;
mod plan;
mod recording;
#[cfg(feature = "record")]
mod replay;
#[cfg(feature = "http")]
pub mod requests;
pub mod subject;
mod toy;
#[cfg(feature = "upload")]
pub mod uploads;
mod world;

pub use self::explore::{Failure, Record, Totals, kind_of, run, shrink};
pub use self::plan::{ClientPlan, Ending, Plan};
pub use self::recording::{Life, Recorded, Recording, Told};
#[cfg(feature = "record")]
pub use self::replay::{
    Divergence, Expected, Replay, ReplayError, Replayed, ReplayedPlan, RightAnswer, Shrinking, Shrunk,
    Unshrunk, replay_plan,
};
pub use self::subject::Subject;
pub use self::toy::Toy;
pub use self::world::{Violation, World};
