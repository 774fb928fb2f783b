//! A Redis that will not do, and a Redis that is not there.

use std::time::Duration;

use serve_forever::bus::{BusError, BusLimits, BusOptions, GapReason, Offline, PublishError};

use super::account::check;
use super::nodes::{Node, Told, publish, start, start_at, until_live};
use super::redis::Redis;
use super::{ROOM, hasty, options};

/// Waits until the node has said for the first time why it has no Redis.
fn reason(node: &Node) -> BusError {
    node.until(|node, _| !node.handler().why.is_empty());
    node.ask(|node, _| node.handler().why[0].clone())
}

#[test]
fn a_password_is_asked_for_and_given() {
    let Some(redis) = Redis::start(&["--requirepass", "s3cret"]) else { return };
    let node = start(&redis, options(hasty()));
    let why = reason(&node);
    assert!(matches!(why, BusError::Login(_)), "{why}");
    let wrong = start_at(redis.url().with_login("", "wr0ng"), options(hasty()));
    let why = reason(&wrong);
    assert!(matches!(why, BusError::Login(_)) && !why.to_string().contains("wr0ng"), "{why}");
    let right = start_at(redis.url().with_login("", "s3cret"), options(hasty()));
    until_live(&right);
    right.ask(|node, _| {
        let shown = format!("{:?}", node.handler().bus);
        assert!(!shown.contains("s3cret"), "{shown}");
    });
    let log = right.log().join("\n") + &wrong.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("wr0ng"), "{log}");
}

#[test]
fn a_replica_is_said_to_be_one() {
    let Some(master) = Redis::start(&[]) else { return };
    let Some(replica) = Redis::start(&["--replicaof", "127.0.0.1", "1"]) else { return };
    let node = start(&replica, options(hasty()));
    assert_eq!(reason(&node), BusError::Replica);
    // Once it is promoted, all is well.
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    until_live(&node);
    // One that becomes a replica while the node is there.
    master.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    let node = start(&master, options(hasty()));
    assert_eq!(reason(&node), BusError::Replica);
    let said = node.log().iter().filter(|line| line.contains("is a replica")).count();
    assert_eq!(said, 1, "it is said once: {:?}", node.log());
}

#[test]
fn a_redis_without_memory_is_said_to_have_none_and_messages_wait() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = start(&redis, options(hasty()));
    until_live(&node);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    publish(&node, 0, 0..100);
    node.until(|node, _| node.handler().downs == 1);
    assert_eq!(reason(&node), BusError::OutOfMemory);
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    node.until(|node, _| node.handler().messages() == 100);
    assert_eq!(check(&[node]).gaps, 0);
}

#[test]
fn a_user_without_the_right_is_told_so() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.ask(&["ACL", "SETUSER", "bus", "on", ">pw", "~*", "&*", "+@all", "-publish"]);
    let node = start_at(redis.url().with_login("bus", "pw"), options(hasty()));
    until_live(&node);
    publish(&node, 0, 0..1);
    node.until(|node, _| node.handler().failed.len() == 1);
    node.ask(|node, _| {
        let (_, error) = &node.handler().failed[0];
        // As Redis says it up to 7.0, and since.
        let refusals = ["can't run this command", "no permissions to run the 'publish' command"];
        let is_refusal = |said: &str| refusals.iter().any(|refusal| said.contains(refusal));
        assert!(matches!(error, PublishError::Refused(said) if is_refusal(said)), "{error}");
    });
}

#[test]
fn without_redis_a_bounded_queue_waits_and_more_is_refused() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    redis.kill();
    let limits = BusLimits { max_waiting: 10, ..hasty() };
    let node = start(&redis, options(limits));
    assert!(matches!(reason(&node), BusError::Connect(_)));
    publish(&node, 0, 0..10);
    let refused = node.ask(|node, io| node.run(io, |node, io| node.bus.publish(io, ROOM, "one more")));
    assert_eq!(refused, Err(PublishError::Offline));
    redis.start_again();
    node.until(|node, _| node.handler().messages() == 10);
    assert_eq!(node.ask(|node, _| (node.handler().ups, node.handler().downs)), (1, 1));
    // Each reason once: refused, and perhaps no socket at all.
    let mut logged = node.log();
    let lines = logged.len();
    logged.sort();
    logged.dedup();
    assert_eq!(logged.len(), lines, "{logged:?}");
}

#[test]
fn what_waits_for_too_long_fails() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    redis.kill();
    let limits = BusLimits { publish_timeout: Duration::from_millis(300), ..hasty() };
    let node = start(&redis, options(limits));
    publish(&node, 0, 0..10);
    node.until(|node, _| node.handler().failed.len() == 10);
    node.ask(|node, _| {
        assert!(node.handler().failed.iter().all(|(_, error)| *error == PublishError::TimedOut))
    });
}

#[test]
fn a_node_may_serve_its_own_and_says_that_the_order_is_lost() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let alone = BusOptions { offline: Offline::ServeOwn, ..options(hasty()) };
    let node = start(&redis, alone);
    until_live(&node);
    redis.kill();
    node.until(|node, _| node.handler().downs == 1);
    let (token, room) = node.ask(|node, io| {
        node.run(io, |node, io| {
            let token = node.bus.publish(io, ROOM, "own").expect("it goes to the members here");
            node.tokens.insert(token, "own".into());
            (token, ROOM)
        })
    });
    assert_eq!(room, ROOM, "{token:?}");
    node.until(|node, _| !node.handler().failed.is_empty());
    node.ask(|node, _| {
        let node = node.handler();
        assert_eq!(node.failed, [("own".to_owned(), PublishError::OnlyHere)]);
        assert!(node.own == ["own"], "{:?}", node.own);
        assert!(matches!(&node.told[..], [Told::Gap(gap)] if gap.why == GapReason::OrderLost && gap.missing().is_none()));
    });
}

#[test]
fn what_is_no_redis_is_said_to_be_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("web.sock");
    let web = std::os::unix::net::UnixListener::bind(&path).expect("a free path");
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in web.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let node = start_at(path.into(), options(hasty()));
    let why = reason(&node);
    assert!(matches!(why, BusError::Protocol(_)), "{why}");
}
