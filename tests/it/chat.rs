//! Chat: who is in the room, who is told what, and who is dropped.

use std::num::NonZeroU32;
use std::sync::mpsc::{self, Receiver};

use serve_forever::services::{Chat, ChatEvent, Framing};
use serve_forever::{Config, Endpoint, Limits};

use crate::util::{Client, PATIENCE, Server, alone, listen_anywhere, resident_bytes, set_file_limit};

fn server() -> Server<Chat> {
    Server::start(Chat::new(), Chat::limits())
}

/// Somebody who comes and is called so.
#[track_caller]
fn enter(at: &Endpoint, name: &str) -> Client {
    let client = Client::connect(at);
    client.expect(format!("* you are {name}\n"));
    client
}

/// The first so many guests, who have seen each other come.
#[track_caller]
fn guests<const N: usize>(server: &Server<Chat>) -> [Client; N] {
    let mut members: Vec<Client> = Vec::new();
    for number in 1..=N {
        let client = enter(server.at(), &format!("guest{number}"));
        for member in &members {
            member.expect(format!("* guest{number} joined\n"));
        }
        members.push(client);
    }
    members.try_into().expect("so many were made")
}

#[test]
fn who_comes_is_told_its_name_and_the_others_of_it() {
    let server = server();
    let [first, second, third] = guests(&server);
    third.send("hello\n");
    first.expect("<guest3> hello\n");
    second.expect("<guest3> hello\n");
}

#[test]
fn a_new_guest_gets_the_smallest_number_that_is_free() {
    let server = server();
    let [first, second, third] = guests(&server);
    second.send("/quit\n");
    first.expect("* guest2 left\n");
    first.send("/nick GUEST3\n/nick guest4\n/nick GUEST5\n");
    first.expect("! name taken\n* guest1 is now guest4\n* guest4 is now GUEST5\n");
    third.expect("* guest2 left\n* guest1 is now guest4\n* guest4 is now GUEST5\n");
    let members: Vec<_> =
        ["guest1", "guest2", "guest4", "guest6"].map(|name| (name, enter(server.at(), name))).into();
    for (name, _) in &members {
        first.expect(format!("* {name} joined\n"));
    }
}

#[test]
fn a_line_goes_to_every_other_member_with_its_name() {
    let server = server();
    let [first, second, third] = guests(&server);
    first.send("one\ntwo\r\n");
    second.expect("<guest1> one\n<guest1> two\n");
    third.expect("<guest1> one\n<guest1> two\n");
    second.send("three\n");
    third.expect("<guest2> three\n");
    first.expect("<guest2> three\n"); // and its own lines did not come before
}

#[test]
fn empty_lines_are_ignored_and_spaces_around_a_text_stay() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("\n\r\n   \n\t\n \x1b \x7f\n  both sides  \n");
    second.expect("<guest1>   both sides  \n");
}

#[test]
fn a_last_line_without_its_end_is_delivered_before_its_sender_leaves() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("one\nlast");
    first.finish();
    second.expect("<guest1> one\n<guest1> last\n* guest1 left\n");
    first.expect_eof();
}

#[test]
fn a_last_line_may_be_a_command() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("/quit so long");
    first.finish();
    second.expect("* guest1 left: so long\n");
    first.expect_eof();
}

#[test]
fn a_new_name_is_told_to_all_and_ones_own_again_to_nobody() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("/nick Ann\n/nick Ann\n/nick ANN\nhello\n");
    first.expect("* guest1 is now Ann\n* Ann is now ANN\n");
    second.expect("* guest1 is now Ann\n* Ann is now ANN\n<ANN> hello\n");
    first.send("/nick Ольга_李-7\n");
    second.expect("* ANN is now Ольга_李-7\n");
}

