//! `tls://` endpoints of `serve`, and the clients that speak to them.

use std::fs;
use std::process::Command;

use crate::util::certificates::CERTIFICATES;
use crate::util::program::{Ended, Program, Signal, command, run, wait_until};

/// `serve` with these arguments, which is up; and the line of each listener.
fn start(arguments: &[&str]) -> (Program, Vec<String>) {
    let program = Program::start(&mut command("serve", arguments));
    let count = arguments.iter().filter(|text| text.contains("://") || text.contains("unix:")).count();
    let lines = (0..count).map(|_| program.line()).collect();
    (program, lines)
}

/// The endpoint of a line `listening SERVICE tls://127.0.0.1:PORT`, with a name that a
/// certificate can be for.
fn named(line: &str) -> String {
    let (_, at) = line.split_once("tls://127.0.0.1:").expect("an endpoint with TLS");
    format!("tls://localhost:{at}")
}

fn path(name: &str) -> String {
    CERTIFICATES.path(name).to_str().expect("UTF-8").to_owned()
}

fn client(to: &str, options: &[&str], says: &str) -> Ended {
    let mut client = Program::start(command("client", options).arg(to));
    client.type_in(says);
    client.wait()
}

#[test]
fn services_stand_on_it_and_clients_speak_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let into = directory.path().to_str().expect("UTF-8");
    let arguments = ["--tls-cert", &certificate, "--tls-key", &key, "--dir", into, "--allow", "echo"];
    let endpoints = ["upper=tls://127.0.0.1:0", "command=tls://127.0.0.1:0", "upload=tls://127.0.0.1:0"];
    let (serve, lines) = start(&[&arguments[..], &endpoints].concat());
    assert!(lines[0].starts_with("listening upper tls://127.0.0.1:"), "{}", lines[0]);

    let ended = client(&named(&lines[0]), &["--tls-ca", &ca], "hello\n");
    assert_eq!((ended.status, &ended.stdout[..], &ended.stderr[..]), (0, "HELLO\n", ""));

    let ended = run(&mut command("command_client", &["--tls-ca", &ca, &named(&lines[1]), "echo through"]));
    assert_eq!((ended.status, &ended.stdout[..]), (0, "through\n"), "{}", ended.stderr);

    let ended =
        run(&mut command("upload_client", &["--quiet", "--tls-ca", &ca, &named(&lines[2]), &certificate]));
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let came = fs::read(directory.path().join("server.pem")).expect("it was received");
    assert_eq!(came, CERTIFICATES.server.certificate.as_bytes());

    // Who is not believed is not spoken to, unless that is said.
    let ended = client(&named(&lines[0]), &["--tls-ca", &path("stranger.pem")], "hello\n");
    assert_eq!((ended.status, &ended.stdout[..]), (1, ""));
    assert!(ended.stderr.contains("certificate is refused"), "{}", ended.stderr);
    let ended = client(&named(&lines[0]), &["--tls-insecure"], "hello\n");
    assert_eq!((ended.status, &ended.stdout[..]), (0, "HELLO\n"));
    assert!(ended.stderr.contains("warning: --tls-insecure"), "{}", ended.stderr);

    let ended = serve.end_by(Signal::TERM);
    assert_eq!((ended.status, &ended.stdout[..], &ended.stderr[..]), (0, "", ""));
}

