//! Runs the example `upload_client` for real, against the service and against
//! servers that do what a server must not.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serve_forever::Endpoint;
use serve_forever::services::{Framing, Upload};
use tempfile::TempDir;

use crate::util::{PATIENCE, Server, eventually, noise};

/// Files to send, and a server to send them to.
struct Place {
    server: Server<Upload>,
    directory: TempDir,
}

impl Place {
    fn new(make: impl FnOnce(Upload) -> Upload) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["here", "there"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        let upload = Upload::into(directory.path().join("there")).expect("it was just made");
        Self { server: Server::start(make(upload), Upload::limits()), directory }
    }

    /// A file to be sent; its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.directory.path().join("here").join(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn there(&self, name: &str) -> PathBuf {
        self.directory.path().join("there").join(name)
    }

    /// The server has these files and nothing else.
    #[track_caller]
    fn assert_there<const N: usize>(&self, files: [(&str, &[u8]); N]) {
        let entries = fs::read_dir(self.there("")).expect("a directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("it can be listed").file_name().into_string()).collect();
        names.sort();
        assert_eq!(names, files.map(|(name, _)| Ok(name.to_owned())));
        for (name, content) in files {
            assert!(fs::read(self.there(name)).expect("it is there") == content, "{name}");
        }
    }

    fn send<const N: usize>(&self, files: [&str; N]) -> Output {
        let at = self.server.at().to_string();
        run([&[at.as_str()], files.as_slice()].concat())
    }
}

/// Cargo puts examples beside the directory of this test's own binary, and
/// builds them for a `cargo test` that is not narrowed to one target.
fn client() -> Command {
    let test = std::env::current_exe().expect("this test has a path");
    let binary =
        test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples").join("upload_client");
    assert!(binary.exists(), "{} is not built: run `cargo build --examples`", binary.display());
    let mut command = Command::new(binary);
    command.stdin(Stdio::null());
    command
}

fn run(arguments: Vec<&str>) -> Output {
    client().args(arguments).output().expect("it can be started")
}

/// It ended like this, having said exactly this on stderr.
#[track_caller]
fn assert_ended(output: &Output, status: i32, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(stderr.lines().count(), says.len(), "{stderr}");
    for (line, says) in stderr.lines().zip(says) {
        assert!(line.starts_with("upload_client: ") && line.contains(says), "{line} does not say {says}");
    }
}

/// A server that does this with its only connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the client connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        serve(socket);
    });
    at
}

