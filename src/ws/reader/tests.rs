use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ws::frame::put;

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put(&mut out, Opcode::Text, Some(MASK), payload);
    out[0] = first;
    out.to_vec()
}

/// What was found, to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
    Fault(u16),
}

/// What a reader finds in these pieces, and whether it ends within a message.
fn read_within(pieces: &[&[u8]], limits: SocketLimits) -> Vec<Kept> {
    let mut reader = Reader::new(Role::Client, limits);
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let kept = match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Found::Message(Message::Text(text)))) => Kept::Text(text.into()),
                Ok(Some(Found::Message(Message::Binary(data)))) => Kept::Binary(Bytes::copy_from_slice(data)),
                Ok(Some(Found::Ping(data))) => Kept::Ping(Bytes::copy_from_slice(data)),
                Ok(Some(Found::Pong)) => Kept::Pong,
                Ok(Some(Found::Close(code))) => Kept::Close(code.map(CloseCode::number)),
                Err(fault) => {
                    found.push(Kept::Fault(fault.code.number()));
                    return found;
                }
            };
            found.push(kept);
        }
    }
    found
}

fn read(frames: &[Vec<u8>]) -> Vec<Kept> {
    read_within(&[&frames.concat()], SocketLimits::default())
}

fn text(text: &str) -> Kept {
    Kept::Text(text.into())
}

#[test]
fn messages_whole_and_in_fragments_with_control_frames_between() {
    let frames = [
        frame(0x81, b"whole"),
        frame(0x01, b"one "),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8a, b"pong"),
        frame(0x80, b"text"),
        frame(0x82, b"\xff"),
        frame(0x88, b"\x03\xe8bye"),
    ];
    let expected = [
        text("whole"),
        Kept::Ping("ping".into()),
        Kept::Pong,
        text("one text"),
        Kept::Binary(Bytes::from_static(b"\xff")),
        Kept::Close(Some(1000)),
    ];
    assert_eq!(read(&frames), expected);
}

#[test]
fn every_pair_of_cuts_finds_the_same() {
    let bytes = [
        frame(0x01, "aä".as_bytes()),
        frame(0x89, b"p"),
        frame(0x80, "€x".as_bytes()),
        frame(0x82, &[7; 130]),
        frame(0x88, b""),
    ]
    .concat();
    let whole = read_within(&[&bytes], SocketLimits::default());
    assert_eq!(whole.len(), 4);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(read_within(&pieces, SocketLimits::default()), whole, "{first} {second}");
        }
    }
}

#[test]
fn frames_out_of_order() {
    assert_eq!(read(&[frame(0x80, b"x")]), [Kept::Fault(1002)]);
    assert_eq!(read(&[frame(0x00, b"x")]), [Kept::Fault(1002)]);
    assert_eq!(read(&[frame(0x01, b"x"), frame(0x81, b"y")]), [Kept::Fault(1002)]);
    assert_eq!(read(&[frame(0x81, b"x"), frame(0x80, b"y")]), [text("x"), Kept::Fault(1002)]);
}

#[test]
fn text_that_is_none_is_refused_as_soon_as_it_is_certain() {
    assert_eq!(read(&[frame(0x81, b"\xff")]), [Kept::Fault(1007)]);
    assert_eq!(
        read(&[frame(0x01, b"\xce"), frame(0x80, b"")]),
        [Kept::Fault(1007)],
        "cut within a character"
    );
    assert_eq!(read(&[frame(0x01, b"ok\xff"), frame(0x00, b"")]), [Kept::Fault(1007)], "before the end");
    let begun = frame(0x81, b"ok\xffmuch more to come");
    assert_eq!(
        read_within(&[&begun[..10]], SocketLimits::default()),
        [Kept::Fault(1007)],
        "before its frame is there"
    );
    assert_eq!(
        read(&[frame(0x02, b"\xff"), frame(0x80, b"\xff")]),
        [Kept::Binary(Bytes::from_static(b"\xff\xff"))]
    );
}

#[test]
fn messages_and_fragments_are_bounded() {
    let limits = SocketLimits { max_message: 10, max_fragments: 3 };
    let read = |frames: &[Vec<u8>]| read_within(&[&frames.concat()], limits);
    assert_eq!(read(&[frame(0x81, b"0123456789")]), [text("0123456789")]);
    assert_eq!(read(&[frame(0x81, b"01234567890")]), [Kept::Fault(1009)]);
    assert_eq!(read(&[frame(0x01, b"012345"), frame(0x80, b"67890")]), [Kept::Fault(1009)]);
    assert_eq!(read(&[frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")]), [text("")]);
    assert_eq!(
        read(&[frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"")]),
        [Kept::Fault(1009)]
    );
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(read_within(&[&huge], limits), [Kept::Fault(1009)], "before anything is allocated");
}

#[test]
fn closes_that_are_none() {
    assert_eq!(read(&[frame(0x88, b"\x03")]), [Kept::Fault(1002)]);
    assert_eq!(read(&[frame(0x88, &1005_u16.to_be_bytes())]), [Kept::Fault(1002)]);
    assert_eq!(read(&[frame(0x88, b"\x03\xe8\xff")]), [Kept::Fault(1007)]);
    assert_eq!(read(&[frame(0x88, b"")]), [Kept::Close(None)]);
}

#[test]
fn between_messages_it_owns_nothing() {
    let mut reader = Reader::new(Role::Client, SocketLimits::default());
    let mut input = BytesMut::from(&[frame(0x01, b"a"), frame(0x80, b"b")].concat()[..]);
    assert!(matches!(reader.next(&mut input), Ok(Some(Found::Message(Message::Text("ab"))))));
    assert!(matches!(reader.next(&mut input), Ok(None)));
    assert!(reader.partial.is_none() && input.is_empty());
}

proptest! {
    #[test]
    fn properties_any_bytes_are_judged_the_same_however_they_are_cut(
        frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..5),
        raw in proptest::collection::vec(any::<u8>(), 0..10),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5),
    ) {
        let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(first & 0x8f, payload)).collect();
        bytes.extend_from_slice(&raw);
        let limits = SocketLimits::default();
        let whole = read_within(&[&bytes], limits);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        ends.sort_unstable();
        let pieces: Vec<_> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read_within(&pieces, limits), whole);
    }
}
