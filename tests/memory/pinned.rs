//! Memory of waiting input and output: as much as is counted for it, and not the whole
//! read buffer that it is a slice of.

#[path = "../../examples/proxy.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod example;

use std::collections::VecDeque;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use example::Proxy;
use serve_forever::{
    BoxError, Config, ConnId, Endpoint, GroupId, Io, Limits, Origin, Reactor, Sent, Service, StreamHandler,
};

use crate::counting::live;
use crate::util::{Client, PATIENCE, listen_anywhere};

/// A reactor on the thread of the test, which is the one that counts.
struct Here<S: StreamHandler> {
    reactor: Reactor,
    service: Service<S>,
    at: Endpoint,
    sent: u64,
}

impl<S: StreamHandler> Here<S> {
    fn new(handler: S, limits: Limits) -> Self {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let service = reactor.add(handler, limits).expect("good limits");
        let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
        let at = reactor.local(listener).expect("it was just made").clone();
        Self { reactor, service, at, sent: 0 }
    }

    /// A connection to it, which is open.
    fn connect(&mut self) -> Client {
        let client = Client::connect(&self.at);
        let before = self.reactor.stats().accepted;
        while self.reactor.stats().accepted == before {
            self.turn();
        }
        client
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }

    fn turn_briefly(&mut self) {
        self.reactor.turn(Some(Duration::ZERO)).expect("the loop turns");
    }

    /// Sends it something, which it has read when this returns.
    fn send(&mut self, from: &Client, data: &[u8]) {
        from.send(data);
        self.sent += data.len() as u64;
        while self.reactor.stats().bytes_in < self.sent {
            self.turn();
        }
    }
}

/// Larger than what one read brings, so that reads are full.
const FILLER: usize = 60_000;

// Ten clients whose targets take nothing, beside one whose target does.
#[test]
fn a_proxy_holds_what_its_marks_say_whatever_the_size_of_the_messages() {
    const CLIENTS: usize = 10;
    let limits = Limits::default();
    let directory = tempfile::tempdir().expect("a directory");
    for size in [1100, 5000, 17_000] {
        let path = directory.path().join(size.to_string());
        let target = UnixListener::bind(&path).expect("the path is free");
        let mut here = Here::new(Proxy { target: format!("unix:{}", path.display()) }, limits.clone());
        let loud = here.connect();
        here.turn_briefly();
        let reading = thread::spawn(move || {
            let (mut flowing, _) = target.accept().expect("the proxy connects");
            let read = std::io::copy(&mut flowing, &mut std::io::sink()).expect("the proxy writes");
            (read, target)
        });
        let clients: Vec<_> = (0..CLIENTS).map(|_| here.connect()).collect();
        let before = live();
        let filler = vec![b'x'; FILLER];
        let message = vec![b'x'; size];
        // One message of each in turn, until none is read any more.
        let mut read = None;
        while read != Some(here.reactor.stats().bytes_in) {
            for client in &clients {
                loud.fill(&filler);
                here.turn_briefly();
                client.fill(&message);
                here.turn_briefly();
            }
            read = Some(here.reactor.stats().bytes_in);
            for client in &clients {
                client.fill(&message);
                here.turn_briefly();
            }
        }
        let held = live() - before;
        let most = CLIENTS * (limits.high_mark + limits.read_budget);
        println!("messages of {size}: {held} bytes held, the marks say {most}");
        assert!(held > (CLIENTS * limits.high_mark) as isize, "they wait");
        assert!(held < 2 * most as isize, "messages of {size}: {held} bytes held, the marks say {most}");
        drop((loud, here));
        reading.join().expect("it was read to its end");
    }
}

/// Sends the first piece of each read to the last connection that came, which
/// does not read, and forgets the rest. A piece is kept for one read first, if
/// that is asked for.
struct Cuts {
    piece: usize,
    keeps: usize,
    kept: VecDeque<Bytes>,
    to: Option<ConnId>,
    group: Option<GroupId>,
}

impl Cuts {
    const fn new(piece: usize, keeps: usize) -> Self {
        Self { piece, keeps, kept: VecDeque::new(), to: None, group: None }
    }
}

