//! Recorders over real sockets: what they keep, and when they write dumps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::{IncidentKind, MioDriver};
use serve_forever::record::{Call, Dump, DumpRequest, Incidents, Outcome, Payloads, RecordOptions, Recorder};
use serve_forever::services::Echo;
use serve_forever::{BoxError, Config, Endpoint, Io, Limits, Origin, Reactor, StreamHandler};

use crate::util::Client;

type Recorded = Reactor<Recorder<MioDriver>>;

/// A reactor with a recorder.
fn reactor(options: RecordOptions, config: Config) -> Recorded {
    let driver = MioDriver::new(config.events_per_turn).expect("a descriptor is free");
    Reactor::with_driver(Recorder::new(driver, options).expect("good options"), config).expect("a reactor")
}

/// Listens on a free port for a handler.
fn listen<H: StreamHandler>(reactor: &mut Recorded, handler: H) -> Endpoint {
    let service = reactor.add(handler, Limits::default()).expect("good limits");
    let listener = reactor.listen(&service, &"127.0.0.1:0".parse().expect("an endpoint")).expect("a port");
    reactor.local(listener).expect("it listens").clone()
}

/// Takes turns until the condition holds.
#[track_caller]
fn turn_until(reactor: &mut Recorded, what: &str, mut condition: impl FnMut(&mut Recorded) -> bool) {
    for _ in 0..10_000 {
        if condition(reactor) {
            return;
        }
        reactor.turn(Some(Duration::from_millis(50))).expect("it runs");
    }
    panic!("waited in vain until {what}");
}

/// Does what a client says: fails, panics, is slow; else it echoes.
struct Obedient;

impl StreamHandler for Obedient {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        match &input[..] {
            b"fail" => return Err("as it was told".into()),
            b"panic" => panic!("as it was told"),
            b"sleep" => std::thread::sleep(Duration::from_millis(30)),
            _ => {}
        }
        io.reply_buf(input);
        Ok(())
    }
}

/// The dumps of this recorder that are there.
fn dumps(base: &Path) -> Vec<PathBuf> {
    let numbered = (1..20).map(|number| PathBuf::from(format!("{}.{number}", base.display())));
    numbered.filter(|path| path.exists()).collect()
}

