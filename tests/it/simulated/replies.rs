//! `Io::reply`: the loop holds a connection whose answers nobody reads.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Pace, Script};
use serve_forever::sim::World;
use serve_forever::{AfterEof, BoxError, Io, Limits, Origin, Overflow, StreamHandler};

use super::handlers::{Call, Scripted, calm, patient, run, why};

const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1 << 10;

fn limits() -> Limits {
    Limits { low_mark: KIB, high_mark: 4 * KIB, ..patient() }
}

/// Small buffers between client and server, so that little is on its way.
fn narrow<H: StreamHandler>(handler: H, limits: Limits) -> World<H, true> {
    let conditions = Conditions { buffer: KIB, ..Conditions::calm() };
    World::new(1, conditions, handler, limits).expect("good limits")
}

/// What happened, in order.
type Events = Rc<RefCell<Vec<String>>>;

fn is_held(io: &Io<'_>) -> bool {
    io.is_paused(io.id())
}

/// So many lines of 16 bytes.
fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{n:15}\n").into_bytes()).collect()
}

#[test]
fn a_client_that_does_not_read_is_held_and_is_read_again_at_the_low_mark() {
    let drained = Rc::new(RefCell::new(0));
    let count = drained.clone();
    let handler = Scripted::new(move |io, call| {
        match call {
            Call::Line(line) => io.reply(line),
            Call::Drained => {
                assert!(!is_held(io), "the hold ends before `drained`");
                *count.borrow_mut() += 1;
            }
            _ => {}
        }
        Ok(())
    });
    let mut world = calm(handler, Limits { low_mark: 16 * KIB, high_mark: 64 * KIB, ..patient() });
    let script = Script::new().read(Pace::Never).send(lines(100_000)).finish();
    let client = world.play(script.after(30 * SECOND).read(Pace::AtOnce));
    world.run_for(20 * SECOND).expect("it keeps its promises");
    let taken = world.net().moved().0;
    assert!(taken < 300 << 10, "{taken} bytes are read and not sent on");
    assert_eq!(*drained.borrow(), 0);
    run(&mut world);
    assert!(world.client(client).received() == world.client(client).sent(), "nothing is lost");
    assert!(*drained.borrow() > 0, "and the handler is told");
    assert_eq!(why(&world, client), "Finished");
}

#[test]
fn a_pause_takes_the_hold_over() {
    let events = Events::default();
    let seen = events.clone();
    let handler = Scripted::new(move |io, call| {
        let note = |text: &str| seen.borrow_mut().push(text.to_owned());
        match call {
            Call::Line(line) => {
                note("line");
                io.reply(&line.repeat(512));
                assert!(is_held(io));
                io.pause(io.id());
                assert!(is_held(io));
            }
            Call::Drained => {
                note("drained");
                assert!(is_held(io), "the pause is the handler's own now");
                io.after(10 * SECOND)?;
            }
            Call::Timer(_) => {
                note("timer");
                io.resume(io.id());
                assert!(!is_held(io));
            }
            _ => {}
        }
        Ok(())
    });
    let mut world = narrow(handler, limits());
    let client = world.play(Script::new().send(lines(1)).after(SECOND).send(lines(1)).finish());
    run(&mut world);
    assert_eq!(*events.borrow(), ["line", "drained", "timer"].repeat(2));
    assert_eq!(world.client(client).received(), lines(1).repeat(1024));
}

#[test]
fn an_own_pause_from_before_stays_an_own_pause() {
    let handler = Scripted::new(|io, call| {
        match call {
            Call::Line(line) => {
                io.pause(io.id());
                io.reply(&line.repeat(512));
            }
            Call::Drained => {
                assert!(is_held(io));
                io.resume(io.id());
            }
            _ => {}
        }
        Ok(())
    });
    let mut world = narrow(handler, limits());
    let client = world.play(Script::new().send(lines(1)).finish());
    run(&mut world);
    assert_eq!(world.client(client).received(), lines(1).repeat(512));
}

#[test]
fn resume_lifts_the_hold() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            io.reply(&line.repeat(256));
            io.resume(io.id());
            assert!(!is_held(io));
        }
        Ok(())
    });
    let mut world = narrow(handler, Limits { hard_mark: 64 * KIB, ..limits() });
    let script = Script::new().read(Pace::Never);
    let client = world.play((0..100).fold(script, |script, _| script.send(lines(1)).after(SECOND)));
    run(&mut world);
    // It is read on, and so the answers pass the hard mark.
    assert!(why(&world, client).starts_with("Overflow"), "{}", why(&world, client));
}

/// Repeats each line ten times; breaks off while it is held.
#[derive(Default)]
struct TenTimes {
    held: usize,
    most_queued: usize,
}

