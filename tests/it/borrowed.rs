//! Input that a handler looks at where it lies, before it is copied.

use bytes::BytesMut;
use serve_forever::{BoxError, CloseReason, Io, Limits, Origin, StreamHandler};

use crate::util::{Client, SOON, Server, noise};

/// What it was called with, by its name.
type Call = (&'static str, Vec<u8>);

/// Takes the digits that come first where they lie, and of what is behind them
/// whole lines. Answers each call with one byte.
#[derive(Default)]
struct Looker {
    calls: Vec<Call>,
    closed: Vec<String>,
}

impl StreamHandler for Looker {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, (): &mut (), input: &[u8]) -> Result<usize, BoxError> {
        self.calls.push(("data_in_place", input.into()));
        let _ = io.write(b"b");
        match input {
            b"fail" => Err("as it was told to".into()),
            b"more" => Ok(input.len() + 1),
            _ => Ok(input.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        }
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.calls.push(("data", input.to_vec()));
        let _ = io.write(b"d");
        let lines = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        drop(input.split_to(lines));
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, (): (), why: &CloseReason) {
        self.closed.push(format!("{why:?}"));
    }
}

/// Sends each message when the one before is answered, with as many bytes as it
/// should be; what the handler was called with.
#[track_caller]
fn calls(messages: &[(&str, &str)]) -> Vec<Call> {
    let server = Server::start(Looker::default(), Limits::default());
    let client = server.connect();
    for (message, answer) in messages {
        client.send(message);
        client.expect(answer);
    }
    server.ask(|looker, _| std::mem::take(&mut looker.calls))
}

fn call(name: &'static str, input: &str) -> Call {
    (name, input.into())
}

#[test]
fn what_is_taken_where_it_lies_is_not_handed_over() {
    assert_eq!(
        calls(&[("123", "b"), ("45", "b")]),
        [call("data_in_place", "123"), call("data_in_place", "45")]
    );
}

#[test]
fn what_is_not_taken_is_handed_over_at_once() {
    let expected = [
        call("data_in_place", "12a\n"),
        call("data", "a\n"),
        call("data_in_place", "b\n"),
        call("data", "b\n"),
    ];
    assert_eq!(calls(&[("12a\n", "bd"), ("b\n", "bd")]), expected);
}

#[test]
fn what_comes_behind_something_that_was_left_is_not_lent() {
    let expected = [
        call("data_in_place", "1a"),
        call("data", "a"),
        call("data", "a23"),
        call("data", "a23\n"),
        call("data_in_place", "4"),
    ];
    assert_eq!(calls(&[("1a", "bd"), ("23", "d"), ("\n", "d"), ("4", "b")]), expected);
}

/// Takes its input where it lies, and says that it is a frame without an end.
struct Endless;

impl StreamHandler for Endless {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, (): &mut (), input: &[u8]) -> Result<usize, BoxError> {
        io.begin_frame(io.id());
        let _ = io.write(b"b");
        Ok(input.len())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Err("nothing was left".into())
    }
}

#[test]
fn a_frame_that_is_taken_where_it_lies_has_its_time_and_is_no_input_that_is_kept() {
    let limits = Limits { max_input: 10, frame: Some(SOON), ..Limits::default() };
    let server = Server::start(Endless, limits);
    let began = std::time::Instant::now();
    let client = server.connect();
    let mut answers = 0;
    while client.try_send("12345").is_ok() {
        answers += 1;
        std::thread::yield_now();
    }
    assert!(began.elapsed() >= SOON && answers > 3, "{answers} pieces in {:?}", began.elapsed());
    server.until_connections(0);
    assert_eq!(server.stop().timed_out, 1);
}

#[track_caller]
fn assert_ends(message: &str, end: impl FnOnce(&Client), why: &str) {
    let server = Server::start(Looker::default(), Limits::default());
    let client = server.connect();
    client.send(message);
    end(&client);
    drop(client);
    server.until_connections(0);
    let (calls, closed) = server.ask(|looker, _| (looker.calls.clone(), looker.closed.clone()));
    assert_eq!(calls, [call("data_in_place", message)]);
    assert!(closed.len() == 1 && closed[0].starts_with(why), "{closed:?}");
}

#[test]
fn an_error_ends_the_connection_and_nothing_is_handed_over() {
    let end = |client: &Client| {
        client.expect("b");
        client.expect_eof();
    };
    assert_ends("fail", end, "Failed");
}

#[test]
fn to_take_more_than_there_is_counts_as_a_panic() {
    assert_ends("more", Client::expect_reset, "Panicked");
}

#[test]
fn a_large_input_is_taken_to_the_last_byte() {
    let server = Server::start(Looker::default(), Limits::default());
    let client = server.connect();
    let digits: Vec<u8> = noise(1_000_000).iter().map(|byte| b'0' + byte % 10).collect();
    client.send(&digits);
    client.finish();
    let answers = client.rest();
    assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == b'b'));
    let calls = server.ask(|looker, _| std::mem::take(&mut looker.calls));
    let taken: Vec<u8> = calls.into_iter().flat_map(|(_, input)| input).collect();
    assert!(taken == digits, "other bytes were lent than were sent");
}
