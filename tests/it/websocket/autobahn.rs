//! The Autobahn test suite, on both sides, where its `wstest` is in the path. It
//! needs Python 2.7 (`pip install autobahntestsuite`), and some minutes.
//!
//! All cases but those on compression (12 and 13), which is not offered, have to
//! pass, strictly: `OK`, where it judges, or `INFORMATIONAL`, where it only looks.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use serve_forever::http::{Http, HttpHandler, HttpIo, HttpLimits, Request, SocketOptions, SocketRequest};
use serve_forever::ws::{CloseCode, Message, SocketLimits};
use serve_forever::{BoxError, Config, Endpoint, Limits, Reactor};

use super::sockets::Sockets;
use crate::util::{Server, eventually};

/// As large as the largest case.
const LIMITS: SocketLimits = SocketLimits { max_message: 16 << 20, max_fragments: 1 << 20 };

/// The marks for it: a handler that pauses at the high mark has one message above
/// it at most.
fn limits() -> Limits {
    Limits { hard_mark: 64 << 20, ..Http::<Sockets>::limits() }
}

/// Starts the suite with a specification in a folder; `None` if it is not
/// installed.
fn wstest(mode: &str, folder: &Path, specification: &Value) -> Option<Child> {
    let spec = folder.join("spec.json");
    fs::write(&spec, specification.to_string()).expect("there is room");
    let started = Command::new("wstest")
        .args(["-m", mode, "-s"])
        .arg(&spec)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if started.is_err() {
        // Past the capture of output: whoever runs this should see it.
        let _ =
            std::io::stderr().write_all(b"SKIPPED: wstest of the Autobahn test suite is not in the path\n");
    }
    started.ok()
}

/// Holds a report against what has to be, and says how many cases there were.
fn check(folder: &Path) {
    let index = fs::read(folder.join("reports/index.json")).expect("the suite has written it");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let agents = index.as_object().expect("agents");
    let cases: Vec<_> = agents.values().flat_map(|agent| agent.as_object().expect("cases")).collect();
    let fails = |field: &str, case: &Value| {
        !["OK", "INFORMATIONAL"].contains(&case[field].as_str().unwrap_or_default())
    };
    let failed: Vec<_> =
        cases.iter().filter(|(_, case)| fails("behavior", case) || fails("behaviorClose", case)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(cases.len() > 240, "there are only {} cases", cases.len());
    let informational = cases.iter().filter(|(_, case)| case["behavior"] == "INFORMATIONAL").count();
    let text = format!("Autobahn: {} cases, {informational} of them informational\n", cases.len());
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn port(at: &Endpoint) -> String {
    at.to_string().rsplit_once(':').expect("a port").1.to_owned()
}

#[test]
fn every_case_against_the_server() {
    let folder = tempfile::tempdir().expect("a directory");
    let handler = Sockets {
        options: SocketOptions { limits: LIMITS, ..SocketOptions::default() },
        ..Sockets::default()
    };
    let server = Server::start(Http::new(handler), limits());
    let url = format!("ws://127.0.0.1:{}", port(server.at()));
    let specification = json!({
        "outdir": "reports",
        "servers": [{ "agent": "serve-forever", "url": url }],
        "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
    });
    let Some(mut suite) = wstest("fuzzingclient", folder.path(), &specification) else { return };
    assert!(suite.wait().expect("it ends").success());
    check(folder.path());
}

/// A client that goes through the cases of a fuzzing server.
struct Cases {
    at: Endpoint,
    host: String,
    /// How many there are, once that is known, and which is next.
    count: Option<u32>,
    next: u32,
}

impl Cases {
    /// Connects for the next thing to do: the number of cases, a case, the report.
    fn go_on(&mut self, io: &mut HttpIo<'_, '_>) {
        let path = match self.count {
            None => "/getCaseCount".to_owned(),
            Some(count) if self.next <= count => format!("/runCase?case={}&agent=serve-forever", self.next),
            Some(count) if self.next == count + 1 => "/updateReports?agent=serve-forever".to_owned(),
            Some(_) => return io.shutdown(Duration::ZERO),
        };
        self.next += u32::from(self.count.is_some());
        let request =
            SocketRequest { host: &self.host, path: &path, limits: LIMITS, ..SocketRequest::default() };
        let at = self.at.clone();
        io.connect_socket(&at, request, 0).expect("room for one");
    }
}

impl HttpHandler for Cases {
    fn request(&mut self, _: &mut HttpIo<'_, '_>, _: &Request<'_>) -> Result<(), BoxError> {
        Err("nobody asks a client".into())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        match (self.count, message) {
            (None, Message::Text(count)) => self.count = Some(count.parse()?),
            _ => _ = io.send_message(io.id(), message),
        }
        Ok(())
    }

    fn socket_closed(&mut self, io: &mut HttpIo<'_, '_>, _: Option<CloseCode>) {
        self.go_on(io);
    }
}

#[test]
fn every_case_against_the_client() {
    let folder = tempfile::tempdir().expect("a directory");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let host = format!("127.0.0.1:{port}");
    let specification = json!({
        "outdir": "reports", "url": format!("ws://{host}"),
        "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
    });
    let Some(mut suite) = wstest("fuzzingserver", folder.path(), &specification) else { return };
    eventually("the suite listens", || TcpStream::connect(&host).is_ok());
    let cases = Cases { at: host.parse().expect("a good endpoint"), host, count: None, next: 1 };
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let limits = Limits { hard_mark: 64 << 20, ..Http::<Cases>::limits() };
    let http = Http::with_limits(cases, HttpLimits::default()).expect("good limits");
    let service = reactor.add(http, limits).expect("good limits");
    let go = |http: &mut Http<Cases>, io: &mut serve_forever::Io<'_>| http.with(io, Cases::go_on);
    reactor.handle(&service).call(go).expect("room for one");
    reactor.serve_forever().expect("the loop runs");
    suite.kill().and_then(|()| suite.wait()).expect("it runs until it is ended");
    check(folder.path());
}
