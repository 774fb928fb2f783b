//! Answers that are files: as the client takes them, in their order, through a layer,
//! and never a part for the whole.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::time::Duration;

use serve_forever::driver::sim::{ClientId, Conditions, Pace, Script};
use serve_forever::http::{Files, Http, HttpHandler, HttpIo, Request, StatusCode};
use serve_forever::sim::{Toy, World};
use serve_forever::{BoxError, Config, ListenOptions};

use super::api::get;
use crate::util::Server;

const SECOND: Duration = Duration::from_secs(1);

/// Files of a directory, a text, and a file without a position.
struct Site(Files);

impl HttpHandler for Site {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        match request.path() {
            "/text" => _ = io.answer(StatusCode::OK).text("a text\n"),
            "/pipe" => {
                let (reader, _writer) = std::io::pipe()?;
                _ = io.answer(StatusCode::OK).file(File::from(OwnedFd::from(reader)), 5);
            }
            _ => _ = self.0.serve(io, request),
        }
        Ok(())
    }
}

type SiteWorld = World<Http<Site>, true>;

/// Above every mark; and below the length from which a file is not copied.
const LARGE: usize = 3_000_000;
const SMALL: usize = 10_000;

/// Bytes whose place can be told.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("large"), content(LARGE)).expect("there is room");
    fs::write(directory.path().join("small"), content(SMALL)).expect("there is room");
    directory
}

fn world(directory: &tempfile::TempDir, options: &ListenOptions) -> SiteWorld {
    let site = Http::new(Site(Files::of(directory.path()).expect("it is there")));
    let conditions = Conditions { buffer: 1 << 16, ..Conditions::calm() };
    World::listening(1, conditions, site, Http::<Site>::limits(), Config::default(), options)
        .expect("good limits")
}

/// The status and the body of each answer.
fn answers(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let length: usize = length.parse().expect("a number");
        let body = &bytes[end..end + length];
        answers.push((head[9..12].to_owned(), body.to_vec()));
        bytes = &bytes[end + body.len()..];
    }
    answers
}

fn received(world: &SiteWorld, client: ClientId) -> Vec<(String, Vec<u8>)> {
    answers(world.client(client).received())
}

/// Requests that are sent ahead, and what each of them is answered.
fn ahead() -> (String, Vec<(&'static str, Vec<u8>)>) {
    let range = |path, range| format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes={range}\r\n\r\n");
    let requests = [
        get("/large"),
        get("/text"),
        get("/small"),
        range("/large", "1000-1999999"),
        range("/large", "5-9"),
        get("/text"),
        range("/small", "9990-"),
        get("/large"),
        get("/text"),
    ];
    let text = || b"a text\n".to_vec();
    let (large, small) = (content(LARGE), content(SMALL));
    let bodies = vec![
        ("200", large.clone()),
        ("200", text()),
        ("200", small.clone()),
        ("206", large[1000..2_000_000].to_vec()),
        ("206", large[5..10].to_vec()),
        ("200", text()),
        ("206", small[9990..].to_vec()),
        ("200", large),
        ("200", text()),
    ];
    (requests.concat(), bodies)
}

#[track_caller]
fn assert_same(found: &[(String, Vec<u8>)], expected: &[(&str, Vec<u8>)]) {
    let brief = |answers: &[(String, Vec<u8>)]| -> Vec<_> {
        answers.iter().map(|(status, body)| (status.clone(), body.len())).collect()
    };
    let is_same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.0 == expected.0 && found.1 == expected.1);
    assert!(is_same, "{:?}", brief(found));
}

#[test]
fn files_and_texts_that_are_asked_for_ahead_come_in_their_order() {
    let directory = directory();
    let (requests, expected) = ahead();
    for pace in [Pace::AtOnce, Pace::Slowly { bytes: 70_000, every: SECOND / 10 }] {
        let mut world = world(&directory, &ListenOptions::default());
        let client = world.play(Script::new().read(pace).send(requests.clone()).finish());
        world.run().expect("it keeps its promises");
        world.check_baseline().expect("nothing is left");
        assert_same(&received(&world, client), &expected);
    }
}

#[test]
fn a_request_for_a_file_is_the_same_wherever_it_is_cut() {
    let directory = directory();
    let request = get("/small") + &get("/text");
    let expected = [("200", content(SMALL)), ("200", b"a text\n".to_vec())];
    let mut world = world(&directory, &ListenOptions::default());
    let clients: Vec<_> = (1..request.len())
        .map(|cut| {
            let (first, second) = request.split_at(cut);
            let script = Script::new().send(first.to_owned()).after(SECOND / 20);
            world.play(script.send(second.to_owned()).finish())
        })
        .collect();
    world.run().expect("it keeps its promises");
    for client in clients {
        assert_same(&received(&world, client), &expected);
    }
}

#[test]
fn a_file_goes_through_a_layer() {
    let directory = directory();
    let (requests, expected) = ahead();
    let options = ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() };
    let mut world = world(&directory, &options);
    let client = world.play(Script::new().through(Toy::clients()).send(requests).finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("nothing is left");
    assert_same(&received(&world, client), &expected);
}

#[test]
fn a_file_that_shrinks_meanwhile_ends_the_connection_at_once() {
    let directory = directory();
    let mut world = world(&directory, &ListenOptions::default());
    let slow = Script::new().read(Pace::Slowly { bytes: 70_000, every: SECOND });
    let client = world.play(slow.send(get("/large") + &get("/text")).after(100 * SECOND));
    world.run_for(2 * SECOND).expect("it keeps its promises");
    let file = File::options().write(true).open(directory.path().join("large")).expect("it is there");
    file.set_len(500_000).expect("a shorter file");
    world.run().expect("it keeps its promises");
    let why = world.life(client).and_then(|life| life.closed()).expect("it was closed");
    assert!(why.starts_with("File("), "{why}");
    let received = world.client(client).received();
    assert!(received.len() < 501_000 && !received.ends_with(b"a text\n"), "{} bytes", received.len());
}

#[test]
fn a_head_of_a_file_has_its_length_and_no_byte_of_it() {
    let directory = directory();
    let mut world = world(&directory, &ListenOptions::default());
    for path in ["/large", "/small"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let client = world.play(Script::new().send(request));
        world.run().expect("it keeps its promises");
        let answer = String::from_utf8_lossy(world.client(client).received()).into_owned();
        let length = if path == "/large" { LARGE } else { SMALL };
        assert!(answer.contains(&format!("\r\ncontent-length: {length}\r\n")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn what_has_no_position_is_no_file_to_answer_with() {
    let directory = directory();
    let mut world = world(&directory, &ListenOptions::default());
    let client = world.play(Script::new().send(get("/pipe") + &get("/text")).finish());
    world.run().expect("it keeps its promises");
    let answers = received(&world, client);
    let statuses: Vec<_> = answers.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["500", "200"]);
}

#[test]
fn the_kernel_sends_a_large_file_and_a_small_one_leaves_with_its_head() {
    let directory = directory();
    let site = Http::new(Site(Files::of(directory.path()).expect("it is there")));
    let server = Server::start(site, Http::<Site>::limits());
    let (requests, expected) = ahead();
    let client = server.connect();
    client.send(requests);
    client.finish();
    assert_same(&answers(&client.rest()), &expected);

    let client = server.connect();
    let before = server.stats().system.write;
    client.send(get("/small").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_same(&answers(&client.rest()), &[("200", content(SMALL))]);
    assert_eq!(server.stats().system.write - before, 1);
}
