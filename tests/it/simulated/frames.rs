//! Frames that a handler opens and closes by word, and deadlines that it sets for
//! one connection.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use serve_forever::driver::sim::{ClientId, Conditions, Script};
use serve_forever::services::Echo;
use serve_forever::sim::World;
use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};

use super::handlers::{Call, Scripted, calm, patient, run, why};

const MINUTE: Duration = Duration::from_secs(60);

/// After how many seconds a client saw the server's FIN.
#[track_caller]
fn ended_after<H: StreamHandler>(world: &World<H, true>, client: ClientId) -> u64 {
    Duration::from_nanos(world.client(client).saw_fin().expect("a FIN").as_nanos()).as_secs()
}

/// Counts records: a byte that holds a length, then so many bytes. It takes each
/// byte as it comes.
#[derive(Default)]
struct Records(u64);

impl StreamHandler for Records {
    /// How many bytes of the record are still to come.
    type Session = usize;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<usize, BoxError> {
        Ok(0)
    }

    fn data(&mut self, io: &mut Io<'_>, left: &mut usize, input: &mut BytesMut) -> Result<(), BoxError> {
        while !input.is_empty() {
            if *left == 0 {
                *left = input.get_u8().into();
                io.begin_frame(io.id());
            }
            let part = input.len().min(*left);
            input.advance(part);
            *left -= part;
            if *left == 0 {
                self.0 += 1;
                io.end_frame(io.id());
            }
        }
        Ok(())
    }
}

/// How this ends, after how many seconds, and with how many records, if the
/// second piece comes ten seconds after the first.
fn records(pieces: [&[u8]; 2]) -> (String, u64, u64) {
    let mut world = calm(Records::default(), Limits { max_input: 1, ..Limits::default() });
    let [first, second] = pieces.map(<[u8]>::to_vec);
    let client = world.play(Script::new().send(first).after(Duration::from_secs(10)).send(second));
    run(&mut world);
    (why(&world, client), ended_after(&world, client), world.handler().0)
}

#[test]
fn wherever_a_stream_is_cut_a_frame_runs_from_its_first_byte_to_its_last() {
    let whole = b"\x03abc\x02de\x00\x04wxyz";
    for cut in 1..whole.len() {
        let (first, second) = whole.split_at(cut);
        let expected = ("TimedOut(Idle)".to_owned(), 310, 4);
        assert_eq!(records([first, second]), expected, "cut at {cut}");
    }
    let torn = &whole[..whole.len() - 2];
    for cut in 1..torn.len() {
        let (first, second) = torn.split_at(cut);
        let begun = if cut <= 8 { 10 } else { 0 };
        let expected = ("TimedOut(Frame)".to_owned(), begun + 60, 3);
        assert_eq!(records([first, second]), expected, "cut at {cut}");
    }
}

#[test]
fn silence_is_allowed_and_what_is_begun_is_finished_in_time() {
    let mut world = calm(Scripted::lines(), Limits { idle: None, ..Limits::default() });
    let silent = world.play(Script::new().after(100 * MINUTE).send("here\n").after(100 * MINUTE).finish());
    let half = world.play(Script::new().after(100 * MINUTE).send("half a line"));
    run(&mut world);
    assert_eq!((why(&world, silent).as_str(), world.client(silent).received()), ("Finished", &b"here\n"[..]));
    assert_eq!((why(&world, half).as_str(), ended_after(&world, half)), ("TimedOut(Frame)", 101 * 60));
}

#[test]
fn a_frame_longer_than_the_longest_input_has_its_time_too() {
    let mut world = calm(Records::default(), Limits { max_input: 10, ..patient_but_for_frames() });
    let drip = |script: Script, _| script.after(Duration::from_secs(1)).send(vec![b'x'; 2]);
    let client = world.play((0..100).fold(Script::new().send(&b"\xc8"[..]), drip));
    run(&mut world);
    assert_eq!((why(&world, client).as_str(), ended_after(&world, client)), ("TimedOut(Frame)", 60));
    let life = world.life(client).expect("it was opened");
    assert!(life.input().len() > 100, "{} bytes were taken", life.input().len());
}

fn patient_but_for_frames() -> Limits {
    Limits { frame: Some(MINUTE), ..patient() }
}

#[test]
fn a_frame_that_goes_on_keeps_its_beginning_and_one_that_is_left_begins_when_it_is_left() {
    // It leaves what has come, then takes it all and says that the frame goes on.
    let mut world = calm(Lingerer, patient_but_for_frames());
    let client = world.play(Script::new().send("left").after(MINUTE / 2).send("taken"));
    run(&mut world);
    assert_eq!((why(&world, client).as_str(), ended_after(&world, client)), ("TimedOut(Frame)", 60));
}

/// Leaves its first input, and takes the rest of an endless frame.
struct Lingerer;

impl StreamHandler for Lingerer {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        if input.len() > 4 {
            input.clear();
            io.begin_frame(io.id());
        }
        Ok(())
    }
}