// docs/guarantees.md, 26.
#[test]
fn bad_and_taken_names_are_refused() {
    let server = server();
    let [first, second] = guests(&server);
    let too_long = "x".repeat(33);
    let bad = ["", " ", "two words", "a/b", "<b>", "a,b", "\u{200b}", "🦀", &too_long];
    for name in bad {
        first.send(format!("/nick {name}\n"));
        first.expect("! bad name\n");
    }
    first.send(b"/nick a\xff\n");
    first.expect("! bad name\n");
    first.send("/nick\n");
    first.expect("! bad name\n");
    let longest = "ß".repeat(32);
    first.send(format!("/nick {longest}\n"));
    first.expect(format!("* guest1 is now {longest}\n"));
    second.expect(format!("* guest1 is now {longest}\n"));
    first.send("/nick ÖZGÜR\n");
    second.expect(format!("* {longest} is now ÖZGÜR\n"));
    for taken in ["özgür", "ÖZGÜR", "Özgür"] {
        second.send(format!("/nick {taken}\n"));
        second.expect("! name taken\n");
    }
    first.send("/nick straße\n");
    second.expect("* ÖZGÜR is now straße\n");
    second.send("/nick STRASSE\n/msg STRASSE hi\n/nick ㅤ\n");
    second.expect("! name taken\n! bad name\n");
    first.send("/nick ΟΔΟΣ\n");
    second.expect("* straße is now ΟΔΟΣ\n");
    second.send("/nick οδοσ\n");
    second.expect("! name taken\n");
    second.send("/nick \x1bb\x07o\x00b\u{85}\n");
    second.expect("* guest2 is now bob\n"); // control characters were dropped before
}

#[test]
fn nobody_can_push_words_to_where_they_look_like_anothers() {
    let server = server();
    let [first, second] = guests(&server);
    let gap = " \u{a0}\u{3000}\u{2800}".repeat(20);
    first.send(format!("hi{gap}<guest3> I am\u{202e} here\u{2028}too\n"));
    let line = second.line();
    assert!(line.len() < 100 && line.ends_with("<guest3> I am here too\n"), "{line:?}");
}

#[test]
fn what_a_web_page_can_send_is_said_to_nobody() {
    let server = server();
    let [first, second] = guests(&server);
    let page = enter(server.at(), "guest3");
    first.expect("* guest3 joined\n");
    page.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nhello\n/nick boss\n");
    page.expect_eof();
    first.expect("* guest3 left\n");
    // Behind the first line it is a text like any other.
    second.send("look:\nGET / HTTP/1.1\n");
    first.expect("<guest2> look:\n<guest2> GET / HTTP/1.1\n");
}

#[test]
fn who_lists_the_members_in_order_of_joining_the_asker_too() {
    let server = server();
    let [first, second, third] = guests(&server);
    first.send("/nick zoe\n");
    second.expect("* guest1 is now zoe\n");
    second.send("/quit\n");
    third.expect("* guest1 is now zoe\n* guest2 left\n");
    let _fourth = enter(server.at(), "guest1");
    third.expect("* guest1 joined\n");
    third.send("/who\n");
    third.expect("* zoe, guest3, guest1\n");
}

#[test]
fn a_private_message_goes_to_that_one_alone() {
    let server = server();
    let [first, second, third] = guests(&server);
    first.send("/msg GUEST2  psst \n/msg guest1 note to self\n/msg guest9 x\n/msg Guest1x y\n");
    second.expect("[guest1]  psst \n");
    first.expect("[guest1] note to self\n! no such name guest9\n! no such name Guest1x\n");
    for wrong in ["/msg", "/msg ", "/msg guest2", "/msg guest2 ", "/msg guest2    "] {
        first.send(format!("{wrong}\n"));
        first.expect("! usage: /msg NAME TEXT\n");
    }
    first.send("to all\n");
    third.expect("<guest1> to all\n"); // and nothing before it
    second.expect("<guest1> to all\n");
}

#[test]
fn who_quits_is_told_of_once_with_its_last_words_and_gets_an_end_of_file() {
    let server = server();
    let [first, second, third] = guests(&server);
    first.send("hello\n/quit  so long \nnever said\n/quit again\n");
    second.expect("<guest1> hello\n* guest1 left:  so long \n");
    first.expect_eof();
    third.send("/quit\n");
    third.expect("<guest1> hello\n* guest1 left:  so long \n");
    third.expect_eof();
    second.expect("* guest3 left\n");
    drop((first, third));
    server.until_connections(1);
    second.send("/who\n");
    second.expect("* guest2\n");
}

#[test]
fn help_is_one_line_that_names_every_command() {
    let server = server();
    let [first] = guests(&server);
    first.send("/help\n");
    let line = first.line();
    assert!(line.starts_with("* "), "{line}");
    for command in ["/nick NEW", "/who", "/msg NAME TEXT", "/quit [TEXT]", "/help"] {
        assert!(line.contains(command), "{line} does not name {command}");
    }
    first.send("/who\n");
    first.expect("* guest1\n");
}

