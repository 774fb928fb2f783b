//! TLS over real sockets: what the options do, and other programs at the other end.
//! A test whose program is not installed says so, and tests nothing.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::tls::{ClientCertificates, ClientOptions, Identity, Roots, Server, ServerOptions, Tls};
use serve_forever::{
    BoxError, CloseReason, Config, ConnectOptions, Endpoint, Handle, Io, Limits, ListenOptions, Origin,
    Reactor, StreamHandler, tls,
};

use super::util::certificates::CERTIFICATES;

/// What a client has agreed on with the server, and how its connection ended.
#[derive(Clone, Debug, Default)]
struct Seen {
    version: String,
    alpn: Option<Vec<u8>>,
    certificate: Vec<u8>,
    is_resumed: bool,
    answer: Vec<u8>,
    end: String,
}

/// Says hello through TLS, and ends its side when it has come back.
#[derive(Default)]
struct Hello {
    seen: Vec<Seen>,
}

impl StreamHandler for Hello {
    type Session = usize;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<usize, BoxError> {
        let tls = io.layer::<Tls>(io.id()).ok_or("it has a layer")?;
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        self.seen.push(Seen {
            version: format!("{:?}", tls.version().ok_or("the handshake is complete")?),
            alpn: tls.alpn().map(<[u8]>::to_vec),
            certificate: certificate.ok_or("a server has one")?.to_vec(),
            is_resumed: tls.is_resumed(),
            ..Seen::default()
        });
        io.reply(b"hello");
        Ok(self.seen.len() - 1)
    }

    fn data(&mut self, io: &mut Io<'_>, place: &mut usize, input: &mut BytesMut) -> Result<(), BoxError> {
        let answer = &mut self.seen[*place].answer;
        answer.extend_from_slice(&input.split());
        if answer.len() == 5 {
            io.finish(io.id());
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, place: usize, why: &CloseReason) {
        self.seen[place].end = format!("{why}");
        io.shutdown(Duration::ZERO);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &std::io::Error) {
        self.seen.push(Seen { end: format!("not connected: {error}"), ..Seen::default() });
        io.shutdown(Duration::ZERO);
    }
}

fn server(options: ServerOptions) -> Server {
    Server::new(&options).expect("good options")
}

fn client(change: impl FnOnce(&mut ClientOptions)) -> tls::Client {
    let mut options = ClientOptions::new(CERTIFICATES.roots());
    change(&mut options);
    tls::Client::new(&options).expect("good options")
}

/// One connection of a client to an echo behind TLS, in one reactor.
fn meet(at: &Endpoint, server: &Server, client: &tls::Client, name: &str) -> Seen {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let options = ListenOptions { layer: Some(server.factory()), ..ListenOptions::default() };
    let listener = reactor.listen_with(&echo, at, &options).expect("a free endpoint");
    let at = reactor.local(listener).expect("it listens").clone();
    let hello = reactor.add(Hello::default(), Limits::default()).expect("good limits");
    let options = ConnectOptions { layer: Some(client.layer(name).expect("a good name")) };
    reactor.connect_with(&hello, &at, 0, options).expect("there is room");
    reactor.serve_forever().expect("it ends");
    reactor.get(&hello).seen.first().cloned().expect("it is answered")
}

fn anywhere() -> Endpoint {
    "127.0.0.1:0".parse().expect("an endpoint")
}

fn own(identity: &Identity) -> &[u8] {
    &identity.certificates()[0]
}

#[test]
fn both_kinds_of_sockets_carry_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for at in [anywhere(), Endpoint::Unix(directory.path().join("tls"))] {
        let seen = meet(&at, &CERTIFICATES.tls_server(), &CERTIFICATES.tls_client(), "localhost");
        assert_eq!(
            (&seen.version[..], &seen.answer[..], &seen.end[..]),
            ("TLSv1_3", &b"hello"[..], "both sides finished")
        );
    }
}

#[test]
fn a_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let identities = vec![CERTIFICATES.server.identity(), CERTIFICATES.other.identity()];
    let tls = server(ServerOptions { identities: identities.clone(), ..ServerOptions::default() });
    for (name, place) in [("other.test", 1), ("server.test", 0), ("127.0.0.1", 0)] {
        let seen = meet(&anywhere(), &tls, &CERTIFICATES.tls_client(), name);
        assert_eq!(seen.certificate, own(&identities[place]), "{name}");
    }
    // Of an unknown name the first is shown, and the client refuses it.
    let seen = meet(&anywhere(), &tls, &CERTIFICATES.tls_client(), "nobody.test");
    assert!(seen.end.contains("certificate is refused"), "{}", seen.end);
    // Unless it believes anybody.
    let trusting = client(|options| options.roots = Roots::insecure());
    assert_eq!(meet(&anywhere(), &tls, &trusting, "nobody.test").answer, b"hello");
}

