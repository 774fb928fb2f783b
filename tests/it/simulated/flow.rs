//! Bytes, however they are cut, and however slowly they are taken.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Odds, Pace, Rng, Script};
use serve_forever::services::{Echo, Once, Upper};
use serve_forever::sim::World;
use serve_forever::{Config, Limits};

use super::handlers::{Call, Scripted, calm, noise, patient, run, why};

#[test]
fn a_fire_hose_leaves_room_for_a_hundred_quiet_clients() {
    let limits = Limits { read_budget: 4096, ..Echo::limits() };
    let mut world = calm(Echo::new(), limits);
    let hose = world.play(Script::new().send(noise(8 << 20)).finish());
    let quiet: Vec<_> = (0..100)
        .map(|_| world.play(Script::new().after(Duration::from_millis(2)).send("hello").finish()))
        .collect();
    let mut before = 0;
    world
        .run_while(|world| {
            let read = world.net().moved().0;
            assert!(read - before <= 4096 + 100 * 5, "{} bytes in one turn", read - before);
            before = read;
            !quiet.iter().all(|client| world.client(*client).has_ended())
        })
        .expect("it keeps its promises");
    assert!(!world.client(hose).has_ended(), "the hose is still on");
    run(&mut world);
    assert_eq!(world.client(hose).received(), world.client(hose).sent());
}

#[test]
fn an_echo_to_a_slow_reader_stops_reading_and_loses_nothing() {
    let mut world = calm(Echo::new(), Echo::limits());
    let script = Script::new().read(Pace::Never).send(noise(16 << 20)).finish();
    let client = world.play(script.after(Duration::from_secs(30)).read(Pace::AtOnce));
    world.run_for(Duration::from_secs(20)).expect("it keeps its promises");
    let taken = world.net().moved().0;
    assert!(taken < 600 << 10, "{taken} bytes are read and not sent on");
    run(&mut world);
    assert!(world.client(client).received() == world.client(client).sent(), "nothing is lost");
}

#[test]
fn too_long_a_frame_is_refused_at_the_limit() {
    let mut world = calm(Scripted::lines(), Limits { max_input: 100_000, ..Limits::default() });
    let client = world.play(Script::new().send(vec![b'x'; 10 << 20]).finish());
    run(&mut world);
    assert!(why(&world, client).starts_with("InputTooLong"), "{}", why(&world, client));
    let life = world.life(client).expect("it was opened");
    assert!(life.input().len() <= 100_000 + (64 << 10), "{} bytes were kept", life.input().len());
}

#[test]
fn however_they_are_cut_the_same_frames_come_back() {
    let lines: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    for cut in [1, 2, 3, 7, 100, 64 << 10] {
        let conditions = Conditions { segment: (cut, cut), ..Conditions::calm() };
        let mut world = World::<_>::new(1, conditions, Scripted::lines(), patient()).expect("good limits");
        let client = world.play(Script::new().send(lines.clone()).finish());
        run(&mut world);
        assert!(world.client(client).received() == lines, "cut into {cut}");
    }
}

// docs/guarantees.md, 23.
#[test]
fn a_write_may_stop_after_every_byte() {
    for buffer in 1..40 {
        let conditions = Conditions { buffer, ..Conditions::calm() };
        let handler = Scripted::new(|io, call| {
            if let Call::Line(line) = call {
                let shared = line.repeat(10);
                let _ = io.write(b"<");
                let _ = io.write_bytes(shared.into());
                let _ = io.write(b">");
            }
            Ok(())
        });
        let mut world = World::<_, true>::new(1, conditions, handler, patient()).expect("good limits");
        let line: Vec<u8> = [vec![b'x'; 99], b"\n".to_vec()].concat();
        let client = world.play(Script::new().send(line.repeat(2)).finish());
        run(&mut world);
        let one = [b"<".to_vec(), line.repeat(10), b">".to_vec()].concat();
        assert_eq!(world.client(client).received(), one.repeat(2), "a buffer of {buffer}");
    }
}

// docs/guarantees.md, 24.
#[test]
fn a_signal_may_interrupt_every_call() {
    for seed in 0..100 {
        let conditions =
            Conditions { interrupted: Odds::one_in(2), would_block: Odds::one_in(3), ..Conditions::calm() };
        let mut world =
            World::<_>::new(seed, conditions, Upper::new(), Upper::limits()).expect("good limits");
        let clients = [(); 5].map(|()| world.play(Script::new().send("hel").send("lo").finish()));
        run(&mut world);
        assert!(clients.iter().all(|client| world.client(*client).received() == b"HELLO"), "seed {seed}");
    }
}

#[test]
fn any_bytes_give_the_same_output_however_they_are_cut() {
    let mut rng = Rng::new(60);
    for round in 0..60 {
        let len = if round % 5 == 0 { rng.size(60_000, 70_000) } else { rng.size(0, 500) };
        let mut input = noise(len);
        if round % 2 == 0 {
            input.retain(|byte| *byte != b'\n');
        }
        let mut outputs = Vec::new();
        for most in [64 << 10, 1 + len / 100 + rng.size(0, 20)] {
            let conditions = Conditions { segment: (1, most), ..Conditions::calm() };
            let config = Config { read_buffer: most, ..Config::default() };
            let mut world =
                World::<_>::with_config(round, conditions, Once::new("yes"), Once::limits(), config)
                    .expect("good limits");
            let client = world.play(Script::new().send(input.clone()).finish());
            run(&mut world);
            outputs.push(world.client(client).received().to_vec());
        }
        assert_eq!(outputs[0], outputs[1], "{len} bytes");
    }
}
