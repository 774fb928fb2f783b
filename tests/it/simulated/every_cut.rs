//! Every cut, pause, FIN and reset of what clients send to the library's services and
//! codecs, by `sim::every_cut`; and the bugs that it has to find.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::driver::sim::{Act, Actor, ActorIo, Conditions, Rng, Script};
use serve_forever::services::{Chat, Console, Echo, Framing, Once, Upper};
use serve_forever::sim::subject::Hub;
use serve_forever::sim::{CutError, CutReport, Disturbance, EveryCut, Pairs, Subject, World, every_cut};
use serve_forever::{AfterEof, BoxError, CloseReason, Error, Io, Limits, Origin, StreamHandler};

use super::handlers::{Scripted, patient};

/// What a test of every cut has covered, on a line of its own.
fn told(name: &str, began: Instant, report: Result<CutReport, CutError>) {
    let report = report.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let CutReport { bytes, runs, turns } = report;
    println!("{name}: {bytes} bytes, {runs} runs, {turns} turns, {:.1?}", began.elapsed());
}

/// Holds every cut of what a TCP client sends to a service.
#[track_caller]
fn holds<H: StreamHandler>(name: &str, script: Script, world: impl FnMut() -> Result<World<H, true>, Error>) {
    let began = Instant::now();
    told(name, began, every_cut(&script, world));
}

/// Holds every cut with at most so many bytes between two, of a longer script.
#[cfg(feature = "http")]
#[track_caller]
fn holds_within<H: StreamHandler>(
    name: &str,
    distance: usize,
    script: Script,
    world: impl FnMut() -> Result<World<H, true>, Error>,
) {
    let began = Instant::now();
    let options = EveryCut { pairs: Pairs::Within(distance), ..EveryCut::default() };
    told(name, began, options.run(&script, world));
}

fn world<H: StreamHandler>(handler: H, limits: Limits) -> Result<World<H, true>, Error> {
    World::new(1, Conditions::calm(), handler, limits)
}

#[test]
fn echo_upper_and_once() {
    let script = || Script::new().send("one\r\ntwo\n").send("\n\u{e4}\0three").finish();
    holds("echo", script(), || world(Echo::new(), Echo::limits()));
    holds("upper", script(), || world(Upper::new(), Upper::limits()));
    holds("once", script(), || world(Once::new("yes"), Once::limits()));
    let silent = || Script::new().send("no line end");
    holds("once, without an end", silent(), || world(Once::new("yes"), Once::limits()));
}

/// A member who listens gets what the other says, whole and in order.
#[test]
fn chat() {
    let said = "/nick ann\nhello \u{e4}\n/who\n/msg guest1 a\n/quit\n";
    holds("chat", Script::new().starting_after(Duration::from_secs(1)).send(said), || {
        let mut world = world(Chat::new(), Chat::limits())?;
        world.play(Script::new().after(Duration::from_secs(3600)).finish());
        Ok(world)
    });
}

#[test]
fn console() {
    let script = Script::new().send("hello\nwho?\nexit\nmore\n");
    holds("console", script, || world(Console::new(Framing::Lines), Console::limits()));
}

/// Everybody else gets each record, whole and in order.
#[test]
fn hub() {
    let records = Hub.stream(&mut Rng::new(1), 1, 40);
    holds("hub", Script::new().starting_after(Duration::from_secs(1)).send(records).finish(), || {
        let mut world = world(Hub.handler(), Hub.limits())?;
        world.play(Script::new().after(Duration::from_secs(3600)).finish());
        Ok(world)
    });
}

#[cfg(feature = "command")]
mod command {
    use serve_forever::driver::sim::Program;
    use serve_forever::services::{Command, Reply};

    use super::*;

    #[test]
    fn command() {
        let replies = [("framed", Reply::Framed), ("raw", Reply::Raw), ("streamed", Reply::Stream)];
        for (name, reply) in replies {
            let began = Instant::now();
            let script = Script::new().send("t0k\necho 'a b'\nrm x\nslow\n\nmissing\necho 2").finish();
            let options =
                EveryCut { to: Some("unix:/sim".parse().expect("an endpoint")), ..EveryCut::default() };
            let report = options.run(&script, || {
                let command = Command::allow(["echo", "slow", "missing"]).reply(reply).token("t0k");
                let command = command.expect("it is not empty");
                let limits = command.limits();
                let mut world = world(command, limits)?;
                world.net_mut().install("echo", Program::new().write_arguments());
                world.net_mut().install("slow", Program::new().after(Duration::from_millis(100)).write("s"));
                Ok(world)
            });
            told(&format!("command, {name}"), began, report);
        }
    }
}

