//! The handlers of Python's `socketserver`, row by row of the table in docs/;
//! see tests/it/socketserver.rs.

use bytes::BytesMut;
use serve_forever::{
    Address, BoxError, CloseReason, Config, ConnId, Endpoint, Io, Limits, ListenOptions, Origin, Reactor,
    Sent, StreamHandler,
};

use crate::util::{
    Call, Client, NEVER, PATIENCE, Recorder, SOON, Server, Take, accepted_sockets, listen_anywhere, noise,
};

/// What a request handler would have as its attributes.
#[derive(Default)]
struct Attributes {
    requests: usize,
    names: Vec<String>,
    ids: Vec<ConnId>,
}

impl StreamHandler for Attributes {
    type Session = ConnId;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
        self.names.push(origin.peer().to_string());
        if matches!(origin.peer().address, Address::Unnamed) {
            let credentials = origin.peer().credentials.ok_or("none")?;
            self.names.push(format!("user {}", credentials.uid));
        }
        self.ids.push(io.id());
        Ok(io.id())
    }

    fn data(&mut self, io: &mut Io<'_>, id: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        self.requests += 1;
        assert_eq!(io.id(), *id);
        assert!(io.is_open(*id));
        let answer = format!("request {} of all\n", self.requests);
        assert!(io.write(answer.as_bytes()).is_queued());
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, id: ConnId, _: &CloseReason) {
        assert_eq!(io.id(), id);
        assert!(!io.is_open(id));
    }
}

#[test]
fn base_request_handler_and_stream_request_handler_live_from_open_to_close() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder.verifying(true), Limits::default());
    let client = server.connect();
    client.send("all of it");
    client.finish();
    client.expect_eof();
    let life = [Call::Verify, Call::Open, Call::data("all of it"), Call::eof(""), Call::close("Finished")];
    assert_eq!(events.life(), life);
    server.stop();
    assert_eq!(events.so_far(), [Call::ShuttingDown], "and nothing after its end");
}

#[test]
fn setup_is_open_and_may_greet() {
    let (recorder, _events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            assert!(io.write(b"welcome").is_queued());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    server.connect().expect("welcome");
}

#[test]
fn handle_is_data_whenever_input_has_come() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Data(_) => assert!(io.write(b"more?").is_queued()),
            Call::Eof(_) => assert!(io.write(b"enough.").is_queued()),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    events.expect_open();
    for text in ["one", "two", "three"] {
        client.send(text);
        client.expect("more?");
        events.expect(&Call::data(text));
    }
    client.finish();
    assert_eq!(client.rest(), b"enough.");
    events.expect(&Call::eof(""));
}

#[test]
fn finish_is_close_once_whatever_ended_it() {
    let (recorder, events) = Recorder::new(|_, call| match call {
        Call::Data(_) => Err("there".into()),
        _ => Ok(()),
    });
    let server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.finish();
    client.expect_eof();
    assert_eq!(events.life().last(), Some(&Call::close("Finished")));
    let client = server.connect();
    events.expect_open();
    client.reset();
    events.expect_close("Io(");
    let client = server.connect();
    client.send("fail");
    client.expect_eof();
    assert_eq!(events.life().last(), Some(&Call::close("Failed(\"there\")")));
    assert_eq!(server.stop().closed, 3);
    events.so_far().iter().for_each(|call| assert_eq!(*call, Call::ShuttingDown));
}

#[test]
fn request_handler_class_and_server_are_one_value_for_all() {
    let server = Server::start(Attributes::default(), Limits::default());
    for number in 1..=3 {
        let client = server.connect();
        client.send("x");
        client.expect(format!("request {number} of all\n"));
    }
    assert_eq!(server.ask(|handler, _| handler.requests), 3);
}

#[test]
fn server_is_the_handler_itself() {
    let server = Server::start(Attributes::default(), Limits::default());
    let clients = [server.connect(), server.connect()];
    for (number, client) in clients.iter().cycle().take(6).enumerate() {
        client.send("x");
        client.expect(format!("request {} of all\n", number + 1));
    }
}

#[test]
fn request_and_connection_are_named_by_an_id() {
    let server = Server::start(Attributes::default(), Limits::default());
    let clients = [server.connect(), server.connect()];
    for client in &clients {
        client.send("x");
        client.take(1);
    }
    // By that id, one can be reached from anywhere.
    let sent = server.ask(|handler, io| {
        let ids = handler.ids.clone();
        ids.into_iter().map(|id| io.send(id, "by name")).collect::<Vec<_>>()
    });
    assert_eq!(sent, [Sent::Queued; 2]);
    for client in &clients {
        client.line();
        client.expect("by name");
    }
}

#[test]
fn client_address_is_that_of_the_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = [listen_anywhere(), Endpoint::Unix(directory.path().join("socket"))];
    let server = Server::start_with(Config::default(), Attributes::default(), Limits::default(), &at);
    let mut names = Vec::new();
    for at in server.locals() {
        let client = Client::connect(at);
        client.send("x");
        client.line();
        match client.0.local_addr().expect("it is connected").as_socket() {
            Some(address) => names.push(address.to_string()),
            None => {
                names.push("unix".to_owned());
                names.push(format!("user {}", rustix::process::geteuid().as_raw()));
            }
        }
    }
    assert_eq!(server.ask(|handler, _| handler.names.clone()), names);
}

