//! The memory of idle connections.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint};

use crate::util::{Client, Server, alone, listen_anywhere, resident_bytes, role, run_self, set_file_limit};

const NAME: &str = "idle::ten_thousand_idle_connections_take_less_than_400_bytes_each";

/// Where the clients find the server.
const AT: &str = "SERVE_FOREVER_TEST_AT";
const COUNT: &str = "SERVE_FOREVER_TEST_COUNT";

/// Descriptors that the process needs besides those of connections.
const OTHERS: u64 = 100;

#[test]
fn ten_thousand_idle_connections_take_less_than_400_bytes_each() {
    // Server and clients are two processes, each with its own descriptors.
    if role().as_deref() == Some("clients") {
        return be_the_clients();
    }
    alone(NAME, || {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let most = most.unwrap_or(1 << 20).min(1 << 20);
        set_file_limit(most);
        let count = usize::try_from(most - OTHERS).expect("a small number").min(10_000);
        let config = Config { max_connections: Some(count + 1), ..Config::default() };
        let server = Server::start_with(config, Echo::new(), Echo::limits(), &[listen_anywhere()]);

        // What the first connection sets up is there once and for all.
        let first = server.connect();
        first.send("hello");
        first.expect("hello");
        server.settle();
        let before = resident_bytes();

        let mut clients = run_self(NAME, "clients", &[])
            .env(AT, server.at().to_string())
            .env(COUNT, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let told = BufReader::new(clients.stdout.take().expect("it is piped"));
        let mut told = told.lines().map_while(Result::ok);
        assert!(told.any(|line| line.contains("all echoed")), "the clients failed");
        assert_eq!(server.connections(), count + 1);
        let grown = resident_bytes().saturating_sub(before);
        println!("{count} connections, {grown} bytes more: {} bytes each", grown / count);
        assert!(grown / count < 400);

        drop(clients.stdin.take());
        assert!(clients.wait().expect("it ends").success());
        server.until_connections(1);
    });
}

fn be_the_clients() {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    set_file_limit(most.unwrap_or(1 << 20).min(1 << 20));
    let at: Endpoint = env::var(AT).expect("it is set").parse().expect("an endpoint");
    let count: usize = env::var(COUNT).expect("it is set").parse().expect("a number");
    let clients: Vec<_> = (0..count).map(|_| Client::connect(&at)).collect();
    for client in &clients {
        client.send("hello");
    }
    for client in &clients {
        client.expect("hello");
    }
    println!("all echoed");
    // They stay until they are told to go.
    std::io::stdin().lines().for_each(drop);
}
