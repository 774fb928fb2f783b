//! Log lines that strangers can cause: a few at once, then one in a second.

use std::time::Instant;

use bytes::BytesMut;
use serve_forever::services::{Chat, Console, Framing};
use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};

use crate::util::{Server, alone, captured_logs};

const STRANGERS: usize = 60;

/// Each stranger sends this, and its connection ends; the lines of the log with
/// this text are as many as a rate allows that began with the first.
#[track_caller]
fn expect_few<S: StreamHandler + Send + 'static>(handler: S, limits: Limits, said: &str, line: &str) {
    captured_logs();
    let server = Server::start(handler, limits);
    let began = Instant::now();
    for _ in 0..STRANGERS {
        let stranger = server.connect();
        stranger.send(said);
        stranger.assert_closed();
    }
    let most = 10 + usize::try_from(began.elapsed().as_secs()).expect("it is not long") + 1;
    let lines: Vec<_> =
        captured_logs().into_iter().map(|(_, text)| text).filter(|text| text.contains(line)).collect();
    assert!((10..=most).contains(&lines.len()), "at most {most}: {lines:#?}");
    assert!(lines[..10].iter().all(|line| !line.contains("more like this")), "{lines:#?}");
}

#[derive(Debug)]
struct Moody;

impl StreamHandler for Moody {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        panic!("I am in no mood");
    }
}

#[test]
fn callbacks_that_panic_for_many() {
    alone("log_rate::callbacks_that_panic_for_many", || {
        expect_few(Moody, Limits::default(), "x", "a callback of connection");
    });
}

#[test]
fn web_pages_in_a_chat() {
    alone("log_rate::web_pages_in_a_chat", || {
        expect_few(Chat::new(), Chat::limits(), "GET / HTTP/1.1\r\n\r\n", "chat: ");
    });
}

#[test]
fn web_pages_at_a_console() {
    alone("log_rate::web_pages_at_a_console", || {
        expect_few(Console::new(Framing::Lines), Console::limits(), "GET / HTTP/1.1\r\n\r\n", "console: ");
    });
}

#[cfg(feature = "command")]
#[test]
fn wrong_tokens() {
    alone("log_rate::wrong_tokens", || {
        use serve_forever::services::Command;
        let command = || Command::shell().token("secret").expect("it is a token");
        let limits = command().limits();
        expect_few(command(), limits.clone(), "guess\n", "a wrong token");
        expect_few(command(), limits, "POST / HTTP/1.1\n", "nothing is run for it");
    });
}

#[cfg(feature = "upload")]
#[test]
fn refused_files() {
    alone("log_rate::refused_files", || {
        use serve_forever::services::Upload;
        let directory = tempfile::tempdir().expect("a directory");
        let upload = Upload::into(directory.path()).expect("it was just made");
        expect_few(upload, Upload::limits(), "post|1|..\n", "refused a file");
    });
}

/// Writes more than may wait, leaves more than it may, or fails.
struct Careless;

impl StreamHandler for Careless {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        match input[0] {
            b'w' => assert_eq!(io.write(&[b'x'; 2_000_000]), serve_forever::Sent::Dropped),
            b'l' => {}
            _ => return Err("it is no word of mine".into()),
        }
        Ok(())
    }
}

#[test]
fn connections_that_a_limit_or_an_error_ends() {
    alone("log_rate::connections_that_a_limit_or_an_error_ends", || {
        let limits = Limits { max_input: 5, ..Limits::default() };
        let said = [
            (
                "w",
                "a message of 2000000 bytes is longer than Limits::hard_mark, which is 1048576; write it in parts",
            ),
            ("leaves it", "9 bytes of input are left untaken, and Limits::max_input is 5"),
            ("fails", "failed: it is no word of mine"),
        ];
        for (word, line) in said {
            expect_few(Careless, limits.clone(), word, line);
            let logged = captured_logs();
            let (level, text) = logged.iter().find(|(_, text)| text.contains(line)).expect("it is said");
            assert_eq!(*level, log::Level::Warn);
            assert!(text.contains("Careless: connection "), "whose, and which: {text}");
        }
    });
}
