//! Deadlines hold for frames, whatever a codec takes before they are whole.

use std::time::Duration;

use serve_forever::codec::{Decoder, FrameHandler, Framed, LengthDelimitedCodec};
use serve_forever::driver::sim::Script;
use serve_forever::{BoxError, Io, Limits, Origin};

use super::codecs::{LinesAndNuls, cobs, delimited, encoded, lengths, lines, netstrings};
use super::handlers::{Collector, calm, run, why};

/// Sends these bytes one by one, with a pause before each.
fn drip(script: Script, bytes: &[u8], pause: Duration) -> Script {
    bytes.iter().fold(script, |script, byte| script.after(pause).send(vec![*byte]))
}

const PAUSE: Duration = Duration::from_secs(5);

/// How long after it connected a client saw the server's FIN, and why.
#[track_caller]
fn end_of<C>(codec: fn() -> C, script: Script) -> (Duration, String, usize)
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let limits = Limits { first_frame: Some(Duration::from_secs(30)), ..Limits::default() };
    let mut world = calm(Collector::new(codec), limits);
    let client = world.play(script);
    run(&mut world);
    let fin = world.client(client).saw_fin().expect("a FIN");
    let frames = world.handler().handler().frames().len();
    (Duration::from_nanos(fin.as_nanos()), why(&world, client), frames)
}

/// A frame that takes hours is ended by its deadline, as the first one (30 s)
/// and as a later one (60 s from its first byte).
#[track_caller]
fn assert_is_not_fooled<C>(codec: fn() -> C, whole: &[u8], slow: &[u8])
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    assert!(slow.len() > 15, "it takes longer than the deadline");
    let (fin, why, frames) = end_of(codec, drip(Script::new(), slow, PAUSE));
    assert_eq!((why.as_str(), frames), ("TimedOut(FirstFrame)", 0));
    assert!((30..31).contains(&fin.as_secs()), "{fin:?}");

    let begins = Script::new().send(whole.to_vec());
    let (fin, why, frames) = end_of(codec, drip(begins, slow, PAUSE));
    assert_eq!((why.as_str(), frames), ("TimedOut(Frame)", 1));
    assert!((65..66).contains(&fin.as_secs()), "{fin:?}");

    // Both at once: what completes one frame begins the next.
    let begins = Script::new().send([whole, &slow[..2]].concat());
    let (fin, why, frames) = end_of(codec, drip(begins, &slow[2..], PAUSE));
    assert_eq!((why.as_str(), frames), ("TimedOut(Frame)", 1));
    assert!((60..61).contains(&fin.as_secs()), "{fin:?}");

    // And without a byte more.
    let (fin, why, frames) = end_of(codec, Script::new().send([whole, &slow[..4]].concat()));
    assert_eq!((why.as_str(), frames), ("TimedOut(Frame)", 1));
    assert!((60..61).contains(&fin.as_secs()), "{fin:?}");
}

// docs/guarantees.md, 2. The head is taken off the input as soon as it is there.
#[test]
fn a_slow_loris_does_not_fool_a_codec_of_lengths() {
    let slow = encoded(lengths(), [&[b'x'; 900][..]]);
    assert_is_not_fooled(lengths, &encoded(lengths(), [&b"whole"[..]]), &slow);
}

// A head alone, and nothing is left in the input.
#[test]
fn a_slow_loris_does_not_fool_a_codec_of_long_heads() {
    fn long_head() -> LengthDelimitedCodec {
        LengthDelimitedCodec::builder().length_field_length(8).new_codec()
    }
    let slow = encoded(long_head(), [&[b'x'; 900][..]]);
    assert_is_not_fooled(long_head, &encoded(long_head(), [&b""[..]]), &slow);
}

#[test]
fn a_slow_loris_does_not_fool_a_codec_of_lines() {
    assert_is_not_fooled(lines, b"whole\n", &[b'x'; 900]);
    assert_is_not_fooled(delimited, b"whole;", &[b'x'; 900]);
    assert_is_not_fooled(netstrings, b"5:whole,", &encoded(netstrings(), [[b'x'; 900]]));
}

// Every byte is taken off the input as soon as it is there.
#[test]
fn a_slow_loris_does_not_fool_a_codec_that_takes_every_byte() {
    let slow = encoded(cobs(), [&[b'x'; 900][..]]);
    assert_is_not_fooled(cobs, &encoded(cobs(), [&b"whole"[..]]), &slow);
}

