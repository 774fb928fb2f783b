//! docs/incident.md from beginning to end: a bug under load over real sockets, its dump,
//! the replay, and the test that comes of it.

mod ledger;
mod printed;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serve_forever::driver::sim::Rng;
use serve_forever::driver::{Driver, IncidentKind, MioDriver};
use serve_forever::record::{Call, Dump, Payloads, RecordOptions, Recorder};
use serve_forever::sim::{Expected, Replay, ReplayError, Shrinking};
use serve_forever::{Config, Endpoint, Limits, Reactor};

use self::ledger::{Ledger, PLANTED};
use crate::util::program::wait_until;

/// The driver of the system, as the replay has to know it.
const SHORT: bool = MioDriver::SHORT_MEANS_BLOCKED;

/// The bytes of one write of a client.
const CHUNK: usize = 4096;

/// The endpoint of the server, in the recording and in the replay.
fn anywhere() -> Endpoint {
    "127.0.0.1:0".parse().expect("an endpoint")
}

/// A batch of records and their total.
fn batch(rng: &mut Rng) -> Vec<u8> {
    let mut batch = Vec::new();
    let records = rng.between(500, 1500);
    for _ in 0..records {
        let amount = rng.size(1, 60);
        batch.extend(std::iter::repeat_n(b'0' + (amount % 10) as u8, amount));
        batch.extend_from_slice(b"\r\n");
    }
    batch.extend_from_slice(format!("total {records}\r\n").as_bytes());
    batch
}

/// Sends batches until something is wrong, or the end. Reads what comes back, so that
/// nothing stands still.
fn load(address: SocketAddr, seed: u64, end: &AtomicBool, records: &AtomicU64) {
    let mut rng = Rng::new(seed);
    while !end.load(Ordering::Relaxed) {
        let Ok(mut client) = TcpStream::connect(address) else { return };
        client.set_nodelay(true).expect("an option");
        client.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
        let batch = batch(&mut rng);
        let mut answers = client.try_clone().expect("a descriptor");
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = answers.read_to_end(&mut text);
            text
        });
        // The server may have ended it.
        let _ = batch.chunks(CHUNK).try_for_each(|chunk| {
            // So that it comes as it is sent.
            thread::sleep(Duration::from_micros(200));
            client.write_all(chunk)
        });
        let _ = client.shutdown(std::net::Shutdown::Write);
        let answers = reader.join().expect("no panic");
        records.fetch_add(answers.split(|byte| *byte == b'\n').count() as u64, Ordering::Relaxed);
    }
}

/// A server with the bug under load, until its recorder has written a dump.
fn incident(directory: &Path) -> (PathBuf, u64) {
    let file = directory.join("ledger");
    let options = RecordOptions {
        bytes: 256 << 20,
        payloads: Payloads::Kept,
        file: Some(file.clone()),
        ..RecordOptions::default()
    };
    let (tell, told) = mpsc::channel();
    let server = thread::spawn(move || {
        PLANTED.set(true);
        let config = Config { slow_callback: None, ..Config::default() };
        let driver = MioDriver::new(config.events_per_turn).expect("a driver");
        let driver = Recorder::new(driver, options).expect("good options");
        let mut reactor = Reactor::with_driver(driver, config).expect("a reactor");
        let ledger = reactor.add(Ledger::default(), Limits::default()).expect("good limits");
        let listener = reactor.listen(&ledger, &anywhere()).expect("a free port");
        let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else {
            panic!("it listens on TCP")
        };
        tell.send((address, reactor.handle(&ledger))).expect("the test waits");
        reactor.serve_forever().expect("it serves");
    });
    let (address, handle) = told.recv().expect("it has started");
    let end = Arc::new(AtomicBool::new(false));
    let records = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|seed| {
            let (end, records) = (Arc::clone(&end), Arc::clone(&records));
            thread::spawn(move || load(address, seed, &end, &records))
        })
        .collect();
    let dump = directory.join("ledger.1");
    wait_until("there is a dump", || dump.exists());
    end.store(true, Ordering::Relaxed);
    // The loop writes it in one go: what is asked behind it finds it whole.
    handle.ask(Duration::from_secs(60), |_, _| ()).expect("it answers");
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    handle.shutdown(Duration::from_secs(1));
    server.join().expect("no panic");
    (dump, records.load(Ordering::Relaxed))
}

/// Replays a dump into a ledger of this thread.
fn replay(dump: &Dump) -> (Result<u64, ReplayError>, u64) {
    let config = Config { slow_callback: None, ..Config::default() };
    let driver = Replay::<SHORT>::new(dump.clone()).expect("it has its beginning");
    let mut reactor = Reactor::with_driver(driver, config).expect("a reactor");
    let ledger = reactor.add(Ledger::default(), Limits::default()).expect("good limits");
    reactor.listen(&ledger, &anywhere()).expect("as recorded");
    let outcome = Replay::run(&mut reactor).map(|replayed| replayed.turns);
    (outcome, reactor.stats().failed)
}

#[test]
fn a_bug_under_load_becomes_a_test_of_ten_lines() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, records) = incident(directory.path());
    let dump = Dump::open(&path).expect("a dump");
    assert_eq!(dump.damage(), None);
    let incidents: Vec<_> = dump.incidents().map(|(_, incident)| incident).collect();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[0].kind, IncidentKind::Failed);
    println!(
        "one record of {records} was lost, and a dump taken of {} bytes",
        path.metadata().expect("a file").len()
    );

    // The same run again, with the bug; and without it, as far as they are the same.
    PLANTED.set(true);
    let (turns, failed) = replay(&dump);
    let waits = dump.entries().filter(|(_, entry)| matches!(entry.call, Call::Wait { .. })).count();
    assert_eq!(turns.expect("the same run"), waits as u64);
    assert_eq!(failed, 1, "the error comes again");
    PLANTED.set(false);
    let (outcome, _) = replay(&dump);
    let Err(ReplayError::Diverged(divergence)) = outcome else { panic!("{outcome:?}") };
    assert!(divergence.turn > 0 && divergence.to_string().contains("the recording has"), "{divergence}");
    println!("without the bug: {divergence}");

    // Made smaller, and printed.
    let with_bug = || {
        PLANTED.set(true);
        Ledger::default()
    };
    let shrunk = Shrinking::new(with_bug, Expected::AsUncut).shrink(&dump).expect("a client fails alone");
    println!("{} runs", shrunk.runs());
    let test =
        shrunk.to_test("a_record_is_counted_however_it_is_cut", "Ledger::default()", "Limits::default()");
    let printed = include_str!("incident/printed.rs").replace("pub(super) fn", "fn");
    assert!(printed.ends_with(&test), "it prints another test:\n{test}");
    assert!(test.lines().count() <= 10, "{test}");
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/incident.md")).expect("the page");
    assert!(page.contains(&test), "docs/incident.md shows another test than\n{test}");

    // The test fails on the bug, and passes without.
    let fails = || catch_unwind(printed::a_record_is_counted_however_it_is_cut).is_err();
    PLANTED.set(true);
    assert!(fails(), "it passes though the bug is there");
    PLANTED.set(false);
    assert!(!fails(), "it fails though the bug is not there");
}
