//! In steady state, an echo allocates nothing.

use std::thread;
use std::time::Duration;

use serve_forever::driver::Driver;
use serve_forever::services::{Echo, Upper};
use serve_forever::{Config, DatagramHandler, Endpoint, Limits, Reactor, StreamHandler};

use crate::counting::allocations_in;
#[cfg(feature = "codec")]
use crate::counting::live;
use crate::util::{Client, DatagramClient, PATIENCE, bind_anywhere, listen_anywhere, noise};

const WARM_UP: u64 = 200;
const MESSAGES: u64 = 10_000;

/// How often the loop's thread allocates while it serves so many messages of
/// `len` bytes, one after the other, on `clients` connections in turn.
fn steady_state<S: StreamHandler>(
    handler: S,
    limits: Limits,
    at: &Endpoint,
    len: usize,
    clients: u64,
) -> u64 {
    steady(handler, limits, at, noise(len), clients)
}

/// The same for this message, which comes back as it is but for its letters.
fn steady<S: StreamHandler>(
    handler: S,
    limits: Limits,
    at: &Endpoint,
    message: impl AsRef<[u8]> + Send + 'static,
    clients: u64,
) -> u64 {
    steady_in(
        Reactor::new(Config::default()).expect("a good configuration"),
        handler,
        limits,
        at,
        message,
        clients,
    )
}

/// The same in this reactor.
fn steady_in<S: StreamHandler, D: Driver>(
    mut reactor: Reactor<D>,
    handler: S,
    limits: Limits,
    at: &Endpoint,
    message: impl AsRef<[u8]> + Send + 'static,
    clients: u64,
) -> u64 {
    let len = message.as_ref().len();
    let service = reactor.add(handler, limits).expect("good limits");
    let listener = reactor.listen(&service, at).expect("the endpoint is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let clients: Vec<_> = (0..clients).map(|_| Client::connect(&at)).collect();
        for client in clients.iter().cycle().take((WARM_UP + MESSAGES) as usize) {
            client.send(&message);
            client.take(len);
        }
        clients
    });
    let mut serve_until = |messages: u64| {
        while reactor.stats().bytes_out < messages * len as u64 {
            assert!(!talking.is_finished(), "the clients have given up");
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    };
    serve_until(WARM_UP);
    let count = allocations_in(|| serve_until(WARM_UP + MESSAGES));
    drop(talking.join().expect("every message came back"));
    count
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations_in(|| drop(Box::new(7))), 1);
    assert_eq!(allocations_in(|| ()), 0);
}

#[test]
fn ten_thousand_messages_over_tcp_allocate_nothing() {
    assert_eq!(steady_state(Echo::new(), Echo::limits(), &listen_anywhere(), 64, 1), 0);
}

#[test]
fn ten_thousand_messages_over_a_unix_socket_allocate_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    assert_eq!(steady_state(Echo::new(), Echo::limits(), &at, 64, 1), 0);
}

#[test]
fn large_messages_and_many_clients_allocate_nothing() {
    assert_eq!(steady_state(Upper::new(), Upper::limits(), &listen_anywhere(), 4096, 50), 0);
}

#[test]
fn deadlines_that_are_looked_at_and_put_off_allocate_nothing() {
    let limits = Limits {
        // So long that no busy machine lets it run out; it is the deadline of
        // frames that has each connection looked at every millisecond.
        idle: Some(Duration::from_secs(600)),
        frame: Some(Duration::from_millis(1)),
        ..Echo::limits()
    };
    assert_eq!(steady_state(Echo::new(), limits, &listen_anywhere(), 64, 5), 0);
}

#[cfg(feature = "record")]
#[test]
fn a_recorded_echo_allocates_nothing_once_the_ring_is_full() {
    use serve_forever::driver::MioDriver;
    use serve_forever::record::{Payloads, RecordOptions, Recorder};

    // The longest payload that such a ring keeps has 16 KiB.
    for (payloads, len) in
        [(Payloads::Hashed, 1000), (Payloads::Kept, 1000), (Payloads::Kept, 5000), (Payloads::Kept, 16 << 10)]
    {
        let options = RecordOptions { bytes: 64 << 10, payloads, ..RecordOptions::default() };
        let config = Config::default();
        let driver = MioDriver::new(config.events_per_turn).expect("a descriptor is free");
        let driver = Recorder::new(driver, options).expect("good options");
        let mut reactor = Reactor::with_driver(driver, config).expect("a good configuration");
        while reactor.driver_mut().dump().has_beginning() {
            reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
        }
        let counted = steady_in(reactor, Echo::new(), Echo::limits(), &listen_anywhere(), noise(len), 5);
        assert_eq!(counted, 0, "{payloads:?}, {len} bytes");
    }
}

