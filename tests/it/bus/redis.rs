//! `Redis`: a redis-server on a Unix socket in a directory of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serve_forever::bus::BusUrl;

use super::nodes::wait;

/// A redis-server; killed when it drops.
pub(crate) struct Redis {
    child: Child,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
}

impl Redis {
    /// `None`, said aloud, where it is not installed.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let mut redis = Self::spawn(arguments)?;
        assert!(redis.comes_up(), "redis-server ends by itself: {:?}", redis.arguments);
        Some(redis)
    }

    /// One that listens on a free TCP port too, the value of this option. `None`, said
    /// aloud, where it is not installed, or knows no such option.
    pub(crate) fn start_on_port(option: &str, arguments: &[&str]) -> Option<(Self, u16)> {
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
            let port = free.expect("a free port").port();
            let mut redis = Self::spawn(&[&[option, &port.to_string()], arguments].concat())?;
            if redis.comes_up() {
                return Some((redis, port));
            }
            // Or somebody else has taken the port meanwhile.
        }
        eprintln!("SKIPPED: redis-server does not know {option} {arguments:?}");
        None
    }

    fn spawn(arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        match spawn(&directory, &arguments) {
            Ok(child) => Some(Self { child, arguments, directory }),
            Err(error) => {
                eprintln!("SKIPPED: redis-server: {error} (apt install redis-server)");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> BusUrl {
        BusUrl::from(self.path())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was ours");
    }

    pub(crate) fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.path());
        self.child = spawn(&self.directory, &self.arguments).expect("it started before");
        assert!(self.comes_up(), "it started before");
    }

    /// Waits until it answers; `false` if it ends before.
    fn comes_up(&mut self) -> bool {
        let mut has_ended = false;
        wait(|| {
            has_ended = self.child.try_wait().expect("it is ours").is_some();
            let answers = |mut stream: UnixStream| {
                let answer = ask(&mut stream, &["PING"]);
                // One that asks for a password answers too.
                answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")
            };
            has_ended || UnixStream::connect(self.path()).is_ok_and(answers)
        });
        !has_ended
    }

    /// What it answers.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        ask(&mut UnixStream::connect(self.path()).expect("it listens"), words)
    }

    /// The same on another thread. It has the command before anything that is sent later.
    pub(crate) fn ask_in_background(&self, words: &[&str]) -> JoinHandle<String> {
        let mut stream = UnixStream::connect(self.path()).expect("it listens");
        send(&mut stream, words);
        std::thread::spawn(move || answer(&mut stream))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &tempfile::TempDir, arguments: &[String]) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--dir"])
        .arg(directory.path())
        .arg("--unixsocket")
        .arg(directory.path().join("redis.sock"))
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
}

fn ask(stream: &mut UnixStream, words: &[&str]) -> String {
    send(stream, words);
    answer(stream)
}

fn send(stream: &mut UnixStream, words: &[&str]) {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    stream.write_all(&command).expect("it takes commands");
}

/// The first reads of an answer, up to one that ends a line.
fn answer(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let mut answer = Vec::new();
    let mut buffer = [0; 64 << 10];
    while !answer.ends_with(b"\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
            ended => {
                assert!(ended.is_ok() || !answer.is_empty(), "it does not answer");
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
