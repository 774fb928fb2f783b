//! Writes of a callback to its own connection on the fast path, with another request
//! in between that changes what may follow.

use std::sync::mpsc::channel;

use bytes::{Bytes, BytesMut};
use serve_forever::{Io, Limits, Overflow, Sent};

use crate::util::{Call, Client, PATIENCE, Recorder, Server, Take};

/// Has a callback write `a`, do `between`, and write `b`: in answer to the
/// second message, with nothing under way. What `b` was told, and the client.
#[track_caller]
fn write_around(limits: Limits, between: fn(&mut Io<'_>)) -> (Sent, Server<Recorder>, Client) {
    let (tell, told) = channel();
    let (recorder, _) = Recorder::new(move |io, call| {
        if *call == Call::data("1") {
            let _ = io.write(b"ready");
        } else if *call == Call::data("2") {
            assert_eq!(io.write(b"a"), Sent::Queued);
            between(io);
            tell.send(io.write(b"b"))?;
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::All), limits);
    let client = server.connect();
    client.send("1");
    client.expect("ready");
    client.send("2");
    let answer = told.recv_timeout(PATIENCE).expect("the second message is answered");
    (answer, server, client)
}

/// Has every callback with input `write`; the client gets what is expected, time
/// after time.
#[track_caller]
fn assert_writes(expected: &str, write: fn(&mut Io<'_>)) {
    let (recorder, _) = Recorder::new(move |io, call| {
        if let Call::Data(_) = call {
            write(io);
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::All), Limits::default());
    let client = server.connect();
    for _ in 0..10 {
        client.send("go");
        client.expect(expected);
    }
}

#[test]
fn messages_by_copy_and_by_reference_leave_in_the_order_of_their_calls() {
    let (answer, _server, client) = write_around(Limits::default(), |io| {
        assert_eq!(io.write_bytes(Bytes::from_static(b"-")), Sent::Queued);
        assert_eq!(io.send(io.id(), vec![b'='; 100_000]), Sent::Queued);
        assert_eq!(io.queued(io.id()), Some(100_002));
    });
    assert_eq!(answer, Sent::Queued);
    client.expect("a-");
    client.expect(vec![b'='; 100_000]);
    client.expect("b");
}

#[test]
fn a_broadcast_to_oneself_keeps_its_place() {
    let (answer, _server, client) = write_around(Limits::default(), |io| {
        let group = io.group().expect("a group");
        assert!(io.join(group, io.id()).expect("there is room"));
        assert_eq!(io.broadcast(group, &Bytes::from_static(b"-"), None).queued, 1);
    });
    assert_eq!(answer, Sent::Queued);
    client.expect("a-b");
}

#[test]
fn nothing_is_taken_behind_a_half_close() {
    let (answer, _server, client) = write_around(Limits::default(), |io| io.finish(io.id()));
    assert_eq!(answer, Sent::Gone);
    client.expect("a");
    client.expect_eof();
}

#[test]
fn nothing_is_taken_behind_a_close() {
    let (answer, server, client) = write_around(Limits::default(), |io| io.close(io.id()));
    assert_eq!(answer, Sent::Gone);
    client.expect("a");
    client.expect_eof();
    drop(client);
    server.until_connections(0);
}

#[test]
fn nothing_is_taken_behind_an_abort() {
    let (answer, server, client) = write_around(Limits::default(), |io| io.abort(io.id()));
    assert_eq!(answer, Sent::Gone);
    client.expect_reset();
    server.until_connections(0);
}

#[test]
fn the_marks_count_all_that_a_callback_writes() {
    let limits = Limits { low_mark: 0, high_mark: 10, hard_mark: 20, ..Limits::default() };
    // `a` and these are as many as the high mark allows.
    let (answer, _server, client) = write_around(limits, |io| {
        assert_eq!(io.write(b"123456789"), Sent::Queued);
        assert_eq!(io.queued(io.id()), Some(10));
    });
    assert_eq!(answer, Sent::Full);
    client.expect("a123456789b");
}

#[test]
fn a_buffer_that_is_written_is_empty_afterwards_and_leaves_in_its_turn() {
    let (answer, _server, client) = write_around(Limits::default(), |io| {
        for text in ["-", "", "=", "+"] {
            let mut buffer = BytesMut::from(text);
            assert_eq!(io.write_buf(&mut buffer), Sent::Queued);
            assert!(buffer.is_empty());
        }
        assert_eq!(io.queued(io.id()), Some(4));
    });
    assert_eq!(answer, Sent::Queued);
    client.expect("a-=+b");
}

/// The loop takes the buffer itself, and gives another one for it: what is
/// written into that one afterwards is something else.
#[test]
fn a_buffer_that_is_written_first_can_be_filled_again_at_once() {
    assert_writes("one two three four!", |io| {
        let mut buffer = BytesMut::from("one ");
        for text in ["two ", "three ", "four"] {
            assert_eq!(io.write_buf(&mut buffer), Sent::Queued);
            buffer.extend_from_slice(text.as_bytes());
        }
        assert_eq!(io.write_buf(&mut buffer), Sent::Queued);
        assert_eq!(io.write(b"!"), Sent::Queued);
    });
}

/// A buffer of one's own stays as large as it is made, whatever the loop has.
#[test]
fn a_small_buffer_is_not_exchanged_for_a_large_one() {
    let (tell, told) = channel();
    let mut own = BytesMut::with_capacity(100);
    let (recorder, _) = Recorder::new(move |io, call| {
        if *call == Call::data("small") {
            own.extend_from_slice(b"small");
            assert_eq!(io.write_buf(&mut own), Sent::Queued);
            tell.send(own.capacity())?;
        } else if let Call::Data(_) = call {
            let _ = io.write(&[b'x'; 60_000]);
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::All), Limits::default());
    let client = server.connect();
    for _ in 0..5 {
        client.send("large");
        client.expect([b'x'; 60_000]);
        client.send("small");
        client.expect("small");
        let capacity = told.recv_timeout(PATIENCE).expect("it was written");
        assert!((5..=100).contains(&capacity), "{capacity}");
    }
}

/// Half of a buffer that is written leaves the other half where it is.
#[test]
fn a_part_of_a_buffer_is_written_and_the_rest_stays() {
    assert_writes("head or  and tail", |io| {
        let mut whole = BytesMut::with_capacity(1 << 20);
        whole.extend_from_slice(b"head and tail");
        let mut head = whole.split_to(4);
        let frozen = head.clone().freeze();
        assert_eq!(io.write_buf(&mut head), Sent::Queued);
        head.extend_from_slice(b" or ");
        assert_eq!((&frozen[..], &whole[..]), (&b"head"[..], &b" and tail"[..]));
        assert_eq!(io.write_buf(&mut head), Sent::Queued);
        assert_eq!(io.write_buf(&mut whole), Sent::Queued);
    });
}

#[test]
fn a_buffer_that_is_refused_keeps_what_is_in_it() {
    let limits = Limits { overflow: Overflow::DropNewest, ..Limits::default() };
    let hard_mark = limits.hard_mark;
    let (recorder, _) = Recorder::new(move |io, call| {
        if *call == Call::data("much") {
            let mut buffer = BytesMut::zeroed(hard_mark + 1);
            assert_eq!((io.write_buf(&mut buffer), buffer.len()), (Sent::Dropped, hard_mark + 1));
            assert_eq!(io.write(b"dropped"), Sent::Queued);
        } else if *call == Call::data("late") {
            io.finish(io.id());
            let mut buffer = BytesMut::from("late");
            assert_eq!((io.write_buf(&mut buffer), &buffer[..]), (Sent::Gone, &b"late"[..]));
            assert_eq!(io.write_buf(&mut BytesMut::with_capacity(1 << 20)), Sent::Gone);
            assert_eq!(io.write(b""), Sent::Gone);
        }
        Ok(())
    });
    let server = Server::start(recorder.taking(Take::All), limits);
    let client = server.connect();
    client.send("much");
    client.expect("dropped");
    client.send("late");
    client.expect_eof();
}

#[test]
fn an_empty_message_is_taken_and_nothing_comes_of_it() {
    let (answer, _server, client) = write_around(Limits::default(), |io| {
        assert_eq!(io.write(b""), Sent::Queued);
    });
    assert_eq!(answer, Sent::Queued);
    client.expect("ab");
}

#[test]
fn what_a_callback_that_panics_wrote_reaches_nobody() {
    // The next callback, of another connection, finds an empty hand.
    let (recorder, _) = Recorder::new(|io, call| {
        if let Call::Data(data) = call {
            let _ = io.write(data);
            assert_ne!(data, b"panic", "on purpose");
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let (panics, other) = (server.connect(), server.connect());
    for client in [&panics, &other] {
        client.send("calm");
        client.expect("calm");
    }
    panics.send("panic");
    panics.expect_reset();
    other.send("kept");
    other.expect("kept");
    assert_eq!(server.stop().panicked, 1);
}

#[test]
fn what_a_failing_callback_wrote_arrives_before_the_end() {
    let (recorder, _) = Recorder::new(|io, call| {
        if let Call::Data(data) = call {
            let _ = io.write(data);
            if data == b"fail" {
                return Err("on purpose".into());
            }
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    for message in ["calm", "fail"] {
        client.send(message);
        client.expect(message);
    }
    client.expect_eof();
    drop(client);
    assert_eq!(server.stop().failed, 1);
}
