//! The bus: nodes in this process, one real redis-server, and what may happen to either
//! (docs/guarantees.md, 88, 89, 90, 91, 93, 94 and 95).

mod account;
mod chat;
mod nodes;
mod places;
mod presence;
pub(crate) mod redis;
mod refusals;
#[cfg(all(feature = "ws", feature = "sim"))]
pub(crate) mod web;

use std::time::Duration;

use serve_forever::bus::{BusLimits, BusOptions, GapReason};

use self::account::check;
use self::nodes::{Node, publish, start, until_live, wait};
use self::redis::Redis;

const ROOM: &str = "lobby";

/// Limits for tests that wait for what takes time.
fn hasty() -> BusLimits {
    BusLimits {
        answer_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        reconnect: (Duration::from_millis(10), Duration::from_millis(200)),
        presence_ttl: Duration::from_secs(3),
        history: 100_000,
        ..BusLimits::default()
    }
}

fn options(limits: BusLimits) -> BusOptions {
    BusOptions { limits, ..BusOptions::default() }
}

/// Three nodes that send their messages one by one, a few at once, and as many as a default
/// node.
fn start_three(redis: &Redis, limits: &BusLimits) -> Vec<Node> {
    let nodes = [1, 7, BusLimits::default().max_batch]
        .map(|max_batch| start(redis, options(BusLimits { max_batch, ..limits.clone() })));
    nodes.iter().for_each(until_live);
    nodes.into()
}

#[test]
fn three_nodes_with_ten_thousand_messages_each_see_one_order() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = start_three(&redis, &BusLimits::default());
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 0..10_000);
    }
    for node in &nodes {
        node.until(|node, _| node.handler().messages() == 30_000);
        node.until(|node, _| node.handler().published.len() == 10_000);
    }
    let told = check(&nodes);
    assert_eq!(told.gaps, 0);
    assert_eq!(told.published, 30_000);
}

/// What one callback publishes to a room is one command, and one message of Redis.
#[test]
fn messages_of_one_callback_go_to_redis_together() {
    let Some(redis) = Redis::start(&[]) else { return };
    let limits = BusLimits { max_batch: 50, ..BusLimits::default() };
    let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(limits.clone()))).collect();
    nodes.iter().for_each(until_live);
    let told = || {
        let stats = redis.ask(&["INFO", "commandstats"]);
        let calls = stats.split_once("cmdstat_publish:calls=").and_then(|(_, calls)| calls.split_once(','));
        calls.map_or(0, |(calls, _)| calls.parse().expect("a number"))
    };
    publish(&nodes[0], 0, 0..120);
    for node in &nodes {
        node.until(|node, _| node.handler().messages() == 120);
    }
    assert_eq!(told(), 3, "50, 50 and 20");
    publish(&nodes[1], 1, 0..1);
    nodes[0].until(|node, _| node.handler().messages() == 121);
    nodes[1].until(|node, _| node.handler().answers() == 1);
    assert_eq!(told(), 4);
    nodes[0].until(|node, _| node.handler().answers() == 120);
    assert_eq!(check(&nodes).gaps, 0);
}

#[test]
fn a_redis_that_is_killed_without_a_log_is_a_gap_and_nothing_else() {
    killed(&[], GapReason::Forgotten);
}

#[test]
fn a_redis_that_is_killed_with_its_log_is_a_gap_and_nothing_else() {
    killed(&["--appendonly", "yes", "--appendfsync", "everysec"], GapReason::Restarted);
}

/// Also to the nodes that had no part in beginning the room again.
#[test]
fn a_redis_that_has_lost_everything_delivers_what_was_sent_since() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = start_three(&redis, &hasty());
    publish(&nodes[0], 0, 0..5);
    for node in &nodes {
        node.until(|node, _| node.handler().has(0, 4));
    }
    redis.ask(&["FLUSHALL"]);
    publish(&nodes[1], 1, 0..3);
    for node in &nodes {
        node.until(|node, _| node.handler().has(1, 2) && node.handler().tokens.is_empty());
        assert!(node.ask(|node, _| node.handler().has_gap(GapReason::Forgotten)));
        assert!((0..3).all(|number| node.ask(move |node, _| node.handler().has(1, number))));
    }
    check(&nodes);
}

fn killed(arguments: &[&str], expected: GapReason) {
    let Some(mut redis) = Redis::start(arguments) else { return };
    let nodes = start_three(&redis, &hasty());
    for round in 0..3 {
        for (number, node) in nodes.iter().enumerate() {
            publish(node, number, round * 3000..round * 3000 + 3000);
        }
        nodes[0].until(move |node, _| node.handler().messages() > round * 9000 + 1000);
        redis.kill();
        nodes.iter().for_each(|node| node.until(move |node, _| node.handler().downs > round));
        redis.start_again();
        for node in &nodes {
            node.until(move |node, _| node.handler().answers() == (round + 1) * 3000);
        }
    }
    settle(&nodes);
    let told = check(&nodes);
    assert!(told.gaps >= 3, "{told:?}");
    assert!(nodes[0].ask(move |node, _| node.handler().has_gap(expected)));
}

