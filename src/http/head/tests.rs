use proptest::prelude::*;

use super::*;

fn find(text: &[u8]) -> Result<Option<usize>, Refusal> {
    HeadScan::default().end(text, &HttpLimits::default())
}

/// What becomes of a head that is complete.
fn parse<R>(text: &[u8], look: impl FnOnce(&Head<'_>) -> R) -> Result<R, Refusal> {
    let limits = HttpLimits::default();
    let end = HeadScan::default().end(text, &limits)?.expect("the head is complete");
    let mut room = Room::new();
    Head::parse(&text[..end], &mut room, &limits).map(|head| look(&head))
}

fn refusal_of(text: &str) -> (u16, &'static str) {
    let refusal = parse(text.as_bytes(), |_| ()).expect_err(text);
    (refusal.status.as_u16(), refusal.reason)
}

/// A request with these fields behind its host.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn framing_of(fields: &str) -> Framing {
    parse(with(fields).as_bytes(), |head| head.framing).expect(fields)
}

#[test]
fn a_head_is_what_it_says() {
    let text = b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.org:80\r\nX-Empty:\r\nX-Y: \t z \t\r\n\r\nrest";
    parse(text, |head| {
        assert_eq!(head.method, Method::GET);
        assert_eq!((head.target, head.authority), ("/a%20b?c=d", "example.org:80"));
        assert_eq!(head.version, Version::HTTP_11);
        let fields: Vec<_> = head.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [("Host", &b"example.org:80"[..]), ("X-Empty", b""), ("X-Y", b"z")]);
        assert_eq!(head.framing.body, BodyLength::Known(0));
        assert!(head.framing.keep_alive && !head.framing.expects_continue && !head.framing.upgrade);
    })
    .expect("a good head");
}