#[test]
fn who_sends_whole_frames_slowly_is_served_for_as_long_as_it_does() {
    let second = |number: usize| encoded(lengths(), [format!("frame {number}").as_bytes()]);
    let script = (0..200).fold(Script::new(), |script, number| {
        let frame = second(number);
        // Each takes 50 s of its 60 s, and the first comes at once.
        let pause = Duration::from_secs(if number == 0 { 1 } else { 50 });
        let (head, tail) = frame.split_at(4);
        script.send(head.to_vec()).after(pause).send(tail.to_vec()).after(Duration::from_secs(100))
    });
    let (fin, why, frames) = end_of(lengths, script.finish());
    assert_eq!((why.as_str(), frames), ("Finished", 200));
    assert!(fin > 199 * Duration::from_secs(150));
}

/// Takes lines between which a NUL is a sign of life; whether it knows that or
/// not.
struct Alive<const KNOWS: bool>;

impl<const KNOWS: bool> FrameHandler for Alive<KNOWS> {
    type Session = LinesAndNuls;
    type Codec = LinesAndNuls;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<LinesAndNuls, BoxError> {
        Ok(LinesAndNuls::new())
    }

    fn codec(session: &mut LinesAndNuls) -> &mut LinesAndNuls {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, _: &mut LinesAndNuls, line: String) -> Result<(), BoxError> {
        let _ = io.write(line.as_bytes());
        Ok(())
    }

    fn is_between_frames(_: &LinesAndNuls) -> bool {
        KNOWS
    }
}

/// How this ends for a client that sends a line, a NUL every 20 s for an hour,
/// and then this.
#[track_caller]
fn end_of_alive<const KNOWS: bool>(last: &'static str) -> (String, Vec<u8>) {
    let mut world = calm(Framed::new(Alive::<KNOWS>), Limits::default());
    let script = drip(Script::new().send("line\n"), &[0; 180], Duration::from_secs(20));
    let client = world.play(script.send(last).finish());
    run(&mut world);
    (why(&world, client), world.client(client).received().to_vec())
}

#[test]
fn what_a_codec_swallows_begins_a_frame_unless_the_handler_knows_better() {
    assert_eq!(end_of_alive::<false>("last"), ("TimedOut(Frame)".into(), b"line".to_vec()));
    assert_eq!(end_of_alive::<true>("last"), ("Finished".into(), b"linelast".to_vec()));
    assert_eq!(end_of_alive::<true>(""), ("Finished".into(), b"line".to_vec()));
}

#[test]
fn a_shutdown_waits_for_a_frame_whose_head_is_taken() {
    for (rest, expected) in [(Some(&b"hello"[..]), 1), (None, 0)] {
        let mut world = calm(Collector::new(lengths), Limits::default());
        let script = Script::new().send(&b"\0\0\0\x05"[..]).after(Duration::from_secs(5));
        let client = world.play(rest.into_iter().fold(script, Script::send));
        let idle = world.play(Script::new());
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        world.reactor().shutdown(Duration::from_secs(20));
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        assert_eq!((why(&world, idle).as_str(), world.reactor().connections()), ("Shutdown", 1));
        run(&mut world);
        assert_eq!(world.handler().handler().frames().len(), expected);
        assert_eq!(why(&world, client), "Shutdown");
    }
}

#[test]
fn what_a_codec_takes_for_an_incomplete_frame_counts_for_the_longest_input() {
    // The codec has no limit of its own, and leaves nothing in the input.
    fn unlimited() -> cobs_codec::Codec {
        cobs_codec::Codec::new()
    }
    let limits = Limits { max_input: 10_000, read_budget: 1000, ..Limits::default() };
    let too_long = "longer than Limits::max_input, which is 10000 bytes";
    for (length, expected) in [(9000, "Finished"), (1 << 20, too_long)] {
        let mut world = calm(Collector::new(unlimited), limits.clone());
        let client = world.play(Script::new().send(encoded(unlimited(), [vec![b'x'; length]])).finish());
        run(&mut world);
        let why = why(&world, client);
        assert!(why.contains(expected), "{why}");
        let life = world.life(client).expect("it was opened");
        assert!(life.input().len() <= 11_000, "{} bytes were handed over", life.input().len());
    }
}