#[test]
fn certificates_are_exchanged_while_it_runs_and_sessions_are_resumed() {
    let tls = CERTIFICATES.tls_server();
    let client = client(|options| options.roots = Roots::insecure());
    let first = meet(&anywhere(), &tls, &client, "server.test");
    assert!(!first.is_resumed);
    assert!(meet(&anywhere(), &tls, &client, "server.test").is_resumed);
    let options =
        ServerOptions { identities: vec![CERTIFICATES.other.identity()], ..ServerOptions::default() };
    tls.replace(&options).expect("good options");
    let seen = meet(&anywhere(), &tls, &client, "server.test");
    assert_eq!((seen.is_resumed, &seen.certificate[..]), (false, own(&options.identities[0])));
    let error = tls.replace(&ServerOptions::default()).expect_err("there is no certificate").to_string();
    assert!(error.contains("give one identity or more"), "{error}");
    assert_eq!(meet(&anywhere(), &tls, &client, "server.test").certificate, seen.certificate);
    let none = server(ServerOptions { sessions: 0, ..options });
    meet(&anywhere(), &none, &client, "server.test");
    assert!(!meet(&anywhere(), &none, &client, "server.test").is_resumed);
}

#[test]
fn a_protocol_is_agreed_on() {
    let alpn = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    let identities = vec![CERTIFICATES.server.identity()];
    let tls =
        server(ServerOptions { identities, alpn: alpn(&["h2", "http/1.1"]), ..ServerOptions::default() });
    let named = |names: &[&str]| client(|options| options.alpn = alpn(names));
    assert_eq!(meet(&anywhere(), &tls, &named(&["http/1.1"]), "localhost").alpn, Some(b"http/1.1".to_vec()));
    assert_eq!(meet(&anywhere(), &tls, &named(&[]), "localhost").alpn, None);
    let seen = meet(&anywhere(), &tls, &named(&["smtp"]), "localhost");
    assert!(seen.end.contains("NoApplicationProtocol: it has no protocol"), "{}", seen.end);
}

#[test]
fn a_client_shows_its_certificate_where_one_is_wanted() {
    let asking = |clients| {
        let identities = vec![CERTIFICATES.server.identity()];
        server(ServerOptions { identities, clients, ..ServerOptions::default() })
    };
    let required = asking(ClientCertificates::Required(CERTIFICATES.roots()));
    let asked = asking(ClientCertificates::Asked(CERTIFICATES.roots()));
    let known = client(|options| options.identity = Some(CERTIFICATES.client.identity()));
    let stranger = client(|options| options.identity = Some(CERTIFICATES.stranger.identity()));
    let none = CERTIFICATES.tls_client();
    for (tls, client, says) in [
        (&required, &known, "both sides finished"),
        (&required, &none, "CertificateRequired: it requires a certificate of ours"),
        (&required, &stranger, "the peer sent the alert"),
        (&asked, &known, "both sides finished"),
        (&asked, &none, "both sides finished"),
        (&asked, &stranger, "the peer sent the alert"),
    ] {
        let seen = meet(&anywhere(), tls, client, "localhost");
        assert!(seen.end.contains(says), "{says}: {}", seen.end);
        assert_eq!(seen.answer.is_empty(), says != "both sides finished");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_what_would_be_right() {
    let (server, other) = (&CERTIFICATES.server, &CERTIFICATES.other);
    let said = |chain: &str, key: &str| {
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("it cannot be used").to_string()
    };
    assert!(said(&server.certificate, &other.key).contains("give a key that belongs to the certificate"));
    assert!(said("nothing", &server.key).contains("give PEM with BEGIN CERTIFICATE"));
    assert!(said(&server.certificate, "nothing").contains("give one key in PEM"));
    let error =
        Identity::from_pem_files("/nowhere/chain.pem", "/nowhere/key.pem").expect_err("they are not there");
    assert!(error.to_string().contains("/nowhere/chain.pem"), "{error}");
    assert!(Roots::from_pem(b"").is_err());
}

/// An echo behind TLS in a thread of its own, until it is dropped.
struct Running {
    port: u16,
    handle: Handle<Echo>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn new(options: ServerOptions) -> Self {
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut reactor = Reactor::new(Config::default()).expect("a reactor");
            let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
            let options =
                ListenOptions { layer: Some(server(options).factory()), ..ListenOptions::default() };
            let listener = reactor.listen_with(&echo, &anywhere(), &options).expect("a free port");
            let Some(Endpoint::Tcp(at)) = reactor.local(listener) else { panic!("it is TCP") };
            send.send((at.port(), reactor.handle(&echo))).expect("it is awaited");
            reactor.serve_forever().expect("it ends");
        });
        let (port, handle) = receive.recv().expect("it listens");
        Self { port, handle, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown(Duration::from_secs(5));
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking());
    }
}

/// Says that a program is not there. False if it is.
fn lacks(program: &str) -> bool {
    let lacks =
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if lacks {
        eprintln!("SKIPPED: {program} is not installed");
    }
    lacks
}

/// Runs a program with this input to its end, and returns what it has said.
#[track_caller]
fn output(command: &mut Command, input: &[u8]) -> (bool, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // It may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it does not panic");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn plain_options() -> ServerOptions {
    ServerOptions { identities: vec![CERTIFICATES.server.identity()], ..ServerOptions::default() }
}

