//! Any bytes give the same frames, and the same end, of each codec however
//! they are cut and however often its handler pauses; every turn keeps the
//! reactor's promises.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serve_forever::bytes::BytesMut;
use serve_forever::codec::{
    AnyDelimiterCodec, Decoder, FrameHandler, Framed, LengthDelimitedCodec, LinesCodec,
};
use serve_forever::driver::sim::{Rng, Script, Conditions};
use serve_forever::sim::World;
use serve_forever::{BoxError, CloseReason, Config, Io, Limits, Origin, TimerId};

/// The longest frame.
const LONGEST: usize = 100;

/// Keeps every frame, and pauses after some of them.
struct Keep<C> {
    codec: fn() -> C,
    pauses: Rng,
    frames: Vec<Vec<u8>>,
    end: String,
}

impl<C> FrameHandler for Keep<C>
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    type Session = C;
    type Codec = C;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<C, BoxError> {
        Ok((self.codec)())
    }

    fn codec(session: &mut C) -> &mut C {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, _: &mut C, frame: C::Item) -> Result<(), BoxError> {
        assert!(io.is_open(io.id()), "no frame comes behind an end");
        self.frames.push(frame.as_ref().to_vec());
        if self.pauses.below(4) == 0 {
            io.pause(io.id());
            io.after(Duration::from_millis(self.pauses.below(100)))?;
        }
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, _: &mut C, _: TimerId) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, _: C, why: &CloseReason) {
        self.end = why.to_string();
    }
}

/// The frames of `input` in segments and reads of at most `most` bytes, and
/// how it ends.
fn frames<C>(codec: fn() -> C, input: &[u8], seed: u64, most: usize) -> (Vec<Vec<u8>>, String)
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
    let config = Config { read_buffer: most, ..Config::default() };
    let handler = Keep { codec, pauses: Rng::new(seed), frames: Vec::new(), end: String::new() };
    let limits = Limits::default();
    let mut world = World::<_>::with_config(seed, conditions, Framed::new(handler), limits, config)
        .expect("good limits");
    world.play(Script::new().send(input.to_vec()).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
    let handler = world.handler().handler_mut();
    (std::mem::take(&mut handler.frames), std::mem::take(&mut handler.end))
}

/// Each byte is a frame; what has come is taken at once.
#[derive(Default)]
struct Hoarder(std::collections::VecDeque<u8>);

impl Decoder for Hoarder {
    type Item = [u8; 1];
    type Error = std::io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> std::io::Result<Option<[u8; 1]>> {
        self.0.extend(input.split().iter());
        Ok(self.0.pop_front().map(|byte| [byte]))
    }
}

fn check<C>(codec: fn() -> C, input: &[u8], seed: u64)
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let most = Rng::new(seed).size(1, 64);
    assert_eq!(frames(codec, input, seed, most), frames(codec, input, !seed, 64 << 10));
}

fuzz_target!(|input: (u64, &[u8])| {
    let (seed, bytes) = input;
    check(|| LinesCodec::new_with_max_length(LONGEST), bytes, seed);
    check(|| AnyDelimiterCodec::new_with_max_length(b";,".to_vec(), b";".to_vec(), LONGEST), bytes, seed);
    check(|| LengthDelimitedCodec::builder().length_field_length(1).max_frame_length(LONGEST).new_codec(), bytes, seed);
    check(LengthDelimitedCodec::new, bytes, seed);
    let (hoarded, _) = frames(Hoarder::default, bytes, seed, 64);
    assert!(hoarded.concat() == bytes);
});
