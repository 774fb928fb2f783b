//! The rows of the table in docs/ that are about datagrams, by their names;
//! see tests/it/socketserver.rs.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serve_forever::services::Upper;
use serve_forever::{BindOptions, Config, Endpoint, Handled, Limits, Peer, Reactor, Sent};

use crate::util::{
    DatagramClient, DatagramServer, Heard, PATIENCE, SOON, Watcher, bind_anywhere, heard, noise,
};

/// A UDP and a Unix endpoint.
fn both(directory: &Path) -> [Endpoint; 2] {
    [bind_anywhere(), Endpoint::UnixDatagram(directory.join("socket"))]
}

/// A client, which can be answered.
fn client(number: usize, at: &Endpoint) -> DatagramClient {
    let name = match at {
        Endpoint::UnixDatagram(path) => Some(path.with_extension(format!("client{number}"))),
        _ => None,
    };
    DatagramClient::connect(at, name.as_deref())
}

#[test]
fn udp_server_and_unix_datagram_server_serve_three_clients_in_a_row() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let server =
            DatagramServer::start_with(Upper::new(), Limits::default(), &[at], &BindOptions::default());
        for number in 0..3 {
            let client = client(number, server.at());
            client.send(format!("client {number}"));
            client.expect(format!("CLIENT {number}"));
        }
        // shutdown(), from another thread.
        assert_eq!(server.stop().datagrams_out, 3);
    }
}

// Where Python's would wait for itself.
#[test]
fn shutdown_may_come_from_the_serving_thread() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (watcher, _told) = Watcher::new(|io, on, heard| {
            if let Heard::Datagram(from, _) = heard {
                assert_eq!(io.send_to(on, from, b"the last word"), Sent::Queued);
                io.shutdown(PATIENCE);
            }
            Ok(())
        });
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let service = reactor.add_datagram(watcher, Limits::default()).expect("good limits");
        let socket = reactor.bind(&service, &at).expect("it is free");
        let client = client(0, reactor.local(socket).expect("it is open"));
        client.send("the end, please");
        reactor.serve_forever().expect("the loop runs");
        client.expect("the last word");
        assert_eq!(reactor.local(socket), None);
    }
}

#[test]
fn server_close_right_after_server_bind_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let upper = reactor.add_datagram(Upper::new(), Limits::default()).expect("good limits");
        let socket = reactor.bind(&upper, &at).expect("it is free");
        let at = reactor.local(socket).expect("it is open").clone();
        assert!(reactor.close_socket(socket));
        reactor.bind(&upper, &at).expect("it is free again");
        drop(reactor);
        assert!(!directory.path().join("socket").exists());
    }
}

#[test]
fn verify_request_refuses_and_handle_error_is_for_one_datagram() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let (mut watcher, told) = Watcher::new(|io, on, heard| match heard {
            Heard::Datagram(_, data) if data == b"fail" => Err("as asked".into()),
            Heard::Datagram(from, data) => {
                let _ = io.send_to(on, from, data);
                Ok(())
            }
            _ => Ok(()),
        });
        watcher.refuses = Some(b"no");
        let server = DatagramServer::start_with(watcher, Limits::default(), &[at], &BindOptions::default());
        let client = client(0, server.at());
        for request in ["no", "fail", "yes"] {
            client.send(request);
        }
        client.expect("yes");
        drop(told);
        let stats = server.stop();
        assert_eq!((stats.datagrams_refused, stats.failed, stats.datagrams_out), (1, 1, 1));
    }
}

#[test]
fn handle_request_and_its_timeout() {
    let directory = tempfile::tempdir().expect("a directory");
    for at in both(directory.path()) {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let upper = reactor.add_datagram(Upper::new(), Limits::default()).expect("good limits");
        let socket = reactor.bind(&upper, &at).expect("it is free");
        assert_eq!(reactor.handle_request(Some(SOON)).expect("the loop turns"), Handled::TimedOut);
        let at = reactor.local(socket).expect("it is open").clone();
        let talking = thread::spawn(move || {
            let client = client(0, &at);
            client.send("x");
            client.expect("X");
        });
        assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
        talking.join().expect("it was answered");
        let handle = reactor.handle(&upper);
        thread::spawn(move || handle.shutdown(Duration::ZERO));
        assert_eq!(reactor.handle_request(Some(PATIENCE)).expect("the loop turns"), Handled::Shutdown);
    }
}

#[test]
fn max_packet_size_cuts_nothing_off_in_silence() {
    let (watcher, told) = Watcher::echo();
    let limits = Limits { max_datagram: 8192, ..Limits::default() };
    let server = DatagramServer::start_with(watcher, limits, &[bind_anywhere()], &BindOptions::default());
    let client = server.connect();
    client.send(vec![b'x'; 8192]);
    client.expect(vec![b'x'; 8192]);
    assert!(matches!(heard(&told), Heard::Datagram(..)));
    client.send(vec![b'x'; 8193]);
    assert!(matches!(heard(&told), Heard::TooLong(_, 8193)));
}

#[test]
fn allow_reuse_address_is_off() {
    let server = DatagramServer::start(Upper::new());
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let upper = reactor.add_datagram(Upper::new(), Limits::default()).expect("good limits");
    let options = BindOptions { reuse_address: true, ..BindOptions::default() };
    let error = reactor.bind_with(&upper, server.at(), &options).expect_err("the other does not say so");
    let serve_forever::Error::Bind { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn datagram_request_handler_is_called_once_for_each_datagram() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    for text in ["one", "", "three"] {
        client.send(text);
        client.expect(text);
        assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == text.as_bytes()));
    }
}

#[test]
fn datagram_request_handler_packet_and_datagram_request_handler_rfile_are_all_of_it() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let longest = noise(65_507);
    server.connect().send(&longest);
    assert!(matches!(heard(&told), Heard::Datagram(_, data) if data == longest));
}

// There, one answer goes out in any case, to the sender.
#[test]
fn datagram_request_handler_socket_and_datagram_request_handler_wfile_send_any_number_to_anybody() {
    let (watcher, _told) = Watcher::new({
        let mut first: Option<Peer> = None;
        move |io, on, heard| {
            if let Heard::Datagram(from, data) = heard {
                let to = first.get_or_insert_with(|| from.clone());
                for _ in 0..data.len() {
                    assert_eq!(io.send_to(on, to, data), Sent::Queued);
                }
            }
            Ok(())
        }
    });
    let server = DatagramServer::start(watcher);
    let (first, second) = (server.connect(), server.connect());
    first.send("");
    first.send("1");
    first.expect("1");
    second.send("22");
    second.send("");
    first.expect("22");
    first.expect("22");
    let stats = server.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (4, 3));
    first.assert_silent();
    second.assert_silent();
}