#[test]
fn a_run_over_sockets_is_in_the_dump_call_by_call() {
    for (payloads, shown) in [(Payloads::Hashed, "6 bytes ("), (Payloads::Kept, "6 bytes \"secret\"")] {
        let options = RecordOptions { payloads, ..RecordOptions::default() };
        let mut reactor = reactor(options, Config::default());
        let at = listen(&mut reactor, Echo::new());
        let client = Client::connect(&at);
        client.send("secret");
        turn_until(&mut reactor, "it is echoed", |reactor| reactor.stats().bytes_out == 6);
        client.expect("secret");
        drop(client);
        turn_until(&mut reactor, "it is closed", |reactor| reactor.stats().closed == 1);
        let mut file = Vec::new();
        reactor.driver_mut().write_to(&mut file).expect("memory");
        assert_eq!(file.windows(6).any(|part| part == b"secret"), payloads == Payloads::Kept);
        let dump = Dump::read(&file[..]).expect("a dump");
        assert_eq!((dump.damage(), dump.has_beginning(), dump.payloads()), (None, true, Some(payloads)));
        let text = dump.to_string();
        for part in
            ["the recording begins", "listen on tcp://127.0.0.1:0 as", "#1 at tcp://127.0.0.1:", shown, "FIN"]
        {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let conversations = dump.conversations();
        assert_eq!(conversations.len(), 1);
        assert_eq!((conversations[0].received, conversations[0].written), (6, 6));
        let reads = dump.entries().filter(|(_, entry)| matches!(entry.outcome, Outcome::Input(_))).count();
        assert_eq!(reads, 2, "the bytes, and the FIN");
        assert_eq!(dump.entries().filter(|(_, entry)| matches!(entry.call, Call::Accept { .. })).count(), 2);
    }
}

#[test]
fn the_ring_stays_within_its_bytes() {
    let options = RecordOptions { bytes: 64 << 10, payloads: Payloads::Kept, ..RecordOptions::default() };
    let mut reactor = reactor(options, Config::default());
    let at = listen(&mut reactor, Echo::new());
    let client = Client::connect(&at);
    let message = vec![b'x'; 1000];
    for sent in 1..=300 {
        client.send(&message);
        turn_until(&mut reactor, "it is echoed", |reactor| reactor.stats().bytes_out == sent * 1000);
        client.expect(&message);
    }
    let mut file = Vec::new();
    reactor.driver_mut().write_to(&mut file).expect("memory");
    // The head of each segment comes on top.
    assert!(file.len() > 50 << 10 && file.len() < 66 << 10, "{}", file.len());
    let dump = Dump::read(&file[..]).expect("a dump");
    assert!(!dump.has_beginning() && dump.conversations().is_empty() && dump.payloads().is_none());
    let error = Recorder::new(
        MioDriver::new(1).expect("a driver"),
        RecordOptions { bytes: 1000, ..RecordOptions::default() },
    );
    let error = error.map(drop).expect_err("too few");
    assert!(error.to_string().contains("bytes is 1000; give 65536 or more"), "{error}");
}

/// Sends a word to a server, and takes turns until it has had its effect.
fn say(reactor: &mut Recorded, at: &Endpoint, word: &str) {
    let before = reactor.stats();
    let client = Client::connect(at);
    client.send(word);
    turn_until(reactor, "it has had its effect", |reactor| {
        let now = reactor.stats();
        let happened = |now: u64, before: u64| now > before;
        happened(now.failed, before.failed)
            || happened(now.panicked, before.panicked)
            || happened(now.bytes_out, before.bytes_out)
    });
    drop(client);
    turn_until(reactor, "it is closed", |reactor| reactor.connections() == 0);
}

#[test]
fn a_dump_is_written_at_each_kind_of_incident_and_holds_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("dump");
    let options =
        RecordOptions { file: Some(base.clone()), pause: Duration::ZERO, ..RecordOptions::default() };
    let config = Config { slow_callback: Some(Duration::from_millis(20)), ..Config::default() };
    let mut reactor = reactor(options, config);
    let at = listen(&mut reactor, Obedient);
    say(&mut reactor, &at, "hello");
    assert!(dumps(&base).is_empty() || reactor.stats().slow > 0);
    for (word, is_it) in [
        ("fail", (|kind| kind == IncidentKind::Failed) as fn(IncidentKind) -> bool),
        ("panic", |kind| kind == IncidentKind::Panicked),
        ("sleep", |kind| matches!(kind, IncidentKind::Slow(took) if took >= Duration::from_millis(30))),
    ] {
        let before = dumps(&base).len();
        say(&mut reactor, &at, word);
        let after = dumps(&base);
        assert!(after.len() > before, "no dump after {word}");
        let dump = Dump::open(after.last().expect("one")).expect("a dump");
        let (_, last) =
            dump.incidents().filter(|(_, incident)| is_it(incident.kind)).last().expect("its incident");
        let connection = last.connection.expect("it belongs to one");
        assert!(dump.conversations().iter().any(|talk| talk.connection == Some(connection)));
        assert!(!dump.to_string().contains("as it was told"), "what it said may be secret");
    }
    let mode = fs::metadata(&dumps(&base)[0]).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner reads it");
}