#[cfg(feature = "upload")]
#[test]
fn a_file_that_is_received_allocates_nothing_while_it_comes() {
    use serve_forever::services::Upload;

    const BEFORE: u64 = 1 << 20;
    const SIZE: u64 = 64 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upload = Upload::into(directory.path()).expect("it is there");
    let service = reactor.add(upload, Upload::limits()).expect("good limits");
    let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
    let at = reactor.local(listener).expect("it was just made").clone();
    let sending = thread::spawn(move || {
        let client = Client::connect(&at);
        client.send(format!("post|{SIZE}|file\n"));
        let piece = noise(1 << 20);
        for _ in 0..SIZE >> 20 {
            client.send(&piece);
        }
        client
    });
    let mut serve_until = |bytes: u64| {
        while reactor.stats().bytes_in < bytes {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    };
    serve_until(BEFORE);
    // Its end is told, and that is a reply, which costs something.
    assert_eq!(allocations_in(|| serve_until(SIZE - BEFORE)), 0);
    serve_until(SIZE + "post|67108864|file\n".len() as u64);
    sending.join().expect("all was sent").expect("ok|67108864|file\n");
}

/// The same for datagrams. Clients on Unix sockets have paths.
fn steady_datagrams<S: DatagramHandler>(handler: S, at: &Endpoint, len: usize, clients: usize) -> u64 {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add_datagram(handler, Limits::default()).expect("good limits");
    let socket = reactor.bind(&service, at).expect("the endpoint is free");
    let at = reactor.local(socket).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let name = |number| match &at {
            Endpoint::UnixDatagram(path) => Some(path.with_extension(format!("client{number}"))),
            _ => None,
        };
        let clients: Vec<_> =
            (0..clients).map(|number| DatagramClient::connect(&at, name(number).as_deref())).collect();
        let message = noise(len);
        for client in clients.iter().cycle().take((WARM_UP + MESSAGES) as usize) {
            client.send(&message);
            client.expect(&message);
        }
        clients
    });
    let mut serve_until = |messages: u64| {
        while reactor.stats().datagrams_out < messages {
            assert!(!talking.is_finished(), "the clients have given up");
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    };
    serve_until(WARM_UP);
    let count = allocations_in(|| serve_until(WARM_UP + MESSAGES));
    drop(talking.join().expect("every message came back"));
    count
}

#[test]
fn ten_thousand_datagrams_over_udp_allocate_nothing() {
    assert_eq!(steady_datagrams(Echo::new(), &bind_anywhere(), 64, 1), 0);
    assert_eq!(steady_datagrams(Echo::new(), &bind_anywhere(), 9000, 20), 0);
    // With the address that is asked, and answers, told in each call.
    assert_eq!(steady_datagrams(Echo::new(), &"udp://0.0.0.0:0".parse().expect("a good endpoint"), 64, 3), 0);
    assert_eq!(steady_datagrams(Echo::new(), &"udp://[::]:0".parse().expect("a good endpoint"), 64, 3), 0);
}

#[test]
fn ten_thousand_datagrams_over_a_unix_socket_allocate_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::UnixDatagram(directory.path().join("socket"));
    assert_eq!(steady_datagrams(Echo::new(), &at, 64, 7), 0);
}

/// Frames cost no more than their codec does.
#[cfg(feature = "codec")]
mod framed {
    use bytes::BytesMut;
    use serve_forever::codec::{
        BytesCodec, Decoder, Encoder, FrameHandler, FrameWriter, Framed, LengthDelimitedCodec, LinesCodec,
    };
    use serve_forever::{BoxError, Io, Origin, Sent};

    use super::*;

    /// Sends every frame back.
    struct Back<C> {
        codec: fn() -> C,
        writer: FrameWriter,
    }

    impl<C> FrameHandler for Back<C>
    where
        C: Decoder<Error: Into<BoxError>> + 'static,
        C: Encoder<C::Item, Error: Into<BoxError>>,
    {
        type Session = C;
        type Codec = C;

        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<C, BoxError> {
            Ok((self.codec)())
        }

        fn codec(session: &mut C) -> &mut C {
            session
        }

        fn frame(&mut self, io: &mut Io<'_>, codec: &mut C, frame: C::Item) -> Result<(), BoxError> {
            let sent = self.writer.write(io, codec, frame).map_err(Into::into)?;
            assert_eq!(sent, Sent::Queued);
            Ok(())
        }
    }

