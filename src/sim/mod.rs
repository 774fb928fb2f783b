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
//! `println!("{}", world.net().trace())` after; [`World::state`] shows where
//! everything stands.
//!
//! # 3. Every cut
//!
//! Seeds find such a bug by luck. [`every_cut`] takes one script and tries all of
//! them: every cut, every two, a pause, a FIN and a reset at each place, each in a
//! world of its own and compared with the uncut run. It is one call, and belongs into
//! the tests of every protocol:
//!
//! ```
//! use serve_forever::driver::sim::{Conditions, Script};
//! use serve_forever::services::Upper;
//! use serve_forever::sim::{World, every_cut};
//!
//! let script = Script::new().send("one\ntwo\n").send("three\n").finish();
//! every_cut(&script, || World::<_, true>::new(1, Conditions::calm(), Upper::new(), Upper::limits()))?;
//! # Ok::<(), serve_forever::sim::CutError>(())
//! ```
//!
//! # 4. Peers that answer
//!
//! A script is known in advance. An [`Actor`](crate::driver::sim::Actor) is a peer with
//! state: it is told what comes, and says what it likes. An implementation of a
//! protocol that does no I/O is an actor by a few lines, a real TLS client too. Actors
//! are clients of a service, hosts that a handler connects to
//! ([`Network::host_with`](crate::driver::sim::Network::host_with)), or have an address
//! for datagrams ([`DatagramActor`](crate::driver::sim::DatagramActor)); all that the
//! conditions do to scripts they do to actors. Here a handler keeps each line at a host
//! that answers as a mail server does:
//!
//! ```
//! use serve_forever::driver::sim::{Actor, ActorIo, Conditions, Script};
//! use serve_forever::sim::World;
//! # use serve_forever::bytes::BytesMut;
//! use serve_forever::{BoxError, ConnId, Endpoint, Io, Limits, Origin, StreamHandler};
//!
//! /// Says hello, and `250` to each line.
//! #[derive(Default)]
//! struct Mail(Vec<u8>);
//!
//! impl Actor for Mail {
//!     fn connected(&mut self, io: &mut ActorIo<'_>) {
//!         io.send("220 mail.test\r\n");
//!     }
//!
//!     fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
//!         for byte in bytes {
//!             self.0.push(*byte);
//!             if self.0.ends_with(b"\r\n") {
//!                 io.send(format!("250 {} bytes\r\n", self.0.len() - 2));
//!                 self.0.clear();
//!             }
//!         }
//!     }
//! }
//!
//! /// Greets the host once, and sends each client its answer.
//! struct Greets(Endpoint);
//!
//! impl StreamHandler for Greets {
//!     type Session = ConnId;
//!
//!     fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
//!         match origin {
//!             Origin::Connected { tag, .. } => {
//!                 io.reply(b"EHLO me\r\n");
//!                 Ok(ConnId::from_bits(*tag))
//!             }
//!             _ => Ok(io.connect(&self.0, io.id().to_bits())?),
//!         }
//!     }
//!
//!     fn data(&mut self, io: &mut Io<'_>, client: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
//!         let _ = io.send(*client, input.split());
//!         Ok(())
//!     }
//! }
//!
//! let at: Endpoint = "192.0.2.1:25".parse()?;
//! let mut world = World::<_, true>::new(1, Conditions::calm(), Greets(at.clone()), Limits::default())?;
//! world.net_mut().host_with(&at, Mail::default);
//! let client = world.play(Script::new().await_answer("250 7 bytes\r\n").finish());
//! world.run()?;
//! assert_eq!(world.client(client).received(), b"220 mail.test\r\n250 7 bytes\r\n");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! A world may have [more services](World::add), with clients of each.
//!
//! # 5. Children
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
//! # 6. Exploring
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
//! says what they covered. A subject whose clients answer has
//! [actors](Subject::actor) play them: a plan of fewer clients has fewer actors.
//!
//! To see how a run comes to where it fails, [`stop_at`] shows the state after a turn.
//! [`run_recorded`] keeps what happens in each turn; of two such records, of a plan and
//! a smaller one, or of two builds of the library,
//! [`first_difference`](Turns::first_difference) names the first turn that differs and
//! shows both sides.
//!
//! # 5. From a recording
//!
//! With the feature `record`, a run of production becomes a test: `Replay` runs a dump
//! into the same handler again, and `Shrinking` makes a script of it, of one client and
//! few bytes. docs/incident.md goes that way from beginning to end.
//!
//! # What is checked
//!
//! After every turn, whatever the handler: see [`World`] and [`Recording`].
//! The right answers of *your* handler are not checked: a test has to know them.

mod checks;
pub mod commands;
mod every_cut;
mod explore;
#[cfg(feature = "workers")]
pub mod jobs;
mod log;
#[cfg(feature = "workers")]
pub mod names;
mod plan;
mod recording;
#[cfg(feature = "bus")]
pub mod redis;
#[cfg(feature = "record")]
mod replay;
#[cfg(feature = "http")]
pub mod requests;
#[cfg(feature = "bus")]
pub mod rooms;
pub mod subject;
mod toy;
mod turns;
#[cfg(feature = "upload")]
pub mod uploads;
mod world;

pub use self::every_cut::{CutError, CutReport, Disturbance, EveryCut, Pairs, every_cut};
pub use self::explore::{Failure, Record, Totals, kind_of, run, run_recorded, shrink, stop_at};
pub use self::log::{Life, Told};
pub use self::plan::{ClientPlan, Ending, Plan};
pub use self::recording::{Recorded, Recording};
#[cfg(feature = "record")]
pub use self::replay::{
    Divergence, Expected, Replay, ReplayError, Replayed, ReplayedPlan, RightAnswer, Shrinking, Shrunk,
    Unshrunk, replay_plan,
};
pub use self::subject::Subject;
pub use self::toy::Toy;
pub use self::turns::{BadTurns, TurnDifference, TurnRecord, Turns};
pub use self::world::{Violation, World};
