//! Uploads over the simulated network into a real directory, with their bytes cut in
//! many ways.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serve_forever::driver::sim::{ClientId, Conditions, Odds, Pace, Rng, Script};
use serve_forever::services::{Framing, Upload};
use serve_forever::sim::World;
use serve_forever::{Config, Limits};
use tempfile::TempDir;

use super::place::{names_in, post};
use crate::util::noise;

/// Everything in a directory, with its content.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let content = fs::read(directory.join(&name)).expect("a file");
        (name, content)
    };
    names_in(directory).into_iter().map(read).collect()
}

/// A world that receives into a directory of its own.
fn world(conditions: Conditions, seed: u64, limits: Limits, config: Config) -> (World<Upload>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let upload = Upload::into(directory.path()).expect("it was just made").max(1 << 20);
    (World::with_config(seed, conditions, upload, limits, config).expect("good limits"), directory)
}

/// Gives the world workers, whose jobs take up to ten milliseconds.
fn give_workers(world: &mut World<Upload>) {
    let workers = world.net().workers();
    world.reactor().set_workers(&workers);
    world.net_mut().conditions_mut().job = (Duration::from_micros(1), Duration::from_millis(10));
}

fn calm() -> (World<Upload>, TempDir) {
    world(Conditions::calm(), 1, Upload::limits(), Config::default())
}

#[track_caller]
fn run(world: &mut World<Upload>) {
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
}

#[track_caller]
fn why(world: &World<Upload>, client: ClientId) -> &str {
    world.life(client).and_then(|life| life.closed()).expect("it was opened and closed")
}

/// What becomes of a stream that is cut into segments of at most `most` bytes.
fn outcome(stream: &[u8], seed: u64, most: usize) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let on_loop = outcome_of(stream, seed, most, Writes::OnLoop);
    let on_workers = outcome_of(stream, seed, most, Writes::OnWorkers);
    assert!(on_loop == on_workers, "seed {seed}, cut into {most}: {}", stream.escape_ascii());
    on_loop
}

/// The thread that writes to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    OnLoop,
    OnWorkers,
}

fn outcome_of(stream: &[u8], seed: u64, most: usize, writes: Writes) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let conditions = Conditions {
        segment: (1, most),
        interrupted: Odds::one_in(10),
        would_block: Odds::one_in(10),
        ..Conditions::calm()
    };
    let config = Config { read_buffer: most, ..Config::default() };
    let (mut world, directory) = world(conditions, seed, Upload::limits(), config);
    if writes == Writes::OnWorkers {
        give_workers(&mut world);
    }
    let client = world.play(Script::new().send(stream.to_vec()).finish());
    run(&mut world);
    (world.client(client).received().to_vec(), contents(directory.path()))
}

// docs/guarantees.md, 22.
#[test]
fn however_they_are_cut_the_same_files_arrive() {
    let mut stream = Vec::new();
    for number in 0..40 {
        let size = [0, 1, 2, 100, 1000, 5000][number % 6];
        stream.extend(post(&format!("file|{number}"), &noise(size)));
    }
    stream.extend(post("file|0", b"it is there"));
    let whole = outcome(&stream, 0, 64 << 10);
    assert_eq!(whole.1.len(), 40);
    assert!(whole.0.ends_with(b"ok|100|file|39\nerr|exists\n"), "{}", whole.0.escape_ascii());
    for (seed, most) in [(1, 1), (2, 2), (3, 3), (4, 7), (5, 50), (6, 1000), (7, 1460)] {
        assert!(outcome(&stream, seed, most) == whole, "cut into {most}");
    }
}

// docs/guarantees.md, 60.
#[test]
fn any_bytes_come_to_the_same_however_they_are_cut() {
    let mut rng = Rng::new(60);
    for round in 0..150 {
        let mut stream = Vec::new();
        for _ in 0..rng.size(1, 6) {
            let junk = noise(rng.size(0, 300));
            let name = rng.size(0, 3).to_string();
            match rng.size(0, 9) {
                0 => stream.extend(junk),
                1 => stream.extend(format!("post|{}|{name}\n", rng.draw()).bytes()),
                2 => stream.extend([b"post|3|".as_slice(), &junk, b"\nabc"].concat()),
                3 => stream.extend(vec![b'x'; rng.size(1000, 1100)]),
                _ => stream.extend(post(&name, &junk)),
            }
        }
        stream.truncate(stream.len() - rng.size(0, 1) * rng.size(0, stream.len()));
        let most = rng.size(1, 200);
        let whole = outcome(&stream, round, 64 << 10);
        let cut = outcome(&stream, round, most);
        assert!(cut == whole, "round {round}, cut into {most}: {}", stream.escape_ascii());
        assert!(whole.1.iter().all(|(name, _)| !name.starts_with('.')), "nothing remains of what was cut");
    }
}