#[test]
fn files_are_sent_one_after_the_other() {
    let place = Place::new(|upload| upload);
    let big = noise(20_000_000);
    let files = [
        place.file("a", "first"),
        place.file("empty", ""),
        place.file("big", &big),
        place.file("b|c ü", "last"),
    ];
    let output = place.send(files.each_ref().map(String::as_str));
    assert_ended(&output, 0, &[]); // no bar where there is no terminal
    let sizes = [5, 0, 20_000_000, 4];
    let expected: String =
        files.iter().zip(sizes).map(|(path, size)| format!("{path}: {size} bytes\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    place.assert_there([("a", b"first"), ("big", &big), ("b|c ü", b"last"), ("empty", b"")]);
    assert_eq!(place.server.stats().accepted, 1);
}

#[test]
fn a_refused_file_is_told_with_its_reason_and_the_others_are_sent() {
    let place = Place::new(|upload| upload.max(1000));
    let files = [
        place.file("a", "a"),
        place.file("large", noise(10_000_000)),
        place.file("b", "b"),
        place.file("c", "c"),
        place.file("d", "d"),
    ];
    fs::write(place.there("c"), "before").expect("a file");
    let output = place.send(files.each_ref().map(String::as_str));
    assert_ended(&output, 1, &["large: refused: too large", "c: refused: exists"]);
    place.assert_there([("a", b"a"), ("b", b"b"), ("c", b"before"), ("d", b"d")]);
}

#[test]
fn in_chunks_files_are_sent_as_well() {
    let place = Place::new(|upload| upload.framing(Framing::Chunk).max(10_000_000));
    let big = noise(9_000_000);
    let files = [
        place.file("a", "first"),
        place.file("big", &big),
        place.file("large", noise(10_000_001)),
        place.file("empty", ""),
        place.file("b", "last"),
    ];
    fs::write(place.there("a"), "before").expect("a file");
    let mut arguments = vec!["--framing", "chunk"];
    let at = place.server.at().to_string();
    arguments.push(&at);
    arguments.extend(files.iter().map(String::as_str));
    let began = Instant::now();
    let output = run(arguments);
    assert!(began.elapsed() >= Duration::from_millis(3 * 50), "three headers were alone for their time");
    assert_ended(&output, 1, &["a: refused: exists", "large: refused: too large"]);
    place.assert_there([("a", b"before"), ("b", b"last"), ("big", &big), ("empty", b"")]);
    // One, and one more after each refusal.
    assert_eq!(place.server.stats().accepted, 3);
}

/// Serves as classic servers do: a header is what one `recv` returns, and what
/// follows is read to its size. Returns the files once the client has ended.
fn classic(mut socket: &TcpStream) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    loop {
        let mut header = [0; 1024];
        let count = socket.read(&mut header).expect("the client is there");
        if count == 0 {
            return files;
        }
        let header = String::from_utf8(header[..count].to_vec()).expect("a header, and nothing of the file");
        let mut parts = header.splitn(3, '|').skip(1);
        let size: usize = parts.next().expect("a size").parse().expect("a number");
        let mut content = vec![0; size];
        socket.read_exact(&mut content).expect("the client sends it");
        files.push((parts.next().expect("a name").to_owned(), content));
    }
}

#[test]
fn a_classic_server_gets_all_files_over_one_connection_and_need_not_close_it() {
    let place = Place::new(|upload| upload);
    let files = [place.file("a", "first"), place.file("empty", ""), place.file("b", "post|9|x")];
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let at = server(move |socket| {
        tell.send(classic(&socket)).expect("the test waits");
        let _ = wait.recv(); // it never closes
    });
    let mut arguments = vec!["--framing=chunk", &at];
    arguments.extend(files.iter().map(String::as_str));
    assert_ended(&run(arguments), 0, &[]);
    let expected = [("a", &b"first"[..]), ("empty", b""), ("b", b"post|9|x")];
    let came = told.recv_timeout(PATIENCE).expect("the client has ended its side");
    assert_eq!(came, expected.map(|(name, content)| (name.to_owned(), content.to_vec())));
    drop(go);
}

// proc(5): they say that they have 0 bytes, or 4,096.
#[test]
fn files_of_another_size_than_they_say_are_sent_as_they_are() {
    let files = ["/proc/cpuinfo", "/proc/self/maps", "/sys/kernel/mm/transparent_hugepage/enabled"];
    for framing in [Framing::Lines, Framing::Chunk] {
        let place = Place::new(|upload| upload.framing(framing));
        let framing = if framing == Framing::Lines { "lines" } else { "chunk" };
        let at = place.server.at().to_string();
        for file in files.into_iter().filter(|file| Path::new(file).exists()) {
            assert_ended(&run(vec!["--framing", framing, &at, file]), 0, &[]);
            let name = Path::new(file).file_name().and_then(|name| name.to_str()).expect("UTF-8");
            let came = fs::read(place.there(name)).expect("it is there");
            assert!(!came.is_empty(), "{file}");
            if file.starts_with("/sys") {
                assert_eq!(came, fs::read(file).expect("it can be read"));
            }
        }
    }
}

#[test]
fn files_are_sent_to_unix_sockets() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let there = directory.path().join("there");
    fs::create_dir(&there).expect("a directory");
    let upload = Upload::into(&there).expect("it was just made");
    let config = serve_forever::Config::default();
    let _server = Server::start_with(config, upload, Upload::limits(), std::slice::from_ref(&at));
    let file = directory.path().join("a");
    fs::write(&file, "content").expect("a file");
    let output = run(vec!["--quiet", &at.to_string(), file.to_str().expect("UTF-8")]);
    assert_ended(&output, 0, &[]);
    assert_eq!(output.stdout, b"");
    assert_eq!(fs::read(there.join("a")).expect("it is there"), b"content");
}