#[test]
fn empty_lines_before_the_first_are_skipped() {
    assert_eq!(parse(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", |head| head.target.to_owned()), Ok("/".into()));
}

#[test]
fn both_a_length_and_a_transfer_encoding() {
    let (status, reason) = refusal_of(&with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"));
    assert_eq!((status, reason), (400, "there are both a Content-Length and a Transfer-Encoding"));
    assert_eq!(refusal_of(&with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n")).0, 400);
}

#[test]
fn two_lengths_even_if_they_are_equal() {
    for second in ["5", "6"] {
        let fields = format!("Content-Length: 5\r\nContent-length: {second}\r\n");
        assert_eq!(refusal_of(&with(&fields)), (400, "there are two Content-Length fields"));
    }
    assert_eq!(refusal_of(&with("Content-Length: 5, 5\r\n")).0, 400);
}

#[test]
fn a_length_that_is_no_number() {
    for wrong in ["", "+5", "-5", "0x5", "5.0", "5 5", "５", "five", "18446744073709551616", &"9".repeat(30)]
    {
        let fields = format!("Content-Length: {wrong}\r\n");
        assert_eq!(refusal_of(&with(&fields)).0, 400, "{wrong:?}");
    }
    assert_eq!(framing_of("Content-Length: 007\r\n").body, BodyLength::Known(7));
    assert_eq!(framing_of("Content-Length: 18446744073709551615\r\n").body, BodyLength::Known(u64::MAX));
}

#[test]
fn a_space_before_the_colon() {
    for space in [" ", "\t", "  "] {
        assert_eq!(refusal_of(&with(&format!("Content-Length{space}: 5\r\n"))).0, 400);
        assert_eq!(refusal_of(&with(&format!("Transfer-Encoding{space}: chunked\r\n"))).0, 400);
    }
}

#[test]
fn a_bare_cr() {
    for text in [
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX\r: y\r\n\r\n",
    ] {
        assert_eq!(refusal_of(text).0, 400, "{text:?}");
    }
}

#[test]
fn a_bare_lf() {
    for text in
        ["GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "\nGET / HTTP/1.1\r\n\r\n"]
    {
        let refusal = find(text.as_bytes()).expect_err(text);
        assert_eq!(refusal.reason, "a line ends without CR");
    }
    assert!(find(b"GET / HTTP/1.1\r\nHost: a\r\n\n").is_err());
}

#[test]
fn a_folded_field() {
    for fold in [" ", "\t"] {
        assert_eq!(refusal_of(&with(&format!("X: y\r\n{fold}z\r\n"))).0, 400);
        assert_eq!(refusal_of(&format!("GET / HTTP/1.1\r\n{fold}Host: a\r\n\r\n")).0, 400);
    }
}

#[test]
fn control_characters_in_a_field() {
    for wrong in ["\0", "\u{1}", "\u{b}", "\u{7f}"] {
        assert_eq!(refusal_of(&with(&format!("X: a{wrong}b\r\n"))).0, 400, "{wrong:?}");
        assert_eq!(refusal_of(&with(&format!("X{wrong}: b\r\n"))).0, 400, "{wrong:?}");
    }
}

#[test]
fn a_field_without_a_colon_or_a_name() {
    assert_eq!(refusal_of(&with("X\r\n")).0, 400);
    assert_eq!(refusal_of(&with(": y\r\n")).0, 400);
}

#[test]
fn transfer_codings() {
    assert_eq!(framing_of("Transfer-Encoding: Chunked\r\n").body, BodyLength::Chunked);
    for unknown in ["gzip", "gzip, chunked", "identity", "xchunked", "chunked;a=b", "chunked, gzip", ""] {
        assert_eq!(refusal_of(&with(&format!("Transfer-Encoding: {unknown}\r\n"))).0, 501, "{unknown}");
    }
    assert_eq!(refusal_of(&with("Transfer-Encoding: chunked, chunked\r\n")).0, 400);
    assert_eq!(refusal_of(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")).0, 400);
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refusal_of(old), (400, "HTTP/1.0 has no Transfer-Encoding"));
}

#[test]
fn a_request_of_1_1_has_one_host() {
    assert_eq!(refusal_of("GET / HTTP/1.1\r\n\r\n"), (400, "there is no Host field"));
    assert_eq!(refusal_of(&with("Host: b\r\n")), (400, "there are two Host fields"));
    for wrong in ["a b", "a/b", "user@a", "a\"", "\u{e4}"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {wrong}\r\n\r\n");
        assert_eq!(refusal_of(&text).0, 400, "{wrong}");
    }
    assert!(parse(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", |_| ()).is_ok(), "a URI without an authority");
    assert!(parse(b"GET / HTTP/1.0\r\n\r\n", |_| ()).is_ok());
}

#[test]
fn targets() {
    let target = |line: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        parse(text.as_bytes(), |head| (head.authority.to_owned(), head.target.to_owned()))
    };
    let good = |authority: &str, target: &str| Ok((authority.to_owned(), target.to_owned()));
    assert_eq!(target("GET /"), good("h", "/"));
    assert_eq!(target("GET //a"), good("h", "//a"));
    assert_eq!(target("OPTIONS *"), good("h", "*"));
    assert_eq!(target("GET http://x:1/y?z"), good("x:1", "/y?z"), "the target counts more than Host");
    assert_eq!(target("GET HTTPS://x"), good("x", "/"));
    for wrong in [
        "GET *",
        "GET a",
        "GET x:80",
        "GET ftp://x/",
        "GET http:///",
        "GET http://u@x/",
        "GET /#a",
        "GET http://x?y",
    ] {
        assert_eq!(target(wrong).map_err(|refusal| refusal.status.as_u16()), Err(400), "{wrong}");
    }
    assert_eq!(refusal_of("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").0, 501);
    assert_eq!(refusal_of("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n").0, 400);
}

#[test]
fn first_lines_that_are_none() {
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTPS/1.1",
        "G{T / HTTP/1.1",
        "GET / HTTP/1.12",
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(refusal_of(&text).0, 400, "{line:?}");
    }
    for version in ["2.0", "2", "0.9", "1.2", "9.9", "3"] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        assert_eq!(refusal_of(&text).0, 505, "{version}");
    }
}

#[test]
fn expectations() {
    assert!(framing_of("Expect: 100-Continue\r\n").expects_continue);
    assert_eq!(refusal_of(&with("Expect: tea\r\n")).0, 417);
    assert_eq!(refusal_of(&with("Expect: 100-continue\r\nExpect: 100-continue\r\n")).0, 400);
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(parse(old.as_bytes(), |head| head.framing.expects_continue), Ok(false));
}

#[test]
fn connections_are_kept_by_1_1_and_closed_by_1_0() {
    let keeps = |version: &str, fields: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        parse(text.as_bytes(), |head| head.framing.keep_alive).expect("a good head")
    };
    assert!(keeps("1.1", "") && !keeps("1.1", "Connection: x, Close\r\n"));
    assert!(!keeps("1.0", "") && keeps("1.0", "connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "Connection: keep-alive, close\r\n"));
    assert!(!keeps("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
}

#[test]
fn an_upgrade_needs_both_of_its_fields_and_1_1() {
    assert!(framing_of("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").upgrade);
    assert!(!framing_of("Upgrade: websocket\r\n").upgrade);
    assert!(!framing_of("Connection: upgrade\r\n").upgrade);
}

#[test]
fn heads_lines_and_fields_that_are_too_many() {
    let limits = HttpLimits { max_head: 200, max_line: 40, max_fields: 3, ..HttpLimits::default() };
    let end = |text: &str| {
        HeadScan::default().end(text.as_bytes(), &limits).map_err(|refusal| refusal.status.as_u16())
    };
    assert_eq!(end(&format!("GET /{}", "a".repeat(35))), Ok(None));
    assert_eq!(end(&format!("GET /{}", "a".repeat(37))), Err(414));
    assert_eq!(end(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(37))), Err(414));
    assert_eq!(end(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(190))), Err(431));
    assert_eq!(end(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(190))), Err(431));
    assert_eq!(end(&"\r\n".repeat(101)), Err(431), "empty lines too");
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nd: e\r\nf: g\r\n\r\n";
    let mut room = Room::new();
    assert_eq!(Head::parse(text, &mut room, &limits).map(|_| ()), Err(Refusal::TOO_MANY_FIELDS));
}

#[test]
fn the_end_is_found_wherever_it_is_cut_and_each_byte_is_searched_once() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
    for cut in 0..text.len() {
        let mut scan = HeadScan::default();
        let limits = HttpLimits::default();
        let first = scan.end(&text[..cut], &limits).expect("good");
        let scanned = scan.scanned as usize;
        match first {
            Some(end) => assert_eq!(end, 29),
            None => {
                assert_eq!(scanned, cut);
                assert_eq!(scan.end(text, &limits), Ok(Some(29)), "{cut}");
            }
        }
    }
}

proptest! {
    #[test]
    fn properties_any_bytes_are_refused_or_parsed_the_same_however_they_are_cut(
        text in r"(\r\n)?[A-Z]{1,4} [/a-z*:]{1,9} HTTP/[01]\.[0-9]\r\n([A-Za-z -]{1,18}:? ?[a-z0-9, \t]{0,9}\r?\n){0,5}\r\n[a-z]{0,5}",
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let bytes = text.as_bytes();
        let limits = HttpLimits::default();
        let whole = HeadScan::default().end(bytes, &limits);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([bytes.len()]).collect();
        ends.sort_unstable();
        let mut scan = HeadScan::default();
        let cut = ends.into_iter().map(|end| scan.end(&bytes[..end], &limits)).find(|end| *end != Ok(None));
        prop_assert_eq!(cut.unwrap_or(Ok(None)), whole);
    }

    #[test]
    fn properties_nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut room = Room::new();
        let _ = HeadScan::default().end(&bytes, &HttpLimits::default());
        let _ = Head::parse(&bytes, &mut room, &HttpLimits::default());
    }
}