#[test]
fn a_reset_anywhere_leaves_nothing_behind() {
    for seed in 0..100 {
        let conditions = Conditions { segment: (1, 100), ..Conditions::calm() };
        let (mut world, directory) = world(conditions, seed, Upload::limits(), Config::default());
        let stream = post("name", &noise(3000));
        let cut = stream.len() * seed as usize / 100;
        let script = Script::new().send(stream[..cut].to_vec()).after(Duration::from_micros(seed * 17));
        world.play(script.reset());
        run(&mut world);
        assert!(names_in(directory.path()).is_empty(), "seed {seed}");
    }
}

#[test]
fn a_file_of_which_no_byte_comes_for_a_minute_is_given_up() {
    let (mut world, directory) = calm();
    let silent = world.play(Script::new().send("post|10|silent\nx"));
    let drips = (0..9).fold(Script::new().send("post|10|drips\nx"), |script, _| {
        script.after(Duration::from_secs(59)).send("y")
    });
    let drips = world.play(drips);
    world.run_for(Duration::from_secs(59)).expect("it keeps its promises");
    assert_eq!(names_in(directory.path()).len(), 2, "both are under way");
    world.run_for(Duration::from_secs(2)).expect("it keeps its promises");
    assert_eq!(names_in(directory.path()).len(), 1, "one of them is given up");
    assert_eq!(world.client(silent).received(), b"");
    run(&mut world);
    assert_eq!(why(&world, silent), "TimedOut(Handler)");
    // Nine minutes, in each of which a byte came.
    assert_eq!(world.client(drips).received(), b"ok|10|drips\n");
    assert_eq!(contents(directory.path()), [("drips".to_owned(), b"xyyyyyyyyy".to_vec())]);
    assert_eq!(why(&world, drips), "TimedOut(Idle)", "from then on the deadlines of the limits hold alone");
}

// The check that is set with the file comes half a minute too soon for it.
#[test]
fn a_file_of_which_a_byte_came_since_is_given_up_a_minute_behind_that() {
    for second_file in [false, true] {
        let (mut world, directory) = calm();
        let first = if second_file { "post|1|first\nx" } else { "post|10|a\nx" };
        let then = if second_file { "post|10|a\nx" } else { "y" };
        let client = world.play(Script::new().send(first).after(Duration::from_secs(30)).send(then));
        world.run_for(Duration::from_secs(89)).expect("it keeps its promises");
        assert!(world.life(client).expect("it was opened").closed().is_none());
        world.run_for(Duration::from_secs(2)).expect("it keeps its promises");
        assert_eq!(why(&world, client), "TimedOut(Handler)");
        assert_eq!(names_in(directory.path()), if second_file { vec!["first"] } else { vec![] });
        run(&mut world);
    }
}

