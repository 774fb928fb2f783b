//! A datagram socket on a wildcard answers from the address that was asked: a
//! client that takes answers from nowhere else hears it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use serve_forever::services::{Echo, Once, Upper};
use serve_forever::{BindOptions, DatagramHandler, Endpoint, Limits, Multicast, Peer};

use crate::util::{DatagramClient, DatagramServer, Heard, PATIENCE, Watcher, address, heard};

fn serve<S: DatagramHandler + Send>(handler: S, at: &str, options: BindOptions) -> DatagramServer<S> {
    let at = [at.parse().expect("a good endpoint")];
    DatagramServer::start_with(handler, Limits::default(), &at, &options)
}

fn dual() -> BindOptions {
    BindOptions { only_v6: false, ..BindOptions::default() }
}

/// Who asks this address of the server, and hears no other.
fn who_asks<S: DatagramHandler + Send>(
    server: &DatagramServer<S>,
    ours: impl Into<IpAddr>,
) -> DatagramClient {
    let ours = SocketAddr::new(ours.into(), address(server.at()).port());
    DatagramClient::connect(&Endpoint::Udp(ours), None)
}

/// The addresses of this machine that IPv6 has, with their interfaces.
fn addresses_of_ipv6() -> Vec<(Ipv6Addr, u32)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let row = |line: &str| {
        let mut cells = line.split_ascii_whitespace();
        let address = u128::from_str_radix(cells.next()?, 16).ok()?;
        let interface = u32::from_str_radix(cells.next()?, 16).ok()?;
        // One that is tentative, or was found to be taken, is none yet.
        let flags = u32::from_str_radix(cells.nth(2)?, 16).ok()?;
        (flags & 0x48 == 0).then_some((Ipv6Addr::from_bits(address), interface))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn each_service_answers_from_the_address_that_was_asked() {
    fn answers(handler: impl DatagramHandler + Send, answer: &str) {
        let server = serve(handler, "udp://0.0.0.0:0", BindOptions::default());
        for last in [2, 1, 77] {
            let client = who_asks(&server, Ipv4Addr::new(127, 0, 0, last));
            for _ in 0..2 {
                client.send("Hello");
                client.expect(answer);
            }
        }
        assert_eq!(server.stop().datagrams_unsent, 0);
    }
    answers(Echo::new(), "Hello");
    answers(Upper::new(), "HELLO");
    answers(Once::new("yes"), "yes\n");
}

#[test]
fn a_wildcard_of_both_kinds_answers_from_the_address_of_either() {
    let (watcher, told) = Watcher::echo();
    let server = serve(watcher, "udp://[::]:0", dual());
    let port = address(server.at()).port();
    for ours in [IpAddr::from([127, 0, 0, 3]), Ipv6Addr::LOCALHOST.into(), IpAddr::from([127, 0, 0, 9])] {
        let client = who_asks(&server, ours);
        client.send("both");
        client.expect("both");
        let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
        assert_eq!(from.asked, Some(SocketAddr::new(ours, port)));
    }
}

#[test]
fn every_address_that_ipv6_has_here_answers_for_itself() {
    for options in [BindOptions::default(), dual()] {
        let (watcher, told) = Watcher::echo();
        let server = serve(watcher, "udp://[::]:0", options);
        let port = address(server.at()).port();
        for (ours, interface) in addresses_of_ipv6() {
            let scope = if ours.is_unicast_link_local() { interface } else { 0 };
            let ours = SocketAddrV6::new(ours, port, 0, scope);
            let client = DatagramClient::connect(&Endpoint::Udp(ours.into()), None);
            client.send("six");
            client.expect("six");
            let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
            assert_eq!(from.asked, Some(ours.into()));
        }
    }
}

/// The address belongs to the sender as the handler was shown it: it may be
/// kept, and be answered whenever and on whatever occasion.
#[test]
fn what_is_sent_later_comes_from_there_too() {
    let mut askers: Vec<Peer> = Vec::new();
    let (watcher, told) = Watcher::new(move |io, on, heard| {
        match heard {
            Heard::Datagram(from, _) => {
                askers.push(from.clone());
                if askers.len() == 3 {
                    io.tick_after(Duration::from_millis(1))?;
                }
            }
            Heard::Tick(_) => {
                for asker in &askers {
                    let _ = io.send_to(on, asker, b"later");
                }
            }
            _ => {}
        }
        Ok(())
    });
    let server = serve(watcher, "udp://0.0.0.0:0", BindOptions::default());
    let clients = [4, 5, 1].map(|last| who_asks(&server, Ipv4Addr::new(127, 0, 0, last)));
    for client in &clients {
        client.send("ask");
        assert!(matches!(heard(&told), Heard::Datagram(..)));
    }
    for client in &clients {
        client.expect("later");
    }
}

#[test]
fn a_socket_with_one_address_has_no_other_to_be_asked_at() {
    let (watcher, told) = Watcher::echo();
    let server = DatagramServer::start(watcher);
    let client = server.connect();
    client.send("x");
    client.expect("x");
    let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
    assert_eq!(from.asked, None);
    // Nor does it mind what another socket was asked at.
    let mut stranger = from;
    stranger.asked = Some(([127, 0, 0, 99], 1).into());
    let on = server.sockets[0];
    let _ = server.ask(move |_, io| io.send_to(on, &stranger, b"from here"));
    client.expect("from here");
}

#[test]
fn broadcasts_and_multicasts_are_answered_from_an_address_that_can() {
    let group = Ipv4Addr::new(239, 255, 42, 18);
    for at in ["udp://0.0.0.0:0", "udp://[::]:0"] {
        let (watcher, told) = Watcher::echo();
        let multicast = vec![Multicast::V4 { group, interface: Ipv4Addr::LOCALHOST }];
        // A group of IPv4 cannot be joined by a socket of IPv6.
        let multicast = if at.contains('[') { Vec::new() } else { multicast };
        let server = serve(watcher, at, BindOptions { multicast, ..dual() });
        let port = address(server.at()).port();
        let client = socket2::Socket::from(UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        client.set_read_timeout(Some(PATIENCE)).expect("an option");
        client.set_broadcast(true).expect("an option");
        client.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("the loopback takes multicasts");
        let client = UdpSocket::from(std::os::fd::OwnedFd::from(client));
        let ask = |to: Ipv4Addr, asked: Ipv4Addr| {
            client.send_to(b"anybody?", (to, port)).expect("it can be sent");
            let (_, from) = client.recv_from(&mut [0; 16]).expect("an answer");
            assert_eq!(from, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let Heard::Datagram(from, _) = heard(&told) else { panic!("a datagram") };
            assert_eq!(from.asked, Some((asked, port).into()));
        };
        ask(Ipv4Addr::new(127, 255, 255, 255), Ipv4Addr::LOCALHOST);
        if !at.contains('[') {
            ask(group, group);
        }
    }
}

#[test]
fn what_is_too_long_says_whom_it_asked() {
    let (watcher, told) = Watcher::echo();
    let at: [Endpoint; 1] = ["udp://0.0.0.0:0".parse().expect("a good endpoint")];
    let limits = Limits { max_datagram: 10, ..Limits::default() };
    let server = DatagramServer::start_with(watcher, limits, &at, &BindOptions::default());
    let client = who_asks(&server, Ipv4Addr::new(127, 0, 0, 6));
    client.send("this is too long");
    let Heard::TooLong(from, 16) = heard(&told) else { panic!("it is too long") };
    assert_eq!(from.asked.map(|asked| asked.ip()), Some([127, 0, 0, 6].into()));
    // Nobody is taken for the last one who was told of.
    client.send("short");
    client.expect("short");
}

#[test]
fn from_an_address_that_is_not_ours_nothing_leaves_and_that_is_told() {
    let (watcher, told) = Watcher::echo();
    let server = serve(watcher, "udp://0.0.0.0:0", BindOptions::default());
    let client = who_asks(&server, Ipv4Addr::LOCALHOST);
    let to = client.0.local_addr().expect("it is bound").as_socket().expect("UDP");
    let mut gone = Peer::inet(to);
    gone.asked = Some(([192, 0, 2, 1], 1).into());
    let on = server.sockets[0];
    let _ = server.ask(move |_, io| io.send_to(on, &gone, b"x"));
    let lost = heard(&told);
    assert!(matches!(lost, Heard::Send(_, 1, Some(_))), "{lost:?}");
}
