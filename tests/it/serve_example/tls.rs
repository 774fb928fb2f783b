//! `tls://` endpoints of `serve`, and the clients that speak to them.

use std::fs;
use std::process::Command;

use crate::util::certificates::{CERTIFICATES, Files};
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

fn client(to: &str, options: &[&str], says: &str) -> Ended {
    let mut client = Program::start(command("client", options).arg(to));
    client.type_in(says);
    client.wait()
}

#[test]
fn services_stand_on_it_and_clients_speak_it() {
    let files = CERTIFICATES.files();
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key, ca) = (files.path("server.pem"), files.path("server.key"), files.path("ca.pem"));
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
    let ended = client(&named(&lines[0]), &["--tls-ca", &files.path("stranger.pem")], "hello\n");
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
    let files = CERTIFICATES.files();
    let directory = tempfile::tempdir().expect("a directory");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.path().join(name));
    let install = |certificate: &str, secret: &str| {
        fs::write(&chain, certificate).expect("it can be written");
        fs::write(&key, secret).expect("it can be written");
    };
    install(&CERTIFICATES.other.certificate, &CERTIFICATES.other.key);
    let ca = files.path("ca.pem");
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
    let files = CERTIFICATES.files();
    let arguments = ["--tls-cert", &files.path("server.pem"), "--tls-key", &files.path("server.key")];
    let (ca, at) = (files.path("ca.pem"), "echo=tls://127.0.0.1:0");
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
    let files = CERTIFICATES.files();
    let refused = |arguments: &[&str], says: &str| {
        let ended = run(&mut command("serve", arguments));
        assert!(ended.status == 2 && ended.stderr.contains(says), "{says}: {}", ended.stderr);
    };
    let at = "echo=tls://127.0.0.1:0";
    refused(&[at], "give --tls-cert FILE and --tls-key FILE, or --tls-self-signed NAME");
    refused(&["--tls-cert", &files.path("server.pem"), at], "--tls-key");
    refused(
        &["--tls-cert", &files.path("server.pem"), "--tls-key", &files.path("other.key"), at],
        "belongs to the certificate",
    );
    refused(&["--tls-cert", "/nowhere", "--tls-key", "/nowhere", at], "/nowhere");
    refused(&["--tls-self-signed", "localhost", "echo=tls://unix:/tmp/x"], "HOST:PORT");
}

/// The certificate and key of the server, as options.
fn served_with(files: &Files) -> [String; 4] {
    ["--tls-cert".into(), files.path("server.pem"), "--tls-key".into(), files.path("server.key")]
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The same endpoint as its line says, for who asks by HTTPS.
fn https(line: &str) -> String {
    named(line).replace("tls://", "https://")
}

/// What curl says with these arguments; `None` where there is none.
fn curl(files: &Files, arguments: &[&str]) -> Option<(bool, Vec<u8>)> {
    let ca = files.path("ca.pem");
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--cacert", &ca]).args(arguments).output();
    match output {
        Ok(output) => Some((output.status.success(), [output.stdout, output.stderr].concat())),
        Err(error) => {
            eprintln!("SKIPPED: curl cannot be run: {error}");
            None
        }
    }
}

#[test]
fn curl_gets_pages_over_https_in_both_versions() {
    let files = CERTIFICATES.files();
    let (certificate, directory) = (served_with(&files), tempfile::tempdir().expect("a directory"));
    fs::write(directory.path().join("index.html"), "<p>home").expect("a file");
    let www = format!("--www={}", directory.path().display());
    let (serve, lines) = start(&[&texts(&certificate)[..], &[&www, "web=tls://127.0.0.1:0"]].concat());
    let at = https(&lines[0]);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let Some((success, said)) = curl(&files, &[version, &[&format!("{at}/")]].concat()) else { return };
        assert!(success && said == b"<p>home", "{version:?}: {}", String::from_utf8_lossy(&said));
    }
    // Whom it does not know, it does not believe.
    let insecure =
        Command::new("curl").args(["--silent", "--show-error", &at]).output().expect("it is there");
    let said = String::from_utf8_lossy(&insecure.stderr);
    assert!(!insecure.status.success() && said.contains("certificate"), "{said}");
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}