impl StreamHandler for TenTimes {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            io.reply_bytes(input.split_to(end + 1).repeat(10).into());
            self.most_queued = self.most_queued.max(io.queued(io.id()).unwrap_or(0));
            if is_held(io) {
                self.held += 1;
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn what_the_handler_left_when_it_was_held_comes_again_though_nothing_new_has() {
    for size in [16, 4 * KIB] {
        let mut world = narrow(TenTimes::default(), Limits { read_budget: 64 * KIB, ..limits() });
        let line = [vec![b'x'; size - 1], b"\n".to_vec()].concat();
        let client = world.play(Script::new().send(line.repeat(64 * KIB / size)).finish());
        run(&mut world);
        assert!(world.client(client).received() == line.repeat(10 * (64 * KIB / size)), "lines of {size}");
        assert_eq!(why(&world, client), "Finished");
        let (held, most) = (world.handler().held, world.handler().most_queued);
        assert!(held > 10 && most <= 4 * KIB + 10 * size, "held {held} times, most queued {most}");
    }
}

#[test]
fn a_dropped_answer_holds_only_while_something_waits() {
    let events = Events::default();
    let seen = events.clone();
    let handler = Scripted::new(move |io, call| {
        if let Call::Line(line) = call {
            let times = std::str::from_utf8(line)?.trim().parse()?;
            io.reply(&b"x".repeat(times));
            seen.borrow_mut().push(format!("{times} {}", is_held(io)));
        }
        Ok(())
    });
    let limits = Limits { hard_mark: 8 * KIB, overflow: Overflow::DropNewest, ..limits() };
    let mut world = narrow(handler, limits);
    let script = Script::new().read(Pace::Never).send("9000\n").after(SECOND);
    // Nothing waits: dropped, and nothing would release a hold. Then 3000 wait, of which a
    // part leaves; what is dropped behind them holds. What comes then waits to be read.
    let script = script.send("3000\n").after(SECOND).send("8000\n").after(SECOND).send("5000\n");
    let client = world.play(script.after(SECOND).read(Pace::AtOnce).finish());
    world.run_for(Duration::from_millis(3500)).expect("it keeps its promises");
    assert_eq!(*events.borrow(), ["9000 false", "3000 false", "8000 true"]);
    run(&mut world);
    assert_eq!(events.borrow()[3], "5000 true");
    assert_eq!(world.client(client).received().len(), 8000);
    assert_eq!(why(&world, client), "Finished");
}

#[test]
fn an_answer_beyond_the_hard_mark_ends_the_connection_as_every_other_write() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            io.reply(&line.repeat(4 * KIB));
            assert!(!is_held(io), "it is at its end");
            io.reply(line);
        }
        Ok(())
    });
    let mut world = narrow(handler, Limits { hard_mark: 8 * KIB, ..limits() });
    let client = world.play(Script::new().send(lines(1)));
    run(&mut world);
    assert!(why(&world, client).starts_with("Overflow"), "{}", why(&world, client));
}

#[test]
fn a_shutdown_waits_for_the_answers_to_what_has_arrived() {
    let mut world = calm(TenTimes::default(), limits());
    let script = Script::new().read(Pace::Never).send(lines(3000));
    let client = world.play(script.after(20 * SECOND).read(Pace::AtOnce));
    world.run_for(10 * SECOND).expect("it keeps its promises");
    assert!(world.handler().held > 0);
    world.reactor().shutdown(100 * SECOND);
    run(&mut world);
    let expected: Vec<u8> = lines(3000).chunks(16).flat_map(|line| line.repeat(10)).collect();
    assert!(world.client(client).received() == expected, "all is answered");
    assert_eq!(why(&world, client), "Shutdown");
}

#[test]
fn a_shutdown_ends_what_stays_held_at_its_deadline() {
    let mut world = calm(TenTimes::default(), limits());
    let client = world.play(Script::new().read(Pace::Never).send(lines(10_000)));
    world.run_for(SECOND).expect("it keeps its promises");
    assert!(world.handler().held > 0);
    world.reactor().shutdown(10 * SECOND);
    run(&mut world);
    assert_eq!(why(&world, client), "Shutdown");
}

/// Answers nothing but the end of the input, and stays until that has left.
struct AtEnd;

impl StreamHandler for AtEnd {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        let mut answer = BytesMut::from(&rest.repeat(1000)[..]);
        io.reply_buf(&mut answer);
        assert!(answer.is_empty() && is_held(io));
        Ok(AfterEof::Stay)
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        assert!(!is_held(io));
        io.finish(io.id());
        Ok(())
    }
}

#[test]
fn a_half_closed_client_gets_all_of_its_answer() {
    let mut world = narrow(AtEnd, limits());
    let script = Script::new().read(Pace::Never).send("a question").finish();
    let client = world.play(script.after(10 * SECOND).read(Pace::Slowly { bytes: 100, every: SECOND }));
    run(&mut world);
    assert_eq!(world.client(client).received(), b"a question".repeat(1000));
    assert_eq!(why(&world, client), "Finished");
}

#[test]
fn a_buffer_is_empty_after_a_reply_that_nobody_gets() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            io.close(io.id());
            let mut answer = BytesMut::from(line);
            io.reply_buf(&mut answer);
            assert!(answer.is_empty());
            io.reply_bytes(vec![b'x'; 100 * KIB].into());
            assert!(!is_held(io));
        }
        Ok(())
    });
    let mut world = calm(handler, limits());
    let client = world.play(Script::new().send("x\n"));
    run(&mut world);
    assert_eq!(world.client(client).received(), b"");
}
