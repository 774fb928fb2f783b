//! Files that are cut off: nothing remains of them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use serve_forever::services::Upload;
use serve_forever::{Config, Endpoint, Reactor};

use super::place::{Place, names_in, post};
use crate::util::{Client, PATIENCE, SOON, eventually, listen_anywhere, noise, role, run_self};

// docs/guarantees.md, 44.
#[test]
fn a_file_that_is_cut_at_every_percent_leaves_nothing_behind() {
    let place = Place::new();
    let stream = post("name", &noise(100_000));
    let header = "post|100000|name\n".len();
    for percent in 0..100 {
        let cut = header + (stream.len() - header) * percent / 100;
        let client = place.connect();
        client.send(&stream[..cut]);
        client.finish();
        assert_eq!(client.rest(), b"", "at {percent} %: neither ok nor a reason");
        place.assert_names([]);

        let client = place.connect();
        client.send(&stream[..cut]);
        place.until_under_way(1);
        client.reset();
        place.server().until_connections(0);
        place.assert_names([]);
    }
    // What was whole before stays.
    place.assert_answer([post("whole", b"x"), stream[..50_000].to_vec()].concat(), "ok|1|whole\n");
    place.assert_names(["whole"]);
}

#[test]
fn with_overwriting_what_was_there_outlives_a_file_that_is_cut() {
    let place = Place::with(|upload| upload.overwrite(true));
    place.put("name", "before");
    place.assert_answer("post|5|name\nhell", "");
    place.assert_names(["name"]);
    place.assert_file("name", "before");
}

// The 60 s themselves pass in the simulated network.
#[test]
fn a_file_of_which_no_byte_comes_leaves_nothing_behind() {
    let place = Place::with(|upload| upload.stall(SOON));
    let client = place.connect();
    client.send("post|5|name\nhell");
    assert_eq!(client.rest(), b"");
    place.assert_names([]);
    // Between files it does not run: there is nothing under way.
    let client = place.connect();
    client.send("post|1|a\nx");
    client.expect("ok|1|a\n");
    std::thread::sleep(SOON * 3); // the passing of time is the point
    client.send("post|1|b\ny");
    client.expect("ok|1|b\n");
    place.assert_names(["a", "b"]);
}

#[test]
fn a_server_that_ends_leaves_no_file_that_was_under_way() {
    let mut place = Place::new();
    let client = place.connect();
    client.send("post|5|name\nhell");
    place.until_under_way(1);
    place.stop();
    place.assert_names([]);
}

#[test]
fn a_shutdown_waits_for_a_file_that_is_under_way() {
    let mut place = Place::new();
    let client = place.connect();
    client.send("post|5|name\nhell");
    place.until_under_way(1);
    let idle = place.connect();
    place.server().handle.shutdown(PATIENCE);
    idle.expect_eof();
    client.send("o");
    client.expect("ok|5|name\n");
    client.expect_eof();
    drop((client, idle));
    place.stop();
    place.assert_names(["name"]);
    place.assert_file("name", "hello");
}

#[test]
fn a_reactor_that_is_dropped_leaves_no_file_that_was_under_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upload = Upload::into(directory.path()).expect("it is there");
    let service = reactor.add(upload, Upload::limits()).expect("good limits");
    let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
    let client = Client::connect(reactor.local(listener).expect("it was just made"));
    client.send("post|5|name\nhell");
    eventually("the file is under way", || {
        reactor.turn(Some(Duration::from_millis(1))).expect("the loop turns");
        !names_in(directory.path()).is_empty()
    });
    drop(reactor);
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn a_hook_that_panics_ends_its_connection_alone() {
    let place =
        Place::with(|upload| upload.on_file(|file| assert_ne!(file.name, "panic", "as it was asked to")));
    let client = place.connect();
    client.send(post("panic", b"x"));
    client.assert_closed();
    place.assert_answer(post("other", b"x"), "ok|1|other\n");
    place.assert_names(["other", "panic"]);
}

const KILLED: &str = "upload::cutting::a_server_that_is_killed_leaves_no_file_under_its_name";

/// Where the server that is killed receives.
const INTO: &str = "SERVE_FOREVER_TEST_INTO";

#[test]
fn a_server_that_is_killed_leaves_no_file_under_its_name() {
    if role().as_deref() == Some("server") {
        return serve_until_killed();
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = run_self(KILLED, "server", &[])
        .env(INTO, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let at: Endpoint = lines
        .find_map(|line| Some(line.split_once("listening on ")?.1.parse().expect("an endpoint")))
        .expect("it says where it listens");
    let client = Client::connect(&at);
    client.send(post("whole", b"x"));
    client.expect("ok|1|whole\n");
    let stream = post("name", &noise(1_000_000));
    client.send(&stream[..500_000]);
    let under_way = || {
        let mut files = names_in(directory.path()).into_iter().filter(|name| name.starts_with(".upload-"));
        files.any(|name| fs::metadata(directory.path().join(name)).is_ok_and(|file| file.len() > 100_000))
    };
    eventually("half of it is there", under_way);
    server.kill().expect("it is ours");
    server.wait().expect("it is ours");
    let names = names_in(directory.path());
    assert!(under_way(), "it had no time to clean up");
    let visible: Vec<_> = names.iter().filter(|name| !name.starts_with(".upload-")).collect();
    assert_eq!(visible, ["whole"]);
}

fn serve_until_killed() {
    let directory = PathBuf::from(env::var_os(INTO).expect("it is set"));
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upload = Upload::into(directory).expect("it is there");
    let service = reactor.add(upload, Upload::limits()).expect("good limits");
    let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
    println!("listening on {}", reactor.local(listener).expect("it was just made"));
    // Killed long before, unless the test has failed already.
    let handle = reactor.handle(&service);
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE * 2);
        handle.shutdown(Duration::ZERO);
    });
    reactor.serve_forever().expect("the loop runs");
}
