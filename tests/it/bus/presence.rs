//! Members of a room over several nodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serve_forever::bus::{EnterError, PresenceChange};

use super::nodes::{Node, start, until_live};
use super::redis::Redis;
use super::{ROOM, hasty, options};

fn enter(node: &Node, member: &'static str) {
    node.ask(move |node, io| {
        node.run(io, |node, io| node.bus.enter(io, ROOM, member, format!("value of {member}")))
            .expect("it fits");
    });
}

fn until_members(node: &Node, expected: &'static [&'static str]) {
    node.until(move |node, _| {
        node.handler().bus.members(ROOM).map(|(name, _)| name).eq(expected.iter().copied())
    });
}

#[test]
fn a_name_is_one_members_over_all_nodes() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(hasty()))).collect();
    nodes.iter().for_each(until_live);
    for node in &nodes {
        enter(node, "ann");
        enter(node, "bob");
    }
    for node in &nodes {
        node.until(|node, _| node.handler().entered.len() == 2);
        until_members(node, &["ann", "bob"]);
    }
    let mut got = BTreeMap::new();
    for node in &nodes {
        for (member, outcome) in node.ask(|node, _| node.handler().entered.clone()) {
            match outcome {
                Ok(()) => *got.entry(member).or_insert(0) += 1,
                Err(error) => assert_eq!(error, EnterError::Taken),
            }
        }
    }
    assert_eq!(got, BTreeMap::from([("ann".to_owned(), 1), ("bob".to_owned(), 1)]));
}

#[test]
fn members_come_and_go_and_come_back_with_redis() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(hasty()))).collect();
    nodes.iter().for_each(until_live);
    enter(&nodes[0], "ann");
    enter(&nodes[1], "bob");
    nodes.iter().for_each(|node| until_members(node, &["ann", "bob"]));
    // It has lost everything, and the nodes list their members again.
    redis.kill();
    nodes[0].until(|node, _| node.handler().downs == 1);
    nodes[0].ask(|node, io| node.run(io, |node, io| assert!(node.bus.exit(io, ROOM, "ann"))));
    enter(&nodes[0], "cid");
    redis.start_again();
    nodes.iter().for_each(|node| until_members(node, &["bob", "cid"]));
    nodes[0].ask(|node, io| node.run(io, |node, io| assert!(node.bus.exit(io, ROOM, "cid"))));
    nodes.iter().for_each(|node| until_members(node, &["bob"]));
    // A node that ends in order takes its members with it.
    let mut nodes = nodes;
    nodes.pop().expect("two").stop();
    until_members(&nodes[0], &[]);
    let last =
        nodes[0].ask(|node, _| node.handler().presence.last().map(|last| (last.member.clone(), last.change)));
    assert_eq!(last, Some(("bob".into(), PresenceChange::Left)));
}

#[test]
fn the_members_of_a_node_that_stands_still_are_unlisted_in_time() {
    let Some(redis) = Redis::start(&[]) else { return };
    let limits = hasty();
    let ttl = limits.presence_ttl;
    let nodes: Vec<_> = (0..2).map(|_| start(&redis, options(limits.clone()))).collect();
    nodes.iter().for_each(until_live);
    enter(&nodes[1], "ann");
    enter(&nodes[1], "bob");
    until_members(&nodes[0], &["ann", "bob"]);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    nodes[1].handle().call(move |_, _| _ = stopped.recv()).expect("there is room");
    let since = Instant::now();
    until_members(&nodes[0], &[]);
    // The machine of a test may be slow, the bus may not.
    assert!(since.elapsed() < ttl + Duration::from_secs(5), "{:?}", since.elapsed());
    assert!(nodes[0].ask(|node, _| {
        node.handler().presence.iter().rev().take(2).all(|told| told.change == PresenceChange::Unlisted)
    }));
    // Another takes one of the names; the node comes back with the other.
    enter(&nodes[0], "ann");
    nodes[0].until(|node, _| node.handler().entered == [("ann".to_owned(), Ok(()))]);
    drop(stop);
    nodes.iter().for_each(|node| until_members(node, &["ann", "bob"]));
    nodes[1].until(|node, _| node.handler().entered.contains(&("ann".into(), Err(EnterError::Taken))));
    let owner =
        nodes[1].ask(|node, _| node.handler().bus.members(ROOM).next().map(|(_, member)| member.node));
    assert_eq!(owner, Some(nodes[0].ask(|node, _| node.handler().bus.node())));
}
