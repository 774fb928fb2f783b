//! Refusals of uploads before their data, and their delivery to a client that goes on
//! sending.

use std::fs;

use serve_forever::services::Framing;

use super::place::{Place, post};
use crate::util::noise;

#[test]
fn anything_but_a_header_is_refused() {
    let place = Place::new();
    let too_long = format!("post|1|{}", "x".repeat(2000));
    for header in [
        "",
        "\r",
        "hello",
        "post",
        "post|",
        "post|1",
        "post||a",
        "post|a|1",
        "post |1|a",
        " post|1|a",
        "POST|1|a",
        "put|1|a",
        "post,1,a",
        &too_long,
    ] {
        place.assert_answer(format!("{header}\nx"), "err|bad header\n");
    }
    place.assert_answer([0xFF; 2000], "err|bad header\n");
    place.assert_answer("no end of a line", "err|bad header\n");
    // What a web page can send, which decides what follows.
    place.assert_answer("POST / HTTP/1.1\r\nHost: x\r\n\r\npost|1|a\nx", "err|bad header\n");
    place.assert_answer("post|1|a / HTTP/1.1\r\n\r\npost|1|a\nx", "err|bad name\n");
    place.assert_names([]);
}

// docs/guarantees.md, 18: it is refused at the limit, and not at its end.
#[test]
fn a_header_without_an_end_is_refused_when_it_is_too_long() {
    let place = Place::new();
    let client = place.connect();
    client.send([b'x'; 1023]);
    place.server().settle();
    client.assert_silent();
    client.send("x");
    client.expect("err|bad header\n");
    client.send(noise(5_000_000));
    client.finish();
    client.expect_eof();
}

// docs/guarantees.md, 41.
#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let place = Place::new();
    let outside = place.outside("escaped").display().to_string();
    let long = "x".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "/",
        "../escaped",
        "../../etc/passwd",
        &outside,
        "a/b",
        "a/../../escaped",
        "./a",
        "a/",
        "\\a",
        "a\\b",
        "..\\escaped",
        "a\0",
        "\0",
        "a\tb",
        "a\x07",
        "\x1b[2J",
        "a\x7f",
        "a\u{9b}b",
        &long,
    ] {
        place.assert_answer(format!("post|1|{name}\nx"), "err|bad name\n");
    }
    place.assert_answer(b"post|1|\xff\nx", "err|bad name\n");
    place.assert_answer(b"post|1|a\xc3\nx", "err|bad name\n");
    place.assert_names([]);
    assert!(!place.outside("escaped").exists());
}

// docs/guarantees.md, 21 and 43.
#[test]
fn a_size_is_refused_before_anything_is_allocated() {
    let place = Place::new();
    const GIB: u64 = 1 << 30;
    for size in [GIB + 1, u64::from(u32::MAX), u64::MAX] {
        place.assert_answer(format!("post|{size}|a\n"), "err|too large\n");
    }
    let nines = "9".repeat(30);
    for size in
        ["-1", "-9223372036854775808", "+1", "1e3", "0x10", " 5", "5 ", "18446744073709551616", &nines]
    {
        place.assert_answer(format!("post|{size}|a\n"), "err|bad header\n");
    }
    place.assert_names([]);
    // The limit itself, and nothing: the file is begun, or there.
    let client = place.connect();
    client.send(format!("post|{GIB}|a\n"));
    place.until_under_way(1);
    client.assert_silent();
    place.assert_answer("post|0|b\n", "ok|0|b\n");

    let place = Place::with(|upload| upload.max(10));
    place.assert_answer(post("a", &[b'x'; 10]), "ok|10|a\n");
    place.assert_answer(post("b", &[b'x'; 11]), "err|too large\n");
    place.assert_names(["a"]);
    let place = Place::with(|upload| upload.max(u64::MAX));
    place.assert_answer(format!("post|{}|a\nx", u64::MAX), ""); // begun, and cut off
    place.until_names([]);
}

// docs/guarantees.md, 46.
#[test]
fn a_name_that_is_taken_is_refused() {
    let place = Place::new();
    place.put("file", "before");
    place.link("dangling", place.outside("nothing"));
    place.link("loop", "loop");
    fs::create_dir(place.path("directory")).expect("a directory");
    for name in ["file", "dangling", "loop", "directory"] {
        place.assert_answer(post(name, b"content"), "err|exists\n");
    }
    place.assert_file("file", "before");
    assert!(!place.outside("nothing").exists());
    place.assert_names(["dangling", "directory", "file", "loop"]);
}