#[cfg(feature = "upload")]
mod upload {
    use serve_forever::services::Upload;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn upload() {
        let said = "post|5|a\nhellopost|0|b\npost|2|../c\nxxpost|3|d\nabc";
        let mut directory: Option<TempDir> = None;
        holds("upload", Script::new().send(said).finish(), || {
            let own = directory.insert(tempfile::tempdir().expect("a directory"));
            world(Upload::into(own.path()).expect("it was just made").max(1 << 10), Upload::limits())
        });
    }
}

#[cfg(feature = "http")]
mod http {
    use std::time::SystemTime;

    use serve_forever::BoxError;
    #[cfg(feature = "ws")]
    use serve_forever::http::SocketOptions;
    use serve_forever::http::{Http, HttpHandler, HttpIo, Request, StatusCode};
    #[cfg(feature = "ws")]
    use serve_forever::ws::Message;

    use super::*;

    fn clock() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    /// Answers with the method, the path and the body; echoes messages.
    #[derive(Default)]
    struct Mirror {
        #[cfg(feature = "ws")]
        sockets: SocketOptions,
    }

    impl HttpHandler for Mirror {
        fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
            #[cfg(feature = "ws")]
            if request.header("upgrade").is_some() {
                io.accept_socket(request, &self.sockets);
                return Ok(());
            }
            let (method, path, body) = (request.method(), request.path(), request.body());
            let _ = io.answer(StatusCode::OK).text(format!("{method} {path} {}\n", body.escape_ascii()));
            Ok(())
        }

        #[cfg(feature = "ws")]
        fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
            let _ = io.send_message(io.id(), message);
            Ok(())
        }
    }

    fn mirror() -> Result<World<Http<Mirror>, true>, Error> {
        world(Http::new(Mirror::default()).clock(Some(clock)), Http::<Mirror>::limits())
    }

    #[test]
    fn http_requests() {
        for (name, text) in [
            ("two requests", "GET /a HTTP/1.1\r\nHost: a\r\n\r\nHEAD /b HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n"),
            (
                "a chunked body",
                "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n",
            ),
            ("two lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        ] {
            holds_within(&format!("http, {name}"), 16, Script::new().send(text).finish(), mirror);
        }
    }

    #[cfg(feature = "ws")]
    fn handshake(path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// A client's frame, masked with zeroes.
    #[cfg(feature = "ws")]
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    }

    #[cfg(feature = "ws")]
    #[test]
    fn websocket_frames() {
        let frames = [
            frame(0x81, "a\u{e4}".as_bytes()),
            frame(0x01, b"\xe2\x82"), // a fragment that ends within a character
            frame(0x89, b"p"),
            frame(0x80, b"\xac"),
            frame(0x82, b""),
            frame(0x88, b"\x03\xe8"),
        ];
        let script =
            Script::new().send(handshake("/")).await_answer("\r\n\r\n").send(frames.concat()).finish();
        holds_within("websocket", 6, script, mirror);
    }

    #[cfg(feature = "ws")]
    #[test]
    fn web() {
        use serve_forever::services::Web;

        let web = || Web::new(Chat::new()).clock(Some(clock));
        let text = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\nPOST /chat HTTP/1.1\r\n\r\n";
        holds_within("web", 16, Script::new().send(text).finish(), || world(web(), Web::limits()));
        let frames = [frame(0x81, b"hello"), frame(0x81, b"/nick ann"), frame(0x88, b"\x03\xe8")].concat();
        let script = Script::new().send(handshake("/chat/ws")).await_answer("\r\n\r\n").send(frames).finish();
        let start = Duration::from_secs(1);
        holds_within("web, its chat", 6, script.starting_after(start), || {
            let mut world = world(web(), Web::limits())?;
            let watcher = Script::new().send(handshake("/chat/ws")).after(Duration::from_secs(40)).finish();
            world.play(watcher);
            Ok(world)
        });
    }
}

#[cfg(feature = "codec")]
mod codecs {
    use serve_forever::Sent;
    use serve_forever::codec::{
        Decoder, Encoder, FrameHandler, FrameWriter, Framed, LengthDelimitedCodec, LinesCodec,
    };

    use super::*;

