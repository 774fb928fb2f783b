//! The options of `serve`, each with its effect.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::util::program::{Program, Serve, Signal, example, is_gone, wait_until};
use crate::util::{Client, DatagramClient, noise};

/// A server of commands without a greeting, with these options besides.
fn commands(options: &[&str]) -> Serve {
    Serve::start(&[options, &["--greeting=", "command=127.0.0.1:0"]].concat())
}

/// An upload service into this directory.
fn uploads(directory: &Path, options: &[&str]) -> Serve {
    let directory = format!("--dir={}", directory.display());
    Serve::start(&[options, &[directory.as_str(), "upload=127.0.0.1:0"]].concat())
}

/// The next byte, of a client that knows no delimiter: what one read returns.
#[track_caller]
fn one_read(client: &Client) -> String {
    let mut buffer = vec![0; 1024];
    let count = (&client.0).read(&mut buffer).expect("the server answers");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn max_connections_counts_the_whole_process_and_nothing_of_its_own() {
    let arguments =
        ["-vv", "--max-connections=3", "echo=127.0.0.1:0", "chat=127.0.0.1:0", "console=127.0.0.1:0"];
    let serve = Serve::start(&arguments);
    let echo = serve.connect(0);
    echo.send("one");
    echo.expect("one");
    let chat = serve.connect(1);
    chat.expect("* you are guest1\n");
    let console = serve.connect(2);
    assert!(serve.program.line().ends_with(" joined"));
    for place in 0..3 {
        serve.connect(place).assert_closed();
    }
    drop(console);
    assert!(serve.program.line().ends_with(" left"));
    let again = serve.connect(0);
    again.send("two");
    again.expect("two");
    serve.connect(1).assert_closed();
    serve.program.signal(Signal::TERM);
    let ended = serve.program.wait();
    assert_eq!(ended.status, 0);
    let told = ended.stderr.matches("too many connections: Config::max_connections is ").count();
    assert!(told > 0 && ended.stderr.matches("max_connections is 3\n").count() == told, "{}", ended.stderr);
}

// The pipes of the commands are no clients.
#[test]
fn whoever_is_let_in_can_have_its_command_run() {
    for reply in ["framed", "stream"] {
        let serve = commands(&["--max-connections", "2", "--shell", "--reply", reply]);
        let clients = [serve.connect(0), serve.connect(0)];
        for client in &clients {
            client.send("echo one\n");
        }
        for client in &clients {
            client.expect(if reply == "framed" { "info|4|0\none\n" } else { "out|4\none\nexit|0\n" });
        }
        serve.connect(0).assert_closed();
        serve.stop();
    }
}

#[test]
fn idle_takes_fractions_and_zero_switches_it_off() {
    let idle = Serve::start(&["--idle=0.25", "echo=127.0.0.1:0", "chat=127.0.0.1:0", "console=127.0.0.1:0"]);
    let never = Serve::start(&["--idle=0", "echo=127.0.0.1:0"]);
    let kept = never.connect(0);
    let began = Instant::now();
    let echo = idle.connect(0);
    echo.send("one");
    echo.expect("one");
    echo.expect_eof();
    assert!(began.elapsed() >= Duration::from_millis(250));
    let chat = idle.connect(1);
    chat.expect("* you are guest1\n");
    chat.expect_eof();
    let console = idle.connect(2);
    console.expect_eof();
    kept.send("two");
    kept.expect("two");
    never.stop();
    drop((echo, chat, console));
    assert_eq!(idle.program.end_by(Signal::TERM).status, 0);
}

#[test]
fn bytes_in_either_direction_are_activity() {
    let serve = commands(&["--idle=1", "--shell", "--reply=stream"]);
    let client = serve.connect(0);
    client.send("for n in 1 2 3 4 5 6 7 8 9; do echo $n; sleep 0.2; done\n");
    for n in 1..10 {
        client.expect(format!("out|2\n{n}\n"));
    }
    client.expect("exit|0\n");
    client.expect_eof(); // and then there is none
    drop(client);
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
}

#[test]
fn framing_speaks_to_once_command_upload_and_console() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = [
        "--framing=chunk".to_owned(),
        "--once-text=until tomorrow".into(),
        "--shell".into(),
        "--gap=200".into(),
        format!("--dir={}", directory.path().display()),
        "once=127.0.0.1:0".into(),
        "once=udp://127.0.0.1:0".into(),
        "command=127.0.0.1:0".into(),
        "upload=127.0.0.1:0".into(),
        "chat=127.0.0.1:0".into(),
    ];
    let serve = Serve::start(&arguments);
    let once = serve.connect(0);
    once.send("no line end");
    once.expect("until tomorrow");
    once.expect_eof();
    drop(once);
    let once = DatagramClient::connect(serve.at(1), None);
    once.send("");
    once.expect("until tomorrow");
    let command = serve.connect(2);
    assert_eq!(one_read(&command), "欢迎登录");
    command.send("echo one; exit 3");
    assert_eq!(one_read(&command), "info|4");
    assert_eq!(one_read(&command), "one\n");
    command.send("true \r\n");
    assert_eq!(one_read(&command), "info|0");
    let upload = serve.connect(3);
    upload.send("post|0|empty");
    wait_until("the file is there", || directory.path().join("empty").exists());
    let chat = serve.connect(4);
    chat.send("/who\n");
    chat.expect("* you are guest1\n* guest1\n");
    drop((command, upload, chat));
    serve.stop();
}