#[test]
fn an_unknown_command_is_told_without_its_arguments() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("/shout at everybody\n/\n//\n/Who\n");
    first.expect(
        "! unknown command /shout\n! unknown command /\n! unknown command //\n! unknown command /Who\n",
    );
    first.send(" /shout\n");
    second.expect("<guest1>  /shout\n"); // none of those, and a line that begins otherwise
}

// docs/guarantees.md, 19.
#[test]
fn invalid_utf8_is_replaced_and_a_sequence_may_be_cut_between_reads() {
    let server = server();
    let [first, second] = guests(&server);
    first.send(b"a\xff\xc3(b\xe2\x82\n");
    second.expect("<guest1> a\u{fffd}\u{fffd}(b\u{fffd}\n");
    for byte in "grün 💚\n".bytes() {
        first.send([byte]);
        server.settle();
    }
    second.expect("<guest1> grün 💚\n");
}

#[test]
fn no_control_character_reaches_anybodys_terminal() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("\x1b[2Jred\x07\t\x7f\u{9b}31m\0\u{80}alert\rend\n");
    second.expect("<guest1> [2Jred31malertend\n");
    first.send("\x1b/who\n");
    first.expect("* guest1, guest2\n"); // dropped before anything else is looked at
    first.send("/quit bye\x1b]0;owned\x07\n");
    second.expect("* guest1 left: bye]0;owned\n");
}

#[test]
fn the_longest_line_is_delivered_and_one_byte_more_ends_its_sender() {
    let server = server();
    let [first, second] = guests(&server);
    let longest = "x".repeat(Framing::MAX_LINE);
    first.send(format!("{longest}\n"));
    second.expect(format!("<guest1> {longest}\n"));
    first.send(format!("before\nx{longest}\nafter\n"));
    second.expect("<guest1> before\n* guest1 left\n");
    assert_eq!(first.rest(), b"! line too long\n");
    drop(first);
    server.until_connections(1);
    second.send("/who\n");
    second.expect("* guest2\n"); // once
}

#[test]
fn a_last_line_without_its_end_that_is_too_long_is_told() {
    let server = server();
    let [first, second] = guests(&server);
    first.send("x".repeat(Framing::MAX_LINE + 1));
    first.finish();
    assert_eq!(first.rest(), b"! line too long\n");
    second.expect("* guest1 left\n");
}

// docs/guarantees.md, 18.
#[test]
fn ten_megabytes_without_a_line_end_are_refused_and_delivered_to_nobody() {
    let server = server();
    let [first, second] = guests(&server);
    let sender = first.share();
    let flood = std::thread::spawn(move || sender.try_send(vec![b'x'; 10 << 20]));
    second.expect("* guest1 left\n");
    assert_eq!(first.rest(), b"! line too long\n");
    flood.join().expect("the sender lives").expect("the server lingers");
}

#[test]
fn nul_crlf_and_lf_mixed_are_lines_without_them() {
    let server = server();
    let [first, second] = guests(&server);
    first.send(b"a\0b\r\nc\r\r\n\0\r\n\nd\re\nlast\r");
    first.finish();
    second.expect("<guest1> ab\n<guest1> c\n<guest1> de\n<guest1> last\n* guest1 left\n");
}

/// A way to end a member's connection.
type Leave = fn(&Server<Chat>, Client);

#[test]
fn whatever_ends_a_member_the_others_are_told_once() {
    let server = server();
    let [witness] = guests(&server);
    let leaves: [(&str, Leave); 4] = [
        ("a FIN", |_, client| client.finish()),
        ("a reset", |_, client| client.reset()),
        ("the program's close", |server, client| {
            server.ask(|chat, io| io.close(chat.members().last().expect("it is there").0));
            client.expect_eof();
        }),
        ("the program's abort", |server, client| {
            server.ask(|chat, io| io.abort(chat.members().last().expect("it is there").0));
            client.expect_reset();
        }),
    ];
    for (what, leave) in leaves {
        let client = enter(server.at(), "guest2");
        witness.expect("* guest2 joined\n");
        leave(&server, client);
        assert_eq!(witness.line(), "* guest2 left\n", "{what}");
        server.until_connections(1);
        witness.send("/who\n");
        assert_eq!(witness.line(), "* guest1\n", "{what}");
    }
}