impl StreamHandler for Cuts {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        let group = match self.group {
            Some(group) => group,
            None => io.group()?,
        };
        self.group = Some(group);
        if self.to.replace(io.id()).is_some() {
            io.join(group, io.id())?;
            assert!(io.write(&[0; 8 << 20]).is_queued());
        }
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        if !input.is_empty() {
            let piece = input.split_to(self.piece.min(input.len())).freeze();
            input.advance(input.len());
            self.kept.push_back(piece);
        }
        while self.kept.len() > self.keeps {
            let piece = self.kept.pop_front().expect("there is one");
            match self.to {
                Some(to) if self.piece.is_multiple_of(2) => assert_eq!(io.send(to, piece), Sent::Queued),
                _ => {
                    let tally = io.broadcast(self.group.expect("it was made"), &piece, None);
                    assert_eq!(tally.queued, 1);
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_queue_holds_no_more_than_four_times_what_it_counts_of_parts_of_reads() {
    const READS: usize = 200;
    // Sent to one if they are even, and to a group if they are odd.
    for (piece, keeps) in [(100, 0), (1100, 0), (1100, 3), (1101, 0), (1101, 3), (16_000, 0), (17_000, 1)] {
        let limits = Limits { high_mark: 64 << 20, hard_mark: 128 << 20, ..Limits::default() };
        let mut here = Here::new(Cuts::new(piece, keeps), limits);
        let client = here.connect();
        let slow = here.connect();
        // The kernel has taken what it will of what `open` wrote.
        let mut out = 0;
        while std::mem::replace(&mut out, here.reactor.stats().bytes_out) < here.reactor.stats().bytes_out {
            here.turn_briefly();
        }
        let filler = vec![b'x'; FILLER];
        let before = live();
        for _ in 0..READS {
            here.send(&client, &filler);
        }
        let held = live() - before;
        let counted = READS * piece;
        println!("pieces of {piece} ({keeps} kept): {held} bytes held for {counted}");
        assert!(held < (4 * counted + (256 << 10)) as isize, "pieces of {piece}: {held} bytes for {counted}");
        drop(slow);
    }
}

/// Keeps every short message, and forgets the long ones.
#[derive(Default)]
struct Keeps(Vec<Bytes>);

impl StreamHandler for Keeps {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        if input.len() < 100 {
            self.0.push(input.split().freeze());
        }
        drop(input.split());
        Ok(())
    }
}

#[test]
fn what_a_handler_keeps_of_one_connection_holds_nothing_of_another() {
    const KEPT: usize = 1440;
    let mut here = Here::new(Keeps::default(), Limits::default());
    let (quiet, loud) = (here.connect(), here.connect());
    let filler = vec![b'x'; FILLER];
    here.send(&loud, &filler);
    here.send(&quiet, b"sleep 99\n");
    let before = live();
    for _ in 0..KEPT {
        here.send(&quiet, b"sleep 99\n");
        here.send(&loud, &filler);
    }
    let held = live() - before;
    println!("{KEPT} messages of 9 bytes: {held} bytes held");
    assert!(held < (KEPT * 200) as isize, "{held} bytes for {KEPT} messages of 9");
    assert_eq!(
        here.reactor.get(&here.service).0.iter().filter(|kept| &kept[..] == b"sleep 99\n").count(),
        KEPT + 1
    );
    // What is dropped is free again, and nothing more is allocated for reads.
    here.reactor.get_mut(&here.service).0 = Vec::new();
    here.send(&loud, &filler);
    assert!(live() <= before + 1000, "{} bytes more than at first", live() - before);
}

#[cfg(feature = "command")]
#[test]
fn requests_that_wait_take_the_memory_of_their_text() {
    use serve_forever::services::Command;

    const CLIENTS: usize = 16;
    let command = Command::shell().max_children(1);
    let limits = command.limits();
    let mut here = Here::new(command, limits);
    let busy = here.connect();
    here.send(&busy, b"sleep 600\n");
    let clients: Vec<_> = (0..CLIENTS).map(|_| here.connect()).collect();
    let before = live();
    // Empty requests are forgotten: they fill the read, and one waits.
    let filler = [&[b'\n'; 8000][..], b"sleep 99\n"].concat();
    for _ in 0..4 {
        for client in &clients {
            here.send(client, &filler);
        }
    }
    let held = live() - before;
    println!("{} requests of 8 bytes: {held} bytes held", 4 * CLIENTS);
    assert!(held < (CLIENTS * 2048) as isize, "{held} bytes for {} requests", 4 * CLIENTS);
}

/// Writes so much at once for each message.
struct Writes(usize);

impl StreamHandler for Writes {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        match self.0 % 2 {
            0 => assert!(io.write(&vec![b'x'; self.0]).is_queued()),
            _ => {
                input.resize(self.0, b'x');
                assert!(io.write_buf(input).is_queued());
            }
        }
        input.clear();
        Ok(())
    }
}

#[test]
fn a_buffer_that_was_large_once_is_not_kept_by_the_loop() {
    // In `write` if it is even, and in a buffer that is given away if it is odd.
    for size in [8 << 20, (8 << 20) + 1] {
        let limits = Limits { high_mark: 64 << 20, hard_mark: 128 << 20, ..Limits::default() };
        let mut here = Here::new(Writes(size), limits);
        let client = here.connect();
        here.reactor.get_mut(&here.service).0 = 100;
        here.send(&client, b"once");
        client.take(100);
        let before = live();
        here.reactor.get_mut(&here.service).0 = size;
        let reader = client.share();
        let reading = thread::spawn(move || reader.take(size).len());
        here.send(&client, b"a lot");
        while here.reactor.stats().bytes_out < (size + 100) as u64 {
            here.turn();
        }
        assert_eq!(reading.join().expect("all of it came"), size);
        here.reactor.get_mut(&here.service).0 = 100;
        here.send(&client, b"once");
        client.take(100);
        let held = live() - before;
        println!("{held} bytes more are held after a write of {size}");
        assert!(held < 512 << 10, "{held} bytes more after a write of {size}");
    }
}
