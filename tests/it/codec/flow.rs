//! Back-pressure: a pause holds frames back, and a resume lets them follow.

use std::time::Duration;

use serve_forever::bytes::Bytes;
use serve_forever::codec::{Decoder, FrameHandler, FrameWriter, Framed, LengthDelimitedCodec, LinesCodec};
use serve_forever::driver::sim::{Pace, Script};
use serve_forever::{BoxError, GroupId, Io, Limits, Origin};

use super::codecs::{Hoarder, LONGEST, Netstrings, cobs, encoded, lengths, lines};
use super::handlers::{Call, Collector, FramedEcho, calm, patient, run, why};

const SECOND: Duration = Duration::from_secs(1);

/// Each frame pauses its connection for a second; all of them came at once.
#[track_caller]
fn assert_one_by_one<C>(codec: fn() -> C, stream: Vec<u8>, frames: usize)
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let script = |io: &mut Io<'_>, call: &Call| {
        match call {
            Call::Frame(_) => {
                assert!(!io.is_paused(io.id()));
                io.pause(io.id());
                assert!(io.is_paused(io.id()));
                io.after(SECOND)?;
            }
            Call::Timer => io.resume(io.id()),
            _ => {}
        }
        Ok(())
    };
    let mut world = calm(Collector::scripted(codec, script), Limits::default());
    let client = world.play(Script::new().send(stream).finish());
    for taken in 1..=frames {
        world.run_for(SECOND).expect("it keeps its promises");
        assert_eq!(world.handler().handler().frames().len(), taken);
    }
    run(&mut world);
    assert_eq!(why(&world, client), "Finished");
    let mut expected: Vec<_> = world.handler().handler().frames().iter().map(Call::frame).collect();
    expected = expected.into_iter().flat_map(|frame| [frame, Call::Timer]).collect();
    expected.extend([Call::Eof, Call::Close("Finished".into())]);
    assert_eq!(world.handler().handler().calls, expected);
    assert_eq!(world.handler().handler().frames().len(), frames);
}

#[test]
fn a_paused_connection_is_given_no_frame_and_a_resumed_one_the_next() {
    let frames = ["one", "two", "three", "four", "five"];
    assert_one_by_one(lines, encoded(lines(), frames), 5);
    assert_one_by_one(lengths, encoded(lengths(), frames.map(str::as_bytes)), 5);
    assert_one_by_one(cobs, encoded(cobs(), frames), 5);
}

// The codec has taken everything, and nothing new comes.
#[test]
fn frames_that_wait_within_a_codec_follow_when_the_connection_is_resumed() {
    assert_one_by_one(Hoarder::default, b"12345".to_vec(), 5);
    assert_one_by_one(Hoarder::default, b"1".to_vec(), 1);
}

#[test]
fn a_pause_that_is_taken_back_at_once_holds_nothing_back() {
    let script = |io: &mut Io<'_>, call: &Call| {
        if matches!(call, Call::Frame(_)) {
            io.pause(io.id());
            io.resume(io.id());
        }
        Ok(())
    };
    let mut world = calm(Collector::scripted(lines, script), patient());
    world.play(Script::new().send("one\ntwo\nthree\n"));
    world.turn(Some(SECOND)).expect("it keeps its promises");
    while world.handler().handler().calls.is_empty() {
        world.turn(Some(SECOND)).expect("it keeps its promises");
    }
    assert_eq!(world.handler().handler().frames().len(), 3, "all of them in one turn");
}

#[test]
fn a_framed_echo_to_a_slow_reader_stops_decoding_and_loses_nothing() {
    let frames: Vec<Vec<u8>> = (0..4000_usize).map(|number| vec![number as u8; number % 2000]).collect();
    let stream = encoded(LengthDelimitedCodec::new(), frames.iter().map(Vec::as_slice));
    let mut world = calm(Framed::new(FramedEcho::default()), patient());
    let script = Script::new().read(Pace::Never).send(stream).finish();
    let client = world.play(script.after(30 * SECOND).read(Pace::AtOnce));
    world.run_for(20 * SECOND).expect("it keeps its promises");
    let taken = world.net().moved().0;
    assert!(taken < 600 << 10, "{taken} bytes are read and not sent on");
    run(&mut world);
    assert!(world.client(client).received() == world.client(client).sent(), "nothing is lost");
    assert!(world.handler().handler().pauses > 0);
}

/// Passes each line on to all others as a netstring, and tells the first
/// member of it in a line.
#[derive(Default)]
struct Relay {
    writer: FrameWriter,
    everybody: GroupId,
    tallies: Vec<usize>,
}

impl FrameHandler for Relay {
    type Session = LinesCodec;
    type Codec = LinesCodec;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<LinesCodec, BoxError> {
        io.join(self.everybody, io.id())?;
        Ok(lines())
    }

    fn codec(session: &mut LinesCodec) -> &mut LinesCodec {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, codec: &mut LinesCodec, line: String) -> Result<(), BoxError> {
        if line.len() > LONGEST / 2 {
            // More than that is no netstring of ours: nothing of it is sent.
            let _ = self.writer.write(io, &mut Netstrings, vec![b'x'; LONGEST + 1])?;
        }
        let frame = self.writer.encode(&mut Netstrings, &line)?;
        self.tallies.push(io.broadcast(self.everybody, &frame, Some(io.id())).queued);
        let first = io.members(self.everybody)[0];
        assert!(self.writer.send(io, first, codec, format!("passed on: {line}"))?.is_queued());
        Ok(())
    }
}

#[test]
fn a_frame_that_is_encoded_once_goes_to_everybody() {
    let mut world = calm(Framed::new(Relay::default()), patient());
    let others = [(); 10].map(|()| world.play(Script::new().after(10 * SECOND).finish()));
    let script = Script::new().after(SECOND).send("one\n").send("two\n").after(SECOND);
    let sender = world.play(script.send(format!("{}\n", "x".repeat(LONGEST))).finish());
    run(&mut world);
    assert_eq!(world.handler().handler().tallies, [10, 10]);
    for (number, other) in others.into_iter().enumerate() {
        let lines = if number == 0 { ["passed on: one\n", "passed on: two\n"] } else { ["", ""] };
        let expected = ["3:one,", lines[0], "3:two,", lines[1]].concat();
        assert_eq!(String::from_utf8_lossy(world.client(other).received()), expected);
    }
    assert_eq!(world.client(sender).received(), b"", "what cannot be encoded is not sent in part");
    assert!(why(&world, sender).contains("it is too long"), "{}", why(&world, sender));
}

#[test]
fn a_writer_encodes_large_and_small_and_forgets_what_failed() {
    let mut writer = FrameWriter::new();
    let mut codec = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
    for length in [0, 1, 1000, 100_000, 1 << 20, 3] {
        let frame = writer.encode(&mut codec, Bytes::from(vec![b'x'; length])).expect("not too long");
        assert_eq!((frame.len(), &frame[..4]), (4 + length, &(length as u32).to_be_bytes()[..]));
        writer.encode(&mut Netstrings, vec![b'x'; LONGEST + 1]).expect_err("too long");
    }
}
