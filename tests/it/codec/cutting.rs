//! The same frames, however the bytes of a stream are cut.

use serve_forever::codec::{BytesCodec, Decoder, Framed, LengthDelimitedCodec};
use serve_forever::driver::sim::{Conditions, Pace, Rng, Script};
use serve_forever::sim::World;
use serve_forever::{BoxError, Config, Limits};

use super::codecs::{Hoarder, LONGEST, cobs, delimited, encoded, lengths, lines, netstrings};
use super::handlers::{Call, Collector, FramedEcho, patient, run};

/// What comes of a stream that arrives in segments, and is read in pieces, of
/// these many bytes.
#[track_caller]
fn collect<C>(codec: fn() -> C, stream: &[u8], segment: (usize, usize), read: usize) -> Collector<C>
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let conditions = Conditions { segment, ..Conditions::calm() };
    let config = Config { read_buffer: read, ..Config::default() };
    let mut world = World::<_>::with_config(1, conditions, Collector::new(codec), patient(), config)
        .expect("good limits");
    world.play(Script::new().send(stream.to_vec()).finish());
    run(&mut world);
    std::mem::replace(world.handler(), Collector::new(codec)).into_handler()
}

/// A stream of so many frames gives them, and its end, however it is cut.
#[track_caller]
fn assert_uncut<C>(codec: fn() -> C, stream: &[u8], frames: &[Vec<u8>])
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    // docs/guarantees.md, 22: one byte in a segment, and everything in one.
    for cut in [1, 2, 3, 7, 100, 64 << 10] {
        for read in [1, 64 << 10] {
            let collector = collect(codec, stream, (cut, cut), read);
            assert!(collector.frames() == frames, "cut into {cut}, read in pieces of {read}");
            assert_eq!(collector.others(), [Call::Eof, Call::Close("Finished".into())]);
        }
    }
}

/// A thousand frames, none of which holds a byte that any codec sets apart.
fn thousand() -> Vec<String> {
    (0..1000).map(|number| format!("frame {number} {}", "x".repeat(number % 20))).collect()
}

fn bytes(frames: &[String]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.as_bytes().to_vec()).collect()
}

#[test]
fn a_thousand_lines_are_the_same_however_they_are_cut() {
    assert_uncut(lines, &encoded(lines(), thousand()), &bytes(&thousand()));
}

#[test]
fn a_thousand_frames_behind_their_lengths_are_the_same_however_they_are_cut() {
    let frames = bytes(&thousand());
    let stream = encoded(lengths(), frames.iter().map(Vec::as_slice));
    assert_uncut(lengths, &stream, &frames);
}

#[test]
fn a_thousand_frames_with_delimiters_are_the_same_however_they_are_cut() {
    assert_uncut(delimited, &encoded(delimited(), thousand()), &bytes(&thousand()));
}

#[test]
fn a_thousand_netstrings_are_the_same_however_they_are_cut() {
    assert_uncut(netstrings, &encoded(netstrings(), thousand()), &bytes(&thousand()));
}

#[test]
fn a_thousand_frames_of_a_codec_that_takes_all_at_once_are_the_same_however_they_are_cut() {
    assert_uncut(cobs, &encoded(cobs(), thousand()), &bytes(&thousand()));
    let single: Vec<Vec<u8>> = (0..1000).map(|number| vec![number as u8]).collect();
    assert_uncut(Hoarder::default, &single.concat(), &single);
}

#[test]
fn a_codec_of_bytes_gives_each_byte_once_and_in_order() {
    let stream: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    for read in [1000, 64 << 10] {
        let collector = collect(BytesCodec::new, &stream, (1, 8 << 10), read);
        assert!(collector.frames().concat() == stream, "read in pieces of {read}");
        assert_eq!(collector.others(), [Call::Eof, Call::Close("Finished".into())]);
    }
}

// docs/guarantees.md, 20.
#[test]
fn lines_of_all_kinds_are_the_same_however_they_are_cut() {
    let stream = "one\r\ntwo\n\n\r\n\0\r\r\nü\nlast".as_bytes();
    let frames = ["one", "two", "", "", "\0\r", "ü", "last"].map(|line| line.as_bytes().to_vec());
    assert_uncut(lines, stream, &frames);
}

