//! Files that are taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use serve_forever::services::{Framing, Upload};
use serve_forever::{Config, Endpoint};

use super::place::{Place, post};
use crate::util::{Server, alone, captured_logs, noise};

#[test]
fn a_file_arrives_with_its_header_in_one_segment_in_two_and_byte_by_byte() {
    let place = Place::new();
    place.assert_answer(b"post|5|one\nhello", "ok|5|one\n");
    let client = place.connect();
    client.send("post|5|two\n");
    place.until_under_way(1);
    client.send("hello");
    client.expect("ok|5|two\n");
    for byte in b"post|5|bytes\r\nhello" {
        client.send([*byte]);
    }
    client.expect("ok|5|bytes\n");
    for name in ["one", "two", "bytes"] {
        place.assert_file(name, "hello");
    }
    place.assert_names(["bytes", "one", "two"]);
}

#[test]
fn a_file_of_any_bytes_is_the_same_on_the_disk() {
    let place = Place::new();
    let content = noise(10_000_000);
    place.assert_answer(post("noise", &content), "ok|10000000|noise\n");
    place.assert_file("noise", content);
    let headers = b"post|0|x\nerr|exists\n\r\n\0\n".repeat(1000);
    let answer = format!("ok|{}|headers\n", headers.len());
    place.assert_answer(post("headers", &headers), &answer);
    place.assert_file("headers", headers);
    place.assert_names(["headers", "noise"]);
}

#[test]
fn a_file_may_be_empty() {
    let place = Place::new();
    let client = place.connect();
    client.send("post|0|empty\n");
    client.expect("ok|0|empty\n");
    place.assert_file("empty", "");
    // A last line without its end is a request; here one that is complete.
    place.assert_answer("post|0|last", "ok|0|last\n");
    place.assert_names(["empty", "last"]);
}

#[test]
fn many_files_follow_one_another_and_nobody_waits_for_an_answer() {
    let place = Place::new();
    let client = place.connect();
    let (mut stream, mut answers) = (Vec::new(), String::new());
    for number in 0..100_usize {
        let content = noise(number * number * 10);
        stream.extend(post(&format!("file {number}"), &content));
        answers.push_str(&format!("ok|{}|file {number}\n", content.len()));
    }
    client.send(&stream);
    client.expect(&answers);
    // And one that does wait.
    client.send("post|3|more\n");
    client.send("abc");
    client.expect("ok|3|more\n");
    client.finish();
    client.expect_eof();
    for number in 0..100_usize {
        place.assert_file(&format!("file {number}"), noise(number * number * 10));
    }
    assert_eq!(place.names().len(), 101);
}

#[test]
fn a_burst_of_small_files_leaves_others_their_turn() {
    let place = Place::new();
    let flood = place.connect();
    let stream: String = (0..2000).map(|number| format!("post|0|{number}\n")).collect();
    let answers: String = (0..2000).map(|number| format!("ok|0|{number}\n")).collect();
    flood.send(stream);
    flood.expect(answers);
    // A turn has the time for 16 of them: what came behind in the same read
    // has waited, though nothing else arrived that could have woken the loop.
    let stats = place.server().stats();
    assert!(stats.timers_fired >= 2000 / 16 / 2, "{} timers", stats.timers_fired);
}

#[test]
fn a_name_may_hold_bars_spaces_and_letters_of_any_kind() {
    let place = Place::new();
    for name in ["a|b", "|", "||", "5|c", " two  words ", "Grüße.txt", "文件", "-rf", "...", "~", "$(id)"]
    {
        place.assert_answer(post(name, b"content"), &format!("ok|7|{name}\n"));
        place.assert_file(name, "content");
    }
    let longest = "é".repeat(127);
    place.assert_answer(post(&longest, b"content"), &format!("ok|7|{longest}\n"));
    assert_eq!(place.names().len(), 12);
}

#[test]
fn a_size_may_have_zeros_in_front_up_to_the_end_of_the_header() {
    let place = Place::new();
    place.assert_answer("post|003|a\nabc", "ok|3|a\n");
    let zeros = "0".repeat(1024 - "post|3|b\n".len());
    place.assert_answer(format!("post|{zeros}3|b\nabc"), "ok|3|b\n");
    place.assert_answer(format!("post|{zeros}03|c\nabc"), "err|bad header\n");
    place.assert_names(["a", "b"]);
}

#[test]
fn a_file_has_the_permissions_of_a_new_file() {
    let place = Place::new();
    place.put("usual", "");
    place.assert_answer(post("uploaded", b"x"), "ok|1|uploaded\n");
    let mode = |name| fs::metadata(place.path(name)).expect("it is there").permissions().mode();
    assert_eq!(mode("uploaded"), mode("usual"));
}

#[test]
fn while_it_comes_a_file_has_another_name() {
    let place = Place::new();
    let client = place.connect();
    client.send("post|10|late\nhalf ");
    place.until_under_way(1);
    let names = place.names();
    assert!(names.len() == 1 && names[0].starts_with(".upload-"), "{names:?}");
    client.send("done.");
    client.expect("ok|10|late\n");
    place.assert_names(["late"]);
    place.assert_file("late", "half done.");
}