#[test]
fn openssl_talks_to_it_in_both_versions() {
    if lacks("openssl") {
        return;
    }
    let (echo, files) = (Running::new(plain_options()), CERTIFICATES.files());
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-no_ign_eof",
            "-verify_return_error",
            "-servername",
            "localhost",
        ]);
        command.args(["-verify_hostname", "localhost", flag, "-CAfile"]).arg(files.path("ca.pem"));
        command.args(["-connect", &format!("127.0.0.1:{}", echo.port)]);
        // At the end of its input it ends at once, perhaps before the echo has come.
        let script = "(printf 'hello from openssl\\n'; sleep 1) | \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", "openssl"]).args(command.get_args());
        let (_, said) = output(&mut shell, b"");
        assert!(said.contains("hello from openssl"), "{version}: {said}");
    }
    let mut old = Command::new("openssl");
    old.args(["s_client", "-tls1_1", "-connect", &format!("127.0.0.1:{}", echo.port)]);
    let (success, said) = output(&mut old, b"");
    assert!(!success, "TLS 1.1 is refused: {said}");
}

/// What Python's `ssl` does with an echo: `arguments` are the port, the authority, the
/// version, how many bytes, and a certificate with its key.
///
/// It sends and receives in one thread: OpenSSL's `SSL` is not for two threads at once
/// (openssl-threads(7)), and CPython 3.11 does not lock it. With a thread for each side,
/// `sendall` returned while the last record had not left.
const PYTHON: &str = r"
import hashlib, select, socket, ssl, sys
port, authority, version, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context(cafile=authority)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
if len(sys.argv) > 5:
    context.load_cert_chain(sys.argv[5], sys.argv[6])
data = memoryview(hashlib.shake_128(b'seed').digest(size))
digest, sent, got = hashlib.sha256(), 0, 0

def unless_it_waits(step, *arguments):
    try:
        return step(*arguments)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None

with socket.create_connection(('127.0.0.1', port)) as raw:
    with context.wrap_socket(raw, server_hostname='localhost') as tls:
        tls.setblocking(False)
        while got < size:
            taken = unless_it_waits(tls.send, data[sent:sent + 65536]) if sent < size else None
            piece = unless_it_waits(tls.recv, 65536)
            if piece == b'':
                sys.exit(f'ended early: {sent} sent, {got} received')
            if piece:
                digest.update(piece)
                got += len(piece)
            if taken:
                sent += taken
            if not taken and not piece:
                if not any(select.select([tls], [tls] if sent < size else [], [], 60)):
                    sys.exit(f'silent for 60 s: {sent} sent, {got} received')
        print('same', digest.digest() == hashlib.sha256(data).digest(), tls.version())
        tls.settimeout(60)
        tls.unwrap()  # fails unless the server ends in the way of TLS
        print('ended in order')
";

fn python(port: u16, version: &str, size: usize, identity: Option<&str>) -> (bool, String) {
    let files = CERTIFICATES.files();
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, &port.to_string()]).arg(files.path("ca.pem"));
    command.args([version, &size.to_string()]);
    if let Some(name) = identity {
        command.args([files.path(&format!("{name}.pem")), files.path(&format!("{name}.key"))]);
    }
    output(&mut command, b"")
}

#[test]
fn python_gets_back_what_it_sends_and_an_end_in_order() {
    if lacks("python3") {
        return;
    }
    let echo = Running::new(plain_options());
    for version in ["TLSv1_2", "TLSv1_3"] {
        let (success, said) = python(echo.port, version, 4 << 20, None);
        assert!(
            success && said.contains("same True") && said.contains("ended in order"),
            "{version}: {said}"
        );
    }
}

#[test]
fn python_shows_its_certificate_and_is_refused_without_one() {
    if lacks("python3") {
        return;
    }
    let clients = ClientCertificates::Required(CERTIFICATES.roots());
    let echo = Running::new(ServerOptions { clients, ..plain_options() });
    for version in ["TLSv1_2", "TLSv1_3"] {
        let (success, said) = python(echo.port, version, 1000, Some("client"));
        assert!(success && said.contains("same True"), "{version}: {said}");
        let (success, said) = python(echo.port, version, 1000, None);
        assert!(!success && said.to_lowercase().contains("alert"), "{version}: {said}");
        let (success, said) = python(echo.port, version, 1000, Some("stranger"));
        assert!(!success && said.to_lowercase().contains("alert"), "{version}: {said}");
    }
}

#[test]
fn a_client_that_speaks_plain_http_gets_an_alert_and_an_end() {
    use std::io::Read;
    let echo = Running::new(plain_options());
    let mut socket =
        std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], echo.port))).expect("it listens");
    socket.set_read_timeout(Some(super::util::PATIENCE)).expect("a socket");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut got = Vec::new();
    // Behind the alert, what was not read may reset it.
    let _ = socket.read_to_end(&mut got);
    assert!(got.is_empty() || got[0] == 21, "{got:?}");
}
