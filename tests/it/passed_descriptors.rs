//! Descriptors that a peer passes along (`SCM_RIGHTS`, unix(7)): nobody here
//! wants them, and the last close of somebody else's socket may take as long
//! as that socket says.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serve_forever::services::Echo;
use serve_forever::{BoxError, Config, Endpoint, Io, Limits, Origin, Reactor, Service, StreamHandler};

use crate::util::PATIENCE;

/// Linux 6.16 or later, where a socket can refuse them.
fn can_refuse() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a Linux with /proc");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 16) {
        eprintln!("skipped: before Linux 6.16 no socket can refuse descriptors");
    }
    version >= (6, 16)
}

/// Sends a byte, and a descriptor with it.
fn pass(from: impl AsFd, what: impl AsFd) -> Result<usize, Errno> {
    let passed = [what.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(from, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())
}

#[track_caller]
fn assert_refuses(from: impl AsFd, whose: &str) {
    let outcome = pass(&from, std::io::stderr());
    assert_eq!(outcome, Err(Errno::PERM), "{whose} takes descriptors");
}

/// Takes whatever comes, in whichever way.
struct Anything;

impl StreamHandler for Anything {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        Ok(())
    }
}

fn reactor() -> (Reactor, Service<Anything>) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(Anything, Limits::default()).expect("good limits");
    (reactor, service)
}

#[test]
fn no_unix_stream_takes_descriptors() {
    if !can_refuse() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ours");
    let (mut reactor, service) = reactor();
    reactor.listen(&service, &Endpoint::Unix(path.clone())).expect("a free path");
    let client = UnixStream::connect(&path).expect("it listens");
    assert_refuses(&client, "what waits to be accepted");
    while reactor.connections() == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop runs");
    }
    assert_refuses(&client, "what was accepted");

    let (theirs, ours) = UnixStream::pair().expect("a pair");
    reactor.adopt(&service, ours).expect("a connected socket");
    assert_refuses(&theirs, "what was adopted");
    let (theirs, ours) = UnixStream::pair().expect("a pair");
    reactor.adopt_input(&service, ours).expect("something to read");
    assert_refuses(&theirs, "what was adopted to be read");

    let path = directory.path().join("made elsewhere");
    let listener = UnixListener::bind(&path).expect("a free path");
    reactor.adopt_listener(&service, listener).expect("it listens");
    assert_refuses(UnixStream::connect(&path).expect("it listens"), "what an adopted listener has");

    let path = directory.path().join("theirs");
    let listener = UnixListener::bind(&path).expect("a free path");
    reactor.connect(&service, &Endpoint::Unix(path), 0).expect("there is room");
    reactor.turn(Some(Duration::ZERO)).expect("the loop runs");
    let (theirs, _) = listener.accept().expect("it was called");
    assert_refuses(&theirs, "what was connected");
}

#[test]
fn no_unix_datagram_socket_takes_descriptors() {
    if !can_refuse() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ours");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add_datagram(Echo::new(), Echo::limits()).expect("good limits");
    reactor.bind(&echo, &Endpoint::UnixDatagram(path.clone())).expect("a free path");
    let client = UnixDatagram::unbound().expect("a socket");
    client.connect(&path).expect("it is bound");
    assert_refuses(&client, "what is bound");
}
