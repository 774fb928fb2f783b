//! Console: what the operator is shown, whom it answers, and who waits for it.
//!
//! The operator's terminal is a socket that the reactor adopted.

use std::os::fd::OwnedFd;

use serve_forever::services::{Console, Framing};
use serve_forever::{Config, Endpoint, Limits, Overflow};

use crate::util::{Client, PATIENCE, Server, eventually, listen_anywhere, noise};

/// A console, with these as operators, in that order.
fn serve(framing: Framing, limits: Limits, at: &[Endpoint], operators: Vec<OwnedFd>) -> Server<Console> {
    Server::start_prepared(Config::default(), Console::new(framing), limits, at, |reactor, service| {
        for operator in operators {
            reactor.adopt(service, operator).expect("a connected socket");
        }
    })
}

fn start(framing: Framing) -> (Server<Console>, Client) {
    let (operator, theirs) = Client::pair();
    (serve(framing, Console::limits(), &[listen_anywhere()], vec![theirs]), operator)
}

/// A client, and what stands for it on the operator's lines.
#[track_caller]
fn enter(server: &Server<Console>, operator: &Client, number: u32) -> (Client, String) {
    let client = server.connect();
    let peer = client.0.local_addr().expect("it is bound").as_socket().expect("it is TCP");
    let who = format!("#{number} {peer}");
    operator.expect(format!("* {who} joined\n"));
    (client, who)
}

#[test]
fn requests_are_shown_with_who_sent_them() {
    let (server, operator) = start(Framing::Lines);
    let (first, one) = enter(&server, &operator, 1);
    let (second, two) = enter(&server, &operator, 2);
    first.send("hello\r\nagain\n");
    operator.expect(format!("{one} | hello\n{one} | again\n"));
    second.send("\n  spaces stay  \nhalf");
    operator.expect(format!("{two} | \n{two} |   spaces stay  \n"));
    second.finish();
    operator.expect(format!("{two} | half\n* {two} left\n"));
    second.expect_eof();
    first.reset();
    operator.expect(format!("* {one} left\n"));
    let (_third, _) = enter(&server, &operator, 3); // no number is given again
}

#[test]
fn a_chunk_is_a_request_and_its_line_ends_are_spaces() {
    let (server, operator) = start(Framing::Chunk);
    let (client, who) = enter(&server, &operator, 1);
    client.send("one\ntwo\r\nthree\rfour \n\n");
    operator.expect(format!("{who} | one two three four\n"));
    operator.send("fine\n#1 as you like\n");
    client.expect("fineas you like"); // texts alone
    client.send("exit");
    client.expect_eof();
    operator.expect(format!("* {who} left\n"));
}

#[test]
fn unix_clients_are_called_unix_whatever_they_call_themselves() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let (operator, theirs) = Client::pair();
    let server = serve(Framing::Lines, Console::limits(), std::slice::from_ref(&at), vec![theirs]);
    let unnamed = server.connect();
    operator.expect("* #1 unix joined\n");
    let named = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    let path = directory.path().join("a\nb\x1b");
    named.bind(&socket2::SockAddr::unix(&path).expect("a short path")).expect("it is free");
    let Endpoint::Unix(to) = &at else { unreachable!("it was just made") };
    named.connect(&socket2::SockAddr::unix(to).expect("a short path")).expect("the server listens there");
    operator.expect("* #2 unix joined\n");
    unnamed.send("hello\n");
    operator.expect("#1 unix | hello\n");
}

#[test]
fn exit_ends_the_connection_and_is_not_shown() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    client.send("exit please\n exit \nnever shown\n");
    client.expect_eof();
    operator.expect(format!("{who} | exit please\n* {who} left\n"));
    drop(client);
    server.until_connections(1);
    operator.send("/who\nhello\n");
    operator.expect("! nobody to answer\n"); // once, and nobody is there
}