#[test]
fn in_lines_a_greeting_ends_and_an_empty_one_is_not_sent() {
    let serve = Serve::start(&["--shell", "--greeting", "welcome to it", "command=127.0.0.1:0"]);
    serve.connect(0).expect("welcome to it\n");
    serve.stop();
    let serve = commands(&["--shell"]);
    let client = serve.connect(0);
    client.send("\n\ntrue\n");
    client.expect("info|0|0\n");
    serve.stop();
}

#[test]
fn an_acknowledgement_takes_the_place_of_the_gap() {
    let serve = commands(&["--shell", "--framing=chunk", "--ack"]);
    let client = serve.connect(0);
    for _ in 0..3 {
        client.send("echo one");
        assert_eq!(one_read(&client), "info|4");
        client.send("go on");
        assert_eq!(one_read(&client), "one\n");
    }
    // It is waited for also where nothing comes after it.
    client.send("true");
    assert_eq!(one_read(&client), "info|0");
    client.send("echo this is the word");
    let client = serve.connect(0);
    client.send("echo never");
    assert_eq!(one_read(&client), "info|6");
    client.finish(); // in its place
    client.expect_eof();
    serve.stop();
}

#[test]
fn each_kind_of_reply_is_as_it_is_called() {
    let line = "echo out; sleep 0.1; echo err >&2; exit 5\n";
    for (reply, expected) in [
        ("framed", "info|8|5\nout\nerr\n"),
        ("raw", "out\nerr\n"),
        ("stream", "out|4\nout\nerr|4\nerr\nexit|5\n"),
    ] {
        let serve = commands(&["--shell", "--reply", reply]);
        let client = serve.connect(0);
        client.send(line);
        client.expect(expected);
        client.send("true\n");
        client.finish();
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert_eq!(
            rest,
            if reply == "framed" {
                "info|0|0\n"
            } else if reply == "raw" {
                "no output!"
            } else {
                "exit|0\n"
            }
        );
        serve.stop();
    }
}

#[test]
fn allowed_programs_run_without_a_shell_and_others_are_refused() {
    let serve = commands(&["--allow", "echo", "--allow", "printf"]);
    let client = serve.connect(0);
    client.send("echo 'a  b' $HOME\nprintf '%s|' 1 2\nls\n/bin/echo x\necho 'open\n");
    client.expect("info|11|0\na  b $HOME\ninfo|4|0\n1|2|");
    for status in ["refused", "refused", "failed"] {
        let header = client.line();
        let parts: Vec<&str> = header.trim_end().split('|').collect();
        assert_eq!((parts[0], parts[2]), ("info", status));
        assert!(!client.take(parts[1].parse().expect("a length")).is_empty(), "it says why");
    }
    serve.stop();
}

