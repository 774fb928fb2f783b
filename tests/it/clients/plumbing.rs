//! Standard streams of the clients in every state, and endpoints that are malformed.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serve_forever::Endpoint;
use tempfile::TempDir;

use crate::util::program::{Program, Serve, command, example, run};

/// All services that clients speak to, and a file.
struct Place {
    serve: Serve,
    directory: TempDir,
}

const ECHO: usize = 0;
const COMMAND: usize = 1;
const UPLOAD: usize = 2;

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("file"), "content\n").expect("a file");
        fs::create_dir(directory.path().join("there")).expect("a directory");
        let arguments = [
            "--shell".to_owned(),
            "--greeting=".into(),
            "--overwrite".into(),
            "--reply=stream".into(),
            format!("--dir={}", directory.path().join("there").display()),
            "echo=127.0.0.1:0".into(),
            "command=127.0.0.1:0".into(),
            "upload=127.0.0.1:0".into(),
        ];
        Self { serve: Serve::start(&arguments), directory }
    }

    fn file(&self) -> String {
        self.directory.path().join("file").to_str().expect("UTF-8").to_owned()
    }

    fn client(&self) -> Command {
        command("client", &[&self.serve.at(ECHO).to_string()])
    }

    fn command_client(&self, commands: &[&str]) -> Command {
        command("command_client", &[&[self.serve.at(COMMAND).to_string().as_str()], commands].concat())
    }

    fn upload_client(&self) -> Command {
        command("upload_client", &[self.serve.at(UPLOAD).to_string(), self.file()])
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("it is there")
}

#[test]
fn nothing_on_stdin_is_an_end() {
    let place = Place::new();
    for mut client in [place.client(), place.command_client(&[])] {
        let ended = run(client.stdin(Stdio::null()));
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    }
    // As `<&-` has it: closed.
    for (name, at) in [("client", ECHO), ("command_client", COMMAND)] {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$1\" <&-"]).arg(example(name)).arg(place.serve.at(at).to_string());
        let ended = run(&mut shell);
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    }
    place.serve.stop();
}

#[test]
fn a_stdin_that_cannot_be_read_is_told() {
    let place = Place::new();
    for (mut client, status) in [(place.client(), 1), (place.command_client(&[]), 125)] {
        let file = OpenOptions::new().write(true).open(place.file()).expect("it is there");
        let ended = run(client.stdin(file));
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""));
        assert!(ended.stderr.contains("standard input: "), "{}", ended.stderr);
        let ended = run(client.stdin(File::open(place.directory.path()).expect("it is there")));
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""));
        assert!(ended.stderr.contains("it is a directory"), "{}", ended.stderr);
    }
    place.serve.stop();
}

#[test]
fn a_stdout_whose_reader_has_left_is_told() {
    let place = Place::new();
    let file = File::open(place.file()).expect("it is there");
    let mut client = place.client();
    client.stdin(file);
    let endless = place.command_client(&["yes"]);
    for (mut client, status) in [(client, 1), (endless, 125)] {
        let (reader, writer) = std::io::pipe().expect("two descriptors");
        drop(reader);
        let errors = tempfile::tempfile().expect("a file");
        client.stdout(writer).stderr(errors.try_clone().expect("a descriptor is free"));
        let ended = Program::with_stderr(&mut client, errors).wait();
        assert_eq!(ended.status, status);
        assert!(ended.stderr.to_lowercase().contains("broken pipe"), "{}", ended.stderr);
    }
    // Whether a file is there does not hang on whether somebody is told.
    let (reader, writer) = std::io::pipe().expect("two descriptors");
    drop(reader);
    let output = place.upload_client().stdout(writer).output().expect("it can be started");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    place.serve.stop();
}

#[test]
fn a_stdout_that_is_full_is_told() {
    let place = Place::new();
    let file = File::open(place.file()).expect("it is there");
    let mut client = place.client();
    client.stdin(file);
    let commands = [&["yes"][..], &["echo important"], &["true", "printf x"]];
    let commands = commands.map(|commands| (place.command_client(commands), 125));
    // Whether all is there hangs on nothing; whether it was told does.
    let more = [(client, 1), (place.upload_client(), 1)];
    let help =
        ["client", "command_client", "upload_client", "serve"].map(|name| (command(name, &["--help"]), 1));
    for (mut client, status) in commands.into_iter().chain(more).chain(help) {
        let output = client.stdout(full()).output().expect("it can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains("standard output: ") && stderr.contains("No space left"), "{stderr}");
    }
    place.serve.stop();
}

// The status says how it went though there is nobody to hear why.
#[test]
fn a_stderr_that_is_full_or_unread_changes_no_exit_status() {
    let place = Place::new();
    let file = place.file();
    let nobody = "unix:/nonexistent/socket";
    for (name, arguments, status) in [
        ("client", &[nobody][..], 1),
        ("command_client", &[nobody, "true"], 125),
        ("upload_client", &[nobody, file.as_str()], 1),
        ("upload_client", &[nobody, "/nonexistent/file"], 2),
        ("client", &["nowhere"], 2),
        ("serve", &["echo=unix:/nonexistent/socket"], 2),
        ("serve", &["command=127.0.0.1:0"], 2),
    ] {
        let ended = command(name, arguments).stdout(Stdio::null()).stderr(full()).status();
        assert_eq!(ended.expect("it can be started").code(), Some(status), "{name} {arguments:?}");
        let (reader, writer) = std::io::pipe().expect("two descriptors");
        drop(reader);
        let ended = command(name, arguments).stdout(Stdio::null()).stderr(writer).status();
        assert_eq!(ended.expect("it can be started").code(), Some(status), "{name} {arguments:?}");
    }
    place.serve.stop();
}

/// Starts a program where `both` is a name of two addresses (hosts(5)), one of
/// each kind; skips the test by `None` where that cannot be had.
fn where_both_is_known(directory: &TempDir, program: &Path, arguments: &[&str]) -> Option<Command> {
    let hosts = directory.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n::1 both\n127.0.0.1 both\n").expect("a file");
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount --bind \"$0\" /etc/hosts && {script}");
        command.args(["-r", "-m", "sh", "-c", &script]).arg(&hosts);
        command
    };
    let known = within("getent ahosts both").output();
    if !known.is_ok_and(|known| String::from_utf8_lossy(&known.stdout).contains("::1")) {
        eprintln!("skipped: no program can be given names of its own here");
        return None;
    }
    let mut command = within("exec \"$@\"");
    command.arg(program).args(arguments).stdin(Stdio::null());
    Some(command)
}