#[test]
fn no_control_character_of_a_client_reaches_the_terminal() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    client.send(b"\x1b[2J\x07a\tb\0\xc2\x9bc\x7f\xff\rd\n");
    operator.expect(format!("{who} | [2Jabc\u{fffd} d\n"));
    client.send("\x1be\0xit\n");
    client.expect_eof();
}

#[test]
fn the_operator_answers_one_all_or_who_spoke_last() {
    let (server, operator) = start(Framing::Lines);
    let (first, one) = enter(&server, &operator, 1);
    let (second, two) = enter(&server, &operator, 2);
    operator.send("#2 to you\n@all to all\r\n");
    second.expect("to you\nto all\n");
    first.expect("to all\n");
    operator.send("anybody?\n");
    operator.expect("! nobody to answer\n"); // nobody has spoken yet
    second.send("hi\n");
    operator.expect(format!("{two} | hi\n"));
    first.send("me too\n");
    operator.expect(format!("{one} | me too\n"));
    operator.send("hi  first \n");
    first.expect("hi  first \n");
    first.finish();
    operator.expect(format!("* {one} left\n"));
    operator.send("still there?\n\n   \n");
    operator.expect("! nobody to answer\n");
    second.assert_silent();
}

#[test]
fn who_lists_the_clients_and_kick_ends_one() {
    let (server, operator) = start(Framing::Lines);
    operator.send("/who\n@all hello\n");
    operator.expect("! nobody is there\n"); // and no line for nobody
    let (first, one) = enter(&server, &operator, 1);
    let (second, two) = enter(&server, &operator, 2);
    let (third, three) = enter(&server, &operator, 3);
    operator.send("/who\n");
    operator.expect(format!("* {one}\n* {two}\n* {three}\n"));
    operator.send("#1 goodbye\n/kick 1\n/kick #3\n/who\n");
    operator.expect(format!("* {one} left\n* {three} left\n* {two}\n"));
    first.expect("goodbye\n"); // what was sent before is not lost
    first.expect_eof();
    third.expect_eof();
    second.send("hello\n");
    operator.expect(format!("{two} | hello\n"));
    assert_eq!(
        server.ask(|console, _| console.clients().map(|(number, ..)| number).collect::<Vec<_>>()),
        [2]
    );
}

#[test]
fn mistakes_are_answered_with_what_was_wrong() {
    let (server, operator) = start(Framing::Lines);
    let (client, _) = enter(&server, &operator, 1);
    for (mistake, answer) in [
        ("#9 hello", "! no such client #9"),
        ("#x hello", "! no such client #x"),
        ("#1", "! usage: #ID TEXT"),
        ("#1  ", "! usage: #ID TEXT"),
        ("@all", "! usage: @all TEXT"),
        ("/kick", "! usage: /kick ID"),
        ("/kick 9", "! no such client #9"),
        ("/kick me", "! no such client #me"),
        ("/shout at them", "! unknown command /shout"),
        ("/\x1b[2J", "! unknown command /[2J"),
    ] {
        operator.send(format!("{mistake}\n"));
        operator.expect(format!("{answer}\n"));
    }
    client.assert_silent();
}

#[test]
fn quit_shuts_the_reactor_down_and_delivers_what_has_arrived() {
    // It takes many turns to read that.
    let limits = Limits { read_budget: 1000, ..Console::limits() };
    let (operator, theirs) = Client::pair();
    let mut server = serve(Framing::Lines, limits, &[listen_anywhere()], vec![theirs]);
    let (client, who) = enter(&server, &operator, 1);
    let lines: String = (0..5_000).map(|number| format!("{number}\n")).collect();
    client.send(&lines);
    operator.send("#1 last words\n/quit\n");
    client.expect("last words\n");
    let shown = String::from_utf8(operator.rest()).expect("UTF-8");
    let expected: String = (0..5_000).map(|number| format!("{who} | {number}\n")).collect();
    assert!(shown.starts_with(&expected), "{} of {} bytes", shown.len(), expected.len());
    client.expect_eof();
    drop((client, operator));
    server.join();
}