// docs/guarantees.md, 42.
#[test]
fn a_link_is_replaced_and_never_followed() {
    let place = Place::with(|upload| upload.overwrite(true));
    fs::write(place.outside("secret"), "secret").expect("a file");
    fs::create_dir(place.outside("elsewhere")).expect("a directory");
    place.link("file", place.outside("secret"));
    place.link("dangling", place.outside("nothing"));
    place.link("loop", "loop");
    place.link("directory", place.outside("elsewhere"));
    for name in ["file", "dangling", "loop", "directory"] {
        place.assert_answer(post(name, b"content"), &format!("ok|7|{name}\n"));
        place.assert_file(name, "content");
        assert!(fs::symlink_metadata(place.path(name)).expect("it is there").is_file());
    }
    assert_eq!(fs::read(place.outside("secret")).expect("it is there"), b"secret");
    assert!(!place.outside("nothing").exists());
    assert!(place.outside("elsewhere").read_dir().expect("it is there").next().is_none());
    place.assert_names(["dangling", "directory", "file", "loop"]);
}

#[test]
fn a_file_is_replaced_if_that_is_wanted_and_a_directory_never() {
    let place = Place::with(|upload| upload.overwrite(true));
    place.put("file", "before, and longer than what comes");
    fs::create_dir(place.path("directory")).expect("a directory");
    place.assert_answer(post("file", b"content"), "ok|7|file\n");
    place.assert_file("file", "content");
    place.assert_answer(post("directory", b"content"), "err|exists\n");
    place.assert_names(["directory", "file"]);
}

#[test]
fn a_refusal_comes_before_the_data() {
    let place = Place::with(|upload| upload.max(1000));
    place.put("file", "");
    for (header, answer) in [
        ("post|5", "err|bad header\n"),
        ("post|5|..", "err|bad name\n"),
        ("post|1001|a", "err|too large\n"),
        ("post|5|file", "err|exists\n"),
    ] {
        let client = place.connect();
        client.send(format!("{header}\n"));
        assert_eq!(client.rest(), answer.as_bytes(), "the data has not been sent, nor a FIN");
    }
    // The first thing that is wrong is told.
    place.assert_answer("post|1001x|file/\n", "err|bad header\n");
    place.assert_answer("post|1001|file/\n", "err|bad name\n");
    place.assert_answer("post|1001|file\n", "err|too large\n");
}

#[test]
fn a_refusal_is_not_lost_on_a_client_that_sends_on() {
    let place = Place::with(|upload| upload.max(1000));
    for framing in ["post|1001|a\n", "post|5|..\n"] {
        let client = place.connect();
        client.send(framing);
        let sender = client.share();
        let sending = std::thread::spawn(move || {
            sender.send(noise(20_000_000));
            sender.finish();
        });
        let answer = client.rest();
        assert!(answer.starts_with(b"err|"), "{}", answer.escape_ascii());
        sending.join().expect("it is read to its end, or this were a reset");
    }
}

// docs/guarantees.md, 45.
#[test]
fn more_than_was_declared_is_no_part_of_the_file() {
    let place = Place::new();
    place.assert_answer("post|5|a\nhello, world\n", "ok|5|a\nerr|bad header\n");
    place.assert_answer("post|5|b\nhello\n", "ok|5|b\nerr|bad header\n");
    place.assert_answer("post|5|c\nhellopost|5|d\nworld", "ok|5|c\nok|5|d\n");
    place.assert_answer("post|0|e\nx", "ok|0|e\nerr|bad header\n");
    for (name, content) in [("a", "hello"), ("b", "hello"), ("c", "hello"), ("d", "world"), ("e", "")] {
        place.assert_file(name, content);
    }
    place.assert_names(["a", "b", "c", "d", "e"]);
}

#[test]
fn after_a_refusal_nothing_more_is_taken() {
    let place = Place::new();
    let stream = [post("a", b"x"), post("..", b"y"), post("b", b"z")].concat();
    place.assert_answer(stream, "ok|1|a\nerr|bad name\n");
    place.assert_names(["a"]);
}

#[test]
fn in_chunks_a_refusal_is_told_without_a_line_end() {
    let place = Place::with(|upload| upload.framing(Framing::Chunk).max(1000));
    place.put("file", "");
    for (header, answer) in [
        ("post|5", "err|bad header"),
        (" ", "err|bad header"),
        ("post|5|..", "err|bad name"),
        ("post|5|a\nhello", "err|bad name"), // a chunk is the header, and no more
        ("post|1001|a", "err|too large"),
        ("post|5|file", "err|exists"),
    ] {
        let client = place.connect();
        client.send(header);
        client.expect(answer);
        client.send(noise(1_000_000));
        client.finish();
        client.expect_eof();
    }
    let client = place.connect();
    client.send(format!("post|1|{}", "x".repeat(1018)));
    assert_eq!(client.rest(), b"err|bad header");
    place.assert_names(["file"]);
}
