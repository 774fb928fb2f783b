//! `Redis`: a redis-server on a Unix socket in a directory of its own.

use std::io::{Read, Write};
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
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        match spawn(&directory, &arguments) {
            Ok(child) => {
                let redis = Self { child, arguments, directory };
                redis.until_it_answers();
                Some(redis)
            }
            Err(error) => {
                eprintln!("SKIPPED: redis-server: {error} (apt install redis-server)");
                None
            }
        }
    }

    /// A second one that is a replica of this one, or that nothing is known of yet.
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
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        wait(|| {
            let answers = |mut stream: UnixStream| {
                let answer = ask(&mut stream, &["PING"]);
                // One that asks for a password answers too.
                answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")
            };
            UnixStream::connect(self.path()).is_ok_and(answers)
        });
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