#[test]
fn the_end_of_the_operators_input_stops_nothing() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    operator.send("#1 a last line without its end");
    operator.finish();
    client.expect("a last line without its end\n");
    client.send("still here\n");
    operator.expect(format!("{who} | still here\n"));
    let (_second, two) = enter(&server, &operator, 2);
    drop(client);
    operator.expect(format!("* {who} left\n"));
    server.ask(|console, io| {
        let (_, id, _) = console.clients().next().expect("the second");
        io.abort(id);
    });
    operator.expect(format!("* {two} left\n"));
}

#[test]
fn a_line_of_the_operator_that_is_too_long_is_skipped() {
    let (server, operator) = start(Framing::Lines);
    let (client, _) = enter(&server, &operator, 1);
    let longest = "x".repeat(Framing::MAX_LINE - 3);
    operator.send(format!("#1 {longest}\n"));
    client.expect(format!("{longest}\n"));
    operator.send(format!("#1 {}\n#1 next\n", "x".repeat(1 << 20)));
    operator.expect("! line too long\n");
    client.expect("next\n"); // and nothing of the other
    operator.send("/nope\n");
    operator.expect("! unknown command /nope\n"); // it was told once
    operator.send("x".repeat(Framing::MAX_LINE + 1));
    operator.finish();
    operator.expect("! line too long\n");
    client.assert_silent();
}

#[test]
fn a_line_of_a_client_that_is_too_long_ends_it() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    client.send(format!("before\n{}\nbehind\n", "x".repeat(Framing::MAX_LINE + 1)));
    assert_eq!(client.rest(), b"! line too long\n");
    operator.expect(format!("{who} | before\n* {who} left\n"));
    let (client, who) = enter(&server, &operator, 2);
    client.send("x".repeat(Framing::MAX_LINE + 1));
    client.finish();
    assert_eq!(client.rest(), b"! line too long\n");
    operator.expect(format!("* {who} left\n"));
}

#[test]
fn no_client_can_push_words_to_where_they_look_like_anothers() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    client.send(format!("hi{}* #2 192.0.2.1:9 left\u{2029}\u{202e}\n", " ".repeat(70)));
    operator.expect(format!("{who} | hi{}* #2 192.0.2.1:9 left \n", " ".repeat(16)));
}

#[test]
fn what_a_web_page_can_send_is_not_shown() {
    for framing in [Framing::Lines, Framing::Chunk] {
        let (server, operator) = start(framing);
        let (page, who) = enter(&server, &operator, 1);
        page.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nhello\n");
        page.expect_eof();
        operator.expect(format!("* {who} left\n"));
    }
}

#[test]
fn who_resets_a_connection_gives_its_place_back_though_the_operator_does_not_read() {
    let (server, operator) = start(Framing::Lines);
    let (client, _) = enter(&server, &operator, 1);
    eventually("reading pauses", || {
        client.fill("x\n".repeat(1 << 20).as_bytes());
        let before = server.stats().bytes_in;
        server.settle();
        before > 0 && server.stats().bytes_in == before
    });
    // Some of it was read and waits in the console.
    client.reset();
    server.until_connections(1);
    assert_eq!(server.ask(|console, _| console.clients().len()), 0);
}

