//! A chat, where a second takes no time: floods, shutdowns, and any bytes at
//! all, however they are cut.

use std::num::NonZeroU32;
use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Pace, Rng, Script};
use serve_forever::services::Chat;
use serve_forever::sim::World;
use serve_forever::{Config, Limits};

use super::handlers::{calm, noise, run};

const SECOND: Duration = Duration::from_secs(1);

/// So many lines in a second.
fn limited(lines: u32) -> Chat {
    Chat::new().lines_per_second(NonZeroU32::new(lines).expect("not zero"))
}

/// The numbers from `0`, a line each, behind this.
fn numbered(count: usize, before: &str) -> String {
    (0..count).map(|number| format!("{before}{number}\n")).collect()
}

/// What somebody has received so far.
fn heard<const SHORT: bool>(
    world: &World<Chat, SHORT>,
    client: serve_forever::driver::sim::ClientId,
) -> String {
    String::from_utf8(world.client(client).received().to_vec()).expect("UTF-8")
}

/// Somebody who only listens, to the end.
fn listener() -> Script {
    Script::new().after(Duration::from_secs(24 * 3600)).finish()
}

#[test]
fn over_the_limit_reading_pauses_and_goes_on_by_itself() {
    let mut world = calm(limited(3), Chat::limits());
    let listener = world.play(listener());
    let flood = world.play(Script::new().starting_after(SECOND).send(numbered(10, "")));
    world.run_for(SECOND + SECOND / 2).expect("it keeps its promises");
    let mut count = 3;
    for _ in 0..3 {
        let expected = ["* you are guest1\n* guest2 joined\n".into(), numbered(count, "<guest2> ")].concat();
        assert_eq!(heard(&world, listener), expected);
        assert_eq!(heard(&world, flood), "* you are guest2\n! slow down\n", "once");
        world.run_for(SECOND).expect("it keeps its promises");
        count += 3;
    }
    assert!(heard(&world, listener).ends_with(&numbered(10, "<guest2> ")));
    world.run_for(SECOND * 10).expect("it keeps its promises");
    assert_eq!(heard(&world, flood), "* you are guest2\n! slow down\n");
}

#[test]
fn who_keeps_to_the_limit_is_not_told_and_who_has_slowed_down_is_told_again() {
    let mut world = calm(limited(2), Chat::limits());
    let polite = (0..10).fold(Script::new(), |script, _| script.send("a\nb\n").after(SECOND + SECOND / 10));
    let polite = world.play(polite);
    world.run_for(SECOND * 30).expect("it keeps its promises");
    assert_eq!(heard(&world, polite), "* you are guest1\n");
    let flood =
        Script::new().send("a\nb\nc\n").after(SECOND * 2).send("d\n").after(SECOND * 2).send("e\nf\ng\n");
    let flood = world.play(flood);
    world.run_for(SECOND * 30).expect("it keeps its promises");
    assert_eq!(heard(&world, flood), "* you are guest2\n! slow down\n! slow down\n");
}

#[test]
fn an_unfinished_line_is_not_over_the_limit() {
    let mut world = calm(limited(2), Chat::limits());
    let script = Script::new().send("a\nb\nc").after(SECOND * 2).send("\n");
    let client = world.play(script);
    world.run_for(SECOND * 10).expect("it keeps its promises");
    assert_eq!(heard(&world, client), "* you are guest1\n");
}

#[test]
fn the_end_of_a_flood_is_seen_behind_all_of_it_however_long_that_takes() {
    let mut world = calm(limited(1), Chat::limits());
    let listener = world.play(listener());
    let script = Script::new().starting_after(SECOND).send(numbered(3600, "")).send("/quit at last").finish();
    world.play(script);
    run(&mut world);
    let expected =
        ["* you are guest1\n* guest2 joined\n", &numbered(3600, "<guest2> "), "* guest2 left: at last\n"];
    assert_eq!(heard(&world, listener), expected.concat());
}

#[test]
fn the_lines_of_a_member_that_breaks_off_while_it_is_paused_are_delivered_and_its_end_told_once() {
    for unix in [false, true] {
        let mut world = calm(limited(1), Chat::limits());
        let listener = world.play(listener());
        let script = Script::new().starting_after(SECOND).send(numbered(5, "")).after(SECOND * 2).reset();
        if unix {
            world.play_unix(script);
        } else {
            world.play(script);
        }
        run(&mut world);
        let heard = heard(&world, listener);
        assert!(heard.contains("<guest2> 2\n"), "{heard}");
        assert!(heard.ends_with("* guest2 left\n"), "{heard}");
        assert_eq!(heard.matches("left").count(), 1, "{heard}");
    }
}

#[test]
fn a_shutdown_delivers_all_that_has_arrived_and_does_not_wait_for_the_limit() {
    // What was read is kept by the chat, and the rest lies in the socket.
    let limits = Limits { read_budget: 100, ..Chat::limits() };
    let config = Config { read_buffer: 100, ..Config::default() };
    let mut world = World::<_, true>::with_config(1, Conditions::calm(), limited(2), limits, config)
        .expect("good limits");
    let listener = world.play(listener());
    world.play(Script::new().starting_after(SECOND).send(numbered(500, "")));
    world.run_for(SECOND + SECOND / 2).expect("it keeps its promises");
    assert!(!heard(&world, listener).contains("<guest2> 2\n"));
    world.reactor().shutdown(SECOND / 2);
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.check_baseline().expect("all has gone");
    world.net_mut().settle();
    let heard = heard(&world, listener);
    assert!(heard.contains(&numbered(500, "<guest2> ")), "{heard}");
}

