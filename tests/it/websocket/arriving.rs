//! The time that a message has to come.

use std::time::Duration;

use serve_forever::Limits;
use serve_forever::driver::sim::{Pace, Script};
use serve_forever::http::{Http, HttpLimits, SocketOptions};
use serve_forever::ws::text_frame;

use super::sockets::{Sockets, frame, handshake, received, text, world, world_with};

const SECOND: Duration = Duration::from_secs(1);

const TOO_LONG: &[u8] = b"\x88\x1a\x03\xf0a message takes too long";

// docs/guarantees.md, 92.
#[test]
fn a_message_that_drips_is_closed_after_its_time() {
    let payload = [b'x'; 100];
    let rest = payload[1..].iter().map(|byte| frame(0x00, &[*byte]));
    let fragments: Vec<_> = std::iter::once(frame(0x02, &payload[..1])).chain(rest).collect();
    let pings: Vec<_> = fragments[..1].iter().cloned().chain(vec![frame(0x89, b""); 30]).collect();
    for message in [frame(0x82, &payload), fragments.concat(), pings.concat()] {
        let mut world = world();
        let script = Script::new().send(handshake(""));
        let script = message.iter().fold(script, |script, byte| script.send(vec![*byte]).after(SECOND));
        let client = world.play(script);
        world.run_for(59 * SECOND).expect("it keeps its promises");
        assert!(!received(&world, client).ends_with(TOO_LONG));
        world.run_for(2 * SECOND).expect("it keeps its promises");
        let received = received(&world, client);
        assert!(received.ends_with(TOO_LONG), "{}", received.escape_ascii());
    }
}

#[test]
fn each_message_has_a_time_of_its_own_and_silence_between_them_has_none() {
    let halves = |message: &[u8]| [message[..9].to_vec(), message[9..].to_vec()];
    let mut script = Script::new().send(handshake(""));
    let [first, second] = halves(&text("a message"));
    for _ in 0..3 {
        script = script.send(first.clone()).after(50 * SECOND).send(second.clone());
    }
    // The end of one and the beginning of the next come together.
    let together = [&second[..], &first].concat();
    script = script.send(first.clone()).after(50 * SECOND).send(together).after(50 * SECOND).send(second);
    // Pings ask the silent one, so it says something.
    for _ in 0..4 {
        script = script.after(40 * SECOND).send(frame(0x8a, b""));
    }
    let mut world = world();
    let client = world.play(script.send(text("at the end")));
    world.run_for(600 * SECOND).expect("it keeps its promises");
    let messages = [text_frame("a message").to_vec().repeat(5), text_frame("at the end").to_vec()].concat();
    let received: Vec<u8> = received(&world, client);
    let without_pings =
        received.split(|byte| *byte == 0x89).flat_map(|part| part.strip_prefix(&[0]).unwrap_or(part));
    assert_eq!(
        without_pings.copied().collect::<Vec<u8>>().escape_ascii().to_string(),
        messages.escape_ascii().to_string()
    );
}

#[test]
fn a_pause_of_this_side_does_not_count() {
    const SIZE: usize = 512 << 10; // over the high mark, within the hard one
    let http = HttpLimits { ping: None, ..HttpLimits::default() };
    let limits = Limits { write_stall: None, idle: None, ..Http::<Sockets>::limits() };
    let mut world = world_with(SocketOptions::default(), http, limits);
    // The echo of the first is not read, so the handler pauses with the second half here.
    let [first, second] = [frame(0x82, &vec![b'x'; SIZE]), frame(0x82, b"the second")];
    let script = Script::new()
        .send(handshake(""))
        .read(Pace::Never)
        .send([&first[..], &second[..10]].concat())
        .after(100 * SECOND)
        .read(Pace::AtOnce)
        .after(10 * SECOND)
        .send(second[10..].to_vec());
    let client = world.play(script);
    world.run_for(200 * SECOND).expect("it keeps its promises");
    assert!(received(&world, client).ends_with(b"the second"));
}
