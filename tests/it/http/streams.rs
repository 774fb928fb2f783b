//! Answers in parts: no more of them waits than the marks allow.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Pace, Script};
use serve_forever::http::{Http, HttpLimits};

use super::api::{Api, BIG, DATE, PIECE, get, received, world, world_with};

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> Script {
    Script::new().read(Pace::Slowly { bytes: 100_000, every: SECOND })
}

#[test]
fn a_stream_waits_for_its_reader() {
    let mut world = world();
    let client = world.play(slow().send(get("/length?300")).after(30 * SECOND));
    world.run_for(2 * SECOND).expect("it keeps its promises");
    assert!(world.handler().handler().fulls > 0);
    let left: Vec<_> = world.handler().handler().streams.values().copied().collect();
    assert!(left[0] > 200, "{left:?}");
    world.run_for(100 * SECOND).expect("it keeps its promises");
    assert_eq!(
        world.client(client).received().len(),
        format!("HTTP/1.1 200 OK\r\n{DATE}content-length: 3000000\r\n\r\n").len() + 300 * PIECE.len()
    );
}

#[test]
fn a_whole_answer_that_is_larger_than_the_hard_mark_is_sent_as_it_is_read() {
    let mut world = world();
    let client = world.play(slow().send(get("/big") + &get("/hello")).after(60 * SECOND).finish());
    world.run().expect("it keeps its promises");
    let answer = received(&world, client);
    assert_eq!(answer.bytes().filter(|byte| *byte == b'b').count(), BIG);
    assert!(answer.ends_with("hello\n"));
}

#[test]
fn who_does_not_read_its_answers_is_asked_for_no_more() {
    let conditions = Conditions { buffer: 1 << 12, ..Conditions::calm() };
    let mut world = world_with(conditions, HttpLimits::default(), Http::<Api>::limits());
    let post =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{}", "y".repeat(10_000));
    let client = world.play(
        Script::new()
            .read(Pace::Never)
            .send(post.repeat(1000))
            .after(30 * SECOND)
            .read(Pace::AtOnce)
            .finish(),
    );
    world.run_for(20 * SECOND).expect("it keeps its promises");
    assert!(world.handler().handler().asked.len() < 50);
    world.run().expect("it keeps its promises");
    assert_eq!(received(&world, client).matches("HTTP/1.1 200 OK").count(), 1000);
}

// docs/guarantees.md, 68.
#[test]
fn who_goes_away_within_a_stream_is_told_of_once() {
    let mut world = world();
    world.play(slow().send(get("/stream?1000")).after(5 * SECOND).reset());
    world.run().expect("it keeps its promises");
    assert_eq!(world.handler().handler().gone.len(), 1);
    assert!(world.handler().handler().streams.is_empty());
    world.check_baseline().expect("nothing is left");
}

#[test]
fn a_body_that_ends_before_its_length_is_cut_where_it_ended() {
    let mut world = world();
    let client = world.play(Script::new().send(get("/short")));
    world.run().expect("it keeps its promises");
    assert_eq!(world.life(client).and_then(|life| life.closed()), Some("Aborted"));
}

#[test]
fn events_go_to_one_stream_or_to_a_group_of_them() {
    let mut world = world();
    let clients: Vec<_> = (0..3).map(|_| world.play(Script::new().send(get("/events")))).collect();
    world.run_for(SECOND).expect("it keeps its promises");
    world.play(Script::new().send(get("/announce")).finish());
    world.run_for(3600 * SECOND).expect("it keeps its promises");
    let mut bodies = Vec::new();
    for client in clients {
        bodies.push(received(&world, client).split_once("\r\n\r\n").expect("a head").1.to_owned());
        assert_eq!(world.life(client).and_then(|life| life.closed()), None, "silence is no end");
    }
    bodies.sort();
    let all = "data: to all\n\n";
    assert_eq!(bodies, [all, all, "data: to all\n\ndata: to one\n\n"]);
}
