//! Connections that are no sockets: pipes, terminals and files that the
//! program gives to the reactor to read or to write.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Io, Limits, Origin, Reactor, Sent, Service, Side,
    StreamHandler,
};

use crate::util::{PATIENCE, SOON, noise};

/// Notes what comes in, and what becomes of it.
#[derive(Debug, Default)]
struct Notes {
    input: Vec<u8>,
    eof: bool,
    drained: usize,
    closed: Vec<String>,
}

impl StreamHandler for Notes {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let Origin::Adopted { side, peer } = origin else { return Err("it was adopted".into()) };
        assert_eq!(peer.to_string(), "pipe");
        if *side == Side::Input {
            assert_eq!(io.write(b"no"), Sent::Gone);
        }
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.input.extend_from_slice(&input.split());
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.eof = true;
        Ok(AfterEof::Stay)
    }

    fn drained(&mut self, _: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.drained += 1;
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        self.closed.push(why.to_string());
    }
}

struct Desk {
    reactor: Reactor,
    service: Service<Notes>,
}

impl Desk {
    fn new() -> Self {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        // Every deadline would be over at once, if one held.
        let soon = Some(Duration::from_millis(1));
        let limits = Limits { idle: soon, first_frame: soon, frame: soon, ..Limits::default() };
        let service = reactor.add(Notes::default(), limits).expect("good limits");
        Self { reactor, service }
    }

    fn notes(&mut self) -> &mut Notes {
        self.reactor.get_mut(&self.service)
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
            self.reactor.turn(Some(Duration::from_millis(100))).expect("the loop runs");
        }
    }

    #[track_caller]
    fn read(&mut self, source: impl Into<OwnedFd>) -> ConnId {
        self.reactor.adopt_input(&self.service, source).expect("something to read")
    }

    #[track_caller]
    fn write(&mut self, sink: impl Into<OwnedFd>, data: Vec<u8>) -> Sent {
        let id = self.reactor.adopt_output(&self.service, sink).expect("something to write");
        let (tell, told) = std::sync::mpsc::channel();
        let send = move |_: &mut Notes, io: &mut Io<'_>| {
            tell.send(io.send(id, data)).expect("the test waits for it");
            io.close(id);
        };
        self.reactor.handle(&self.service).call(send).expect("there is room");
        self.reactor.turn(Some(PATIENCE)).expect("the loop runs");
        told.try_recv().expect("it was called")
    }
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let mut desk = Desk::new();
    let (source, mut writer) = io::pipe().expect("a pipe");
    desk.read(source);
    let data = noise(300_000);
    let sent = data.clone();
    let thread = std::thread::spawn(move || writer.write_all(&sent).expect("it is read"));
    desk.until("the end has come", |desk| !desk.notes().closed.is_empty());
    thread.join().expect("it wrote");
    assert!(desk.notes().input == data && desk.notes().eof);
    assert_eq!(desk.notes().closed, ["both sides finished"], "it has no other side to stay for");
    assert_eq!(desk.reactor.connections(), 0);
}

#[test]
fn what_is_in_a_pipe_before_it_is_adopted_is_read() {
    let mut desk = Desk::new();
    let (source, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(b"early").expect("there is room");
    desk.read(source);
    desk.until("it is read", |desk| desk.notes().input == b"early");
    assert!(!desk.notes().eof);
}

#[test]
fn a_file_is_read_in_turns_and_ends() {
    let mut desk = Desk::new();
    let mut file = tempfile::tempfile().expect("a file");
    let data = noise(1_000_000);
    file.write_all(&data).expect("there is room");
    file.rewind().expect("it is a file");
    desk.read(file);
    desk.reactor.turn(Some(Duration::ZERO)).expect("the loop runs");
    let first = desk.notes().input.len();
    assert_eq!(first, Limits::default().read_budget, "its share of a turn");
    desk.until("the end has come", |desk| !desk.notes().closed.is_empty());
    assert!(desk.notes().input == data && desk.notes().eof);
}

#[test]
fn the_null_device_is_empty_and_takes_everything() {
    let mut desk = Desk::new();
    desk.read(File::open("/dev/null").expect("it is there"));
    desk.until("it has ended", |desk| desk.notes().eof);
    let sink = File::options().write(true).open("/dev/null").expect("it is there");
    assert_eq!(desk.write(sink, noise(100_000)), Sent::Queued);
    desk.until("both have ended", |desk| desk.notes().closed.len() == 2);
}

#[test]
fn a_file_takes_what_is_written() {
    let mut desk = Desk::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("out");
    let data = noise(200_000);
    assert_eq!(desk.write(File::create(&path).expect("a file"), data.clone()), Sent::Queued);
    desk.until("it is closed", |desk| !desk.notes().closed.is_empty());
    assert!(fs::read(&path).expect("it is there") == data);
}

#[test]
fn a_file_that_takes_no_more_is_told_with_the_systems_reason() {
    let mut desk = Desk::new();
    let sink = File::options().write(true).open("/dev/full").expect("it is there");
    assert_eq!(desk.write(sink, b"x".to_vec()), Sent::Queued);
    desk.until("it is closed", |desk| !desk.notes().closed.is_empty());
    assert!(desk.notes().closed[0].contains("No space left"), "{:?}", desk.notes().closed);
}

#[test]
fn output_waits_for_whoever_reads_it_and_no_deadline_cuts_it_short() {
    let mut desk = Desk::new();
    let (mut reader, sink) = io::pipe().expect("a pipe");
    let data = noise(300_000);
    assert_eq!(desk.write(sink, data.clone()), Sent::Full);
    let began = Instant::now();
    while began.elapsed() < SOON {
        desk.reactor.turn(Some(SOON)).expect("the loop runs");
    }
    assert_eq!(desk.reactor.connections(), 1);
    let thread = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("it comes, and ends");
        got
    });
    desk.until("it is closed", |desk| !desk.notes().closed.is_empty());
    assert!(thread.join().expect("it read") == data);
    assert_eq!(desk.notes().closed, ["closed by the handler"]);
}