#[test]
fn a_frame_can_be_opened_and_closed_outside_of_data() {
    // One whose beginning is no input: the client has a minute for an answer.
    let asks = Scripted::new(|io, call| {
        match call {
            Call::Open => {
                io.after(MINUTE)?;
            }
            Call::Timer(_) => {
                let _ = io.write(b"well?\n");
                io.begin_frame(io.id());
            }
            Call::Line(_) => io.end_frame(io.id()),
            _ => {}
        }
        Ok(())
    });
    let mut world = calm(asks, patient_but_for_frames());
    let answers =
        world.play(Script::new().after(MINUTE + MINUTE / 2).send("yes\n").after(9 * MINUTE).finish());
    let silent = world.play(Script::new());
    run(&mut world);
    assert_eq!(why(&world, answers), "Finished");
    assert_eq!((why(&world, silent).as_str(), ended_after(&world, silent)), ("TimedOut(Frame)", 120));
}

/// What a handler that sets deadlines is asked for by a line.
fn deadline_setter() -> Scripted {
    Scripted::new(|io, call| {
        let id = io.id();
        match call {
            Call::Open => io.set_deadline(id, Some(MINUTE)),
            Call::Line(b"done\n") => io.set_deadline(id, None),
            Call::Line(b"more\n") => io.set_deadline(id, Some(2 * MINUTE)),
            Call::Line(b"at once\n") => io.set_deadline(id, Some(Duration::ZERO)),
            Call::Line(b"pause\n") => io.pause(id),
            Call::Line(b"busy\n") => io.set_busy(id, true),
            _ => {}
        }
        Ok(())
    })
}

#[test]
fn a_deadline_of_the_handlers_own_is_put_off_by_nothing_but_the_handler() {
    let drip = |script: Script, _| script.after(Duration::from_secs(5)).send("x\n");
    let cases = [
        (Script::new(), "TimedOut(Handler)", 60),
        ((0..100).fold(Script::new(), drip), "TimedOut(Handler)", 60),
        (Script::new().send("pause\n"), "TimedOut(Handler)", 60),
        (Script::new().send("busy\n"), "TimedOut(Handler)", 60),
        (Script::new().after(MINUTE / 2).send("more\n"), "TimedOut(Handler)", 150),
        (Script::new().after(MINUTE / 2).send("at once\n"), "TimedOut(Handler)", 30),
        (Script::new().after(MINUTE / 2).send("done\n").after(99 * MINUTE).finish(), "Finished", 5970),
    ];
    for (script, expected, after) in cases {
        let mut world = calm(deadline_setter(), patient());
        let client = world.play(script);
        run(&mut world);
        assert_eq!((why(&world, client).as_str(), ended_after(&world, client)), (expected, after));
    }
}

// docs/guarantees.md, 61: its time runs from the end of a turn that lasted long.
#[test]
fn a_deadline_of_the_handlers_own_is_judged_when_all_that_came_is_known() {
    for seed in 0..40 {
        let conditions = Conditions::calm();
        let mut world =
            World::<_, true>::new(seed, conditions, deadline_setter(), patient()).expect("good limits");
        let done = world.play(Script::new().after(MINUTE / 2).send("done\n").after(10 * MINUTE).finish());
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        world.net_mut().hold_up(5 * MINUTE);
        run(&mut world);
        assert_eq!(why(&world, done), "Finished", "seed {seed}");
    }
}

#[test]
fn a_connection_with_nothing_to_watch_is_not_looked_at() {
    let mut world = calm(Echo::new(), Limits { idle: None, ..Echo::limits() });
    let client = world.play(Script::new().send("hello").after(MINUTE).send("again"));
    world.run().expect("it comes to rest");
    assert_eq!(world.client(client).received(), b"helloagain");
    assert_eq!((world.reactor().connections(), world.reactor().next_timeout()), (1, None));
    assert!(world.turns() < 20, "{} turns for two messages", world.turns());
    // And one with an idle deadline is looked at when that is over, not before.
    let mut world = calm(Echo::new(), Limits { idle: Some(1000 * MINUTE), ..Echo::limits() });
    world.play(Script::new());
    run(&mut world);
    assert!(world.turns() < 20, "{} turns for one deadline", world.turns());
}

// docs/guarantees.md, 86.
/// Input that is not read yet may keep a deadline, so the loop reads first. A peer
/// that always has some unread must not get more time than others for it.
#[test]
fn a_peer_that_sends_without_end_puts_no_deadline_off() {
    const TENTH: Duration = Duration::from_millis(100);
    /// The bytes that a socket may hold unread, and then some.
    const MOST: usize = 7 << 20;
    type Begin = fn(&mut Io<'_>);
    let begin_frame: Begin = |io| io.begin_frame(io.id());
    let set_deadline: Begin = |io| io.set_deadline(io.id(), Some(TENTH));
    for (begin, expected) in [(begin_frame, "TimedOut(Frame)"), (set_deadline, "TimedOut(Handler)")] {
        let handler = Scripted::new(move |io: &mut Io<'_>, call| {
            if call == Call::Open {
                begin(io);
            }
            Ok(())
        });
        let limits = Limits { frame: Some(TENTH), read_budget: 1000, ..patient() };
        let millisecond = Duration::from_millis(1);
        let conditions = Conditions { call: (millisecond, millisecond), ..Conditions::calm() };
        let mut world = World::<_, true>::new(1, conditions, handler, limits).expect("good limits");
        let line = [b'x'; 999];
        let lines = [&line[..], b"\n"].concat().repeat(1 << 10);
        let client = world.play((0..20).fold(Script::new(), |script, _| script.send(lines.clone())));
        run(&mut world);
        assert_eq!(why(&world, client), expected);
        let taken = world.life(client).expect("it was opened").input().len();
        assert!(taken < MOST, "{taken} bytes were read");
    }
}