    fn back<C>(codec: fn() -> C) -> Framed<Back<C>> {
        Framed::new(Back { codec, writer: FrameWriter::new() })
    }

    /// A codec of lengths whose frames can be sent back as they came.
    struct Lengths(LengthDelimitedCodec);

    impl Lengths {
        fn new() -> Self {
            Self(LengthDelimitedCodec::new())
        }
    }

    impl Decoder for Lengths {
        type Item = BytesMut;
        type Error = std::io::Error;

        fn decode(&mut self, input: &mut BytesMut) -> std::io::Result<Option<BytesMut>> {
            self.0.decode(input)
        }
    }

    impl Encoder<BytesMut> for Lengths {
        type Error = std::io::Error;

        fn encode(&mut self, frame: BytesMut, output: &mut BytesMut) -> std::io::Result<()> {
            self.0.encode(&frame[..], output)
        }
    }

    /// As [`steady_state`], for messages of frames.
    fn steady_frames<S: StreamHandler>(handler: S, message: &'static [u8], clients: u64) -> u64 {
        steady(handler, Limits::default(), &listen_anywhere(), message, clients)
    }

    #[test]
    fn ten_thousand_chunks_allocate_nothing() {
        assert_eq!(steady_frames(back(BytesCodec::new), &[b'x'; 64], 1), 0);
        assert_eq!(steady_frames(back(BytesCodec::new), &[b'x'; 4000], 20), 0);
    }

    // The codec makes room for its next head while its frame is still there.
    // At the end of the buffer that means another buffer, and its count of
    // references.
    #[test]
    fn ten_thousand_frames_behind_their_lengths_allocate_once_in_a_read_buffer() {
        for (message, clients) in [
            (&b"\0\0\0\x05hello"[..], 1),
            // Several in one read, on many connections.
            (&b"\0\0\0\x02ok\0\0\0\0\0\0\0\x03end"[..], 20),
        ] {
            let buffers = MESSAGES * message.len() as u64 / (64 << 10) + 1;
            let count = steady_frames(back(Lengths::new), message, clients);
            assert!(count <= 2 * buffers, "{count} times in {buffers} buffers");
        }
    }

    #[test]
    fn ten_thousand_lines_allocate_a_string_each() {
        // One line a turn, so that none of them goes with those before.
        let limits = Limits { read_budget: 6, ..Limits::default() };
        let lines = back(|| LinesCodec::new_with_max_length(100));
        assert_eq!(steady(lines, limits, &listen_anywhere(), b"hello\n", 1), MESSAGES);
    }
    /// Turns until so many bytes have come in, and all answers have left.
    fn turn_until(reactor: &mut Reactor, bytes: usize) {
        while reactor.stats().bytes_in < bytes as u64 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    }

    // docs/guarantees.md, 21 and 3: what counts is what has come.
    #[test]
    fn a_declared_length_takes_no_room_and_an_idle_connection_owns_no_buffer() {
        const CLIENTS: usize = 100;
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let limits = Limits { max_input: 8 << 20, ..Limits::default() };
        let service = reactor.add(back(Lengths::new), limits).expect("good limits");
        let listener = reactor.listen(&service, &listen_anywhere()).expect("the endpoint is free");
        let at = reactor.local(listener).expect("it was just made").clone();
        let clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&at)).collect();
        let mut sent = 0;
        let mut send_all = |reactor: &mut Reactor, bytes: &[u8]| {
            clients.iter().for_each(|client| client.send(bytes));
            sent += bytes.len() * CLIENTS;
            turn_until(reactor, sent);
        };

        // Frames in pieces: what stays is there then.
        for piece in [&b"\0\0\0"[..], b"\x05he", b"llo"] {
            send_all(&mut reactor, piece);
        }
        let idle = live();
        send_all(&mut reactor, b"\0\0\0\x05he");
        assert!(live() - idle > CLIENTS as isize, "an incomplete frame is kept");
        send_all(&mut reactor, b"llo");
        let more = live() - idle;
        assert!(more < 16 * CLIENTS as isize, "{more} bytes for a hundred idle connections");

        // A little less than 8 MiB are declared, and a few bytes come: behind
        // what was kept of the head, and by themselves.
        for piece in [&b"\0\x7f\xff"[..], b"\xffx", b"xx"] {
            send_all(&mut reactor, piece);
            let waiting = live() - idle;
            assert!(waiting < (CLIENTS << 10) as isize, "{waiting} bytes for a hundred heads");
        }
    }
}