/// Waits until every node is behind what was published last. (One that Redis has been
/// restarted for twice may have that in a gap.)
fn settle(nodes: &[Node]) {
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 1_000_000..1_000_001);
    }
    let last = nodes.iter().map(|node| {
        node.until(|node, _| node.handler().tokens.is_empty());
        node.ask(|node, _| node.handler().published.last().map(|(_, position)| *position))
    });
    let last = last.max_by_key(|last| last.map(|last| last.offset)).flatten();
    for node in nodes {
        node.until(move |node, _| node.handler().bus.position(ROOM) == last);
    }
}

#[test]
fn links_that_redis_cuts_lose_nothing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = start_three(&redis, &hasty());
    for round in 0..5 {
        for (number, node) in nodes.iter().enumerate() {
            publish(node, number, round * 1000..round * 1000 + 1000);
        }
        nodes[1].until(move |node, _| node.handler().messages() > round * 3000 + 200);
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    for node in &nodes {
        node.until(|node, _| node.handler().messages() == 15_000);
        assert!(node.ask(|node, _| node.handler().downs > 0), "it was cut");
    }
    assert_eq!(check(&nodes).gaps, 0);
}

#[test]
fn scripts_that_redis_forgets_are_loaded_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = start_three(&redis, &hasty());
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 0..2000);
    }
    for part in 0..20 {
        nodes[0].until(move |node, _| node.handler().messages() >= 300 * part);
        redis.ask(&["SCRIPT", "FLUSH"]);
    }
    publish(&nodes[0], 0, 2000..2001);
    for node in &nodes {
        node.until(|node, _| node.handler().messages() == 6001);
        assert_eq!(node.ask(|node, _| node.handler().downs), 0);
    }
    assert_eq!(check(&nodes).gaps, 0);
}

#[test]
fn a_redis_that_sleeps_is_found_and_nothing_is_lost() {
    let Some(redis) = Redis::start(&["--enable-debug-command", "yes"]) else { return };
    let nodes = start_three(&redis, &hasty());
    let sleeping = redis.ask_in_background(&["DEBUG", "SLEEP", "4"]);
    for (number, node) in nodes.iter().enumerate() {
        publish(node, number, 0..1000);
    }
    for node in &nodes {
        node.until(|node, _| node.handler().downs > 0);
        node.until(|node, _| node.handler().messages() == 3000);
    }
    sleeping.join().expect("it woke up");
    assert_eq!(check(&nodes).gaps, 0);
}

#[test]
fn a_node_that_stands_still_gets_what_it_missed_or_a_gap() {
    for (history, has_gap) in [(100_000, false), (100, true)] {
        // A Redis whose patience with a slow subscriber ends soon.
        let Some(redis) = Redis::start(&["--client-output-buffer-limit", "pubsub 512kb 64kb 1"]) else {
            return;
        };
        // One by one, they are more bytes than the kernel and Redis keep for it. A few under
        // way are no more than that for the other node, each of whose own counts 20 KB.
        let limits = BusLimits { history, max_batch: 1, max_in_flight: 16, ..hasty() };
        let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(limits.clone()))).collect();
        nodes.iter().for_each(until_live);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let handle = nodes[1].handle();
        handle.call(move |_, _| _ = stopped.recv()).expect("there is room");
        publish(&nodes[0], 0, 0..10_000);
        nodes[0].until(|node, _| node.handler().messages() == 10_000);
        // Redis gives the node that stands still up.
        wait(|| redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).matches("laddr=").count() == 1);
        drop(stop);
        publish(&nodes[0], 0, 10_000..10_001);
        nodes[1].until(|node, _| node.handler().has(0, 10_000));
        let told = check(&nodes);
        assert_eq!(told.gaps > 0, has_gap, "{told:?}");
        assert_eq!(nodes[1].ask(|node, _| node.handler().has_gap(GapReason::Trimmed)), has_gap);
    }
}

#[test]
fn a_client_comes_back_on_another_node() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(hasty()))).collect();
    nodes.iter().for_each(until_live);
    publish(&nodes[0], 0, 0..1000);
    nodes[0].until(|node, _| node.handler().messages() == 1000);
    let from = nodes[0].ask(|node, _| node.handler().position_of(0, 399));
    nodes[1].ask(move |node, io| {
        node.run(io, |node, io| {
            let token = node.bus.resume(io, ROOM, from).expect("there is room");
            node.resumes.push(token);
        });
    });
    // While it catches up, more is said.
    publish(&nodes[0], 0, 1000..2000);
    nodes[1].until(|node, _| node.handler().resumed.is_some());
    nodes[1].until(|node, _| node.handler().messages() == 2000);
    nodes[1].ask(|node, _| {
        let node = node.handler();
        let behind: Vec<_> =
            node.replayed.iter().cloned().chain(node.behind_resume()).map(|(_, text)| text).collect();
        let expected: Vec<_> = (400..2000).map(|number| format!("0:{number}")).collect();
        assert_eq!(behind, expected, "each once, in order");
    });
}