#[test]
fn the_token_of_the_file_has_to_come_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    fs::write(&path, "open sesame\r\n").expect("a file");
    let arguments = [
        "--token-file".to_owned(),
        path.to_str().expect("UTF-8").into(),
        "--shell".into(),
        "command=127.0.0.1:0".into(),
        format!("command=unix:{}", directory.path().join("socket").display()),
        "command=0.0.0.0:0".into(),
    ];
    let serve = Serve::start(&arguments);
    for place in 0..2 {
        for wrong in ["open sesam\n", "echo 1\n", "\n", "open sesame \n"] {
            let client = serve.connect(place);
            client.send(wrong);
            client.expect_eof(); // without a word
        }
        let client = serve.connect(place);
        client.send("open sesame\necho 1\n");
        client.expect("欢迎登录\ninfo|2|0\n1\n");
    }
    let ended = serve.program.end_by(Signal::TERM);
    assert_eq!((ended.status, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.contains("a wrong token") && !ended.stderr.contains("sesame"), "{}", ended.stderr);
}

#[test]
fn a_command_has_its_time_and_its_room() {
    let serve = commands(&["--shell", "--command-timeout=0.25", "--command-output=20"]);
    let client = serve.connect(0);
    client.send("echo $$; exec sleep 10000\n");
    let header = client.line();
    let length = header.strip_prefix("info|").and_then(|rest| rest.strip_suffix("|timeout\n"));
    let pid = client.take(length.and_then(|length| length.parse().ok()).expect("a length"));
    let pid = String::from_utf8_lossy(&pid).trim().parse().expect("a number");
    assert!(is_gone(pid));
    client.send("printf %20d 1\nprintf %21d 1; sleep 10000\n");
    let (fits, too_much) = (format!("{:20}", 1), " ".repeat(20));
    client.expect(format!("info|20|0\n{fits}info|20|truncated\n{too_much}"));
    serve.stop();

    let serve = commands(&["--shell", "--command-output=5", "--reply=stream"]);
    let client = serve.connect(0);
    client.send("printf 123456; sleep 10000\n");
    client.expect("out|5\n12345exit|truncated\n");
    serve.stop();
}

#[test]
fn the_largest_output_that_can_be_asked_for_is_taken() {
    let most = usize::MAX.to_string();
    for reply in ["framed", "raw", "stream"] {
        let serve = commands(&["--shell", "--command-output", &most, "--reply", reply]);
        let client = serve.connect(0);
        client.send("echo 1; exit\n");
        client.finish();
        assert!(String::from_utf8_lossy(&client.rest()).contains("1\n"));
        serve.stop();
    }
}

#[test]
fn uploads_go_where_they_are_to_and_are_no_larger() {
    let directory = tempfile::tempdir().expect("a directory");
    let serve = uploads(directory.path(), &["--max-upload=1000"]);
    let client = serve.connect(0);
    let content = noise(1000);
    client.send("post|1000|a|b\n");
    client.send(&content);
    client.expect("ok|1000|a|b\n");
    assert!(fs::read(directory.path().join("a|b")).expect("it came") == content);
    client.send("post|1001|large\n");
    client.expect("err|too large\n");
    client.expect_eof();
    drop(client);
    let client = serve.connect(0);
    client.send("post|1|a|b\nx");
    client.expect("err|exists\n");
    client.expect_eof();
    drop(client);
    serve.stop();
    let left: Vec<_> = fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// The names of a process's threads, by proc(5).
pub(super) fn threads_of(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let comm = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(comm).collect()
}

#[test]
fn workers_write_uploads_unless_they_are_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let is_worker = |name: &String| name.starts_with("worker");
    let serve = uploads(directory.path(), &[]);
    // A thread names itself.
    wait_until("it has workers", || threads_of(serve.program.pid()).iter().any(is_worker));
    serve.stop();

    let recording = format!("--record={}", directory.path().join("recording").display());
    let serve = uploads(directory.path(), &[&recording]);
    let client = serve.connect(0);
    client.send("post|3|name\none");
    client.expect("ok|3|name\n");
    let threads = threads_of(serve.program.pid());
    assert!(!threads.iter().any(is_worker), "{threads:?}");
    serve.stop();
}