/// Sends a sparse file of 64 MiB, which is made another while no buffer holds
/// all of it; returns what the client said, and what the server has read.
fn while_it_is_sent(change: impl FnOnce(&Path)) -> (Output, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    File::create(&path).and_then(|file| file.set_len(64 << 20)).expect("a file");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let at = server(move |socket| {
        let mut socket = BufReader::new(socket);
        let mut header = String::new();
        socket.read_line(&mut header).expect("a header");
        assert_eq!(header, format!("post|{}|file\n", 64 << 20));
        tell.send(0).expect("the test waits");
        wait.recv_timeout(PATIENCE).expect("the test goes on");
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("the client ends in order");
        tell.send(all.len()).expect("the test waits");
    });
    let child = client()
        .args([&at, path.to_str().expect("UTF-8")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    told.recv_timeout(PATIENCE).expect("the client sends");
    change(&path);
    go.send(()).expect("the server waits");
    let read = told.recv_timeout(PATIENCE).expect("the client ends");
    (child.wait_with_output().expect("it ends"), read)
}

#[test]
fn a_file_that_becomes_shorter_is_told_and_never_completed() {
    let (output, read) = while_it_is_sent(|path| {
        let file = OpenOptions::new().write(true).open(path).expect("it is there");
        file.set_len(10).expect("it is cut");
    });
    assert_ended(&output, 1, &["file: its size changed from 67108864 to 10 bytes while it was sent"]);
    assert!(read < 64 << 20, "{read} bytes");
}

#[test]
fn a_file_that_grows_is_told_and_never_completed() {
    let (output, read) = while_it_is_sent(|path| {
        let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
        file.write_all(b"x").expect("there is room");
    });
    assert_ended(&output, 1, &["file: its size changed from 67108864 to 67108865 bytes while it was sent"]);
    assert!(read < 64 << 20, "{read} bytes");
}

// What came before is answered, what comes behind has a new connection.
#[test]
fn a_file_that_changes_leaves_the_others_alone() {
    let place = Place::new(|upload| upload);
    let files = [place.file("a", "1"), place.file("big", ""), place.file("c", "3")];
    let big = OpenOptions::new().write(true).open(&files[1]).expect("it is there");
    big.set_len(64 << 20).expect("it grows");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    let serving = thread::spawn(move || {
        let accept = || {
            let (socket, _) = listener.accept().expect("the client connects");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
            BufReader::new(socket)
        };
        let mut first = accept();
        let mut begin = [0; 28];
        first.read_exact(&mut begin).expect("headers");
        assert_eq!(&begin, b"post|1|a\n1post|67108864|big\n");
        big.set_len(10).expect("it is cut");
        // The answer comes late: after all that this connection will be sent.
        first.read_to_end(&mut Vec::new()).expect("the client ends its side");
        first.get_mut().write_all(b"ok|1|a\n").expect("the client listens");
        let mut second = accept();
        let mut rest = [0; 10];
        second.read_exact(&mut rest).expect("the last file");
        assert_eq!(&rest, b"post|1|c\n3");
        second.get_mut().write_all(b"ok|1|c\n").expect("the client listens");
    });
    let output = run([&[at.as_str()], files.each_ref().map(String::as_str).as_slice()].concat());
    assert_ended(&output, 1, &["big: its size changed from 67108864 to 10 bytes"]);
    let expected = format!("{}: 1 bytes\n{}: 1 bytes\n", files[0], files[2]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    serving.join().expect("the client did as it was to");
}

#[test]
fn a_server_that_ends_early_is_told() {
    let place = Place::new(|upload| upload);
    let (a, b) = (place.file("a", "content"), place.file("b", noise(1 << 20)));
    let at = server(drop);
    assert_ended(&run(vec![&at, &a, &b]), 1, &["2 files did not arrive: "]);
    let at = server(|mut socket| {
        socket.write_all(b"hello\x1b[2J\n").expect("the client listens");
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
    });
    let output = run(vec![&at, &a]);
    assert_ended(&output, 1, &["a: the server answered \"hello\\u{1b}[2J\""]);
}

#[test]
fn nobody_who_listens_is_told() {
    let place = Place::new(|upload| upload);
    let file = place.file("a", "content");
    let at = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let at = at.expect("a free port").to_string();
    let says = format!("1 file did not arrive: cannot connect to tcp://{at}: Connection refused");
    assert_ended(&run(vec![&at, &file]), 1, &[&says]);
}

#[test]
fn arguments_that_make_no_sense_send_nothing() {
    let place = Place::new(|upload| upload);
    let at = place.server.at().to_string();
    let good = place.file("good", "x");
    let directory = place.directory.path().to_str().expect("UTF-8").to_owned();
    let control = place.file("a\nb", "x");
    let space = place.file("a ", "x");
    for (arguments, says) in [
        (vec![&*at, &*good, "/nonexistent"], "/nonexistent: No such file"),
        (vec![&*at, &*good, &*directory], "it is no regular file"),
        (vec![&*at, &*good, &*control], "a\\nb: its name has control characters"),
        (vec!["--framing", "chunk", &*at, &*space], "its name ends with a space"),
    ] {
        assert_ended(&run(arguments), 2, &[says]);
    }
    for arguments in [
        vec![&*at],
        vec!["udp://127.0.0.1:1", &*good],
        vec!["nowhere", &*good],
        vec!["--framing", "x", &*at, &*good],
        vec![],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2));
    }
    place.assert_there([]);
    assert_eq!(place.server.stats().accepted, 0);
}

#[test]
fn its_help_says_what_its_exit_status_means() {
    let output = run(vec!["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("Exit status: 0 when all files are there, 1 when one was refused"), "{help}");
}

// What is in hand is a few pieces, whatever the size of the file.
#[test]
fn a_file_is_never_in_memory_as_a_whole() {
    const WHOLE: u64 = 256 << 20;
    let place = Place::new(|upload| upload);
    let path = place.directory.path().join("here").join("sparse");
    File::create(&path).and_then(|file| file.set_len(WHOLE)).expect("a file");
    let mut child = client()
        .args([&place.server.at().to_string(), path.to_str().expect("UTF-8")])
        .stdout(Stdio::null())
        .spawn()
        .expect("it can be started");
    let (pid, mut most) = (child.id(), 0);
    eventually("all of it is sent", || {
        // It may have ended, and have no memory any more.
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        most = most.max(4096 * pages);
        child.try_wait().expect("it is ours").is_some()
    });
    assert!(child.wait().expect("it is ours").success());
    assert_eq!(fs::metadata(place.there("sparse")).expect("it is there").len(), WHOLE);
    assert!(most < 32 << 20, "{} KiB", most >> 10);
}