/// Bytes of few kinds, so that borders of frames are among them.
fn scramble(rng: &mut Rng, of: &[u8]) -> Vec<u8> {
    let length = rng.size(0, 300);
    (0..length)
        .map(|_| if rng.below(4) > 0 { of[rng.size(0, of.len() - 1)] } else { rng.draw() as u8 })
        .collect()
}

/// Any bytes at all: no panic, and all that the handler is told is the same
/// whole and cut.
#[track_caller]
fn assert_survives<C>(codec: fn() -> C, of: &[u8])
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    let mut rng = Rng::new(60);
    let mut ends = std::collections::BTreeSet::new();
    for round in 0..150 {
        let stream = scramble(&mut rng, of);
        let whole = collect(codec, &stream, (64 << 10, 64 << 10), 64 << 10).calls;
        let cut = collect(codec, &stream, (1, rng.size(1, 30)), rng.size(1, 30)).calls;
        assert_eq!(whole, cut, "round {round}: {stream:?}");
        ends.extend(whole.last().map(|last| format!("{last:?}")));
    }
    assert!(ends.len() > 1, "they ended in one way alone: {ends:?}");
}

// docs/guarantees.md, 60.
#[test]
fn any_bytes_at_all_give_the_same_however_they_are_cut() {
    assert_survives(lines, b"ab\r\n");
    assert_survives(lengths, b"\0\0\0\0\0\0\x01\x02\x03");
    assert_survives(netstrings, b"0:,1:a,2:");
    assert_survives(cobs, b"\0\x01\x02\x02\x03\x03");
}

/// The frames that a simulated client sends: some empty, some long.
fn mixed(rng: &mut Rng) -> Vec<Vec<u8>> {
    let count = rng.size(1, 20);
    (0..count)
        .map(|number| {
            let length = match rng.below(8) {
                0 => 0,
                7 => rng.size(100, 2000),
                _ => rng.size(1, 50),
            };
            vec![number as u8; length]
        })
        .collect()
}

// Bytes cut anywhere, calls interrupted, resets, slow readers, small marks.
#[test]
fn a_framed_echo_loses_nothing_in_any_weather() {
    let (mut lost, mut pauses) = (0, 0);
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let conditions = Conditions::seeded(&mut rng);
        let low_mark = rng.size(0, 300);
        let limits = Limits {
            low_mark,
            high_mark: low_mark + rng.size(0, 300),
            read_budget: rng.size(1, 4 << 10),
            ..patient()
        };
        let config = Config { read_buffer: rng.size(1, 4 << 10), ..Config::default() };
        let handler = Framed::new(FramedEcho::default());
        let mut world =
            World::<_>::with_config(seed, conditions, handler, limits, config).expect("good limits");
        let clients = [(); 3].map(|()| {
            let stream = encoded(LengthDelimitedCodec::new(), mixed(&mut rng).iter().map(Vec::as_slice));
            let mut script = Script::new();
            if rng.below(2) == 0 {
                let every = std::time::Duration::from_millis(rng.between(1, 20));
                script = script.read(Pace::Slowly { bytes: rng.size(1, 2000), every });
            }
            let cut = rng.size(0, stream.len());
            let (head, tail) = stream.split_at(cut);
            let script = script.send(head.to_vec()).send(tail.to_vec()).finish();
            if rng.below(2) == 0 { world.play(script) } else { world.play_unix(script) }
        });
        run(&mut world);
        pauses += world.handler().handler().pauses;
        for client in clients {
            let seen = world.client(client);
            assert!(seen.sent().starts_with(seen.received()), "seed {seed}, client {client}");
            if seen.was_lost() {
                lost += 1;
            } else {
                assert!(seen.received() == seen.sent(), "seed {seed}, client {client}");
            }
        }
    }
    assert!(lost > 0 && lost < 300, "{lost} of 600 connections were lost");
    assert!(pauses > 100, "{pauses} pauses");
}

#[test]
fn the_longest_frame_is_taken_and_one_byte_more_is_not() {
    for (length, error) in [(LONGEST, None), (LONGEST + 1, Some("max line length exceeded"))] {
        for cut in [1, 64 << 10] {
            let stream = ["x".repeat(length), "\n".into()].concat();
            let collector = collect(lines, stream.as_bytes(), (cut, cut), 64 << 10);
            assert_eq!(collector.frames().len(), usize::from(error.is_none()));
            let told = collector.others().into_iter().find(|call| matches!(call, Call::Error(_)));
            assert_eq!(told, error.map(|error| Call::Error(error.into())));
        }
    }
}