#[test]
fn overwrite_replaces_files_and_sync_is_none_the_less_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let serve = uploads(directory.path(), &["--overwrite", "--sync"]);
    let client = serve.connect(0);
    for content in ["one", "two"] {
        client.send(format!("post|3|name\n{content}"));
        client.expect("ok|3|name\n");
        assert_eq!(fs::read_to_string(directory.path().join("name")).expect("it came"), content);
    }
    fs::create_dir(directory.path().join("directory")).expect("a directory");
    client.send("post|3|directory\none");
    client.expect("err|exists\n");
    drop(client);
    serve.stop();
}

#[test]
fn members_of_the_chat_may_say_so_many_lines_a_second() {
    let serve = Serve::start(&["--lines-per-second=2", "chat=127.0.0.1:0"]);
    let (loud, quiet) = (serve.connect(0), serve.connect(0));
    loud.expect("* you are guest1\n* guest2 joined\n");
    quiet.expect("* you are guest2\n");
    let began = Instant::now();
    loud.send("1\n2\n3\n4\n5\n");
    quiet.expect("<guest1> 1\n<guest1> 2\n<guest1> 3\n<guest1> 4\n<guest1> 5\n");
    assert!(began.elapsed() >= Duration::from_secs(1), "it had to wait twice, and not at first");
    loud.expect("! slow down\n");
    serve.stop();
}

/// A server whose process may have so many files open.
fn within(files: u32, arguments: &[&str]) -> Serve {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(example("serve"));
    Serve::listen(Program::start(shell.args(arguments).env("RUST_LOG", "off")), arguments)
}

#[test]
fn the_limit_of_connections_is_half_of_that_of_files_unless_it_is_given() {
    for (options, most) in [(&[][..], 50), (&["--max-connections=80"], 80)] {
        let serve = within(100, &[options, &["echo=127.0.0.1:0"]].concat());
        let mut clients = Vec::new();
        loop {
            let client = serve.connect(0);
            client.send("x");
            match (&client.0).read(&mut [0; 1]) {
                Ok(1) => clients.push(client),
                _ => break, // it is closed at once
            }
        }
        // Of the proposed ones, the program needs some itself.
        assert!((most - 4..=most).contains(&clients.len()), "{} instead of {most}", clients.len());
        assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
    }
}

#[test]
fn names_of_hosts_are_looked_up() {
    let serve = Serve::start(&["echo=localhost:0", "echo=tcp://localhost:0"]);
    for place in 0..2 {
        let client = serve.connect(place);
        client.send("hello");
        client.expect("hello");
    }
    serve.stop();
}

// SIGXFSZ would end the process by default, and every service with it.
#[test]
fn a_file_beyond_the_limit_of_file_sizes_is_refused_and_nothing_else_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]).arg(example("serve"));
    let arguments = [
        "upload=127.0.0.1:0",
        "command=127.0.0.1:0",
        "--shell",
        "--greeting=",
        &format!("--dir={}", directory.path().display()),
    ];
    shell.args(arguments).env("RUST_LOG", "off");
    let serve = Serve::listen(Program::start(&mut shell), &arguments);
    let client = serve.connect(0);
    let big = vec![b'x'; 1_000_000];
    // It need not take all of it.
    let _ = client.try_send([b"post|1000000|big\n", &big[..]].concat());
    let answer = client.line();
    drop(client);
    assert!(answer.starts_with("err|disk: "), "{answer}");
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
    let client = serve.connect(0);
    client.send("post|5|small\nhello");
    client.expect("ok|5|small\n");
    // A program that is started has the default: SIGXFSZ, of which it dies.
    let command = serve.connect(1);
    let path = directory.path().join("other");
    command.send(format!("exec head -c 1000000 /dev/zero > {}\n", path.display()));
    command.expect("info|0|signal:25\n");
    assert_eq!(serve.program.end_by(Signal::TERM).status, 0);
}