#[test]
fn output_that_nobody_will_read_ends_with_the_systems_reason() {
    let mut desk = Desk::new();
    let (reader, sink) = io::pipe().expect("a pipe");
    // More than the pipe holds, so that it is full when its reader goes.
    assert_eq!(desk.write(sink, noise(200_000)), Sent::Queued);
    assert_eq!(desk.reactor.connections(), 1);
    drop(reader);
    desk.until("it is closed", |desk| !desk.notes().closed.is_empty());
    assert!(desk.notes().closed[0].contains("Broken pipe"), "{:?}", desk.notes().closed);
}

// The shell that started us reads the same terminal afterwards.
#[test]
fn a_pipe_that_others_share_stays_as_it_was_for_them() {
    let mut desk = Desk::new();
    let (source, sink) = io::pipe().expect("a pipe");
    let own = source.as_fd().try_clone_to_owned().expect("a descriptor");
    desk.read(own);
    let own = sink.as_fd().try_clone_to_owned().expect("a descriptor");
    assert_eq!(desk.write(own, b"hello".to_vec()), Sent::Queued);
    desk.until("it is read", |desk| desk.notes().input == b"hello");
    for descriptor in [source.as_fd(), sink.as_fd()] {
        let flags = rustix::fs::fcntl_getfl(descriptor).expect("flags");
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    }
}

#[test]
fn one_direction_of_a_socket_can_be_adopted() {
    let mut desk = Desk::new();
    let (mut theirs, ours) = UnixStream::pair().expect("a pair");
    let second = ours.try_clone().expect("a descriptor");
    desk.read(ours);
    theirs.write_all(b"in").expect("there is room");
    desk.until("it is read", |desk| desk.notes().input == b"in");
    assert_eq!(desk.write(second, b"out".to_vec()), Sent::Queued);
    let mut got = [0; 3];
    theirs.read_exact(&mut got).expect("it comes");
    assert_eq!(&got, b"out");
}

#[test]
fn what_can_be_neither_polled_nor_read_is_refused() {
    let mut desk = Desk::new();
    let directory = File::open("/").expect("it is there");
    let error = desk.reactor.adopt_input(&desk.service, directory).expect_err("it is a directory");
    assert!(error.to_string().contains("directory"), "{error}");
    assert_eq!(desk.reactor.connections(), 0);
}