    /// Sends each frame back.
    struct FramedEcho<C, T, O> {
        codec: fn() -> C,
        again: fn(T) -> O,
        writer: FrameWriter,
    }

    impl<C, T, O> FrameHandler for FramedEcho<C, T, O>
    where
        C: Decoder<Item = T, Error: Into<BoxError>> + Encoder<O, Error: Into<BoxError>> + 'static,
        T: 'static,
        O: 'static,
    {
        type Session = C;
        type Codec = C;

        fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<C, BoxError> {
            Ok((self.codec)())
        }

        fn codec(session: &mut C) -> &mut C {
            session
        }

        fn frame(&mut self, io: &mut Io<'_>, codec: &mut C, frame: T) -> Result<(), BoxError> {
            match self.writer.write(io, codec, (self.again)(frame)) {
                Ok(Sent::Full) => Err("it is a short frame".into()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
    }

    fn framed<C, T, O>(codec: fn() -> C, again: fn(T) -> O) -> Framed<FramedEcho<C, T, O>>
    where
        FramedEcho<C, T, O>: FrameHandler,
    {
        Framed::new(FramedEcho { codec, again, writer: FrameWriter::default() })
    }

    fn ten() -> LinesCodec {
        LinesCodec::new_with_max_length(10)
    }

    #[test]
    fn lines() {
        let echo = || framed(ten, |line: String| line);
        let script = Script::new().send("one\ntwo\r\n\n\u{e4}\nlast").finish();
        holds("lines", script, || world(echo(), patient()));
        let too_long = Script::new().send("one\ntoo long, this one\ntwo\n").finish();
        holds("lines, one too long", too_long, || world(echo(), patient()));
    }

    #[test]
    fn frames_behind_their_length() {
        let codec = || LengthDelimitedCodec::builder().length_field_length(2).new_codec();
        let frames = b"\0\x05hello\0\0\0\x0c3\nlong frame\0\x01x";
        holds("frames", Script::new().send(&frames[..]).finish(), || {
            world(framed(codec, BytesMut::freeze), patient())
        });
    }
}

// What it has to find

/// Answers lines, and makes one mistake.
struct Faulty(Fault);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Input behind the last line end is lost.
    ForgetsRest,
    /// A line of which no more than one byte comes first is lost.
    ForgetsFirstByte,
    /// A line that is cut in three is answered twice.
    CountsParts,
    /// A FIN drops the answers that wait for a timer.
    DropsAtFin,
    /// A pause changes the answer.
    Impatient,
    /// What is not a whole line is answered when the peer has ended its side late.
    LateGuess,
}

impl StreamHandler for Faulty {
    /// How often input has come since the last line, and the waiting answer.
    type Session = (u32, Vec<u8>, Instant);

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Self::Session, BoxError> {
        Ok((0, Vec::new(), io.now()))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        (parts, answer, since): &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        *parts += 1;
        if self.0 == Fault::Impatient && io.now() - *since > Duration::from_millis(500) {
            let _ = io.write(b"slow!\n");
        }
        *since = io.now();
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            if self.0 == Fault::DropsAtFin {
                answer.extend_from_slice(&line);
                io.after(Duration::from_millis(1))?;
                continue;
            }
            let _ = io.write(&line);
            if self.0 == Fault::CountsParts && *parts >= 3 {
                let _ = io.write(&line);
            }
            *parts = 0;
        }
        match self.0 {
            Fault::ForgetsRest => input.clear(),
            Fault::ForgetsFirstByte if input.len() == 1 => input.clear(),
            _ => {}
        }
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        (_, answer, since): &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        if self.0 == Fault::LateGuess && !rest.is_empty() && io.now() - *since > Duration::from_millis(500) {
            let _ = io.write(rest);
        }
        answer.clear();
        Ok(AfterEof::Finish)
    }

    fn timer(
        &mut self,
        io: &mut Io<'_>,
        (_, answer, _): &mut Self::Session,
        _: serve_forever::TimerId,
    ) -> Result<(), BoxError> {
        let _ = io.write(&std::mem::take(answer));
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, _: Self::Session, _: &CloseReason) {}
}

/// The first disturbance that shows a fault.
#[track_caller]
fn found(fault: Fault) -> (Disturbance, String) {
    let script = Script::new().send("one\ntwo\n").finish();
    match every_cut(&script, || world(Faulty(fault), patient())) {
        Err(CutError::Broken { disturbance, what, trace }) => {
            assert!(trace.contains("server reads"), "the trace of that run: {trace}");
            (disturbance, what)
        }
        outcome => panic!("nothing was found: {outcome:?}"),
    }
}

#[test]
fn each_kind_of_fault_is_found_and_named() {
    let (disturbance, what) = found(Fault::ForgetsRest);
    assert_eq!(disturbance, Disturbance::Cut(1));
    assert_eq!(
        what,
        "client #0 received b\"ne\\ntwo\\n\" and a FIN, and its connection was closed as Finished; without it \
         it received b\"one\\ntwo\\n\" and a FIN, and its connection was closed as Finished"
    );
    assert_eq!(found(Fault::ForgetsFirstByte).0, Disturbance::Cut(1));
    assert_eq!(found(Fault::CountsParts).0, Disturbance::Cuts(1, 2));
    // A FIN right behind a line takes its answer with it.
    let script = Script::new().send("one\ntwo\n");
    let found_at_fin = every_cut(&script, || world(Faulty(Fault::DropsAtFin), patient()));
    let text = found_at_fin.expect_err("the answer is lost").to_string();
    assert!(text.contains("FIN after byte 4"), "{text}");
    assert_eq!(found(Fault::Impatient).0, Disturbance::Pause(0));
    assert_eq!(found(Fault::LateGuess).0, Disturbance::LateFin(1));
}

#[test]
fn more_runs_than_allowed_are_refused_before_they_begin() {
    let script = Script::new().send("x".repeat(300)).finish();
    let error = every_cut(&script, || world(Echo::new(), Echo::limits())).expect_err("it is too much");
    assert_eq!(
        error.to_string(),
        "the client sends 300 bytes, which makes 46357 runs, and EveryCut::max_runs is 20000: shorten what it \
         sends, cut fewer pairs (EveryCut::pairs), or allow more runs"
    );
    let singly = EveryCut { pairs: Pairs::None, ..EveryCut::default() };
    let report = singly.run(&script, || world(Echo::new(), Echo::limits())).expect("few enough");
    assert_eq!((report.bytes, report.runs), (300, 2 + 299 + 5 * 301));
}

#[test]
fn the_runs_are_as_many_as_announced() {
    for pairs in [Pairs::All, Pairs::Within(3), Pairs::Within(0), Pairs::None] {
        for bytes in [0, 1, 2, 9] {
            let script = Script::new().send("x".repeat(bytes)).finish();
            let exactly = |max_runs| EveryCut { max_runs, pairs, ..EveryCut::default() };
            let make = || world(Echo::new(), Echo::limits());
            let runs = exactly(1000).run(&script, make).expect("few enough").runs;
            assert_eq!(exactly(runs).run(&script, make).map(|report| report.runs).ok(), Some(runs));
            assert!(matches!(exactly(runs - 1).run(&script, make), Err(CutError::TooMany { .. })));
        }
    }
}

#[test]
fn a_world_that_differs_each_time_is_refused() {
    let mut count = 0;
    let outcome = every_cut(&Script::new().send("x\n").finish(), || {
        count += 1;
        world(Once::new(&format!("answer {count}")), Once::limits())
    });
    let text = outcome.expect_err("two answers").to_string();
    assert!(text.starts_with("two runs without a cut differ: client #0 received b\"answer 2"), "{text}");
}

#[test]
fn a_world_that_cannot_be_made_is_told() {
    let limits = Limits { low_mark: 10, high_mark: 5, ..Limits::default() };
    let outcome = every_cut(&Script::new(), || world(Scripted::lines(), limits.clone()));
    assert!(matches!(outcome, Err(CutError::World(_))), "{outcome:?}");
}

/// An actor is cut like a script, and may answer.
#[test]
fn what_an_actor_sends_is_cut_too() {
    /// Sends a line back once, with an end.
    #[derive(Clone, Default)]
    struct Greeter(usize);

    impl Actor for Greeter {
        fn connected(&mut self, io: &mut ActorIo<'_>) {
            io.send("hello\n");
        }

        fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
            self.0 += bytes.len();
            if self.0 == 6 {
                io.send("and again\n");
                io.act(Act::Finish);
            }
        }
    }

    let report = every_cut(&Greeter::default(), || world(Scripted::lines(), patient())).expect("it holds");
    assert_eq!(report.bytes, 16);
    let faulty = every_cut(&Greeter::default(), || world(Faulty(Fault::ForgetsFirstByte), patient()));
    assert!(matches!(faulty, Err(CutError::Broken { .. })), "{faulty:?}");
}