#[test]
fn dumps_are_few_and_far_between_and_replace_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("dump");
    fs::write(directory.path().join("dump.2"), "mine").expect("a file");
    let options = RecordOptions {
        file: Some(base.clone()),
        pause: Duration::ZERO,
        max_dumps: 3,
        after: Incidents { slow: false, ..Incidents::ALL },
        ..RecordOptions::default()
    };
    let mut reactor = reactor(options.clone(), Config::default());
    let at = listen(&mut reactor, Obedient);
    for _ in 0..5 {
        say(&mut reactor, &at, "fail");
    }
    let names: Vec<_> =
        dumps(&base).iter().map(|path| path.file_name().expect("a name").to_owned()).collect();
    assert_eq!(names, ["dump.1", "dump.2", "dump.3"]);
    assert_eq!(fs::read(directory.path().join("dump.2")).expect("it is there"), b"mine");
    drop(reactor);

    // A minute between incidents, by default.
    let base = directory.path().join("other");
    let options = RecordOptions { file: Some(base.clone()), pause: Duration::from_secs(60), ..options };
    let mut reactor = self::reactor(options, Config::default());
    let at = listen(&mut reactor, Obedient);
    for _ in 0..3 {
        say(&mut reactor, &at, "panic");
    }
    assert_eq!(dumps(&base).len(), 1);
    // Who asks gets one at once.
    reactor.driver().request().ask();
    reactor.turn(Some(Duration::ZERO)).expect("it runs");
    assert_eq!(dumps(&base).len(), 2);
}

#[test]
fn incidents_that_are_not_meant_and_recorders_without_a_file_write_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("dump");
    let none = RecordOptions { file: Some(base.clone()), after: Incidents::NONE, ..RecordOptions::default() };
    let mut quiet = reactor(none, Config::default());
    let at = listen(&mut quiet, Obedient);
    say(&mut quiet, &at, "fail");
    assert!(dumps(&base).is_empty());
    let mut fileless = reactor(RecordOptions::default(), Config::default());
    let at = listen(&mut fileless, Obedient);
    let request: DumpRequest = fileless.driver().request();
    request.ask();
    say(&mut fileless, &at, "panic");
    assert_eq!(fileless.driver_mut().dump().incidents().count(), 1);
}

#[test]
fn a_panic_that_ends_the_reactor_leaves_a_dump() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("dump");
    let options = RecordOptions { file: Some(base.clone()), ..RecordOptions::default() };
    let config = Config { catch_panics: false, slow_callback: None, ..Config::default() };
    let mut reactor = reactor(options, config);
    let at = listen(&mut reactor, Obedient);
    let client = Client::connect(&at);
    client.send("panic");
    let ended = catch_unwind(AssertUnwindSafe(move || {
        for _ in 0..1000 {
            reactor.turn(Some(Duration::from_millis(50))).expect("it runs");
        }
    }));
    assert!(ended.is_err(), "the panic ends it");
    let dump = Dump::open(&dumps(&base)[0]).expect("a dump");
    assert_eq!(dump.conversations()[0].received, 5);
}

#[cfg(feature = "cli")]
mod serve {
    use super::*;
    use crate::util::program::{Serve, Signal, command, run, wait_until};

    #[test]
    fn a_signal_has_serve_write_its_recording_and_go_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().join("serve");
        let record = format!("--record={}", base.display());
        let serve = Serve::start(&[record.as_str(), "--record-payloads=kept", "echo=127.0.0.1:0"]);
        for number in 1..=2 {
            let client = serve.connect(0);
            client.send(format!("hello {number}"));
            client.expect(format!("hello {number}"));
            serve.program.signal(Signal::USR1);
            let path = PathBuf::from(format!("{}.{number}", base.display()));
            // It is created before it is written.
            let whole = || Dump::open(&path).ok().filter(|dump| dump.damage().is_none());
            wait_until("there is a dump", || whole().is_some());
            let text = whole().expect("it was").to_string();
            assert!(text.contains(&format!("7 bytes \"hello {number}\"")), "{text}");
            client.send("again");
            client.expect("again");
        }
        serve.program.signal(Signal::TERM);
        let ended = serve.program.wait();
        assert_eq!(ended.status, 0);
        assert!(ended.stderr.contains("recording: wrote "), "{}", ended.stderr);
    }

    #[test]
    fn options_of_the_recording_that_make_no_sense_are_refused() {
        for (option, said) in
            [("--record-payloads=some", "write hashed or kept"), ("--record-bytes=7", "give 65536 or more")]
        {
            let ended = run(&mut command("serve", &["--record=/nowhere/at/all", option, "echo=127.0.0.1:0"]));
            assert_eq!(ended.status, 2, "{}", ended.stderr);
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
    }
}
