//! Files that are sent: in order with what is written around them, with
//! back-pressure and deadlines, and never a part for the whole.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Conditions, Pace, Rng, Script};
use serve_forever::sim::{Toy, World};
use serve_forever::{BoxError, Config, Io, Limits, ListenOptions, Origin, Sent, StreamHandler};

use super::handlers::{calm, noise, patient, run, why};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends parts of one file: `FROM TO` for each line, with a word before and behind.
struct Shelf {
    file: Arc<File>,
    answers: Vec<Sent>,
    drained: usize,
}

impl Shelf {
    fn of(content: &[u8]) -> Self {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("there is room");
        file.seek(SeekFrom::Start(7)).expect("its own place is no matter");
        Self { file: Arc::new(file), answers: Vec::new(), drained: 0 }
    }
}

impl StreamHandler for Shelf {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            if io.is_full(io.id()) {
                io.pause(io.id());
                return Ok(());
            }
            let line = String::from_utf8(input.split_to(end + 1).to_vec())?;
            let (from, to) = line.trim().split_once(' ').ok_or("FROM TO")?;
            let range = from.parse()?..to.parse()?;
            io.reply(format!("{} bytes: ", range.end - range.start).as_bytes());
            self.answers.push(io.send_file(io.id(), Arc::clone(&self.file), range)?);
            io.reply(b".\n");
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.drained += 1;
        io.resume(io.id());
        Ok(())
    }
}

/// What a client gets for a part of it.
fn answer(content: &[u8], from: usize, to: usize) -> Vec<u8> {
    [format!("{} bytes: ", to - from).as_bytes(), &content[from..to], b".\n"].concat()
}

#[test]
fn parts_of_a_file_come_whole_and_in_order_whatever_the_network_does() {
    fn play<const SHORT: bool>(seed: u64) {
        let content = noise(5000);
        let mut rng = Rng::new(seed);
        let conditions = Conditions::seeded(&mut rng);
        let marks = Limits { low_mark: 500, high_mark: 1000, hard_mark: 2000, max_files: 4, ..patient() };
        let limits = Limits { file_budget: 700, ..marks };
        let shelf = Shelf::of(&content);
        let mut world = World::<_, SHORT>::new(seed, conditions, shelf, limits).expect("good limits");
        let (mut asked, mut expected) = (String::new(), Vec::new());
        for _ in 0..6 {
            let from = rng.size(0, content.len());
            let to = rng.size(from, content.len());
            asked += &format!("{from} {to}\n");
            expected.extend(answer(&content, from, to));
        }
        let client = world.play(Script::new().send(asked).finish());
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let seen = world.client(client);
        assert!(expected.starts_with(seen.received()), "seed {seed}");
        // The network breaks some connections; no other one is cut.
        if seen.saw_fin().is_some() {
            assert!(seen.received() == expected, "seed {seed}: {} bytes", seen.received().len());
        }
    }
    for seed in 0..300 {
        play::<true>(seed);
        play::<false>(seed);
    }
}

#[test]
fn a_file_above_the_high_mark_is_full_and_drained_once_and_bounded_by_no_hard_mark() {
    let content = noise(1 << 20);
    let marks = Limits { low_mark: 1000, high_mark: 10_000, hard_mark: 20_000, ..patient() };
    let mut world = calm(Shelf::of(&content), marks);
    let client = world.play(Script::new().send("0 1048576\n0 10\n").finish());
    run(&mut world);
    assert_eq!(why(&world, client), "Finished");
    let expected = [answer(&content, 0, 1 << 20), answer(&content, 0, 10)].concat();
    assert!(world.client(client).received() == expected);
    assert_eq!(world.handler().answers, [Sent::Full, Sent::Queued]);
    assert_eq!(world.handler().drained, 1);
    let (_, out) = world.net().moved();
    assert_eq!(world.reactor().stats().bytes_out, out, "each byte is counted");
}

