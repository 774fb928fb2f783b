//! Tests of the format, and of the files that hold it.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::dump::write_segments;
use super::primitive::{Malformed, Reader};
use super::ring::Ring;
use super::{
    Call, Damage, Digest, Dump, Entry, Failure, Number, Outcome, Payload, Payloads, decode, encode, short,
};
use crate::driver::{Closing, Event, Incident, IncidentKind, Moment, Notice, Token};
use crate::process::{Fate, Signal};
use crate::{Address, ConnId, Credentials, Endpoint, Peer, Side};

fn number() -> impl Strategy<Value = Number> {
    any::<u64>().prop_map(Number)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<(u64, u64)>().prop_map(|(len, hash)| Digest { len, hash })
}

fn token() -> impl Strategy<Value = Token> {
    any::<u64>().prop_map(Token::from_bits)
}

fn time() -> impl Strategy<Value = Duration> {
    (0..u64::MAX - 1).prop_map(Duration::from_nanos)
}

fn inet() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()),
        any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(
            Ipv6Addr::from(ip),
            port,
            flow,
            scope
        )
        .into()),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        inet().prop_map(Endpoint::Tcp),
        inet().prop_map(Endpoint::Udp),
        "[a-z/]{0,20}".prop_map(|path| Endpoint::Unix(path.into())),
        "[a-z/]{0,20}".prop_map(|path| Endpoint::UnixDatagram(path.into())),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    let address = prop_oneof![
        inet().prop_map(Address::Inet),
        "[a-z/]{0,20}".prop_map(|path| Address::Unix(path.into())),
        vec(any::<u8>(), 0..20).prop_map(Address::Abstract),
        Just(Address::Unnamed),
        Just(Address::Pipe),
    ];
    let credentials =
        proptest::option::of(any::<(Option<u32>, u32, u32)>().prop_map(|(pid, uid, gid)| Credentials {
            pid,
            uid,
            gid,
        }));
    (address, credentials, proptest::option::of(inet())).prop_map(|(address, credentials, asked)| Peer {
        address,
        credentials,
        asked,
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        any::<i32>().prop_map(|code| Failure::of(&std::io::Error::from_raw_os_error(code))),
        Just(Failure::of(&ErrorKind::WouldBlock.into())),
        "[a-zé]{0,300}".prop_map(|text| Failure::of(&std::io::Error::new(ErrorKind::TimedOut, text))),
    ]
}

fn status() -> impl Strategy<Value = Option<ExitStatus>> {
    any::<Option<i32>>().prop_map(|raw| raw.map(ExitStatus::from_raw))
}

fn payload() -> impl Strategy<Value = Payload<'static>> {
    prop_oneof![
        digest().prop_map(Payload::Hashed),
        vec(any::<u8>(), 0..200).prop_map(|bytes| Payload::Kept(bytes.into())),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    let kind = prop_oneof![
        Just(IncidentKind::Failed),
        Just(IncidentKind::Panicked),
        time().prop_map(IncidentKind::Slow),
    ];
    let connection = proptest::option::of((1..u64::MAX).prop_map(ConnId::from_bits));
    prop_oneof![
        Just(Notice::Serving),
        proptest::option::of(time()).prop_map(Notice::Turn),
        time().prop_map(Notice::Shutdown),
        (any::<usize>(), proptest::option::of(time()))
            .prop_map(|(count, shutdown)| Notice::Calls { count, shutdown }),
        (kind, connection).prop_map(|(kind, connection)| Notice::Incident(Incident { kind, connection })),
    ]
}