/// A client, the service it speaks to, what stands before and behind the
/// address, and its exit status if it cannot connect.
type Kind<'a> = (PathBuf, &'a str, Vec<&'a str>, Vec<&'a str>, i32);

fn clients(file: &str) -> [Kind<'_>; 4] {
    let bench = Path::new(env!("CARGO_BIN_EXE_reactor-echo")).to_owned();
    [
        (example("client"), "echo", vec![], vec![], 1),
        (example("command_client"), "command", vec![], vec!["true"], 125),
        (example("upload_client"), "upload", vec![], vec![file], 1),
        (bench, "echo", vec!["bench", "-n1", "-c1", "--warmup=0", "--connect"], vec![], 1),
    ]
}

#[test]
fn every_address_of_a_name_is_tried() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "content\n").expect("a file");
    let there = format!("--dir={}", directory.path().display());
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        for (program, service, before, after, _) in clients(file.to_str().expect("UTF-8")) {
            let at = format!("{service}={host}:0");
            let serve = Serve::start(&["--shell", "--greeting=", "--overwrite", &there, &at]);
            let Endpoint::Tcp(bound) = serve.at(0) else { panic!("it is TCP") };
            let name = if host == "localhost" { host } else { "both" };
            let at = format!("{name}:{}", bound.port());
            let arguments = [before, vec![&at], after].concat();
            if let Some(mut command) = where_both_is_known(&directory, &program, &arguments) {
                let ended = run(&mut command);
                assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{} {host}", program.display());
            }
            serve.stop();
        }
    }
}

#[test]
fn each_address_that_was_tried_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a free port").port();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "content\n").expect("a file");
    let at = format!("tcp://both:{port}");
    for (program, _, before, after, status) in clients(file.to_str().expect("UTF-8")) {
        let arguments = [before, vec![&at], after].concat();
        let Some(mut command) = where_both_is_known(&directory, &program, &arguments) else { return };
        let ended = run(&mut command);
        assert_eq!(ended.status, status, "{}: {}", program.display(), ended.stderr);
        for address in [format!("[::1]:{port}"), format!("127.0.0.1:{port}")] {
            let says = format!("tcp://{address}: Connection refused");
            assert!(ended.stderr.contains(&says), "{}: {}", program.display(), ended.stderr);
        }
    }
}

#[test]
fn endpoints_that_make_no_sense_are_told() {
    let place = Place::new();
    let file = place.file();
    for (name, more) in
        [("client", None), ("command_client", Some("true")), ("upload_client", Some(file.as_str()))]
    {
        for (at, says) in [
            ("nowhere", "HOST:PORT"),
            ("127.0.0.1", "HOST:PORT"),
            ("127.0.0.1:http", "127.0.0.1:http"),
            ("udp://127.0.0.1:1", "for datagrams"),
            ("unixgram:/tmp/x", "for datagrams"),
            ("unix:", "the path is empty"),
            ("ftp://127.0.0.1:1", "ftp://127.0.0.1:1"),
        ] {
            let arguments: Vec<&str> = [at].into_iter().chain(more).collect();
            let ended = run(&mut command(name, &arguments));
            assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{name} {at}");
            assert!(ended.stderr.contains(says), "{name} {at}: {}", ended.stderr);
        }
        let nothing: [&str; 0] = [];
        let ended = run(&mut command(name, &nothing));
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
        let ended = run(&mut command(name, &["--help"]));
        assert!(ended.status == 0 && ended.stdout.contains("Exit status: "), "{name}: {}", ended.stdout);
    }
    for wrong in ["", " ", "two\nlines"] {
        let ended = run(&mut place.command_client(&["true", wrong]));
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{wrong:?}");
        assert!(ended.stderr.contains("one line"), "{}", ended.stderr);
    }
    place.serve.stop();
}