#[test]
fn who_does_not_take_a_file_is_closed_when_it_stalls_and_who_is_slow_is_not() {
    let content = noise(1 << 20);
    let limits = Limits { write_stall: Some(MINUTE), ..patient() };
    let mut world = calm(Shelf::of(&content), limits);
    let stalls = world.play(Script::new().read(Pace::Never).send("0 1048576\n"));
    let pace = Pace::Slowly { bytes: 4096, every: Duration::from_secs(10) };
    let slow = world.play(Script::new().read(pace).send("0 1048576\n").finish());
    run(&mut world);
    assert_eq!(why(&world, stalls), "TimedOut(WriteStall)");
    assert!(world.client(stalls).saw_reset().is_some());
    assert_eq!(why(&world, slow), "Finished");
    assert!(world.client(slow).received() == answer(&content, 0, 1 << 20));
}

#[test]
fn a_file_that_is_truncated_while_it_is_sent_ends_the_connection_with_a_reset() {
    for cut in [0, 1, 100_000, 300_000] {
        let content = noise(1 << 20);
        let shelf = Shelf::of(&content);
        let file = Arc::clone(&shelf.file);
        let mut world = calm(shelf, Limits { file_budget: 1000, ..patient() });
        let pace = Pace::Slowly { bytes: 10_000, every: Duration::from_secs(1) };
        let client = world.play(Script::new().read(pace).send("0 1048576\n"));
        world.run_for(Duration::from_secs(2)).expect("it keeps its promises");
        file.set_len(cut).expect("a file");
        run(&mut world);
        let why = why(&world, client);
        assert!(why.starts_with("File(") && why.contains("UnexpectedEof"), "{why}");
        let seen = world.client(client);
        assert!(seen.saw_reset().is_some() && seen.saw_fin().is_none(), "it takes no part for the whole");
        assert!(answer(&content, 0, 1 << 20).starts_with(seen.received()));
    }
}

#[test]
fn a_range_beyond_the_file_is_one_that_is_truncated_and_an_empty_one_is_nothing() {
    let content = noise(100);
    let mut world = calm(Shelf::of(&content), patient());
    let beyond = world.play(Script::new().send("50 101\n"));
    let empty = world.play(Script::new().send("100 100\n200 200\n").finish());
    run(&mut world);
    assert!(why(&world, beyond).starts_with("File("), "{}", why(&world, beyond));
    assert_eq!(world.client(empty).received(), b"0 bytes: .\n0 bytes: .\n");
}

/// Sends so many small parts at once, whatever the answers.
struct Many(Arc<File>, usize, Vec<Sent>);

impl StreamHandler for Many {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        for _ in 0..self.1 {
            self.2.push(io.send_file(io.id(), Arc::clone(&self.0), 0..1)?);
        }
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), _: &mut BytesMut) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn many_small_files_are_full_at_half_of_their_limit_and_an_error_above_it() {
    let limits = Limits { max_files: 4, ..patient() };
    for (count, expected) in [(4, "Finished"), (5, "")] {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"x").expect("there is room");
        let mut world = calm(Many(Arc::new(file), count, Vec::new()), limits.clone());
        let client = world.play(Script::new().finish());
        run(&mut world);
        assert_eq!(world.handler().2, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Full]);
        assert_eq!(world.life(client).and_then(|life| life.closed()).unwrap_or_default(), expected);
        assert_eq!(world.client(client).received(), b"xxxx", "what was queued is sent");
        assert_eq!(Arc::strong_count(&world.handler().0), 1, "nothing holds on to the file");
    }
}

#[test]
fn a_shutdown_waits_for_a_file_and_its_deadline_drops_the_rest() {
    for (deadline, whole) in [(100 * MINUTE, true), (MINUTE, false)] {
        let content = noise(1 << 20);
        let mut world = calm(Shelf::of(&content), patient());
        let pace = Pace::Slowly { bytes: 4096, every: Duration::from_secs(10) };
        let client = world.play(Script::new().read(pace).send("0 1048576\n"));
        world.run_for(Duration::from_secs(1)).expect("it keeps its promises");
        world.reactor().shutdown(deadline);
        run(&mut world);
        assert_eq!(why(&world, client), "Shutdown");
        let received = world.client(client).received();
        assert_eq!(received == answer(&content, 0, 1 << 20), whole, "{} bytes", received.len());
        assert_eq!(world.client(client).saw_fin().is_some(), whole);
    }
}