// docs/guarantees.md, 25.
#[test]
fn a_member_that_never_reads_is_dropped_at_its_limit_and_nobody_waits_for_it() {
    let server = server();
    let [first, second] = guests(&server);
    let sloth = Client::connect_small(server.at());
    sloth.expect("* you are guest3\n");
    first.expect("* guest3 joined\n");
    second.expect("* guest3 joined\n");
    let line = format!("{}\n", "x".repeat(50_000));
    let mut lines = 0;
    let mut is_told = false;
    while !is_told {
        assert!(lines < 1000, "the sloth is never dropped");
        first.send(&line);
        lines += 1;
        // The notice comes before or behind the line, as turns have it.
        while second.take(1) == b"*" {
            second.expect(" guest3 left\n");
            is_told = true;
        }
        second.expect(format!("guest1> {line}"));
    }
    first.expect("* guest3 left\n");
    sloth.expect_reset();
    second.send("/who\n");
    second.expect("* guest1, guest2\n");
}

// docs/guarantees.md, 29: it comes at once, and everybody who reads gets all of it, with
// the longest name before each of its short lines.
#[test]
fn a_burst_of_short_lines_drops_nobody_who_reads() {
    let server = server();
    let [first, second, third] = guests(&server);
    let name = "ß".repeat(32);
    first.send(format!("/nick {name}\n"));
    let renamed = format!("* guest1 is now {name}\n");
    first.expect(&renamed);
    second.expect(&renamed);
    third.expect(&renamed);
    let lines = 100_000;
    let sender = first.share();
    let burst = std::thread::spawn(move || sender.send("x\n".repeat(lines)));
    let expected = format!("<{name}> x\n").repeat(lines);
    std::thread::scope(|scope| {
        for member in [&second, &third] {
            scope.spawn(|| member.expect(&expected));
        }
    });
    burst.join().expect("it is read to the end");
    assert_eq!(server.stats().overflowed, 0);
    second.send("/who\n");
    second.expect(format!("* {name}, guest2, guest3\n"));
}

// More of it in tests/it/simulated/bursts.rs. On a Unix socket, where the system
// itself holds little.
#[test]
fn long_lines_of_many_at_one_moment_drop_nobody_who_reads() {
    const SPEAKERS: usize = 60;
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let server = Server::start_with(Config::default(), Chat::new(), Chat::limits(), &[at]);
    let first = enter(server.at(), "guest1");
    let speakers: Vec<_> = (0..SPEAKERS)
        .map(|number| {
            let speaker = enter(server.at(), &format!("guest{}", number + 2));
            first.expect(format!("* guest{} joined\n", number + 2));
            speaker
        })
        .collect();
    let listeners: Vec<_> = (0..5)
        .map(|number| {
            let listener = enter(server.at(), &format!("guest{}", number + SPEAKERS + 2));
            first.expect(format!("* guest{} joined\n", number + SPEAKERS + 2));
            listener
        })
        .collect();
    let line = "x".repeat(65_000);
    // They need not read what they say themselves, but they do.
    let readers: Vec<_> = speakers
        .iter()
        .map(Client::share)
        .map(|speaker| std::thread::spawn(move || speaker.rest()))
        .collect();
    // The loop stands still until all of it has come.
    let senders: Vec<_> = server.ask({
        let speakers: Vec<_> = speakers.iter().map(Client::share).collect();
        move |_, _| {
            let senders = speakers.into_iter().map(|speaker| {
                let line = format!("{line}\n");
                std::thread::spawn(move || speaker.send(line))
            });
            let senders: Vec<_> = senders.collect();
            senders.into_iter().map(|sender| sender.join().expect("it fits into the socket")).collect()
        }
    });
    assert_eq!(senders.len(), SPEAKERS);
    let said: usize = (0..SPEAKERS).map(|number| format!("<guest{}> \n", number + 2).len() + 65_000).sum();
    std::thread::scope(|scope| {
        for (place, listener) in listeners.iter().enumerate() {
            let later: usize = (place + 1..5).map(|_| "* guest62 joined\n".len()).sum();
            scope.spawn(move || listener.take(later + said));
        }
        scope.spawn(|| first.take(said));
    });
    assert_eq!(server.stats().overflowed, 0);
    drop(speakers);
    drop(server);
    readers.into_iter().for_each(|reader| drop(reader.join().expect("it reads to the end")));
}

