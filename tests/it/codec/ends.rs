//! Ends of framed connections, by the codec, by the handler and by the peer.

use std::io;

use serve_forever::codec::{
    Decoder, FrameHandler, Framed, LengthDelimitedCodec, LinesCodec, LinesCodecError,
};
use serve_forever::driver::sim::Script;
use serve_forever::{BoxError, CloseReason, Io, Origin};

use super::codecs::{LONGEST, cobs, delimited, encoded, lengths, lines, netstrings};
use super::handlers::{Call, Collector, calm, patient, run, why};

/// All that a handler is told of a client that sends this and ends its side.
#[track_caller]
fn told<C>(codec: fn() -> C, stream: impl AsRef<[u8]>) -> Vec<Call>
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let mut world = calm(Collector::new(codec), patient());
    world.play(Script::new().send(stream.as_ref().to_vec()).finish());
    run(&mut world);
    world.handler().handler().calls.clone()
}

/// These frames, then this error, for which the connection ends.
#[track_caller]
fn assert_fails(calls: &[Call], frames: &[&str], error: &str) {
    let (expected, rest) = calls.split_at(frames.len().min(calls.len()));
    assert_eq!(expected, frames.iter().map(Call::frame).collect::<Vec<_>>());
    let [Call::Error(told), Call::Close(why)] = rest else { panic!("{rest:?}") };
    assert!(told.contains(error), "{told}");
    assert!(why.starts_with("Failed("), "{why}");
}

/// These frames, and an end in order.
#[track_caller]
fn assert_ends(calls: &[Call], frames: &[&str]) {
    let mut expected: Vec<_> = frames.iter().map(Call::frame).collect();
    expected.extend([Call::Eof, Call::Close("Finished".into())]);
    assert_eq!(calls, expected);
}

// docs/guarantees.md, 21.
#[test]
fn a_declared_length_is_taken_up_to_the_limit_and_refused_beyond() {
    let declare = |length: u32| [&length.to_be_bytes()[..], &[b'x'; LONGEST]].concat();
    let first = encoded(lengths(), [&b"first"[..]]);
    let with_first = |length| [&first[..], &declare(length)[..]].concat();
    let longest = "x".repeat(LONGEST);

    assert_ends(&told(lengths, [0; 8]), &["", ""]);
    assert_ends(&told(lengths, with_first(LONGEST as u32)), &["first", &longest]);
    let too_big = "frame size too big";
    assert_fails(&told(lengths, with_first(LONGEST as u32 + 1)), &["first"], too_big);
    assert_fails(&told(lengths, with_first(u32::MAX)), &["first"], too_big);
    // What a signed -1 and the least number look like.
    assert_fails(&told(lengths, with_first((-1_i32).cast_unsigned())), &["first"], too_big);
    assert_fails(&told(lengths, with_first(i32::MIN.cast_unsigned())), &["first"], too_big);
}

#[test]
fn a_length_of_eight_bytes_and_one_that_counts_its_head_do_not_wrap() {
    fn wide() -> LengthDelimitedCodec {
        LengthDelimitedCodec::builder().length_field_length(8).max_frame_length(LONGEST).new_codec()
    }
    fn counts_its_head() -> LengthDelimitedCodec {
        LengthDelimitedCodec::builder().length_adjustment(-4).max_frame_length(LONGEST).new_codec()
    }
    assert_fails(&told(wide, u64::MAX.to_be_bytes()), &[], "frame size too big");
    assert_ends(&told(counts_its_head, b"\0\0\0\x06ok"), &["ok"]);
    assert_fails(&told(counts_its_head, b"\0\0\0\x03"), &[], "overflow");
}

// docs/guarantees.md, 21 for lengths in decimal.
#[test]
fn a_length_in_digits_is_refused_where_it_makes_no_sense() {
    assert_ends(&told(netstrings, "0:,2:ok,"), &["", "ok"]);
    let longest = "x".repeat(LONGEST);
    assert_ends(&told(netstrings, format!("{LONGEST}:{longest},")), &[&longest]);
    assert_fails(&told(netstrings, format!("2:ok,{}:", LONGEST + 1)), &["ok"], "it is too long");
    assert_fails(&told(netstrings, format!("2:ok,{}:", "1".repeat(30))), &["ok"], "its length is too long");
    assert_fails(&told(netstrings, "2:ok,-1:"), &["ok"], "it does not begin with a length");
    assert_fails(&told(netstrings, "2:ok;"), &[], "it does not end with a comma");
}

#[test]
fn an_error_comes_behind_the_frames_before_it_and_the_peer_hears_the_last_word() {
    let script = |io: &mut Io<'_>, call: &Call| {
        let _ = match call {
            Call::Frame(line) => io.write(&[line, &b"!\n"[..]].concat()),
            Call::Error(error) => io.write(format!("! {error}\n").as_bytes()),
            _ => return Ok(()),
        };
        Ok(())
    };
    let mut world = calm(Collector::scripted(lines, script), patient());
    // It goes on sending: a reset would destroy the last word on its way.
    let bad = "x".repeat(100 * LONGEST);
    let client = world.play(Script::new().send(format!("one\ntwo\n{bad}")).send("more\n").finish());
    run(&mut world);
    assert_eq!(world.client(client).received(), b"one!\ntwo!\n! max line length exceeded\n");
    assert!(world.client(client).saw_reset().is_none());
    assert!(why(&world, client).starts_with("Failed(MaxLineLengthExceeded"), "{}", why(&world, client));
    assert_fails(&world.handler().handler().calls, &["one", "two"], "max line length exceeded");
}