#[test]
fn synced_files_are_answered_alike() {
    let place = Place::with(|upload| upload.sync(true));
    place.assert_answer(post("a", b"content"), "ok|7|a\n");
    place.assert_file("a", "content");
    let place = Place::with(|upload| upload.sync(true).overwrite(true));
    place.put("a", "before");
    place.assert_answer(post("a", b"content"), "ok|7|a\n");
    place.assert_file("a", "content");
}

#[test]
fn each_file_is_told_with_its_sender_before_it_is_answered() {
    let (tell, told) = mpsc::channel();
    let place = Place::with(|upload| {
        upload.on_file(move |file| {
            let content = fs::read(file.path).expect("it is there already");
            let told = (file.peer.to_string(), file.name.to_owned(), file.path.to_owned(), file.size);
            tell.send((told, content)).expect("the test listens");
        })
    });
    let client = place.connect();
    let peer = client.0.local_addr().expect("it is connected").as_socket().expect("an address");
    client.send(post("a|b", b"content"));
    client.expect("ok|7|a|b\n");
    let (file, content) = told.try_recv().expect("it was told before the answer");
    let path = fs::canonicalize(place.path("a|b")).expect("it is there");
    assert_eq!(file, (peer.to_string(), "a|b".to_owned(), path, 7));
    assert_eq!(content, b"content");
    // What is refused, or cut off, is no file.
    client.send(post("a|b", b"content"));
    assert_eq!(client.rest(), b"err|exists\n");
    place.assert_answer("post|5|c\nhell", "");
    assert!(told.try_recv().is_err());
}

#[test]
fn files_come_over_unix_sockets_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    let files = directory.path().join("files");
    fs::create_dir(&files).expect("a directory");
    let upload = Upload::into(&files).expect("it was just made");
    let server = Server::start_with(Config::default(), upload, Upload::limits(), &[at]);
    let client = server.connect();
    client.send(post("a", b"content"));
    client.expect("ok|7|a\n");
    assert_eq!(fs::read(files.join("a")).expect("it is there"), b"content");
}

#[test]
fn in_chunks_nothing_is_answered_to_a_file_that_is_taken() {
    let place = Place::with(|upload| upload.framing(Framing::Chunk));
    let client = place.connect();
    for (name, content) in [("one", noise(200_000)), ("two", b"2".to_vec()), ("thr|ee", noise(100))] {
        client.send(format!("post|{}|{name}", content.len()));
        // A classic client waits a little here.
        place.until_under_way(1);
        client.send(&content);
        let path = place.path(name);
        crate::util::eventually("the file is there", || path.exists());
        place.assert_file(name, content);
    }
    client.send("post|0|empty \r\n");
    place.until_names(["empty", "one", "thr|ee", "two"]);
    client.assert_silent();
    client.finish();
    client.expect_eof();
}

// As sticky as such a protocol is: the docs say so.
#[test]
fn in_chunks_what_is_read_behind_a_file_is_the_next_header() {
    let place = Place::with(|upload| upload.framing(Framing::Chunk));
    let client = place.connect();
    client.send("post|3|a");
    place.until_under_way(1);
    client.send("abcpost|3|b");
    crate::util::eventually("the first is there", || place.path("a").exists());
    place.until_under_way(1);
    client.send("def");
    place.until_names(["a", "b"]);
    place.assert_file("a", "abc");
    place.assert_file("b", "def");
}

#[test]
fn a_directory_that_is_none_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a file");
    fs::write(&file, "").expect("a file");
    for path in [&directory.path().join("nowhere"), &file] {
        let error = Upload::into(path).expect_err("it is no directory").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("cannot upload into"), "{error}");
    }
}

#[test]
fn logs_have_the_bytes_of_clients_escaped() {
    alone("upload::taking::logs_have_the_bytes_of_clients_escaped", || {
        let _ = captured_logs();
        let place = Place::new();
        // Not a control character, but it turns the writing of a terminal around.
        place.assert_answer(post("a\u{202e}b", b"x"), "ok|1|a\u{202e}b\n");
        place.assert_answer(b"post|1|evil\x1b[2J\n", "err|bad name\n");
        let half = place.connect();
        half.send(post("c\u{202e}d", b"xyz").split_last().expect("it is not empty").1);
        half.finish();
        half.expect_eof();
        place.server().until_connections(0);
        let logs = captured_logs();
        let with = |text: &str| logs.iter().any(|(_, line)| line.contains(text));
        assert!(with("sent \"a\\u{202e}b\", 1 bytes"), "{logs:?}");
        assert!(with("sent 2 of 3 bytes of \"c\\u{202e}d\": the client ended its side"), "{logs:?}");
        assert!(!with("\u{202e}") && !with("\x1b"), "{logs:?}");
    });
}
