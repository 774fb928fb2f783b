//! A chat in which much is said in one moment: who reads hears all of it, and
//! who does not keeps nobody waiting.

use std::time::Duration;

use serve_forever::driver::sim::{ClientId, Conditions, Pace, Script};
use serve_forever::services::{Chat, Framing};
use serve_forever::sim::World;
use serve_forever::{Config, Limits};

use super::handlers::run;

const SECOND: Duration = Duration::from_secs(1);

/// A network in which what a connection holds is a part of what is said.
fn slow() -> Conditions {
    let (least, most) = (Duration::from_millis(5), Duration::from_millis(20));
    Conditions { buffer: 64 << 10, latency: (least, most), ..Conditions::calm() }
}

fn room(conditions: Conditions) -> World<Chat> {
    let config = Config { accepts_per_turn: 1000, ..Config::default() };
    let mut world =
        World::with_config(1, conditions, Chat::new(), Chat::limits(), config).expect("good limits");
    world.net_mut().limit_descriptors(None);
    world
}

/// Somebody who only listens, from the first on.
fn listener() -> Script {
    Script::new().after(SECOND * 3600).finish()
}

/// A line of this length that tells who said it.
fn line(number: usize, len: usize) -> String {
    format!("{number:04} {}", "x".repeat(len - 5))
}

/// The lines of the members, without those of the room.
fn said(world: &World<Chat>, client: ClientId) -> Vec<String> {
    let heard = String::from_utf8(world.client(client).received().to_vec()).expect("UTF-8");
    let lines = heard.lines().filter_map(|line| line.strip_prefix(['<', '[']));
    lines.map(|line| line.split_once([' ']).expect("a name, and a text").1.to_owned()).collect()
}

#[track_caller]
fn assert_each_heard_all(world: &mut World<Chat>, listeners: &[ClientId], expected: &[String]) {
    assert_eq!(world.reactor().stats().overflowed, 0);
    for client in listeners {
        let mut heard = said(world, *client);
        heard.sort();
        let lengths: Vec<_> = heard.iter().map(String::len).collect();
        assert!(heard == expected, "{client} heard lines of {lengths:?}");
    }
}

#[test]
fn twenty_long_lines_at_one_moment_drop_nobody_who_reads() {
    for (end, then) in [("\n", ""), ("", ""), ("\n", "hello\n")] {
        let mut world = room(slow());
        let listeners: Vec<_> = (0..8).map(|_| world.play(listener())).collect();
        let lines: Vec<_> = (0..20).map(|number| line(number, 65_000)).collect();
        let mut expected = lines.clone();
        for line in lines {
            let script = Script::new().starting_after(SECOND).after(SECOND);
            world.play(script.send(format!("{line}{end}{then}")).finish());
            expected.extend(then.lines().map(String::from));
        }
        run(&mut world);
        assert_each_heard_all(&mut world, &listeners, &expected);
    }
}

#[test]
fn private_messages_of_many_at_one_moment_do_not_drop_the_one_who_reads_them() {
    let mut world = room(slow());
    let listener = world.play(listener());
    let lines: Vec<_> = (0..20).map(|number| line(number, 65_000)).collect();
    for line in &lines {
        let script = Script::new().starting_after(SECOND).after(SECOND);
        world.play(script.send(format!("/msg guest1 {line}\n")).finish());
    }
    run(&mut world);
    assert_each_heard_all(&mut world, &[listener], &lines);
}

