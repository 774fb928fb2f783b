//! Where a Redis is: at a TCP port, behind TLS, under a name.

use serve_forever::bus::BusUrl;
#[cfg(any(feature = "tls", feature = "workers"))]
use serve_forever::bus::{BusError, BusOptions};

use super::account::check;
use super::nodes::{Node, publish, start_at, until_live};
use super::redis::Redis;
use super::{hasty, options};

/// Publishes on all nodes, and cuts their links meanwhile.
fn check_exchange(redis: &Redis, nodes: &[Node]) {
    nodes.iter().for_each(until_live);
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 0..500);
    }
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 500..1000);
    }
    for node in nodes {
        let all = 1000 * nodes.len();
        node.until(move |node, _| node.handler().messages() == all);
    }
    assert_eq!(check(nodes).gaps, 0);
}

/// A name to look up: in small letters it would stand for an address.
#[cfg(feature = "workers")]
const NAME: &str = "LOCALHOST";

fn url(scheme: &str, host: &str, port: u16) -> BusUrl {
    format!("{scheme}://{host}:{port}/places").parse().expect("a URL")
}

/// The first reason for which a node has no Redis.
#[cfg(any(feature = "tls", feature = "workers"))]
fn reason(url: BusUrl, options: BusOptions) -> BusError {
    let node = start_at(url, options);
    node.until(|node, _| !node.handler().why.is_empty());
    node.ask(|node, _| node.handler().why[0].clone())
}

#[test]
fn a_redis_at_a_port_is_one_at_its_socket() {
    let Some((redis, port)) = Redis::start_on_port("--port", &[]) else { return };
    let over_tcp = start_at(url("redis", "127.0.0.1", port), options(hasty()));
    let over_a_socket = start_at(redis.url().with_prefix("places").expect("a prefix"), options(hasty()));
    check_exchange(&redis, &[over_tcp, over_a_socket]);
}

#[cfg(feature = "tls")]
mod tls {
    use serve_forever::tls::{Client, ClientOptions, Roots};

    use super::*;
    use crate::util::certificates::CERTIFICATES;

    /// A Redis behind TLS that asks for a certificate, or does not.
    fn start(asks: &str) -> Option<(Redis, u16)> {
        let files = CERTIFICATES.files();
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| files.path(name));
        Redis::start_on_port(
            "--tls-port",
            &[
                "--tls-ca-cert-file",
                &ca,
                "--tls-cert-file",
                &certificate,
                "--tls-key-file",
                &key,
                "--tls-auth-clients",
                asks,
            ],
        )
    }

    fn through(client: ClientOptions) -> BusOptions {
        BusOptions { tls: Some(Client::new(&client).expect("good options")), ..options(hasty()) }
    }

    #[test]
    fn rediss_is_encrypted_and_only_a_certificate_that_is_believed_will_do() {
        let Some((redis, port)) = start("no") else { return };
        let believes = || through(ClientOptions::new(CERTIFICATES.roots()));
        let nodes = [(); 2].map(|()| start_at(url("rediss", "127.0.0.1", port), believes()));
        check_exchange(&redis, &nodes);
        let roots = Roots::from_pem(CERTIFICATES.stranger.certificate.as_bytes()).expect("a certificate");
        let why = reason(url("rediss", "127.0.0.1", port), through(ClientOptions::new(roots)));
        assert!(matches!(&why, BusError::Connect(why) if why.contains("certificate")), "{why}");
        // Who speaks without TLS to it is no client.
        let why = reason(url("redis", "127.0.0.1", port), options(hasty()));
        assert!(matches!(why, BusError::Closed(_) | BusError::Protocol(_)), "{why}");
    }

    #[test]
    fn a_redis_that_asks_for_a_certificate_gets_it() {
        let Some((redis, port)) = start("yes") else { return };
        let roots = || ClientOptions::new(CERTIFICATES.roots());
        let known = || ClientOptions { identity: Some(CERTIFICATES.client.identity()), ..roots() };
        let nodes = [(); 2].map(|()| start_at(url("rediss", "127.0.0.1", port), through(known())));
        check_exchange(&redis, &nodes);
        let why = reason(url("rediss", "127.0.0.1", port), through(roots()));
        assert!(matches!(why, BusError::Connect(_) | BusError::Closed(_)), "{why}");
    }

    #[cfg(feature = "workers")]
    #[test]
    fn the_certificate_has_to_be_valid_for_the_name() {
        let Some((redis, port)) = start("no") else { return };
        let believes = || through(ClientOptions::new(CERTIFICATES.roots()));
        let by_name = names::start(url("rediss", NAME, port), believes());
        let by_address = start_at(url("rediss", "127.0.0.1", port), believes());
        check_exchange(&redis, &[by_name, by_address]);
    }
}

#[cfg(feature = "workers")]
mod names {
    use serve_forever::bus::{Bus, OnBus};
    use serve_forever::testing::TestServer;
    use serve_forever::{Config, Limits, WorkerOptions, Workers};

    use super::*;
    use crate::bus::nodes::Noting;

    /// A node whose reactor can look names up.
    pub(super) fn start(url: BusUrl, options: BusOptions) -> Node {
        let bus = Bus::new(url, options).expect("good options");
        let prepare = TestServer::prepare(Config::default(), move |reactor| {
            reactor.set_workers(&Workers::new(WorkerOptions::default())?);
            Ok(reactor.add(OnBus::new(Noting::new(bus)), Limits::default())?)
        });
        prepare.expect("it starts")
    }

    #[test]
    fn a_name_is_looked_up_and_one_that_nobody_has_is_said() {
        let Some((redis, port)) = Redis::start_on_port("--port", &[]) else { return };
        let by_name = start(url("redis", NAME, port), options(hasty()));
        let by_address = start_at(url("redis", "127.0.0.1", port), options(hasty()));
        check_exchange(&redis, &[by_name, by_address]);
        let node = start(url("redis", "nobody.invalid", port), options(hasty()));
        node.until(|node, _| !node.handler().why.is_empty());
        let why = node.ask(|node, _| node.handler().why[0].clone());
        assert!(matches!(&why, BusError::Connect(why) if why.contains("nobody.invalid")), "{why}");
        // A reactor without workers cannot look anything up, and says so.
        let why = reason(url("redis", NAME, port), options(hasty()));
        assert!(matches!(&why, BusError::Connect(why) if why.contains("workers")), "{why}");
    }
}
