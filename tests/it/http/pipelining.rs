//! Requests that are sent ahead: their answers keep their order.

use std::time::Duration;

use serve_forever::Limits;
use serve_forever::driver::sim::{Conditions, Pace, Script};
use serve_forever::http::{Http, HttpLimits};

use super::api::{Api, CLOSE, LAST, LAST_TIMES, answers, get, received, text, text_with, world, world_with};

// docs/guarantees.md, 67.
#[test]
fn answers_that_come_out_of_order_are_sent_in_order() {
    let later = |number: u64| get(&format!("/later?{number}"));
    let sent: String = (0..1000).map(|number| later(1000 - number)).collect();
    let expected: String = (0..1000).map(|number| text("200 OK", &format!("{}\n", 1000 - number))).collect();
    assert_eq!(answers(sent), expected);
}

#[test]
fn no_more_are_handed_over_than_may_wait() {
    let limits = HttpLimits { max_pipelined: 3, ..HttpLimits::default() };
    let mut world = world_with(Conditions::calm(), limits, Http::<Api>::limits());
    let client = world.play(Script::new().send(get("/later?100").repeat(10)));
    world.run_for(Duration::from_millis(50)).expect("it keeps its promises");
    assert_eq!(world.handler().handler().asked.len(), 3);
    world.run_for(Duration::from_secs(10)).expect("it keeps its promises");
    assert_eq!(received(&world, client), text("200 OK", "100\n").repeat(10));
}

#[test]
fn one_that_is_never_answered_holds_those_behind_it_and_nothing_else() {
    let mut world = world_with(Conditions::calm(), HttpLimits::default(), Http::<Api>::limits());
    let client = world
        .play(Script::new().send(get("/never") + &get("/hello")).after(Duration::from_secs(3600)).reset());
    let other = world.play(Script::new().send(get("/hello")).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), "");
    assert_eq!(received(&world, other), text("200 OK", "hello\n"));
    assert_eq!(world.handler().handler().gone.len(), 1, "the other one has its answer");
    world.check_baseline().expect("nothing is left");
}

#[test]
fn answers_held_for_an_earlier_one_are_bounded() {
    let limits = Limits { low_mark: 1000, high_mark: 2000, hard_mark: 20_000, ..Http::<Api>::limits() };
    let mut world = world_with(Conditions::calm(), HttpLimits::default(), limits);
    let post = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(5000));
    let client = world.play(Script::new().send(get("/never") + &post.repeat(10)));
    world.run().expect("it keeps its promises");
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("Aborted"));
}

#[test]
fn streams_and_whole_answers_behind_one_another() {
    let sent = get("/later?30")
        + &get("/stream?100")
        + &get("/hello")
        + &get("/length?60")
        + &get("/big")
        + &get("/later?1");
    let answer = answers(sent);
    let xs = |count: usize| "x".repeat(10_000 * count);
    assert!(answer.starts_with(&text("200 OK", "30\n")));
    assert!(answer.contains(&format!("2710\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK", xs(1))));
    assert!(answer.contains(&format!("content-length: 600000\r\n\r\n{}HTTP/1.1 200 OK", xs(60))));
    assert!(answer.ends_with(&("b".to_owned() + &text("200 OK", "1\n"))));
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 6);
}

#[test]
fn a_shutdown_answers_all_that_wait_and_ends_behind_the_last() {
    let mut world = world();
    let later = |number: u64| get(&format!("/later?{number}"));
    let client = world.play(Script::new().send(later(300) + &later(100) + &later(200)));
    world.run_for(Duration::from_millis(50)).expect("it keeps its promises");
    world.reactor().shutdown(Duration::from_secs(10));
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    let kept = text("200 OK", "300\n") + &text("200 OK", "100\n");
    assert_eq!(received(&world, client), kept + &text_with("200 OK", CLOSE, "200\n"));
    assert!(world.client(client).saw_reset().is_none());
}

#[test]
fn a_shutdown_ends_a_stream_of_events_that_has_to_wait_for_its_turn() {
    let mut world = world();
    let client = world.play(Script::new().send(get("/later?200") + &get("/events")));
    world.run_for(Duration::from_millis(50)).expect("it keeps its promises");
    world.reactor().shutdown(Duration::from_secs(60));
    while !world.turn(None).expect("it keeps its promises").finished {}
    assert!(world.elapsed() < Duration::from_secs(10), "it has waited for the deadline");
    world.net_mut().settle();
    let received = received(&world, client);
    assert!(received.starts_with(&text("200 OK", "200\n")), "{received}");
    assert!(received.contains("text/event-stream"), "{received}");
    assert!(world.client(client).saw_reset().is_none());
}

#[test]
fn a_shutdown_takes_one_request_at_a_time() {
    let mut world = world();
    let at = |number: u64, script: Script| script.after(Duration::from_millis(number)).send(get("/hello"));
    let client = world.play(at(20, at(80, Script::new().send(get("/later?200")))));
    world.run_for(Duration::from_millis(50)).expect("it keeps its promises");
    world.reactor().shutdown(Duration::from_secs(10));
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    assert_eq!(received(&world, client), text_with("200 OK", CLOSE, "200\n"));
    assert_eq!(world.handler().handler().asked.len(), 1, "its answer says that no other is taken");
}

#[test]
fn what_waits_behind_an_answer_that_ends_the_connection_breaks_nothing() {
    // A client that takes the last answer slowly, so that much of it waits.
    let conditions = Conditions { buffer: 1000, ..Conditions::calm() };
    let mut world = world_with(conditions, HttpLimits::default(), Http::<Api>::limits());
    let behind = get("/later?150") + &get("/stream?1") + &get("/later?50");
    let slowly = Pace::Slowly { bytes: 100, every: Duration::from_millis(10) };
    let script =
        Script::new().read(slowly).send(get("/last?100") + &behind).after(Duration::from_secs(2)).finish();
    let client = world.play(script);
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client), text_with("200 OK", CLOSE, &LAST.repeat(LAST_TIMES)));
    assert!(world.client(client).saw_reset().is_none(), "its end is in order");
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("Closed"));
    world.check_baseline().expect("nothing is left");
}

#[test]
fn behind_an_answer_that_ends_the_connection_no_request_is_taken() {
    let mut world = world();
    let script = Script::new().send(get("/later?500") + &get("/last?100")).after(Duration::from_millis(200));
    let client = world.play(script.send(get("/hello")).after(Duration::from_secs(1)).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(
        received(&world, client),
        text("200 OK", "500\n") + &text_with("200 OK", CLOSE, &LAST.repeat(LAST_TIMES))
    );
    assert_eq!(world.handler().handler().asked.len(), 2);
}