fn call() -> impl Strategy<Value = Call<'static>> {
    let closing = prop_oneof![Just(Closing::InOrder), Just(Closing::Reset)];
    let signal = prop_oneof![Just(Signal::Terminate), Just(Signal::Kill)];
    let side = prop_oneof![Just(Side::Both), Just(Side::Input), Just(Side::Output)];
    let payloads = prop_oneof![Just(Payloads::Hashed), Just(Payloads::Kept)];
    let most = proptest::option::of(0..u64::MAX);
    let first = prop_oneof![
        (any::<bool>(), payloads, most).prop_map(|(short_means_blocked, payloads, max_streams)| {
            Call::Began { short_means_blocked, payloads, max_streams }
        }),
        Just(Call::Now),
        proptest::option::of(time()).prop_map(|timeout| Call::Wait { timeout }),
        (number(), any::<u64>()).prop_map(|(stream, space)| Call::Read { stream, space }),
        (number(), any::<u64>()).prop_map(|(stream, offered)| Call::Write { stream, offered }),
        number().prop_map(|listener| Call::Accept { listener }),
        (number(), token()).prop_map(|(stream, token)| Call::Register { stream, token }),
        (number(), closing).prop_map(|(stream, how)| Call::Close { stream, how }),
        number().prop_map(|stream| Call::Shutdown { stream }),
        number().prop_map(|stream| Call::IsHungUp { stream }),
        Just(Call::Waker),
        (endpoint(), token()).prop_map(|(at, token)| Call::Listen { at: Cow::Owned(at), token }),
        number().prop_map(|listener| Call::CloseListener { listener }),
        endpoint().prop_map(|to| Call::Connect { to: Cow::Owned(to) }),
        number().prop_map(|stream| Call::Connected { stream }),
    ];
    let second = prop_oneof![
        (number(), any::<u64>(), any::<u64>()).prop_map(|(stream, offset, count)| Call::SendFile {
            stream,
            offset,
            count
        }),
        (endpoint(), token()).prop_map(|(at, token)| Call::Bind { at: Cow::Owned(at), token }),
        (number(), any::<u64>()).prop_map(|(socket, space)| Call::Receive { socket, space }),
        (number(), peer(), digest()).prop_map(|(socket, to, data)| Call::SendTo {
            socket,
            to: Cow::Owned(to),
            data
        }),
        peer().prop_map(|peer| Call::IsOwn { peer: Cow::Owned(peer) }),
        number().prop_map(|socket| Call::CloseSocket { socket }),
        (digest(), token()).prop_map(|(command, token)| Call::Spawn { command, token }),
        number().prop_map(|child| Call::Fate { child }),
        number().prop_map(|pipe| Call::Unread { pipe }),
        (number(), signal).prop_map(|(child, signal)| Call::Signal { child, signal }),
        (number(), time()).prop_map(|(child, within)| Call::Reap { child, within }),
        Just(Call::Adopt),
        side.prop_map(|side| Call::AdoptOneWay { side }),
        token().prop_map(|token| Call::AdoptListener { token }),
        notice().prop_map(Call::Notice),
    ];
    prop_oneof![first, second]
}

fn event() -> impl Strategy<Value = Event> {
    (token(), any::<[bool; 3]>()).prop_map(|(token, [readable, writable, hangup])| Event {
        token,
        readable,
        writable,
        hangup,
    })
}

fn outcome() -> impl Strategy<Value = Outcome<'static>> {
    let fate = prop_oneof![Just(Fate::Running), status().prop_map(Fate::Exited)];
    let made = || (1..u64::MAX).prop_map(Number);
    prop_oneof![
        Just(Outcome::Done),
        failure().prop_map(Outcome::Failed),
        any::<u64>().prop_map(|nanos| Outcome::Time(Moment::from_nanos(nanos))),
        (vec(event(), 0..5), any::<bool>())
            .prop_map(|(events, reported_all)| Outcome::Waited { events: events.into(), reported_all }),
        payload().prop_map(Outcome::Input),
        digest().prop_map(Outcome::Written),
        number().prop_map(Outcome::Made),
        (number(), endpoint()).prop_map(|(number, at)| Outcome::MadeAt(number, at)),
        (number(), peer()).prop_map(|(number, peer)| Outcome::MadeWith(number, peer)),
        proptest::option::of(peer()).prop_map(Outcome::Peer),
        any::<bool>().prop_map(Outcome::Answer),
        any::<(u64, u64)>().prop_map(|(written, offered)| Outcome::FileSent { written, offered }),
        failure().prop_map(Outcome::FileFailed),
        (payload(), any::<u64>(), peer()).prop_map(|(data, len, from)| Outcome::Datagram { data, len, from }),
        (made(), any::<(u32, bool)>(), [(); 3].map(|()| proptest::option::of(made())))
            .prop_map(|(child, (pid, has_events), pipes)| Outcome::Spawned { child, pid, pipes, has_events }),
        fate.prop_map(Outcome::Fate),
        any::<u64>().prop_map(Outcome::Count),
        status().prop_map(Outcome::Status),
    ]
}