#[test]
fn the_wrong_end_of_a_pipe_is_refused_and_the_right_one_named() {
    let mut desk = Desk::new();
    let (source, sink) = io::pipe().expect("a pipe");
    let error = desk.reactor.adopt_input(&desk.service, sink).expect_err("it is written to").to_string();
    assert!(error.contains("pipe") && error.contains("adopt_output"), "{error}");
    let error = desk.reactor.adopt_output(&desk.service, source).expect_err("it is read from").to_string();
    assert!(error.contains("pipe") && error.contains("adopt_input"), "{error}");
    let null = |options: &mut fs::OpenOptions| options.open("/dev/null").expect("it is there");
    let (reads, writes) = (null(File::options().read(true)), null(File::options().write(true)));
    let error = desk.reactor.adopt_output(&desk.service, reads).expect_err("it is read from").to_string();
    assert!(error.contains("reading alone"), "{error}");
    let error = desk.reactor.adopt_input(&desk.service, writes).expect_err("it is written to").to_string();
    assert!(error.contains("writing alone"), "{error}");
    let named = rustix::fs::open("/dev/null", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let error = desk.reactor.adopt_input(&desk.service, named.expect("it is there")).expect_err("a name");
    assert!(error.to_string().contains("O_PATH"), "{error}");
    assert_eq!(desk.reactor.connections(), 0);
}

#[test]
fn a_socket_that_is_no_connected_stream_is_refused() {
    let mut desk = Desk::new();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let error = desk.reactor.adopt_input(&desk.service, datagrams).expect_err("it is no stream");
    assert!(error.to_string().contains("Reactor::bind"), "{error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let error = desk.reactor.adopt_output(&desk.service, listener).expect_err("it is no connection");
    assert!(error.to_string().contains("adopt_listener"), "{error}");
}

/// It was opened again, for reading alone: with the descriptor that was given
/// the last writer went, and that was its end.
#[test]
fn a_fifo_that_is_open_for_both_stays_what_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let mut desk = Desk::new();
    let both = File::options().read(true).write(true).open(&path).expect("it is there");
    desk.read(both);
    for _ in 0..3 {
        desk.reactor.turn(Some(Duration::ZERO)).expect("the loop runs");
    }
    assert!(!desk.notes().eof, "its own descriptor is a writer");
    for text in ["one", "two"] {
        fs::write(&path, text).expect("there is room");
    }
    desk.until("both are read", |desk| desk.notes().input == b"onetwo");
    assert!(!desk.notes().eof, "writers come and go");
}

/// It was opened again: what was written went to another terminal, which
/// nobody had.
#[test]
fn the_main_end_of_a_terminal_stays_with_its_terminal() {
    let mut desk = Desk::new();
    let (main, mut terminal) = terminal();
    desk.read(main.try_clone().expect("a descriptor"));
    assert_eq!(desk.write(main, b"typed\n".to_vec()), Sent::Queued);
    desk.until("it has left", |desk| !desk.notes().closed.is_empty());
    let mut line = [0; 6];
    terminal.read_exact(&mut line).expect("it is the same terminal");
    assert_eq!(&line, b"typed\n");
    terminal.write_all(b"shown\n").expect("there is room");
    desk.until("it is read", |desk| desk.notes().input.ends_with(b"shown\r\n"));
}

#[test]
fn a_terminal_that_others_share_stays_as_it_was_for_them() {
    let mut desk = Desk::new();
    let (_main, terminal) = terminal();
    desk.read(terminal.try_clone().expect("a descriptor"));
    let flags = rustix::fs::fcntl_getfl(&terminal).expect("flags");
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

/// Both ends of a terminal of its own.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&main).expect("it is ours");
    unlockpt(&main).expect("it is ours");
    let name = ptsname(&main, Vec::new()).expect("it has a name").into_string().expect("of ASCII");
    let terminal = File::options().read(true).write(true).open(name).expect("it is there");
    (main.into(), terminal)
}

#[test]
fn a_terminal_is_read_line_by_line_until_its_end() {
    let mut desk = Desk::new();
    let (mut main, terminal) = terminal();
    desk.read(terminal.try_clone().expect("a descriptor"));
    main.write_all(b"half a li").expect("there is room");
    for _ in 0..3 {
        desk.reactor.turn(Some(Duration::ZERO)).expect("the loop runs");
    }
    assert_eq!(desk.notes().input, b"");
    main.write_all(b"ne\n").expect("there is room");
    desk.until("the line is read", |desk| desk.notes().input == b"half a line\n");
    // One read takes one of them, and no event tells of the other.
    main.write_all(b"two\nlines\n").expect("there is room");
    desk.until("both are read", |desk| desk.notes().input == b"half a line\ntwo\nlines\n");
    main.write_all(b"\x04").expect("there is room"); // Ctrl-D
    desk.until("it has ended", |desk| desk.notes().closed == ["both sides finished"]);
    assert_eq!(desk.write(terminal, b"bye\n".to_vec()), Sent::Queued);
    let mut got = [0; 100];
    let mut seen = Vec::new();
    while !seen.ends_with(b"bye\r\n") {
        let count = main.read(&mut got).expect("it echoes, and writes");
        seen.extend_from_slice(&got[..count]);
    }
}