#[test]
fn an_operator_who_does_not_read_pauses_the_clients_and_nothing_is_lost() {
    let (server, operator) = start(Framing::Lines);
    let (client, who) = enter(&server, &operator, 1);
    // So short that each read is shown as more than there is room for.
    let lines = 200_000;
    let text =
        |number: u32| if number.is_multiple_of(10) { (number / 10 % 7).to_string() } else { String::new() };
    let requests: String = (0..lines).map(|number| format!("{}\n", text(number))).collect();
    let sender = client.share();
    let sending = std::thread::spawn(move || sender.send(requests));
    eventually("reading pauses", || {
        server.ask(|console, io| {
            // The operator's queue is the only one that is not empty.
            assert!(console.clients().all(|(_, id, _)| io.queued(id) == Some(0)));
        });
        let before = server.stats().bytes_in;
        server.settle();
        before > 0 && server.stats().bytes_in == before
    });
    let waiting = server.stats();
    assert!(waiting.bytes_in < 1 << 20, "{} bytes were read", waiting.bytes_in);
    // The operator is heard all the while.
    operator.send("#1 one moment\n");
    client.expect("one moment\n");
    // One who comes now waits too.
    let second = server.connect();
    second.send("me too\n");
    server.until_connections(3);
    let expected: String = (0..lines).map(|number| format!("{who} | {}\n", text(number))).collect();
    let peer = second.0.local_addr().expect("it is bound").as_socket().expect("it is TCP");
    let total = expected.len() + format!("* #2 {peer} joined\n#2 {peer} | me too\n").len();
    let shown = String::from_utf8(operator.take(total)).expect("UTF-8");
    sending.join().expect("all of it is read");
    let (of_second, of_first): (Vec<_>, Vec<_>) = shown.lines().partition(|line| line.contains("#2 "));
    assert_eq!(of_second, [format!("* #2 {peer} joined"), format!("#2 {peer} | me too")]);
    assert!(of_first.into_iter().eq(expected.lines()), "in order, and each once");
    assert_eq!(server.stats().dropped, 0);
}

#[test]
fn who_comes_while_the_operator_catches_up_waits_with_the_others() {
    let limits = Limits { low_mark: 1000, high_mark: 200_000, ..Console::limits() };
    let (operator, theirs) = Client::pair();
    let (tell, told) = std::sync::mpsc::channel();
    let console = Console::new(Framing::Lines);
    let server = Server::start_prepared(
        Config::default(),
        console,
        limits,
        &[listen_anywhere()],
        move |reactor, service| {
            let id = reactor.adopt(service, theirs).expect("a connected socket");
            tell.send(id).expect("the test waits for it");
        },
    );
    let id = told.recv_timeout(PATIENCE).expect("the server starts");
    let (client, _) = enter(&server, &operator, 1);
    client.send(format!("{}\n", "x".repeat(60_000)).repeat(12));
    // It is behind, and reads a little: not yet what it takes to go on.
    let waiting = || server.ask(move |_, io| io.queued(id)).expect("it is there");
    eventually("reading pauses", || waiting() > 200_000);
    while waiting() > 200_000 {
        operator.take(1000);
    }
    assert!(waiting() > 1000, "it has caught up");
    let before = server.stats().bytes_in;
    let second = server.connect();
    second.send("hello\n");
    server.until_connections(3);
    server.settle();
    assert_eq!(server.stats().bytes_in, before, "it is read");
    let peer = second.0.local_addr().expect("it is bound").as_socket().expect("it is TCP");
    let mut line = String::new();
    while line != format!("#2 {peer} | hello\n") {
        line = operator.line();
    }
}

#[test]
fn an_operator_who_leaves_while_clients_wait_for_it_lets_them_go_on() {
    let (server, operator) = start(Framing::Lines);
    let (client, _) = enter(&server, &operator, 1);
    let sender = client.share();
    let sending = std::thread::spawn(move || sender.send("request\n".repeat(100_000)));
    eventually("reading pauses", || {
        let before = server.stats().bytes_in;
        server.settle();
        before > 0 && server.stats().bytes_in == before
    });
    drop(operator);
    sending.join().expect("all of it is read, and dropped");
    client.finish();
    client.expect_eof();
}