/// A number that fits into a short form, or does not.
fn field() -> impl Strategy<Value = u64> {
    prop_oneof![0..100_u64, Just(u64::from(u32::MAX)), Just(u64::from(u32::MAX) + 1), any::<u64>()]
}

/// Entries that have a short form if their numbers fit.
fn shortened() -> impl Strategy<Value = (Call<'static>, Outcome<'static>)> {
    let stream = || field().prop_map(Number);
    let digest = || (field(), any::<u64>()).prop_map(|(len, hash)| Digest { len, hash });
    let input = prop_oneof![
        digest().prop_map(Payload::Hashed),
        vec(any::<u8>(), 0..2000).prop_map(|bytes| Payload::Kept(bytes.into())),
    ];
    prop_oneof![
        (proptest::option::of(time()), vec(event(), 0..5), any::<bool>()).prop_map(
            |(timeout, events, reported_all)| {
                (Call::Wait { timeout }, Outcome::Waited { events: events.into(), reported_all })
            }
        ),
        (stream(), field(), input)
            .prop_map(|(stream, space, input)| (Call::Read { stream, space }, Outcome::Input(input))),
        (stream(), field(), digest()).prop_map(|(stream, offered, taken)| {
            (Call::Write { stream, offered }, Outcome::Written(taken))
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(entries in vec((call(), outcome()), 0..20)) {
        let entries: Vec<_> = entries.into_iter().map(|(call, outcome)| Entry { call, outcome }).collect();
        let (mut bytes, mut clock) = (Vec::new(), 5);
        for entry in &entries {
            encode::put_call(&mut bytes, &entry.call);
            encode::put_outcome(&mut bytes, &mut clock, &entry.outcome);
        }
        let (mut reader, mut clock) = (Reader { rest: &bytes }, 5);
        for entry in &entries {
            prop_assert_eq!(&decode::entry(&mut reader, &mut clock).expect("it was written"), entry);
            let _line = entry.to_string();
        }
        prop_assert!(reader.rest.is_empty());
    }

    #[test]
    fn what_a_ring_shortens_is_read_back(entries in vec(shortened(), 0..50), step in any::<u64>()) {
        let mut ring = Ring::new(4 << 20);
        let mut expected = Vec::new();
        for (number, (call, outcome)) in entries.into_iter().enumerate() {
            let now = Moment::from_nanos(step.wrapping_mul(number as u64));
            ring.add_time(now);
            expected.push(Entry { call: Call::Now, outcome: Outcome::Time(now) });
            match (&call, &outcome) {
                (Call::Wait { timeout }, Outcome::Waited { events, reported_all }) => {
                    let events: Vec<u8> = events.iter().flat_map(|event| short::event(*event)).collect();
                    ring.add_wait(*timeout, &events, *reported_all);
                }
                (Call::Read { stream, space }, Outcome::Input(input)) => {
                    ring.add_read(*stream, *space, input.clone());
                }
                (Call::Write { stream, offered }, Outcome::Written(digest)) => {
                    ring.add_write(*stream, *offered, *digest);
                }
                _ => unreachable!("they have no short form"),
            }
            expected.push(Entry { call, outcome });
        }
        let dump = Dump::of(&ring);
        prop_assert_eq!(dump.entries().map(|(_, entry)| entry).collect::<Vec<_>>(), expected);
        let mut file = Vec::new();
        dump.write_to(&mut file).expect("memory");
        let read = Dump::read(&file[..]).expect("a dump");
        prop_assert_eq!(read.damage(), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(tag in any::<u8>(), bytes in vec(any::<u8>(), 0..100)) {
        // Of short forms, too, which begin with a few of all tags.
        let bytes = [&[short::FIRST + tag % 6][..], &bytes].concat();
        let (mut reader, mut clock) = (Reader { rest: &bytes }, 0);
        while decode::entry(&mut reader, &mut clock).is_ok() {}
        let _ = Dump::read(&bytes[..]);
    }
}

/// A ring of some segments, as a file.
fn file() -> Vec<u8> {
    let mut ring = Ring::new(64 << 10);
    for turn in 0..3000 {
        ring.add_time(Moment::from_nanos(turn * 1000));
        let event = Event { token: Token::from_bits(turn), readable: true, writable: false, hangup: false };
        ring.add_wait(None, &short::event(event), true);
        let payload = Payload::Kept(b"0123456789"[..].into());
        ring.add_read(Number(turn), 65_536, payload);
        // One in its general form.
        ring.add(&Call::IsHungUp { stream: Number(turn) }, &Outcome::Answer(false));
    }
    let mut file = Vec::new();
    write_segments(ring.segments(), &mut file).expect("memory");
    file
}

#[test]
fn a_file_that_is_cut_says_where_and_keeps_what_is_before() {
    let file = file();
    let whole = Dump::read(&file[..]).expect("a dump");
    assert_eq!(whole.damage(), None);
    let entries: Vec<_> = whole.entries().collect();
    assert!(entries.len() > 3000, "{}", entries.len());
    // Each place in the head and the first segments, and some of the rest.
    for cut in (32..9000).chain((9000..file.len()).step_by(97)) {
        let dump = Dump::read(&file[..cut]).expect("a dump");
        let kept: Vec<_> = dump.entries().collect();
        assert!(entries.starts_with(&kept), "cut at {cut}");
        let damage = dump.damage().unwrap_or_else(|| panic!("the cut at {cut} was not found"));
        assert!(damage.what.contains("cut off") && damage.at <= cut as u64, "{damage}");
    }
    for cut in 0..32 {
        let error = Dump::read(&file[..cut]).expect_err("its head is cut off");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn a_byte_that_has_changed_is_found() {
    let file = file();
    let entries = Dump::read(&file[..]).expect("a dump").entries().count();
    for place in (32..file.len()).step_by(211) {
        let mut broken = file.clone();
        broken[place] ^= 0x10;
        let dump = Dump::read(&broken[..]).expect("its head is whole");
        let damage = dump.damage().unwrap_or_else(|| panic!("the change at {place} was not found"));
        assert!(damage.at <= place as u64 && dump.entries().count() < entries, "{damage}");
    }
    let mut other = file.clone();
    other[24] = 9;
    let error = Dump::read(&other[..]).expect_err("another version");
    assert!(error.to_string().contains("version 9, and this library reads 3"), "{error}");
    let error = Dump::read(&b"#!/bin/sh\n"[..]).expect_err("no recording");
    assert!(error.to_string().contains("no recording"), "{error}");
}

#[test]
fn a_segment_that_is_missing_is_found() {
    let file = file();
    let len_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let second = 32 + 32 + len_at(32 + 24);
    let next = len_at(second + 24);
    let without = [&file[..second], &file[second + 32 + next..]].concat();
    let dump = Dump::read(&without[..]).expect("its head is whole");
    let Some(Damage { what, .. }) = dump.damage() else { panic!("it was not found") };
    assert_eq!(*what, "a segment before it is missing");
}

#[test]
fn numbers_are_no_longer_than_they_can_be() {
    let longest = [0xff; 11];
    assert_eq!(Reader { rest: &longest }.number(), Err(Malformed));
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(Reader { rest: &most }.number(), Ok(u64::MAX));
    let more = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
    assert_eq!(Reader { rest: &more }.number(), Err(Malformed));
}
