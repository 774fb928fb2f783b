//! Disks that do not take what comes. Root may write into any directory that
//! is there, so a read-only one would be no obstacle to tests in a container:
//! the directory vanishes, or becomes a file. A disk that is full is a limit of
//! the process (`RLIMIT_FSIZE`), and, where the system lets anybody mount one,
//! a small file system.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serve_forever::services::Upload;

use super::place::{Place, names_in, post};
use crate::util::{Server, noise, role, run_self};

/// It goes on to serve others.
#[track_caller]
fn assert_lives(server: &Server<Upload>) {
    let client = server.connect();
    client.send("post\n");
    assert_eq!(client.rest(), b"err|bad header\n");
}

#[test]
fn a_directory_that_has_vanished_is_told() {
    let place = Place::new();
    let late = place.connect();
    late.send("post|5|late\nhell");
    place.until_under_way(1);
    fs::remove_dir_all(place.directory()).expect("it is ours");
    late.send("o");
    assert_eq!(late.rest(), b"err|disk: No such file or directory (os error 2)\n");
    place.assert_answer(post("a", b"x"), "err|disk: No such file or directory (os error 2)\n");
    assert_lives(place.server());
    // It may come back.
    fs::create_dir(place.directory()).expect("a directory");
    place.assert_answer(post("a", b"x"), "ok|1|a\n");
}

#[test]
fn a_directory_that_has_become_a_file_is_told() {
    let place = Place::new();
    fs::remove_dir(place.directory()).expect("it is empty");
    fs::write(place.directory(), "").expect("a file");
    place.assert_answer(post("a", b"x"), "err|disk: Not a directory (os error 20)\n");
    assert_lives(place.server());
    assert_eq!(fs::read(place.directory()).expect("it is there"), b"");
}

// poll(2) takes no more descriptors than the limit, which is none here (EINVAL).
#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn too_many_open_files_are_told_and_the_server_goes_on() {
    use crate::util::{alone, set_file_limit};

    alone("upload::disk::too_many_open_files_are_told_and_the_server_goes_on", || {
        let place = Place::new();
        let client = place.connect();
        client.send(post("before", b"x"));
        client.expect("ok|1|before\n");
        let before = set_file_limit(0);
        client.send(post("a", b"x"));
        let answer = client.rest();
        set_file_limit(before);
        assert_eq!(String::from_utf8_lossy(&answer), "err|disk: Too many open files (os error 24)\n");
        place.assert_answer(post("after", b"x"), "ok|1|after\n");
        place.assert_names(["after", "before"]);
    });
}

const TOO_BIG: &str = "upload::disk::a_file_that_the_system_cuts_short_leaves_nothing_and_is_told";

/// The largest file that the system takes, where it is limited.
const LIMIT: u64 = 100_000;

#[test]
fn a_file_that_the_system_cuts_short_leaves_nothing_and_is_told() {
    if role().as_deref() != Some("limited") {
        // The limit also sends a signal, which is to be ignored; so is what a
        // process inherits of ignoring.
        let within = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
        let output = run_self(TOO_BIG, "limited", &within).output().expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum: hard }).expect("it is lowered");
    let place = Place::new();
    let fits = noise(LIMIT as usize);
    place.assert_answer(post("fits", &fits), "ok|100000|fits\n");
    for size in [100_001, 10_000_000] {
        // At once, and not when all has come.
        let client = place.connect();
        let stream = post("a", &noise(size));
        client.send(&stream[..stream.len() - usize::from(size > 1_000_000)]);
        assert_eq!(client.rest(), b"err|disk: File too large (os error 27)\n");
    }
    place.assert_names(["fits"]);
    assert_lives(place.server());
}

const FULL: &str = "upload::disk::a_disk_that_is_full_is_told_and_nothing_remains";

/// The file system to fill.
const INTO: &str = "SERVE_FOREVER_TEST_INTO";

// docs/guarantees.md, 48.
#[test]
fn a_disk_that_is_full_is_told_and_nothing_remains() {
    if role().as_deref() == Some("full") {
        return fill(Path::new(&env::var_os(INTO).expect("it is set")));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$SERVE_FOREVER_TEST_INTO\"";
    let may = Command::new("unshare")
        .args(["-rm", "sh", "-c", mount])
        .env(INTO, directory.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("skipped: the system does not let this user mount a file system of its own");
        return;
    }
    let script = format!("{mount} && exec \"$@\"");
    let within = ["unshare", "-rm", "sh", "-c", &script, "sh"];
    let output =
        run_self(FULL, "full", &within).env(INTO, directory.path()).output().expect("it could before");
    assert!(output.status.success(), "{output:?}");
}

fn fill(directory: &Path) {
    let server = Server::start(Upload::into(directory).expect("it is mounted"), Upload::limits());
    let small = server.connect();
    small.send(post("small", &noise(1000)));
    small.expect("ok|1000|small\n");
    for _ in 0..3 {
        let client = server.connect();
        client.send(post("big", &noise(4 << 20)));
        client.finish();
        assert_eq!(client.rest(), b"err|disk: No space left on device (os error 28)\n");
        assert_eq!(names_in(directory), ["small"]);
    }
    assert_lives(&server);
    small.send(post("after", &noise(1000)));
    small.expect("ok|1000|after\n");
}