#[test]
fn without_an_operator_what_clients_send_is_dropped() {
    let server = serve(Framing::Lines, Console::limits(), &[listen_anywhere()], Vec::new());
    let client = server.connect();
    client.send("request\n".repeat(100_000));
    client.send("exit\n");
    client.expect_eof();
    drop(client);
    server.until_connections(0);
    assert_eq!(server.stats().bytes_out, 0);
}

#[test]
fn the_operator_may_read_on_one_connection_and_write_on_another() {
    // As a terminal is adopted: one to read from, and one to write to.
    let ((keyboard, keys), (screen, glass)) = (Client::pair(), Client::pair());
    let server = serve(Framing::Lines, Console::limits(), &[listen_anywhere()], vec![keys, glass]);
    screen.0.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let (client, who) = enter(&server, &screen, 1);
    client.send("hello\n");
    screen.expect(format!("{who} | hello\n"));
    keyboard.send("hello yourself\n");
    client.expect("hello yourself\n");
    keyboard.finish();
    client.send("again\n");
    screen.expect(format!("{who} | again\n"));
    keyboard.assert_silent();
    drop(screen);
    server.until_connections(2);
    client.send("more\n");
    keyboard.expect(format!("{who} | more\n")); // the one before, as it is a socket
}

#[test]
fn a_client_that_does_not_read_loses_texts_and_the_operator_is_told() {
    let limits = Limits { hard_mark: 300_000, ..Console::limits() };
    let (operator, theirs) = Client::pair();
    let server = serve(Framing::Lines, limits, &[listen_anywhere()], vec![theirs]);
    let sloth = Client::connect_small(server.at());
    operator.take("* #1 127.0.0.1:".len());
    operator.line();
    let (reader, _) = enter(&server, &operator, 2);
    let text = "x".repeat(60_000);
    let mut sent = 0;
    while server.stats().dropped == 0 {
        operator.send(format!("#1 {text}\n"));
        sent += 1;
        server.settle();
        assert!(sent < 1000, "it never fills up");
    }
    operator.expect("! #1 does not read, and has lost that\n");
    operator.send(format!("@all {text}\n"));
    reader.expect(format!("{text}\n"));
    operator.expect("! 1 do not read, and have lost that\n");
    // Each text is whole, or is not there.
    for _ in 1..sent {
        sloth.expect(format!("{text}\n"));
    }
    operator.send("#1 there you are\n");
    sloth.expect("there you are\n");
}

// docs/guarantees.md, 60 and 19: a fresh operator for each, so that the lines compare.
#[test]
fn any_bytes_are_shown_as_the_same_lines_however_they_are_cut() {
    for round in 0..12 {
        let mut input = noise(200 + round * 17);
        input.rotate_left(round * 5);
        input.extend_from_slice("\ngrün\r\nexit now\n\n\u{9b}\x1b]0;x\x07\ne\0xi".as_bytes());
        let mut shown = Vec::new();
        for piece in [input.len(), 1, 7] {
            let (server, operator) = start(Framing::Lines);
            let (client, who) = enter(&server, &operator, 1);
            for bytes in input.chunks(piece) {
                client.send(bytes);
            }
            client.finish();
            client.expect_eof();
            server.handle.shutdown(PATIENCE);
            let text = String::from_utf8(operator.rest()).expect("UTF-8");
            assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
            assert!(text.contains("| grün\n"), "{text}");
            assert!(text.ends_with(" left\n"), "{text}");
            shown.push(text.replace(&who, "#1"));
        }
        assert_eq!(shown[0], shown[1]);
        assert_eq!(shown[0], shown[2]);
    }
}

#[test]
fn the_proposed_limits_let_both_sides_be_silent() {
    let limits = Console::limits();
    let deadlines = [limits.idle, limits.first_frame, limits.write_stall];
    assert_eq!((deadlines, limits.frame), ([None; 3], Some(std::time::Duration::from_secs(300))));
    assert_eq!((limits.hard_mark, limits.overflow), (1 << 20, Overflow::DropNewest));
}
