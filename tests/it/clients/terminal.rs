//! The clients at a terminal.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::util::have;
use crate::util::program::{Program, Serve, Terminal, command};

/// Has a program run at a terminal that is its own: Ctrl-C reaches it.
fn at_terminal(terminal: &Terminal, program: &Command) -> Program {
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(program.get_program()).args(program.get_args());
    command.stdin(terminal.far()).stdout(terminal.far()).stderr(terminal.far());
    Program::with_stderr(&mut command, tempfile::tempfile().expect("a file"))
}

fn commands() -> Serve {
    Serve::start(&["--greeting=welcome", "--shell", "--reply=stream", "command=127.0.0.1:0"])
}

#[test]
fn commands_are_prompted_for_until_ctrl_d() {
    if !have("setsid") {
        return;
    }
    let serve = commands();
    let mut terminal = Terminal::new();
    let before = terminal.state();
    let mut client = at_terminal(&terminal, &command("command_client", &[&serve.at(0).to_string()]));
    terminal.expect("> ");
    assert_eq!(terminal.state(), before, "while it runs, others may use it");
    terminal.type_in("echo $((40 + 2))\n");
    terminal.expect("\r\n42\r\n");
    terminal.expect("> ");
    terminal.type_in("echo $((40 + 3)) >&2; exit 3\n");
    terminal.expect("\r\n43\r\n");
    terminal.expect("> ");
    terminal.type_in("\x04");
    assert_eq!(client.wait_alone().status, 3);
    assert_eq!(terminal.state(), before);
    serve.stop();
}

#[test]
fn no_prompt_is_shown_for_commands_that_are_arguments() {
    if !have("setsid") {
        return;
    }
    let serve = commands();
    let terminal = Terminal::new();
    let mut client =
        at_terminal(&terminal, &command("command_client", &[&serve.at(0).to_string(), "echo 42"]));
    assert_eq!(client.wait_alone().status, 0);
    assert_eq!(terminal.rest(), "welcome\r\n42\r\n");
    serve.stop();
}

#[test]
fn ctrl_c_ends_them_and_leaves_the_terminal_as_it_was() {
    if !have("setsid") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // Over TCP, a command would be finished before the server ends.
    let commands = format!("command=unix:{}", directory.path().join("socket").display());
    let serve = Serve::start(&["--greeting=welcome", "--shell", commands.as_str(), "chat=127.0.0.1:0"]);
    let (commands, chat) = (serve.at(0).to_string(), serve.at(1).to_string());
    for (name, arguments, shows) in [
        ("command_client", &[commands.as_str()][..], "> "),
        ("command_client", &[&commands, "sleep 10000"], "welcome"),
        ("client", &[&chat], "* you are guest1"),
    ] {
        let mut terminal = Terminal::new();
        let before = terminal.state();
        let mut client = at_terminal(&terminal, &command(name, arguments));
        terminal.expect(shows);
        terminal.type_in("\x03");
        assert_eq!(client.wait_alone().status, 130, "by the default action");
        assert_eq!(terminal.state(), before);
    }
    serve.stop();
}

#[test]
fn a_client_at_a_terminal_leaves_at_ctrl_d() {
    if !have("setsid") {
        return;
    }
    let serve = Serve::start(&["upper=127.0.0.1:0"]);
    let mut terminal = Terminal::new();
    let before = terminal.state();
    let mut client = at_terminal(&terminal, &command("client", &[&serve.at(0).to_string()]));
    terminal.type_in("hello\n");
    terminal.expect("hello\r\nHELLO\r\n");
    terminal.type_in("\x04");
    assert_eq!(client.wait_alone().status, 0);
    assert_eq!(terminal.state(), before);
    serve.stop();
}

#[test]
fn a_progress_bar_is_on_a_terminal_and_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("film.mkv");
    // More than is queued at once, so that the bar is seen; and not so much
    // that the terminal, which nobody reads until the end, could become full.
    File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let there = directory.path().join("there");
    std::fs::create_dir(&there).expect("a directory");
    let serve = Serve::start(&[&format!("--dir={}", there.display()), "--overwrite", "upload=127.0.0.1:0"]);
    let at = serve.at(0).to_string();
    for (options, shows) in [(&[][..], true), (&["--quiet"], false)] {
        let terminal = Terminal::new();
        let before = terminal.state();
        let arguments: Vec<&str> = options.iter().copied().chain([at.as_str(), path]).collect();
        let mut client = command("upload_client", &arguments);
        client.env_remove("NO_COLOR").env("TERM", "xterm").stdout(Stdio::piped()).stderr(terminal.far());
        let mut client = Program::with_stderr(&mut client, tempfile::tempfile().expect("a file"));
        let ended = client.wait_alone();
        assert_eq!(ended.status, 0);
        assert_eq!(ended.stdout, if shows { format!("{path}: {} bytes\n", 4 << 20) } else { String::new() });
        assert_eq!(terminal.state(), before);
        let seen = terminal.rest();
        if shows {
            assert!(seen.contains("/4.00 MiB") && seen.contains("film.mkv"), "{seen:?}");
            // And the line is as though there had been none.
            let last = seen.rsplit('\r').next().unwrap_or_default();
            assert!(last.trim_start_matches("\x1b[2K").is_empty(), "{last:?}");
        } else {
            assert_eq!(seen, "");
        }
    }
    serve.stop();
}
