//! The examples `mail_sink`, `line_store` and `download`, over the simulated network:
//! cut anywhere, with clients that stop, do not read, or stay too long.

#[path = "../../examples/download.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod download;
#[path = "../../examples/line_store.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod line_store;
#[path = "../../examples/mail_sink.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod mail_sink;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Pace, Script};
use serve_forever::sim::World;
use serve_forever::testing::TestServer;
use serve_forever::{Limits, StreamHandler};

use self::download::Download;
use self::line_store::LineStore;
use self::mail_sink::{Mail, MailSink};
use crate::util::noise;

type Mails = Arc<Mutex<Vec<Mail>>>;

fn mail_sink() -> (MailSink, Mails) {
    let mails = Mails::default();
    let taken = Arc::clone(&mails);
    let on_mail = move |mail: &Mail| taken.lock().expect("no test panics here").push(mail.clone());
    (MailSink { on_mail: Box::new(on_mail) }, mails)
}

fn calm<H: StreamHandler>(handler: H, limits: Limits) -> World<H, true> {
    World::new(1, Conditions::calm(), handler, limits).expect("good limits")
}

fn text<H: StreamHandler>(world: &World<H, true>, client: serve_forever::driver::sim::ClientId) -> String {
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

const MAIL: &str = "EHLO here\r\nMAIL FROM:<a@example>\r\nRCPT TO:<b@example>\r\nDATA\r\n\
                    Subject: hello\r\n\r\n..dot\r\n.\r\nQUIT\r\n";

#[test]
fn a_mail_is_the_same_wherever_its_bytes_are_cut() {
    for cut in 0..=MAIL.len() {
        let (sink, mails) = mail_sink();
        let mut world = calm(sink, MailSink::limits());
        let (head, tail) = MAIL.split_at(cut);
        let client = world.play(Script::new().send(head).after(Duration::from_secs(1)).send(tail));
        world.run().expect("it keeps its promises");
        let expected = "220 mail sink\r\n250 ok\r\n250 ok\r\n250 ok\r\n\
                        354 end with a line that is a dot\r\n250 taken\r\n221 bye\r\n";
        assert_eq!(text(&world, client), expected, "cut at {cut}");
        let mails = mails.lock().expect("it is whole");
        assert_eq!(mails.len(), 1, "cut at {cut}");
        assert_eq!((&mails[0].from[..], &mails[0].to[..]), ("<a@example>", &["<b@example>".to_owned()][..]));
        assert_eq!(mails[0].text, b"Subject: hello\n\n.dot\n");
    }
}

#[test]
fn a_sender_has_a_dialogue_and_may_be_silent_between_two_commands() {
    let (sink, mails) = mail_sink();
    let mut world = calm(sink, MailSink::limits());
    let say = |script: Script, (line, answer): (&'static str, &'static str)| {
        script.after(Duration::from_secs(200)).send(line).await_answer(answer)
    };
    let lines = [("HELO me\r\n", "250"), ("MAIL FROM:<a>\r\n", "250"), ("RCPT TO:<b>\r\n", "250")];
    let script = lines.into_iter().fold(Script::new().await_answer("220 "), say);
    let script = script.send("DATA\r\n").await_answer("354").send("x\r\n.\r\n").await_answer("250 taken");
    let client = world.play(script.send("QUIT\r\n"));
    world.run().expect("it keeps its promises");
    assert!(text(&world, client).ends_with("250 taken\r\n221 bye\r\n"), "{}", text(&world, client));
    assert_eq!(mails.lock().expect("it is whole").len(), 1);
}

#[test]
fn a_sender_learns_why_its_connection_ends() {
    let begun = "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n";
    let drip = |script: Script, _| script.after(Duration::from_secs(1)).send("a line\r\n");
    let long = format!("{begun}{}", format!("{}\r\n", "x".repeat(1000)).repeat(11_000));
    let cases = [
        (Script::new().send("MAIL FR"), "421 timed out: a frame was not complete within Limits::frame\r\n"),
        ((0..100).fold(Script::new().send(begun), drip), "421 timed out: a frame was not complete within"),
        (Script::new(), "421 timed out: no byte was sent or received within Limits::idle\r\n"),
        (Script::new().send(long), "552 it is too long\r\n"),
    ];
    for (script, expected) in cases {
        let (sink, mails) = mail_sink();
        let mut world = calm(sink, MailSink::limits());
        let client = world.play(script);
        world.run().expect("it keeps its promises");
        world.check_baseline().expect("nothing is left");
        assert!(text(&world, client).contains(expected), "{:?}", text(&world, client));
        assert!(mails.lock().expect("it is whole").is_empty(), "a mail that was cut is none");
    }
    let (sink, _) = mail_sink();
    let mut world = calm(sink, MailSink::limits());
    let client = world.play(Script::new());
    world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
    world.reactor().shutdown(Duration::from_secs(10));
    world.run().expect("it keeps its promises");
    assert_eq!(text(&world, client), "220 mail sink\r\n421 the service goes down\r\n");
}

#[test]
fn who_watches_a_key_is_told_and_who_has_left_is_no_watcher() {
    let mut world = calm(LineStore::default(), Limits::default());
    let hour = Duration::from_secs(3600);
    let watcher = world.play(Script::new().send("watch a\n").after(hour).send("unwatch a\nwatch b\n"));
    let leaver = world.play(Script::new().send("watch a\nwatch c\n").after(hour / 120).reset());
    let setter = |number: u32, at: Duration| {
        let lines = format!("who a\nset a {number}\nset b {number}\nget a\n");
        Script::new().starting_after(at).send(lines).finish()
    };
    let first = world.play(setter(1, hour / 600));
    let second = world.play(setter(2, hour / 2));
    let third = world.play(setter(3, 2 * hour));
    world.run().expect("it comes to rest");
    assert_eq!(text(&world, watcher), "ok\nchanged a 1\nchanged a 2\nok\nok\nchanged b 3\n");
    assert_eq!(text(&world, leaver), "ok\nok\nchanged a 1\n");
    let names: Vec<_> =
        text(&world, first).lines().next().expect("a line").split(' ').map(str::to_owned).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(text(&world, first)[names.join(" ").len()..], *"\nok 2\nok 0\n1\n");
    assert!(text(&world, second).ends_with("\nok 1\nok 0\n2\n"));
    assert_eq!(text(&world, third), "\nok 0\nok 1\n3\n");
}

#[test]
fn a_watcher_that_does_not_read_is_dropped_at_its_own_mark() {
    let mut world = calm(LineStore::default(), Limits { idle: None, write_stall: None, ..Limits::default() });
    let reader = world.play(Script::new().send("watch a\n"));
    let sloth = world.play(Script::new().read(Pace::Never).send("watch a\n"));
    let value = "x".repeat(10_000);
    let set = |script: Script, _| script.after(Duration::from_millis(10)).send(format!("set a {value}\n"));
    let setter =
        world.play((0..100).fold(Script::new().starting_after(Duration::from_secs(1)), set).finish());
    world.run().expect("it comes to rest");
    let why = world.life(sloth).and_then(|life| life.closed()).unwrap_or_default().to_owned();
    assert!(why.starts_with("Overflow") && why.contains("hard_mark: 65536"), "{why}");
    assert_eq!(text(&world, reader).matches("changed").count(), 100);
    assert_eq!(text(&world, setter).lines().count(), 100);
}

#[test]
fn downloads_come_whole_one_after_the_other_to_slow_clients_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let (large, small) = (noise(3 << 20), noise(100));
    fs::write(directory.path().join("large"), &large).expect("there is room");
    fs::write(directory.path().join("small"), &small).expect("there is room");
    let download = Download { directory: directory.path().to_owned() };
    let mut world = calm(download, Limits::default());
    let asked = "large\nsmall\n../large\nlarge\n";
    let fast = world.play(Script::new().send(asked).finish());
    let pace = Pace::Slowly { bytes: 16 << 10, every: Duration::from_secs(1) };
    let slow = world.play(Script::new().read(pace).send(asked).finish());
    world.run().expect("it keeps its promises");
    let expected =
        [b"3145728\n", &large[..], b"100\n", &small, b"! no such name\n", b"3145728\n", &large].concat();
    for client in [fast, slow] {
        assert!(world.client(client).received() == expected, "{}", world.client(client).received().len());
    }
}