#[test]
fn rfile_is_input_and_what_is_left_in_it_comes_again() {
    let (recorder, events) = Recorder::passive();
    let server = Server::start(recorder.taking(Take::Lines), Limits::default());
    let client = server.connect();
    events.expect_open();
    client.send("a line\nand half");
    events.expect(&Call::data("a line\nand half"));
    client.send(" of one\n");
    events.expect(&Call::data("and half of one\n"));
    client.send("without its end");
    client.finish();
    events.expect(&Call::data("without its end"));
    events.expect(&Call::eof("without its end"));
}

#[test]
fn wfile_never_blocks_and_says_when_to_stop() {
    let (tell, told) = std::sync::mpsc::channel();
    let (recorder, events) = Recorder::new(move |io, call| {
        if *call == Call::Open {
            let mut written = 0;
            while io.write(&noise(1000)) == Sent::Queued {
                written += 1000;
            }
            tell.send(written).expect("the test waits");
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let client = Client::connect_small(server.at());
    let written: usize = told.recv_timeout(PATIENCE).expect("it was not blocked");
    assert!(written > Limits::default().high_mark - 2000, "{written}");
    events.expect_open();
    client.take(written + 1000);
    events.expect(&Call::Drained);
}

#[test]
fn rbufsize_bounds_what_one_read_brings_and_max_input_what_is_left() {
    let (recorder, events) = Recorder::passive();
    let config = Config { read_buffer: 100, ..Config::default() };
    let limits = Limits { max_input: 1000, ..Limits::default() };
    let server = Server::start_with(config, recorder.taking(Take::Nothing), limits, &[listen_anywhere()]);
    let client = server.connect();
    events.expect_open();
    client.send(noise(5000));
    let mut before = 0;
    loop {
        match events.next().call {
            Call::Data(data) => {
                assert!(data.len() - before <= 100, "one read");
                assert!(before <= 1000, "what was left");
                before = data.len();
            }
            Call::Close(why) => break assert!(why.starts_with("InputTooLong"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn wbufsize_is_the_marks() {
    let marks = Limits { low_mark: 10, high_mark: 20, hard_mark: 30, ..Limits::default() };
    let (tell, told) = std::sync::mpsc::channel();
    let (recorder, events) = Recorder::new(move |io, call| {
        if *call == Call::Open {
            let sent: Vec<_> = (0..4).map(|_| io.write(&[b'x'; 10])).collect();
            tell.send(sent).expect("the test waits");
        }
        Ok(())
    });
    let server = Server::start(recorder, marks);
    let _client = server.connect();
    events.expect_open();
    let expected = [Sent::Queued, Sent::Queued, Sent::Full, Sent::Dropped];
    assert_eq!(told.recv_timeout(PATIENCE).expect("it is told"), expected);
    events.expect_close("Overflow");
}

#[test]
fn stream_request_handler_timeout_is_a_deadline_of_the_limits() {
    let deadlines = [
        ("Idle", Limits { idle: Some(SOON), first_frame: NEVER, ..Limits::default() }),
        ("FirstFrame", Limits { first_frame: Some(SOON), ..Limits::default() }),
        ("Frame", Limits { frame: Some(SOON), ..Limits::default() }),
        ("WriteStall", Limits { write_stall: Some(SOON), ..Limits::default() }),
    ];
    for (name, limits) in deadlines {
        let (recorder, events) = Recorder::new(move |io, call| {
            if *call == Call::data("whole\n") || *call == Call::data("whole\nhalf") {
                // More than a system takes in its buffers.
                let _ = io.write(&noise(if name == "WriteStall" { 16 << 20 } else { 1 }));
            }
            Ok(())
        });
        let limits = Limits { high_mark: 32 << 20, hard_mark: 32 << 20, ..limits };
        let server = Server::start(recorder.taking(Take::Lines), limits);
        let client = Client::connect_small(server.at());
        match name {
            "Frame" => client.send("whole\nhalf"),
            "WriteStall" => client.send("whole\n"),
            _ => {}
        }
        let closed = events.life().pop();
        assert_eq!(closed, Some(Call::close(&format!("TimedOut({name})"))));
        assert_eq!(server.stop().timed_out, 1);
    }
}

#[test]
fn disable_nagle_algorithm_is_on() {
    for no_delay in [true, false] {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let (recorder, _events) = Recorder::passive();
        let service = reactor.add(recorder, Limits::default()).expect("good limits");
        let default = ListenOptions::default();
        assert!(default.no_delay);
        let options = ListenOptions { no_delay, ..default };
        let listener = reactor.listen_with(&service, &listen_anywhere(), &options).expect("a free port");
        let client = Client::connect(reactor.local(listener).expect("it was just made"));
        while reactor.connections() == 0 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
        let name = client.0.local_addr().expect("it is connected").as_socket().expect("TCP");
        let accepted = accepted_sockets(name);
        assert_eq!(accepted[0].tcp_nodelay().expect("a TCP socket"), no_delay);
    }
}