// docs/guarantees.md, 28.
#[test]
fn a_storm_of_leaving_is_told_of_to_the_last_one_and_drops_nobody_who_reads() {
    let marks = Limits { low_mark: 1 << 10, high_mark: 4 << 10, hard_mark: 20 << 10, ..Chat::limits() };
    let config = Config { accepts_per_turn: 1000, ..Config::default() };
    let chat = Chat::new().bytes_per_turn(std::num::NonZeroUsize::new(4 << 10).expect("not zero"));
    let conditions = Conditions { buffer: 1 << 10, ..Conditions::calm() };
    let mut world = World::<_>::with_config(1, conditions, chat, marks, config).expect("good limits");
    let listener = world.play(listener());
    for number in 0..300 {
        // The longest names that there can be: each takes 128 bytes.
        let name = format!("{number:03}{}", "𝟗".repeat(29));
        let start = Duration::from_millis(2000 + 50 * number);
        let moment = SECOND * 60 - start;
        world.play(Script::new().starting_after(start).send(format!("/nick {name}\n")).after(moment).reset());
    }
    run(&mut world);
    assert_eq!(world.reactor().stats().overflowed, 0);
    let heard = String::from_utf8(world.client(listener).received().to_vec()).expect("UTF-8");
    assert_eq!(heard.matches(" left\n").count(), 300);
    assert_eq!(world.handler().members().len(), 0);
}

#[test]
fn who_does_not_read_is_dropped_and_costs_the_others_a_second_at_most() {
    let mut world = room(slow());
    let listener = world.play(listener());
    let sloths: Vec<_> = (0..5).map(|_| world.play(Script::new().read(Pace::Never))).collect();
    let lines: Vec<_> = (0..40).map(|number| line(number, 65_000)).collect();
    let flood = Script::new().starting_after(SECOND).send(lines.join("\n"));
    world.play(flood.send("\n").finish());
    let all: usize = lines.iter().map(|line| "<guest7> \n".len() + line.len()).sum();
    // In steps, as nothing wakes the loop when it is heard.
    while world.client(listener).received().len() < all {
        world.run_for(SECOND / 10).expect("it keeps its promises");
    }
    world.run_for(SECOND / 10).expect("it keeps its promises");
    assert!(said(&world, listener) == lines);
    assert!(world.elapsed() < SECOND * 5, "it took {:?}", world.elapsed());
    for sloth in sloths {
        let life = world.life(sloth).expect("it was there");
        assert!(life.closed().is_some_and(|why| why.starts_with("Overflow")), "{:?}", life.closed());
    }
    assert_eq!(world.reactor().stats().overflowed, 5);
}

#[test]
fn the_floor_goes_round_and_is_first_come_first_served() {
    let mut world = room(Conditions::calm());
    let listener = world.play(listener());
    let flood = format!("{}\n", line(1, 1000)).repeat(300);
    for _ in 0..3 {
        world.play(Script::new().starting_after(SECOND).send(flood.clone()).finish());
    }
    for place in 0..5 {
        let start = SECOND + Duration::from_micros(20 * place);
        world.play(
            Script::new().starting_after(start).send(format!("{}\n", line(9, 10))).after(SECOND).finish(),
        );
    }
    run(&mut world);
    let heard = said(&world, listener);
    assert_eq!(heard.len(), 3 * 300 + 5);
    let hidden: Vec<_> = heard.iter().enumerate().filter(|(_, text)| text.starts_with("0009")).collect();
    let last = hidden.last().expect("they were heard").0;
    assert!(last < heard.len() / 2, "the last who came was heard behind {last} lines");
    assert_eq!(world.reactor().stats().overflowed, 0);
}

#[test]
fn a_shutdown_loses_none_of_the_last_lines_that_wait() {
    let mut world = room(slow());
    let listener = world.play(listener());
    let lines: Vec<_> = (0..20).map(|number| line(number, Framing::MAX_LINE)).collect();
    for line in &lines {
        world.play(Script::new().send(line.clone()).after(SECOND).finish());
    }
    // Every line has come, and its end is on its way.
    world.run_for(SECOND + Duration::from_millis(30)).expect("it keeps its promises");
    world.reactor().shutdown(SECOND * 100);
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    let mut heard = said(&world, listener);
    heard.sort();
    assert!(heard == lines, "{} lines", heard.len());
    assert_eq!(world.handler().members().len(), 0);
}
