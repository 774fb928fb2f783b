//! The console, whose operator is at the program's own stdin and stdout.

use std::fs::File;
use std::process::Stdio;
use std::thread;

use crate::util::program::{Program, Serve, Signal, Terminal, command, listening};
use crate::util::{Client, noise};

fn console(framing: &str) -> Serve {
    Serve::start(&["--framing", framing, "console=127.0.0.1:0", "echo=127.0.0.1:0"])
}

/// Who the operator is shown this client as.
fn who(client: &Client, number: u32) -> String {
    format!("#{number} {}", client.0.local_addr().expect("it is bound").as_socket().expect("it is TCP"))
}

#[test]
fn an_operator_on_pipes_answers_its_clients() {
    let mut serve = console("lines");
    let (first, second) = (serve.connect(0), serve.connect(0));
    let (one, two) = (who(&first, 1), who(&second, 2));
    serve.program.expect_line(&format!("* {one} joined"));
    serve.program.expect_line(&format!("* {two} joined"));
    first.send("hello\r\n\x1b[2Jthere\n");
    serve.program.expect_line(&format!("{one} | hello"));
    serve.program.expect_line(&format!("{one} | [2Jthere"));
    serve.program.type_in("hello you\n#2 and you\n@all and all\n/who\n/kick 2\nstill there?\n#2 no\n");
    first.expect("hello you\nand all\nstill there?\n");
    second.expect("and you\nand all\n");
    second.expect_eof();
    serve.program.expect_line(&format!("* {one}"));
    serve.program.expect_line(&format!("* {two}"));
    serve.program.expect_line(&format!("* {two} left"));
    serve.program.expect_line("! no such client #2");
    first.send("exit\n");
    first.expect_eof();
    serve.program.expect_line(&format!("* {one} left"));
    serve.program.type_in("anybody?\n");
    serve.program.expect_line("! nobody to answer");
    drop((first, second));
    serve.stop();
}

#[test]
fn in_chunks_a_client_gets_the_text_alone() {
    let mut serve = console("chunk");
    let client = serve.connect(0);
    let who = who(&client, 1);
    serve.program.expect_line(&format!("* {who} joined"));
    client.send("one\ntwo");
    serve.program.expect_line(&format!("{who} | one two"));
    serve.program.type_in("fine\n");
    client.expect("fine");
    serve.program.type_in("/kick #1\n");
    client.expect_eof();
    serve.program.expect_line(&format!("* {who} left"));
    drop(client);
    serve.stop();
}