#[test]
fn a_file_that_vanishes_with_its_client_is_given_up() {
    let (mut world, directory) = calm();
    let client = world.play(Script::new().send("post|10|a\nx").after(Duration::from_secs(1)).vanish());
    run(&mut world);
    assert_eq!(why(&world, client), "TimedOut(Handler)");
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn headers_have_the_deadlines_of_frames() {
    let (mut world, directory) = calm();
    let drip = |script: Script, _| script.send("p").after(Duration::from_secs(5));
    let none = world.play(Script::new());
    let first = world.play((0..100).fold(Script::new(), drip));
    let later = world.play((0..100).fold(Script::new().send("post|1|a\nx"), drip));
    run(&mut world);
    assert_eq!(why(&world, none), "TimedOut(FirstFrame)");
    assert_eq!(why(&world, first), "TimedOut(FirstFrame)");
    assert_eq!(why(&world, later), "TimedOut(Frame)");
    assert_eq!(world.client(later).received(), b"ok|1|a\n");
    assert_eq!(names_in(directory.path()), ["a"]);
}

#[test]
fn data_has_no_deadline_but_that_of_silence() {
    let (mut world, directory) = calm();
    // Far longer than the deadline of a frame, at a byte each half minute.
    let script = (0..100).fold(Script::new().send("post|100|slow\n"), |script, _| {
        script.after(Duration::from_secs(30)).send("x")
    });
    let client = world.play(script.finish());
    run(&mut world);
    assert_eq!(world.client(client).received(), b"ok|100|slow\n");
    assert_eq!(contents(directory.path()), [("slow".to_owned(), vec![b'x'; 100])]);
}

#[test]
fn who_does_not_read_its_answers_is_not_read_from() {
    let conditions = Conditions { buffer: 1000, ..Conditions::calm() };
    let limits = Limits { low_mark: 500, high_mark: 1000, hard_mark: 2000, ..Upload::limits() };
    let (mut world, directory) = world(conditions, 1, limits, Config::default());
    let stream: Vec<u8> = (0..500).flat_map(|number| post(&number.to_string(), b"x")).collect();
    let answers: String = (0..500).map(|number| format!("ok|1|{number}\n")).collect();
    let script = Script::new().read(Pace::Never).send(stream).finish();
    let client = world.play(script.after(Duration::from_secs(30)).read(Pace::AtOnce));
    world.run_for(Duration::from_secs(29)).expect("it keeps its promises");
    let taken = names_in(directory.path()).len();
    assert!(taken < 400, "{taken} files were taken, whose answers wait");
    run(&mut world);
    assert_eq!(String::from_utf8_lossy(world.client(client).received()), answers);
    assert_eq!(names_in(directory.path()).len(), 500);
}

#[test]
fn in_chunks_files_arrive_whatever_the_weather() {
    for seed in 0..50 {
        let conditions =
            Conditions { segment: (1, 64 << 10), interrupted: Odds::one_in(4), ..Conditions::calm() };
        let directory = tempfile::tempdir().expect("a directory");
        let upload = Upload::into(directory.path()).expect("it was just made").framing(Framing::Chunk);
        let mut world = World::<_>::new(seed, conditions, upload, Upload::limits()).expect("good limits");
        let content = noise(50_000);
        let pause = Duration::from_millis(50);
        // The header is so short that it is cut nowhere.
        let script = Script::new().send("post|50000|a").after(pause).send(content.clone());
        let client = world.play(script.after(Duration::from_secs(1)).finish());
        world.net_mut().conditions_mut().segment = (12, 64 << 10);
        run(&mut world);
        assert_eq!(world.client(client).received(), b"", "seed {seed}");
        assert!(contents(directory.path()) == [("a".to_owned(), content)], "seed {seed}");
    }
}

// docs/guarantees.md, 82, 83.
#[test]
fn on_workers_a_file_is_whole_or_not_there_whatever_becomes_of_its_jobs() {
    let mut stored = 0;
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let conditions = Conditions {
            segment: (1, rng.size(1, 2000)),
            job_lost: Odds::one_in(10),
            job_panics: Odds::one_in(10),
            ..Conditions::calm()
        };
        let (mut world, directory) = world(conditions, seed, Upload::limits(), Config::default());
        give_workers(&mut world);
        let sent: Vec<Vec<u8>> = (0..6).map(|_| noise(rng.size(0, 5000))).collect();
        for (number, content) in sent.iter().enumerate() {
            let stream = post(&number.to_string(), content);
            let script = Script::new().send(stream).after(Duration::from_micros(rng.between(0, 20_000)));
            world.play(if rng.below(2) == 0 { script.reset() } else { script.finish() });
        }
        run(&mut world);
        for (name, content) in contents(directory.path()) {
            let number: usize = name.parse().expect("nothing remains of what was cut");
            assert!(content == sent[number], "seed {seed}: {name} is not whole");
            stored += 1;
        }
    }
    assert!(stored > 100, "some arrive: {stored}");
}

#[test]
fn on_workers_a_full_pool_delays_files_and_loses_none() {
    let config = Config { max_jobs: 1, ..Config::default() };
    let (mut world, directory) = world(Conditions::calm(), 1, Upload::limits(), config);
    give_workers(&mut world);
    for number in 0..8 {
        world.play(Script::new().send(post(&number.to_string(), &noise(3000))).finish());
    }
    run(&mut world);
    assert_eq!(names_in(directory.path()).len(), 8);
}

#[test]
fn on_workers_a_slow_disk_holds_nobody_up() {
    let (mut world, directory) = calm();
    give_workers(&mut world);
    world.net_mut().conditions_mut().job = (Duration::from_secs(20), Duration::from_secs(20));
    let slow = world.play(Script::new().send(post("slow", &noise(3000))).finish());
    let refused = world.play(Script::new().send("junk\n"));
    world.run_for(Duration::from_secs(10)).expect("it keeps its promises");
    assert_eq!(world.client(refused).received(), b"err|bad header\n", "another client is served");
    assert!(world.client(slow).received().is_empty());
    run(&mut world);
    assert_eq!(world.client(slow).received(), b"ok|3000|slow\n");
    assert_eq!(names_in(directory.path()), ["slow"]);
}
