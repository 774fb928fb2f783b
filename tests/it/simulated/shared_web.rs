//! The page of a chat on a bus, whose connection is lost behind each byte: on another node
//! it gets each line that it has not had, once (docs/guarantees.md, 95).

use std::time::Duration;

use serve_forever::bus::{Bus, BusOptions, OnBus};
use serve_forever::driver::sim::{Actor, ActorIo, ClientId, Conditions, Script};
use serve_forever::services::{Chat, SharedChat, SharedWeb, Web};
use serve_forever::sim::World;
use serve_forever::sim::redis::Redis;
use serve_forever::{Endpoint, ListenOptions};

use crate::websocket::sockets::{handshake, text};

const SECOND: Duration = Duration::from_secs(1);

/// So many lines are said, one in each second.
const LINES: usize = 6;

/// A page that loses its connection when it has so many bytes.
struct Page {
    from: String,
    most: usize,
    got: Vec<u8>,
}

impl Actor for Page {
    fn connected(&mut self, io: &mut ActorIo<'_>) {
        io.send(handshake("").replace("/socket", &format!("/chat/ws?from={}", self.from)));
    }

    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        self.got.extend_from_slice(bytes);
        if self.got.len() >= self.most {
            self.got.truncate(self.most);
            io.reset();
        }
    }
}

impl Page {
    /// The numbers of the lines that it has had, and the last position.
    fn heard(&self) -> (Vec<usize>, String) {
        let (mut numbers, mut position) = (Vec::new(), String::new());
        let head = self.got.windows(4).position(|end| end == b"\r\n\r\n");
        let mut rest = head.map_or(&[][..], |head| &self.got[head + 4..]);
        // All messages are short.
        while let [kind, length, behind @ ..] = rest
            && let Some((message, behind)) = behind.split_at_checked(usize::from(*length))
        {
            rest = behind;
            let mut line = std::str::from_utf8(message).expect("UTF-8");
            if *kind == 0x82 {
                let (at, text) = line.split_once(' ').unwrap_or((line, ""));
                position = at.into();
                line = text;
            }
            if let Some((_, number)) = line.split_once("> line ") {
                numbers.push(number.parse().expect("a number"));
            }
        }
        (numbers, position)
    }
}

fn node(number: u64) -> OnBus<SharedWeb> {
    let options = BusOptions { seed: Some(number), ..SharedChat::bus_options() };
    let bus = Bus::new("redis://192.0.2.1".parse().expect("a URL"), options).expect("good options");
    OnBus::new(Web::new(Chat::new().on_bus(bus)).clock(None))
}

/// Two nodes; on the second somebody says all lines.
fn world() -> (World<OnBus<SharedWeb>, true>, Endpoint) {
    let mut world = World::new(1, Conditions::calm(), node(1), Web::limits()).expect("good limits");
    let second = world.add(node(2), Web::limits()).expect("good limits");
    let at = "127.0.0.1:8".parse().expect("an endpoint");
    let at = world.listen(&second, &at, &ListenOptions::default()).expect("it is free");
    Redis::new().host(world.net_mut(), &"192.0.2.1:6379".parse().expect("an endpoint"));
    let script = Script::new().starting_after(SECOND / 2).send(handshake("").replace("/socket", "/chat/ws"));
    let said =
        (0..LINES).fold(script, |script, line| script.after(SECOND).send(text(&format!("line {line}"))));
    world.net_mut().play(&at, said.after(3600 * SECOND).finish());
    (world, at)
}

fn page(world: &World<OnBus<SharedWeb>, true>, page: ClientId) -> &Page {
    world.net().actor(page).expect("it plays this client")
}

#[test]
fn a_page_gets_each_line_once_wherever_its_connection_is_lost() {
    let end = SECOND * 8;
    for most in 1.. {
        let (mut world, other) = world();
        world.run_for(SECOND).expect("it keeps its promises");
        let first = world.play(Page { from: String::new(), most, got: Vec::new() });
        let goes_on =
            |world: &mut World<_, true>| page(world, first).got.len() < most && world.elapsed() < end;
        world.run_while(goes_on).expect("it keeps its promises");
        let (mut numbers, from) = page(&world, first).heard();
        if page(&world, first).got.len() < most {
            assert_eq!(numbers, (0..LINES).collect::<Vec<_>>(), "its connection was not lost");
            assert!(most > 300, "{most} bytes");
            return;
        }
        let has_position = !from.is_empty();
        let second = world.net_mut().play(&other, Page { from, most: usize::MAX, got: Vec::new() });
        world.run_for(end + 2 * SECOND - world.elapsed()).expect("it keeps its promises");
        numbers.extend(page(&world, second).heard().0);
        // One that knows no position yet comes as a new one, before the first line or not.
        let first = if has_position { 0 } else { numbers.first().copied().unwrap_or(LINES) };
        assert!(has_position || first <= 1, "lost behind byte {most}: {numbers:?}");
        assert_eq!(numbers, (first..LINES).collect::<Vec<_>>(), "lost behind byte {most}");
    }
}