/// A large file, its name in a directory, and its digest.
fn large_file(directory: &std::path::Path, mib: usize) -> (std::path::PathBuf, Vec<u8>) {
    let content = crate::util::noise(mib << 20);
    let path = directory.join("large");
    fs::write(&path, &content).expect("there is room");
    (path, sha256(&content))
}

fn sha256(content: &[u8]) -> Vec<u8> {
    use sha2::Digest;

    sha2::Sha256::digest(content).to_vec()
}

#[test]
fn a_file_of_100_megabytes_goes_both_ways_and_is_the_same() {
    let files = CERTIFICATES.files();
    let (certificate, ca) = (served_with(&files), files.path("ca.pem"));
    let [from, into] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (file, digest) = large_file(from.path(), 96);
    let (www, dir) = (format!("--www={}", into.path().display()), format!("--dir={}", into.path().display()));
    let endpoints = [&www[..], &dir, "upload=tls://127.0.0.1:0", "web=tls://127.0.0.1:0"];
    let (serve, lines) = start(&[&texts(&certificate)[..], &endpoints].concat());
    let mut upload = command("upload_client", &["--quiet", "--tls-ca", &ca, &named(&lines[0])]);
    let ended = run(upload.arg(&file));
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let came = fs::read(into.path().join("large")).expect("it was received");
    assert!(sha256(&came) == digest, "{} bytes came", came.len());

    let back = from.path().join("back");
    let to = back.to_str().expect("UTF-8");
    let Some((success, said)) = curl(&files, &["--output", to, &format!("{}/large", https(&lines[1]))])
    else {
        return;
    };
    assert!(success, "{}", String::from_utf8_lossy(&said));
    let got = fs::read(&back).expect("it was received");
    assert!(sha256(&got) == digest, "{} bytes came back", got.len());
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}

/// Where other machines can connect, a certificate of their client is as good as a
/// token; without either, and where it would not be asked for, `serve` refuses.
#[test]
fn commands_for_other_machines_need_a_token_or_certificates_of_clients() {
    let files = CERTIFICATES.files();
    let (certificate, ca) = (served_with(&files), files.path("ca.pem"));
    let certificate = texts(&certificate);
    let refused = |arguments: &[&str], says: &str| {
        let ended = run(&mut command("serve", &[&certificate[..], &["--allow", "echo"], arguments].concat()));
        assert!(ended.status == 2 && ended.stderr.contains(says), "{says}: {}", ended.stderr);
    };
    refused(&["command=tls://0.0.0.0:0"], "tls://0.0.0.0:0 can be reached from other machines");
    refused(&["--tls-client-ca", &ca, "command=0.0.0.0:0"], "give a --token-file, or serve it on tls://");

    let with_ca = ["--allow", "echo", "--tls-client-ca", &ca, "command=tls://0.0.0.0:0"];
    let (serve, lines) = start(&[&certificate[..], &with_ca].concat());
    let at = lines[0].replace("listening command tls://0.0.0.0:", "tls://localhost:");
    let (own, key) = (files.path("client.pem"), files.path("client.key"));
    let certified = ["--tls-ca", &ca, "--tls-cert", &own, "--tls-key", &key, &at, "echo who"];
    let ended = run(&mut command("command_client", &certified));
    assert_eq!((ended.status, &ended.stdout[..]), (0, "who\n"), "{}", ended.stderr);
    let ended = run(&mut command("command_client", &["--tls-ca", &ca, &at, "echo who"]));
    assert_eq!((ended.status, &ended.stdout[..]), (125, ""), "{}", ended.stderr);
    assert_eq!(serve.end_by(Signal::TERM).status, 0);
}
