//! `Driver`: chromedriver as a child, and the few commands of WebDriver (W3C) that
//! the tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::util::PATIENCE;

/// The name under which WebDriver returns an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A chromedriver, which ends with this.
pub(crate) struct Driver {
    child: Child,
    port: u16,
    /// Its TMPDIR, in which a browser leaves files behind.
    temporary: PathBuf,
}

/// A browser with one page, which ends with this.
pub(crate) struct Page {
    port: u16,
    session: String,
}

/// Where a program is, if it is installed.
fn find(names: &[&str]) -> Option<String> {
    let paths = std::env::var("PATH").unwrap_or_default();
    let candidates = paths.split(':').flat_map(|path| names.iter().map(move |name| format!("{path}/{name}")));
    candidates.into_iter().find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))
}

impl Driver {
    /// Starts one; `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = find(&["chromedriver"])?;
        find(&["chromium"])?;
        let temporary = tempfile::tempdir().expect("a directory").keep();
        let mut child = Command::new(program)
            .arg("--port=0")
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is a program");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("it says its port");
            let (_, port) = line.split_once("on port ").filter(|_| line.contains("successfully"))?;
            port.trim_end_matches('.').parse().ok()
        });
        // Whatever else it says is not read, and it says little.
        Some(Self { child, port: port.expect("it says its port"), temporary })
    }

    /// Opens a browser.
    pub(crate) fn page(&self) -> Page {
        let options = json!({
            "binary": find(&["chromium"]),
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--disable-background-networking", "--window-size=900,620"],
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } } } });
        let session = call(self.port, "POST", "/session", &wanted);
        Page { port: self.port, session: session["sessionId"].as_str().expect("a session").to_owned() }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The last processes of a browser may still write there while they end.
        let until = Instant::now() + PATIENCE;
        while fs::remove_dir_all(&self.temporary).is_err() && self.temporary.exists() {
            if Instant::now() > until {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Page {
    fn command(&self, method: &str, what: &str, body: &Value) -> Value {
        call(self.port, method, &format!("/session/{}{what}", self.session), body)
    }

    pub(crate) fn go_to(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Runs a script, and returns what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Types a text into a field, and then Enter.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        let element = found[ELEMENT].as_str().expect("an element").to_owned();
        self.command(
            "POST",
            &format!("/element/{element}/value"),
            &json!({ "text": format!("{text}\u{e007}") }),
        );
    }

    /// Has the page believe that its reader prefers a light or a dark scheme.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let emulate = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.command("POST", "/goog/cdp/execute", &emulate);
    }

    /// A picture of the page, as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let picture = self.command("GET", "/screenshot", &Value::Null);
        STANDARD.decode(picture.as_str().expect("a picture")).expect("base64")
    }

    /// What the browser's console has.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.command("DELETE", "", &Value::Null);
        }
    }
}

/// One command over a connection of its own.
fn call(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("chromedriver listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let mut buffer = [0; 64 << 10];
    let body = loop {
        let count = stream.read(&mut buffer).expect("an answer");
        answer.extend_from_slice(&buffer[..count]);
        if let Some(body) = whole_body(&answer) {
            break body.to_vec();
        }
        assert!(count > 0, "half an answer: {}", String::from_utf8_lossy(&answer));
    };
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let value = answer["value"].clone();
    assert!(value.get("error").is_none(), "{method} {path}: {value}");
    value
}

/// The body of an answer, once all of it is there.
fn whole_body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length: usize =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    answer.get(end..end + length)
}