#[test]
fn a_chat_that_is_served_again_has_its_limit_again() {
    let mut world = calm(limited(2), Chat::limits());
    world.play(Script::new().send(numbered(10, "")).finish());
    world.run_for(SECOND / 2).expect("it keeps its promises");
    world.reactor().shutdown(SECOND * 10);
    while !world.turn(None).expect("it keeps its promises").finished {}
    let (service, at) = (world.service().clone(), world.tcp().clone());
    world.reactor().listen(&service, &at).expect("nobody listens there any more");
    let client = world.play(Script::new().send(numbered(10, "")).finish());
    run(&mut world);
    assert_eq!(heard(&world, client), "* you are guest1\n! slow down\n");
}

#[test]
fn a_shutdown_answers_all_of_what_was_asked_by_somebody_who_reads_slowly() {
    let marks = Limits { low_mark: 100, high_mark: 1000, hard_mark: 4000, ..Chat::limits() };
    let conditions = Conditions { buffer: 256, ..Conditions::calm() };
    let mut world = World::<_, true>::new(1, conditions, Chat::new(), marks).expect("good limits");
    let pace = Pace::Slowly { bytes: 100, every: SECOND / 100 };
    let client = world.play(Script::new().read(pace).send("/help\n".repeat(1000)));
    world.run_for(SECOND).expect("it keeps its promises");
    world.reactor().shutdown(SECOND * 1000);
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    let answers = heard(&world, client).matches("/help").count();
    // What it has sent in the meantime, and what had arrived.
    assert!(answers > 40, "{answers} answers");
    assert_eq!(world.reactor().stats().overflowed, 0);
    assert!(heard(&world, client).ends_with("/help\n"));
}

/// Bytes among which there are lines, commands, and much that is neither.
fn stream(rng: &mut Rng, len: usize) -> Vec<u8> {
    let pieces: [&[u8]; 16] = [
        b"\n",
        b"\r\n",
        b"\n\n",
        b" ",
        b"/",
        b"/nick a\xc3\xa4",
        b"/nick ",
        b"/who\n",
        b"/msg guest1 ",
        b"/msg ",
        b"\x1b[2J",
        b"\0",
        b"\xe2\x82\xac",
        b"\xe2\x82",
        b"\xff",
        b"/help\n",
    ];
    let mut bytes = Vec::new();
    while bytes.len() < len {
        if rng.below(3) == 0 {
            let letters = rng.draw().to_le_bytes();
            bytes.extend(letters.iter().take(rng.size(0, 8)).filter(|byte| **byte != b'\n'));
        } else {
            bytes.extend_from_slice(pieces[rng.size(0, pieces.len() - 1)]);
        }
    }
    bytes
}

// docs/guarantees.md, 22 and 60.
#[test]
fn any_bytes_are_the_same_lines_to_everybody_however_they_are_cut() {
    let mut rng = Rng::new(60);
    for round in 0..40 {
        let input = match round % 13 {
            0 => [noise(200), "x".repeat(rng.size(65_000, 66_000)).into_bytes(), noise(300)].concat(),
            1 => noise(rng.size(0, 2000)),
            2 => [stream(&mut rng, 1000), b"/quit \xff\nmore\n".to_vec()].concat(),
            _ => {
                let len = rng.size(0, 1500);
                stream(&mut rng, len)
            }
        };
        let mut outputs = Vec::new();
        let most = 1 + input.len() / 500 + rng.size(0, 20);
        for (most, limit) in [(64 << 10, None), (most, None), (most, Some(5)), (64 << 10, Some(50))] {
            let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
            let config = Config { read_buffer: most, ..Config::default() };
            let chat = limit.map_or_else(Chat::new, limited);
            let mut world = World::<_>::with_config(round, conditions, chat, Chat::limits(), config)
                .expect("good limits");
            let listener = world.play(listener());
            let sender = world.play(Script::new().starting_after(SECOND).send(input.clone()).finish());
            run(&mut world);
            let answers = heard(&world, sender).replace("! slow down\n", "");
            outputs.push((heard(&world, listener), answers));
        }
        for other in &outputs[1..] {
            assert_eq!(outputs[0], *other, "round {round}: {}", input.escape_ascii());
        }
        let heard = &outputs[0].0;
        assert_eq!(heard.matches(" left").count().min(1), 1, "{heard}");
        assert!(!heard.chars().any(|letter| letter.is_control() && letter != '\n'), "{heard:?}");
    }
}

#[test]
fn a_flood_of_one_leaves_room_for_all_others() {
    let mut world = calm(Chat::new(), Chat::limits());
    let listener = world.play(listener());
    let line = format!("{}\n", "x".repeat(1000));
    let flood = world.play(Script::new().starting_after(SECOND).send(line.repeat(4000)).finish());
    let script = Script::new().starting_after(SECOND + Duration::from_millis(1)).send("hello\n");
    let quiet = world.play(script.after(SECOND * 1000).finish());
    world.run_while(|world| !heard(world, listener).contains("> hello\n")).expect("it keeps its promises");
    assert!(!world.client(flood).has_ended() && !world.client(quiet).has_ended(), "the flood is still on");
    run(&mut world);
    assert_eq!(heard(&world, listener).matches(&format!("> {line}")).count(), 4000);
    assert_eq!(world.reactor().stats().overflowed, 0);
}