#[test]
fn its_operator_can_quit() {
    let mut serve = console("lines");
    let client = serve.connect(0);
    serve.program.line();
    serve.program.type_in("@all good night\n/quit\n");
    client.expect("good night\n");
    client.expect_eof();
    let ended = serve.program.wait_alone(); // its stdin stays open
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

#[test]
fn the_end_of_its_stdin_stops_nothing() {
    for stdin in ["at an end", "/dev/null", "a file"] {
        let arguments = ["console=127.0.0.1:0", "echo=127.0.0.1:0"];
        let mut command = command("serve", &arguments);
        let errors = tempfile::tempfile().expect("a file");
        let orders = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(orders.path(), "hello\n/who").expect("a file");
        command.stdout(Stdio::piped()).stderr(errors.try_clone().expect("a descriptor is free")).stdin(
            match stdin {
                "at an end" => Stdio::piped(),
                "a file" => File::open(orders.path()).expect("it is there").into(),
                _ => Stdio::null(),
            },
        );
        let mut program = Program::with_stderr(&mut command, errors);
        drop(program.stdin.take());
        let serve = Serve::listen(program, &arguments);
        if stdin == "a file" {
            serve.program.expect_line("! nobody to answer");
        }
        let client = serve.connect(0);
        let who = who(&client, 1);
        serve.program.expect_line(&format!("* {who} joined"));
        client.send("hello\n");
        serve.program.expect_line(&format!("{who} | hello"));
        let echo = serve.connect(1);
        echo.send("echo");
        echo.expect("echo");
        serve.stop();
    }
}

#[test]
fn an_operator_who_does_not_read_pauses_its_clients_and_nobody_else() {
    let (stdout, writer) = std::io::pipe().expect("two descriptors");
    let mut command = command("serve", &["console=127.0.0.1:0", "echo=127.0.0.1:0"]);
    let errors = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::piped()).stdout(writer).stderr(errors.try_clone().expect("a descriptor is free"));
    let program = Program::with_stderr(&mut command, errors);
    drop(command); // it holds the other end, too
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let mut line = || lines.next().expect("it has not ended").expect("UTF-8");
    let (_, console) = listening(&line());
    let (_, echo) = listening(&line());
    let client = Client::connect(&console);
    let who = who(&client, 1);
    let text = "x".repeat(999);
    let requests = format!("{text}\n").repeat(64 << 10); // 64 MB, which nothing holds
    let sent = client.fill(requests.as_bytes());
    assert!(sent < requests.len(), "it was paused");
    let other = Client::connect(&echo);
    other.send("still here");
    other.expect("still here");

    let writing = client.share();
    let rest = thread::spawn(move || writing.send(&requests.as_bytes()[sent..]));
    assert_eq!(line(), format!("* {who} joined"));
    for _ in 0..64 << 10 {
        assert_eq!(line(), format!("{who} | {text}"));
    }
    rest.join().expect("all of it was sent");
    assert_eq!(program.end_by(Signal::TERM).status, 0);
}

#[test]
fn an_operator_who_has_left_stops_nothing() {
    let (stdout, writer) = std::io::pipe().expect("two descriptors");
    let mut command = command("serve", &["console=127.0.0.1:0", "echo=127.0.0.1:0"]);
    let errors = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::null()).stdout(writer).stderr(errors.try_clone().expect("a descriptor is free"));
    let program = Program::with_stderr(&mut command, errors);
    drop(command);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let mut line = || lines.next().expect("it has not ended").expect("UTF-8");
    let (_, console) = listening(&line());
    let (_, echo) = listening(&line());
    drop(lines);
    let client = Client::connect(&console);
    client.send(format!("{}\n", "x".repeat(9999)).repeat(1000)); // 10 MB, which nobody holds
    client.finish();
    client.expect_eof();
    let other = Client::connect(&echo);
    let bytes = noise(10_000);
    other.send(&bytes);
    other.expect(&bytes);
    assert_eq!(program.end_by(Signal::TERM).status, 0);
}

#[test]
fn an_operator_at_a_terminal_finds_it_as_it_was() {
    let mut terminal = Terminal::new();
    let before = terminal.state();
    let mut command = command("serve", &["console=127.0.0.1:0"]);
    command.stdin(terminal.far()).stdout(terminal.far());
    let errors = tempfile::tempfile().expect("a file");
    command.stderr(errors.try_clone().expect("a descriptor is free"));
    let mut program = Program::with_stderr(&mut command, errors);
    let line = terminal.expect("\r\n");
    let (_, at) = listening(line.trim_end());
    let client = Client::connect(&at);
    let who = who(&client, 1);
    terminal.expect(&format!("* {who} joined\r\n"));
    client.send("hello\n");
    terminal.expect(&format!("{who} | hello\r\n"));
    assert_eq!(terminal.state(), before, "while it runs, others may use it");
    terminal.type_in("hello yourself\n");
    client.expect("hello yourself\n");
    terminal.type_in("\x04"); // Ctrl-D
    client.send("still there?\n");
    terminal.expect(&format!("{who} | still there?\r\n"));
    program.signal(Signal::INT);
    client.expect_eof();
    assert_eq!(program.wait_alone().status, 0);
    assert_eq!(terminal.state(), before);
}
