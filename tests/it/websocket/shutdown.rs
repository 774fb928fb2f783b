//! A shutdown delivers what has arrived, and closes the WebSockets behind it.

use std::num::NonZeroU32;
use std::time::Duration;

use serve_forever::driver::sim::{ClientId, Conditions, Pace, Script};
use serve_forever::services::{Chat, Web};
use serve_forever::sim::World;
use serve_forever::ws::text_frame;

use super::sockets::{frame, handshake, text};

const SECOND: Duration = Duration::from_secs(1);

type WebWorld = World<Web, true>;

/// A web server whose members may say one line in a second.
fn world() -> WebWorld {
    let chat = Chat::new().lines_per_second(NonZeroU32::MIN);
    World::new(1, Conditions::calm(), Web::new(chat), Web::limits()).expect("good limits")
}

fn open(path: &str) -> Script {
    Script::new().send(handshake("").replace("/socket", path))
}

/// What a client got behind the answer to its handshake.
fn received(world: &WebWorld, client: ClientId) -> Vec<u8> {
    let all = world.client(client).received();
    let end = all.windows(4).position(|end| end == b"\r\n\r\n").expect("an answer to the handshake");
    assert!(all.starts_with(b"HTTP/1.1 101 "), "{}", all.escape_ascii());
    all[end + 4..].to_vec()
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text_frame(text)).collect()
}

const GOODBYE: &[u8] = b"\x88\x16\x03\xe9the server goes down";

#[test]
fn lines_that_wait_for_their_time_are_said_before_the_end() {
    let mut world = world();
    let listener = world.play(open("/chat/ws"));
    world.run_for(SECOND).expect("it keeps its promises");
    let said: Vec<u8> = ["one", "two", "three", "four"].into_iter().flat_map(text).collect();
    let speaker = world.play(open("/chat/ws").send(said));
    world.run_for(SECOND / 2).expect("it keeps its promises");
    let so_far = texts(&["* you are guest1", "* guest2 joined", "<guest2> one"]);
    assert_eq!(received(&world, listener), so_far, "the rest waits");
    world.reactor().shutdown(5 * SECOND);
    world.run_for(6 * SECOND).expect("it keeps its promises");
    let rest = [&texts(&["<guest2> two", "<guest2> three", "<guest2> four"]), GOODBYE].concat();
    assert_eq!(received(&world, listener), [so_far, rest].concat());
    assert!(received(&world, speaker).ends_with(GOODBYE));
}

#[test]
fn a_message_that_is_sent_back_in_parts_is_whole_before_the_end() {
    const SIZE: usize = 1 << 20;
    let mut world = world();
    let slow = Pace::Slowly { bytes: 200_000, every: SECOND / 4 };
    let message = frame(0x82, &vec![b'x'; SIZE]);
    let client = world.play(open("/echo/ws").read(slow).send(message));
    world.run_for(SECOND).expect("it keeps its promises");
    assert!(received(&world, client).len() < SIZE);
    world.reactor().shutdown(20 * SECOND);
    world.run_for(30 * SECOND).expect("it keeps its promises");
    let received = received(&world, client);
    assert_eq!(received.iter().filter(|byte| **byte == b'x').count(), SIZE);
    assert!(received.ends_with(GOODBYE));
}

/// The rest of a message whose beginning the reader has taken: of a frame, and of
/// fragments with nothing of them left in the input.
#[test]
fn a_message_that_has_begun_is_waited_for() {
    let whole = frame(0x81, b"one message");
    let fragments = [frame(0x01, b"one "), frame(0x80, b"message")].concat();
    let first = frame(0x01, b"one ").len();
    for (message, cut) in [(&whole, whole.len() - 3), (&fragments, first), (&fragments, first + 1)] {
        let mut world = world();
        let script =
            open("/echo/ws").send(message[..cut].to_vec()).after(2 * SECOND).send(message[cut..].to_vec());
        let client = world.play(script);
        let silent = world.play(open("/echo/ws"));
        world.run_for(SECOND).expect("it keeps its promises");
        world.reactor().shutdown(20 * SECOND);
        world.run_for(SECOND / 2).expect("it keeps its promises");
        assert_eq!(received(&world, silent), GOODBYE, "nothing is under way there");
        world.run_for(30 * SECOND).expect("it keeps its promises");
        assert_eq!(received(&world, client), [&texts(&["one message"]), GOODBYE].concat(), "{cut}");
    }
}
