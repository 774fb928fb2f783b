//! `--bus`: processes whose chats are one room, through a real Redis.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bus::redis::Redis;
use crate::util::Client;
use crate::util::program::{Serve, Signal, example};

fn start(redis: &Redis, more: &[&str]) -> Serve {
    let bus = format!("--bus=redis+unix:{}?prefix=serve", redis.path().display());
    Serve::start(&[&[bus.as_str(), "chat=127.0.0.1:0"], more].concat())
}

/// Somebody who comes and is called so. Redis has the notice of that: who comes to another
/// node now is in the room behind it.
#[track_caller]
fn enter(serve: &Serve, name: &str) -> Client {
    let client = serve.connect(0);
    client.expect(format!("* you are {name}\n"));
    client.send(format!("/msg {name} in\n"));
    client.expect(format!("[{name}] in\n"));
    client
}

#[test]
fn processes_with_one_bus_are_one_room() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [start(&redis, &[]), start(&redis, &["web=127.0.0.1:0"]), start(&redis, &[])];
    let first = enter(&nodes[0], "guest1");
    let second = enter(&nodes[1], "guest2");
    let _third = enter(&nodes[2], "guest3");
    first.expect("* guest2 joined\n* guest3 joined\n");
    second.expect("* guest3 joined\n");
    first.send("/nick ann\n");
    for member in [&first, &second] {
        member.expect("* guest1 is now ann\n");
    }
    second.send("hello\n/msg ann psst\n/nick ANN\n/who\n");
    first.expect("<guest2> hello\n[guest2] psst\n");
    second.expect("! name taken\n* ann, guest2, guest3\n");
    // A process that ends in order takes its members along.
    let [_, ends, killed] = nodes;
    ends.program.signal(Signal::TERM);
    second.expect_eof();
    first.expect("* guest2 left\n");
    assert_eq!(ends.program.wait().status, 0);
    // One that is killed says nothing: its members are missed within their time to live.
    let since = Instant::now();
    killed.program.signal(Signal::KILL);
    first.expect("* guest3 left\n");
    // A machine may be slow, the bus may not.
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
    first.send("/who\n");
    first.expect("* ann\n");
}

#[test]
fn a_process_without_its_redis_serves_and_says_so_without_the_password() {
    let serve = Serve::start(&[
        "--bus=redis://user:s3cret@127.0.0.1:1/lobby",
        "chat=127.0.0.1:0",
        "echo=127.0.0.1:0",
    ]);
    let member = serve.connect(0);
    member.expect("* the room is offline\n");
    let echo = serve.connect(1);
    echo.send("still here");
    echo.expect("still here");
    serve.program.signal(Signal::TERM);
    let ended = serve.program.wait();
    assert_eq!(ended.status, 0);
    assert!(ended.stderr.contains("the bus is down: redis://user:***@127.0.0.1:1/lobby"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[test]
fn a_bus_that_makes_no_sense_is_refused() {
    for (arguments, expected) in [
        (
            &["--bus=redis://127.0.0.1/x", "echo=127.0.0.1:0"][..],
            "serve chat=ENDPOINT or web=ENDPOINT as well",
        ),
        (&["--bus=http://:s3cret@127.0.0.1", "chat=127.0.0.1:0"], "redis://"),
        (&["--bus=redis://:s3cret@127.0.0.1:port", "web=127.0.0.1:0"], "--bus"),
    ] {
        let output = Command::new(example("serve")).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && !said.contains("s3cret"), "{arguments:?}: {said}");
    }
}