#[test]
fn what_is_no_utf_8_is_an_error_of_lines_and_none_of_bytes() {
    assert_fails(&told(lines, b"ok\n\xff\n"), &["ok"], "UTF8");
    assert_eq!(told(delimited, b"\xff;")[0], Call::frame(b"\xff"));
}

/// Looks at the errors themselves.
#[derive(Default)]
struct Inspector {
    kind: Option<io::ErrorKind>,
    /// Whether the connection ended for the codec's own error.
    ended: Option<bool>,
}

impl FrameHandler for Inspector {
    type Session = LinesCodec;
    type Codec = LinesCodec;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<LinesCodec, BoxError> {
        Ok(lines())
    }

    fn codec(session: &mut LinesCodec) -> &mut LinesCodec {
        session
    }

    fn frame(&mut self, _: &mut Io<'_>, _: &mut LinesCodec, _: String) -> Result<(), BoxError> {
        Ok(())
    }

    fn frame_error(&mut self, _: &mut Io<'_>, _: &mut LinesCodec, error: LinesCodecError) -> BoxError {
        if let LinesCodecError::Io(error) = &error {
            self.kind = Some(error.kind());
        }
        error.into()
    }

    fn close(&mut self, _: &mut Io<'_>, _: LinesCodec, why: &CloseReason) {
        self.ended = match why {
            CloseReason::Failed(error) => Some(error.is::<LinesCodecError>()),
            _ => None,
        };
    }
}

#[test]
fn the_reason_of_the_end_is_the_codecs_own_error() {
    for (stream, kind) in
        [("x".repeat(LONGEST + 1), None), ("cut off\n\r".into(), Some(io::ErrorKind::UnexpectedEof))]
    {
        let mut world = calm(Framed::new(Inspector::default()), patient());
        world.play(Script::new().send(stream).finish());
        run(&mut world);
        let inspector = world.handler().handler();
        assert_eq!((inspector.kind, inspector.ended), (kind, Some(true)));
    }
}

#[test]
fn what_is_left_at_the_end_is_a_frame_if_the_codec_says_so() {
    assert_ends(&told(lines, "one\nlast"), &["one", "last"]);
    assert_ends(&told(lines, "one\nlast\r"), &["one", "last"]);
    assert_ends(&told(delimited, "one;last"), &["one", "last"]);
    assert_ends(&told(delimited, ""), &[]);
}

#[test]
fn a_stream_that_ends_within_a_frame_is_an_error() {
    // Its body was begun, its head was not complete.
    assert_fails(&told(lengths, b"\0\0\0\x02ok\0\0\0\x05hel"), &["ok"], "bytes remaining on stream");
    assert_fails(&told(lengths, b"\0\0\0\x02ok\0\0"), &["ok"], "bytes remaining on stream");
    assert_fails(&told(netstrings, b"2:ok,5:hello"), &["ok"], "bytes remaining on stream");
    // Nothing is left of it: the codec has taken what came.
    assert_fails(&told(lengths, b"\0\0\0\x02ok\0\0\0\x05"), &["ok"], "ended within a frame");
    assert_fails(&told(cobs, b"\x03ok\0\x06hel"), &["ok"], "ended within a frame");
    // The codec leaves it, and says nothing of it.
    assert_fails(&told(lines, b"ok\n\r"), &["ok"], "ended within a frame");
}

/// Of frames that came together, those after the one that ends the connection
/// are not handed over.
#[track_caller]
fn assert_stops(stream: &str, end: fn(&mut Io<'_>), error: Option<&'static str>, expected: &str) {
    let script = move |io: &mut Io<'_>, call: &Call| {
        if *call != Call::frame("end") {
            return Ok(());
        }
        end(io);
        error.map_or(Ok(()), |error| Err(error.into()))
    };
    let mut world = calm(Collector::scripted(lines, script), patient());
    let client = world.play(Script::new().send(stream.to_owned()).finish());
    run(&mut world);
    let handler = world.handler().handler();
    assert_eq!(handler.frames(), [b"one".to_vec(), b"end".to_vec()]);
    assert_eq!(handler.others().len(), 1, "only its close: {:?}", handler.others());
    assert!(why(&world, client).starts_with(expected), "{}", why(&world, client));
}

#[test]
fn no_frame_follows_one_that_ends_the_connection() {
    // The last of them is whole in its own right, or at the end of input.
    for stream in ["one\nend\nthree\n", "one\nend\nthree", "one\nend"] {
        assert_stops(stream, |io| io.close(io.id()), None, "Closed");
        assert_stops(stream, |io| io.abort(io.id()), None, "Aborted");
        assert_stops(stream, |_| (), Some("as it happens"), "Failed(\"as it happens\")");
    }
}

#[test]
fn frames_follow_after_our_own_side_has_ended() {
    let script = |io: &mut Io<'_>, call: &Call| {
        if *call == Call::frame("one") {
            io.finish(io.id());
        }
        Ok(())
    };
    let mut world = calm(Collector::scripted(lines, script), patient());
    world.play(Script::new().send("one\ntwo\nthree").finish());
    run(&mut world);
    assert_ends(&world.handler().handler().calls, &["one", "two", "three"]);
}