// docs/guarantees.md, 81.
#[test]
fn a_hangup_reads_certificates_again_and_connections_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
    let install = |certificate: &str, secret: &str| {
        fs::write(&chain, certificate).expect("it can be written");
        fs::write(&key, secret).expect("it can be written");
    };
    install(&CERTIFICATES.other.certificate, &CERTIFICATES.other.key);
    let ca = path("ca.pem");
    let [chain_text, key_text] = [&chain, &key].map(|path| path.to_str().expect("UTF-8"));
    let (serve, lines) =
        start(&["-v", "--tls-cert", chain_text, "--tls-key", key_text, "echo=tls://127.0.0.1:0"]);
    let at = named(&lines[0]);
    let mut before = Program::start(command("client", &["--tls-insecure"]).arg(&at));
    before.type_in("before\n");
    before.expect_line("before");
    assert_ne!(client(&at, &["--tls-ca", &ca], "hello\n").status, 0, "it is for another name");

    install(&CERTIFICATES.server.certificate, &CERTIFICATES.server.key);
    serve.signal(Signal::HUP);
    wait_until("they are read again", || serve.stderr().contains("the certificates were read again"));
    let ended = client(&at, &["--tls-ca", &ca], "hello\n");
    assert_eq!((ended.status, &ended.stdout[..]), (0, "hello\n"), "{}", ended.stderr);

    fs::write(&chain, "nothing").expect("it can be written");
    serve.signal(Signal::HUP);
    wait_until("a bad file is told", || serve.stderr().contains("the old certificates stay"));
    assert_eq!(client(&at, &["--tls-ca", &ca], "hello\n").stdout, "hello\n");

    before.type_in("still here\n");
    before.expect_line("still here");
    assert_eq!(before.wait().status, 0);
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required_and_the_log_says_why() {
    let arguments = ["--tls-cert", &path("server.pem"), "--tls-key", &path("server.key")];
    let (ca, at) = (path("ca.pem"), "echo=tls://127.0.0.1:0");
    let (serve, lines) = start(&[&arguments[..], &["-v", "--tls-client-ca", &ca, at]].concat());
    let ended = client(&named(&lines[0]), &["--tls-ca", &ca], "hello\n");
    assert_eq!((ended.status, &ended.stdout[..]), (1, ""));
    assert!(ended.stderr.contains("CertificateRequired"), "{}", ended.stderr);
    wait_until("the log says why", || serve.stderr().contains("the peer presented no certificate"));
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}

#[test]
fn a_certificate_for_trying_is_made_at_the_start() {
    let (serve, lines) = start(&["--tls-self-signed", "localhost", "echo=tls://127.0.0.1:0"]);
    wait_until("its fingerprint is told", || serve.stderr().contains("SHA-256 fingerprint"));
    let ended = client(&named(&lines[0]), &["--tls-insecure"], "hello\n");
    assert_eq!(ended.stdout, "hello\n", "{}", ended.stderr);
    if Command::new("openssl").arg("version").output().is_ok() {
        let at = named(&lines[0]).replace("tls://", "");
        let script = "openssl s_client -connect \"$0\" </dev/null 2>/dev/null \
                      | openssl x509 -noout -fingerprint -sha256 | cut -d= -f2";
        let output = Command::new("sh").args(["-c", script, &at]).output().expect("it runs");
        let fingerprint = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(fingerprint.len() == 95 && serve.stderr().contains(&fingerprint), "{fingerprint:?}");
    } else {
        eprintln!("SKIPPED: openssl is not installed");
    }
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}

#[test]
fn what_is_missing_is_told() {
    let refused = |arguments: &[&str], says: &str| {
        let ended = run(&mut command("serve", arguments));
        assert!(ended.status == 2 && ended.stderr.contains(says), "{says}: {}", ended.stderr);
    };
    let at = "echo=tls://127.0.0.1:0";
    refused(&[at], "give --tls-cert FILE and --tls-key FILE, or --tls-self-signed NAME");
    refused(&["--tls-cert", &path("server.pem"), at], "--tls-key");
    refused(
        &["--tls-cert", &path("server.pem"), "--tls-key", &path("other.key"), at],
        "belongs to the certificate",
    );
    refused(&["--tls-cert", "/nowhere", "--tls-key", "/nowhere", at], "/nowhere");
    refused(&["--tls-self-signed", "localhost", "echo=tls://unix:/tmp/x"], "HOST:PORT");
}