#[test]
fn a_member_that_asks_and_does_not_read_is_not_read_from_either() {
    let server = server();
    let [first, second] = guests(&server);
    let greedy = Client::connect_small(server.at());
    greedy.expect("* you are guest3\n");
    second.expect("* guest3 joined\n");
    first.expect("* guest3 joined\n");
    let asked = "/help\n".repeat(400_000);
    let sender = greedy.share();
    let (begin, begun) = mpsc::channel();
    let asking = std::thread::spawn(move || {
        begin.send(()).expect("the test waits for it");
        sender.send(asked);
    });
    begun.recv_timeout(PATIENCE).expect("the thread runs");
    // Whatever it does, others are served.
    first.send("hello\n");
    second.expect("<guest1> hello\n");
    greedy.send_is_answered(400_000);
    asking.join().expect("all was read in the end");
    assert_eq!(server.stats().overflowed, 0);
}

impl Client {
    /// So many answers to `/help` come, among lines of others.
    #[track_caller]
    fn send_is_answered(&self, count: usize) {
        let help = "* /nick NEW, /who, /msg NAME TEXT, /quit [TEXT], /help\n";
        let hello = "<guest1> hello\n";
        let got = String::from_utf8(self.take(count * help.len() + hello.len())).expect("UTF-8");
        assert_eq!(got.matches(help).count(), count);
        assert_eq!(got.matches(hello).count(), 1);
    }
}

// More of it in tests/it/simulated/chat.rs, where a second takes no time.
#[test]
fn who_sends_too_much_is_told_once_and_all_of_it_is_delivered() {
    let limit = NonZeroU32::new(20).expect("not zero");
    let server = Server::start(Chat::new().lines_per_second(limit), Chat::limits());
    let [first, second] = guests(&server);
    let lines = |name: &str| (0..30).map(|number| format!("{name}{number}\n")).collect::<String>();
    first.send(lines(""));
    first.finish();
    first.expect("! slow down\n");
    second.expect(lines("<guest1> "));
    second.expect("* guest1 left\n");
    first.expect_eof();
}

#[test]
fn a_shutdown_delivers_what_a_paused_member_has_sent() {
    let limit = NonZeroU32::new(1).expect("not zero");
    let mut server = Server::start(Chat::new().lines_per_second(limit), Chat::limits());
    let [first, second] = guests(&server);
    let lines = |name: &str| (0..50).map(|number| format!("{name}{number}\n")).collect::<String>();
    first.send(lines(""));
    first.expect("! slow down\n");
    server.handle.shutdown(PATIENCE);
    let got = String::from_utf8(second.rest()).expect("UTF-8");
    assert!(got.starts_with(&lines("<guest1> ")), "{got}");
    first.expect_eof();
    drop((first, second));
    server.join();
}

#[test]
fn all_listeners_of_one_chat_lead_into_one_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = [listen_anywhere(), listen_anywhere(), Endpoint::Unix(directory.path().join("socket"))];
    let server = Server::start_with(Config::default(), Chat::new(), Chat::limits(), &at);
    let first = enter(&server.locals()[0], "guest1");
    let second = enter(&server.locals()[1], "guest2");
    let third = enter(&server.locals()[2], "guest3");
    third.send("hello\n");
    first.expect("* guest2 joined\n* guest3 joined\n<guest3> hello\n");
    second.expect("* guest3 joined\n<guest3> hello\n");
}

#[test]
fn the_program_sees_who_is_there_and_speaks_to_all() {
    let server = server();
    let [first, second] = guests(&server);
    second.send("/nick bob\n");
    first.expect("* guest2 is now bob\n");
    let names = server.ask(|chat, _| chat.members().map(|(_, name)| name.to_owned()).collect::<Vec<_>>());
    assert_eq!(names, ["guest1", "bob"]);
    let tally = server.ask(|chat, io| chat.announce(io, "closing\n* bob left\x1b at ten"));
    assert_eq!(tally.queued, 2);
    first.expect("* closing* bob left at ten\n");
    second.expect("* guest2 is now bob\n* closing* bob left at ten\n");
}

#[test]
fn nothing_is_announced_to_an_empty_room() {
    let server = server();
    assert_eq!(server.ask(|chat, io| chat.announce(io, "hello")).queued, 0);
    let [first] = guests(&server);
    first.finish();
    first.expect_eof();
    server.until_connections(0);
    assert_eq!(server.ask(|chat, io| (chat.announce(io, "hello").queued, chat.members().len())), (0, 0));
}

