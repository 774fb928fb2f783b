//! Files of a directory: what is served, and what is not.

use std::fs;
use std::os::unix::fs::symlink;

use serve_forever::BoxError;
use serve_forever::http::{Files, Http, HttpHandler, HttpIo, Request};

use crate::util::Server;

struct Site(Files);

impl HttpHandler for Site {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        let _ = self.0.serve(io, request);
        Ok(())
    }
}

/// A site in a directory that has something beside it.
fn site() -> (tempfile::TempDir, Server<Http<Site>>) {
    let outer = tempfile::tempdir().expect("a directory");
    let root = outer.path().join("www");
    fs::create_dir_all(root.join("sub/deep")).expect("a directory");
    fs::create_dir(root.join(".git")).expect("a directory");
    for (name, text) in [
        ("secret", "secret"),
        ("www/index.html", "<p>index"),
        ("www/a b.txt", "0123456789"),
        ("www/.hidden", "hidden"),
        ("www/.git/config", "hidden"),
        ("www/sub/index.html", "<p>sub"),
        ("www/sub/empty", ""),
        ("www/sub/deep/x.css", "p {}"),
    ] {
        fs::write(outer.path().join(name), text).expect("a file");
    }
    symlink("../secret", root.join("link")).expect("a link");
    symlink("sub", root.join("inner")).expect("a link");
    symlink("../..", root.join("sub/up")).expect("a link");
    let site = Site(Files::of(&root).expect("it is there"));
    (outer, Server::start(Http::new(site), Http::<Site>::limits()))
}

/// The answer, without its date.
fn ask(server: &Server<Http<Site>>, line: &str, fields: &str) -> String {
    let client = server.connect();
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"));
    String::from_utf8(client.rest()).expect("text")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    answer.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn files_have_their_type_and_validators() {
    let (_directory, server) = site();
    let answer = ask(&server, "GET /a%20b.txt", "");
    assert_eq!((status(&answer), body(&answer)), ("200", "0123456789"));
    assert_eq!(field(&answer, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(field(&answer, "x-content-type-options"), "nosniff");
    let etag = field(&answer, "etag").to_owned();
    let modified = field(&answer, "last-modified").to_owned();
    let head = ask(&server, "HEAD /a%20b.txt", "");
    assert_eq!((status(&head), body(&head), field(&head, "content-length")), ("200", "", "10"));
    for condition in [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {modified}\r\n")] {
        let answer = ask(&server, "GET /a%20b.txt", &condition);
        assert_eq!((status(&answer), body(&answer), field(&answer, "etag")), ("304", "", etag.as_str()));
    }
    assert_eq!(status(&ask(&server, "GET /a%20b.txt", "If-Match: \"x\"\r\n")), "412");
    let answer = ask(&server, "GET /sub/deep/x.css?v=1", "");
    assert_eq!((status(&answer), field(&answer, "content-type")), ("200", "text/css; charset=utf-8"));
    let answer = ask(&server, "GET /sub/empty", "");
    assert_eq!((status(&answer), field(&answer, "content-length"), body(&answer)), ("200", "0", ""));
}

#[test]
fn ranges_of_a_file() {
    let (_directory, server) = site();
    let answer = ask(&server, "GET /a%20b.txt", "Range: bytes=3-5\r\n");
    assert_eq!(
        (status(&answer), body(&answer), field(&answer, "content-range")),
        ("206", "345", "bytes 3-5/10")
    );
    let answer = ask(&server, "GET /a%20b.txt", "Range: bytes=10-\r\n");
    assert_eq!((status(&answer), field(&answer, "content-range")), ("416", "bytes */10"));
    let answer = ask(&server, "GET /a%20b.txt", "Range: bytes=0-1,3-4\r\n");
    assert_eq!((status(&answer), body(&answer)), ("200", "0123456789"));
}

#[test]
fn a_directory_is_its_index_and_has_no_listing() {
    let (_directory, server) = site();
    assert_eq!(body(&ask(&server, "GET /", "")), "<p>index");
    assert_eq!(body(&ask(&server, "GET /sub/", "")), "<p>sub");
    let answer = ask(&server, "GET /sub?x=y", "");
    assert_eq!((status(&answer), field(&answer, "location")), ("301", "/sub/?x=y"));
    assert_eq!(status(&ask(&server, "GET /sub/deep/", "")), "404");
    assert_eq!(status(&ask(&server, "GET /sub/empty/", "")), "404");
}

// docs/guarantees.md, 70.
#[test]
fn nothing_leads_out_of_the_directory_or_to_what_is_hidden() {
    let (_directory, server) = site();
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "/%2E./secret",
        "/sub/../../secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/sub/..%00/secret",
        "/./index.html",
        "//secret",
        "//",
        "/sub//index.html",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/.hidden",
        "/%2ehidden",
        "/.git/config",
        "/link",
        "/inner/index.html",
        "/sub/up/secret",
        "/%c0%ae%c0%ae/secret",
        "/%252e%252e/secret",
        "/index.html%00",
        "/index.html%00.txt",
        "/%",
        "/%zz",
        "/nothing",
        "*",
    ] {
        let line = if path == "*" { "OPTIONS *".to_owned() } else { format!("GET {path}") };
        let answer = ask(&server, &line, "");
        assert!(["404", "405"].contains(&status(&answer)), "{path}: {answer}");
        assert!(
            !answer.contains("secret\r") && body(&answer) != "secret" && body(&answer) != "hidden",
            "{path}"
        );
    }
    assert_eq!(status(&ask(&server, "POST /", "")), "405");
    assert_eq!(field(&ask(&server, "DELETE /", ""), "allow"), "GET, HEAD");
}

#[test]
fn a_large_file_arrives_and_one_that_shrinks_meanwhile_breaks_off() {
    let (directory, server) = site();
    let path = directory.path().join("www/large");
    let data: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(&path, &data).expect("a file");
    let request = "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let client = server.connect();
    client.send(request);
    assert!(client.rest().ends_with(&data));

    let client = server.connect();
    client.send(request);
    client.take(1000);
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(1000)).expect("a shorter file");
    client.expect_reset();
}