#[test]
fn a_server_for_a_test_answers_stops_and_keeps_its_log() {
    let server = TestServer::start(LineStore::default(), Limits { max_input: 10, ..Limits::default() })
        .expect("a port is free");
    {
        use std::io::{Read, Write};
        let mut client = server.connect().expect("it listens");
        client.write_all(b"set a b\n").expect("it reads");
        let mut answer = [0; 5];
        client.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"ok 0\n");
        assert_eq!(server.ask(|_, io| io.connections()), 1);
        client.write_all(&[b'x'; 100]).expect("it reads");
        assert_eq!(client.read(&mut answer).expect("an end in order"), 0);
    }
    server.until(|_, io| io.connections() == 0);
    let log = server.log();
    let told = log.iter().any(|line| line.starts_with("WARN ") && line.contains("Limits::max_input is 10"));
    assert!(told, "{log:#?}");
    assert_eq!(server.stop().accepted, 1);
}

#[test]
fn a_server_for_a_test_that_cannot_start_says_why() {
    let wrong = Limits { high_mark: 0, ..Limits::default() };
    let error = TestServer::start(LineStore::default(), wrong).expect_err("it contradicts itself");
    assert!(error.to_string().contains("they must rise"), "{error}");
    let error = TestServer::<LineStore>::prepare(serve_forever::Config::default(), |_| panic!("at once"));
    assert!(error.expect_err("it panics").to_string().contains("panicked"));
}