/// Asks for parts of a file through the toy layer. How many bytes the client has sent.
fn through_a_layer<const SHORT: bool>(seed: u64, conditions: Conditions, cuts: &[usize]) -> usize {
    let content = noise(1500);
    let options = ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() };
    let marks = Limits { low_mark: 300, high_mark: 600, hard_mark: 1000, max_files: 2, ..patient() };
    let limits = Limits { file_budget: 350, ..marks };
    let (shelf, config) = (Shelf::of(&content), Config::default());
    let mut world =
        World::<_, SHORT>::listening(seed, conditions, shelf, limits, config, &options).expect("good limits");
    let script = Script::new().through(Toy::clients()).send("0 1500\n7 7\n").send("100 1400\n");
    let client = world.play(script.cut_at(cuts.iter().copied()).finish());
    world.run().unwrap_or_else(|violation| panic!("seed {seed}, cut at {cuts:?}: {violation}"));
    let expected = [answer(&content, 0, 1500), answer(&content, 7, 7), answer(&content, 100, 1400)].concat();
    let seen = world.client(client);
    assert_eq!(seen.layer_error(), None, "seed {seed}, cut at {cuts:?}");
    assert!(expected.starts_with(seen.received()), "seed {seed}, cut at {cuts:?}");
    // The network breaks some connections; no other one is cut.
    if seen.saw_layer_end() || world.net().faults().total() == 0 {
        assert!(seen.received() == expected, "seed {seed}, cut at {cuts:?}: {}", seen.received().len());
    }
    seen.handed_over()
}

#[test]
fn through_a_layer_parts_of_a_file_come_whole_and_in_order() {
    let length = through_a_layer::<true>(0, Conditions::calm(), &[]);
    for cut in 1..length {
        through_a_layer::<true>(0, Conditions::calm(), &[cut]);
        through_a_layer::<false>(0, Conditions::calm(), &[cut]);
    }
    // What goes to the client is cut by the network.
    for most in 1..40 {
        let conditions = Conditions { segment: (1, most), buffer: 10 * most, ..Conditions::calm() };
        through_a_layer::<true>(0, conditions.clone(), &[]);
        through_a_layer::<false>(0, conditions, &[]);
    }
    for seed in 0..300 {
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        through_a_layer::<true>(seed, conditions.clone(), &[]);
        through_a_layer::<false>(seed, conditions, &[]);
    }
}

#[test]
fn a_file_that_is_truncated_behind_a_layer_has_no_end_of_it() {
    for cut in [0, 1, 100_000, 300_000] {
        let content = noise(1 << 20);
        let shelf = Shelf::of(&content);
        let file = Arc::clone(&shelf.file);
        let options = ListenOptions { layer: Some(Toy::servers()), ..ListenOptions::default() };
        let limits = Limits { file_budget: 1000, ..patient() };
        let (conditions, config) = (Conditions::calm(), Config::default());
        let mut world =
            World::<_, true>::listening(1, conditions, shelf, limits, config, &options).expect("good limits");
        let pace = Pace::Slowly { bytes: 10_000, every: Duration::from_secs(1) };
        let client = world.play(Script::new().through(Toy::clients()).read(pace).send("0 1048576\n"));
        world.run_for(Duration::from_secs(2)).expect("it keeps its promises");
        file.set_len(cut).expect("a file");
        run(&mut world);
        let why = why(&world, client);
        assert!(why.starts_with("File(") && why.contains("UnexpectedEof"), "{why}");
        let seen = world.client(client);
        assert!(!seen.saw_layer_end() && seen.saw_fin().is_none(), "it takes no part for the whole");
        assert!(answer(&content, 0, 1 << 20).starts_with(seen.received()));
    }
}