/// A chat, and what its observer is told.
fn observed() -> (Server<Chat>, Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let chat = Chat::new().with_observer(move |event| {
        let text = match event {
            ChatEvent::Joined { name, peer, .. } => {
                format!("{name} from {}", peer.to_string().split(':').next().unwrap_or(""))
            }
            ChatEvent::Said { name, text, .. } => format!("{name} says {text}"),
            ChatEvent::Renamed { from, to, .. } => format!("{from} is {to}"),
            ChatEvent::Left { name, text, .. } => format!("{name} leaves {text:?}"),
            other => format!("{other:?}"),
        };
        tell.send(text).expect("the test listens");
        assert!(!matches!(event, ChatEvent::Said { text: "panic", .. }), "as was said");
    });
    (Server::start(chat, Chat::limits()), told)
}

#[test]
fn an_observer_is_told_of_what_everybody_is_told_of() {
    let (server, told) = observed();
    let [first, second] = guests(&server);
    first.send("hello\n/nick ann\n/msg guest2 secret\n/who\n/quit bye\n");
    second.expect("<guest1> hello\n* guest1 is now ann\n[ann] secret\n* ann left: bye\n");
    second.finish();
    second.expect_eof();
    first.rest();
    drop(first);
    server.until_connections(0);
    let all: Vec<_> = told.try_iter().collect();
    let expected = [
        "guest1 from 127.0.0.1",
        "guest2 from 127.0.0.1",
        "guest1 says hello",
        "guest1 is ann",
        "ann leaves Some(\"bye\")",
        "guest2 leaves None",
    ];
    assert_eq!(all, expected);
}

#[test]
fn an_observer_that_panics_ends_one_member_and_the_room_stays_right() {
    let (server, _told) = observed();
    let [first, second] = guests(&server);
    first.send("panic\n");
    second.expect("<guest1> panic\n* guest1 left\n");
    first.expect_reset();
    second.send("/who\n");
    second.expect("* guest2\n");
}

#[test]
fn an_observer_that_panics_at_a_join_leaves_no_ghost() {
    let chat = Chat::new().with_observer(|event| {
        assert!(!matches!(event, ChatEvent::Joined { name: "guest2", .. }), "I do not like the second");
    });
    let server = Server::start(chat, Chat::limits());
    let [first] = guests(&server);
    server.connect().assert_closed();
    server.until_connections(1);
    first.send("/who\n");
    first.expect("* guest1\n");
    assert_eq!(server.ask(|chat, io| chat.announce(io, "still here")).queued, 1);
}

#[test]
fn the_proposed_limits_let_members_listen() {
    let limits = Chat::limits();
    let typing = Some(std::time::Duration::from_secs(300));
    assert_eq!((limits.idle, limits.first_frame, limits.frame), (None, None, typing));
    assert_eq!((limits.hard_mark, limits.overflow), (1 << 20, serve_forever::Overflow::Close));
}

// docs/guarantees.md, 27.
#[test]
fn a_thousand_members_that_do_not_read_share_one_copy_of_each_line() {
    const MEMBERS: usize = 1000;
    const LINES: usize = 15;
    alone("chat::a_thousand_members_that_do_not_read_share_one_copy_of_each_line", || {
        set_file_limit(3 * MEMBERS as u64);
        let config = Config { max_connections: Some(2 * MEMBERS), ..Config::default() };
        // Nobody is dropped in this test, however slow the machine.
        let limits = Limits { hard_mark: 8 << 20, write_stall: None, ..Chat::limits() };
        // On a Unix socket, where the system itself holds little.
        let directory = tempfile::tempdir().expect("a directory");
        let at = Endpoint::Unix(directory.path().join("socket"));
        let server = Server::start_with(config, Chat::new(), limits, &[at]);
        let sender = enter(server.at(), "guest1");
        let silent: Vec<_> = (0..MEMBERS).map(|_| server.connect()).collect();
        server.until_connections(MEMBERS + 1);
        let before = resident_bytes();
        for number in 2..=MEMBERS + 1 {
            sender.expect(format!("* guest{number} joined\n"));
        }
        let line = format!("{}\n", "x".repeat(60_000));
        for _ in 0..LINES {
            sender.send(&line);
        }
        // Its own answer comes behind all of them.
        sender.send("/msg guest1 done\n");
        sender.expect("[guest1] done\n");
        let waiting: usize = server.ask(|chat, io| chat.members().filter_map(|(id, _)| io.queued(id)).sum());
        let grown = resident_bytes().saturating_sub(before);
        println!("{waiting} bytes wait, {grown} bytes more are in use");
        assert!(waiting > 400 << 20, "only {waiting} bytes wait");
        assert!(grown < 64 << 20, "{grown} bytes more are in use");
        assert_eq!(server.stats().overflowed, 0);
        drop(silent);
    });
}
