//! `Chat`: a chat to explore, which checks membership and that each line
//! reaches all other members, once and in order.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Subject;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::{Limits, services};

/// [`services::Chat`]. Its clients ask for the members, take unique names, and
/// send numbered lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chat {
    /// The argument of [`services::Chat::lines_per_second`], if it is set.
    pub lines_per_second: Option<NonZeroU32>,
}

/// The bytes of a turn; few, so that they are often exceeded.
const BYTES_PER_TURN: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Room for one turn, a line, an answer, and notices of joining and leaving.
const HEADROOM: usize = 2048;

impl Subject for Chat {
    type Handler = services::Chat;

    fn handler(&self) -> services::Chat {
        let chat = services::Chat::new().bytes_per_turn(BYTES_PER_TURN);
        match self.lines_per_second {
            Some(lines) => chat.lines_per_second(lines),
            None => chat,
        }
    }

    fn limits(&self) -> Limits {
        // Some clients would never leave by themselves.
        Limits { idle: Some(Duration::from_secs(300)), ..services::Chat::limits() }
    }

    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        let mut stream = format!("/who\n/nick c{client}\n");
        let mut number = 0;
        while stream.len() < len {
            match rng.below(12) {
                0 => stream.push_str("/who\n"),
                1 => stream.push_str(" \x1b\n"),
                end => {
                    stream.push_str(&line(client, number));
                    stream.push_str(if end == 2 { "\r\n" } else { "\n" });
                    number += 1;
                }
            }
        }
        match rng.below(4) {
            0 => stream.push_str("/quit done\nnever said\n"),
            1 => stream.push_str(&line(client, number)),
            2 => stream.push_str("/who\n"),
            _ => {}
        }
        stream.into_bytes()
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        if !whole {
            return Ok(()); // its output is checked together with the others'
        }
        if seen.saw_fin().is_none() || seen.received().last() != Some(&b'\n') {
            return Err(format!("client {client} got no FIN behind a whole line"));
        }
        let asked = done(seen.sent()).filter(|line| *line == "/who").count();
        let lines = std::str::from_utf8(seen.received()).map_err(|error| error.to_string())?.lines();
        let answers = lines.filter(|line| matches!(Heard::parse(line), Heard::Who(_))).count();
        if asked != answers {
            return Err(format!(
                "client {client} asked {asked} times who is there, and was told {answers} times"
            ));
        }
        Ok(())
    }

    fn check_all(&self, net: &Network, lives: &[Life]) -> Result<(), String> {
        let said: BTreeMap<usize, usize> = lives
            .iter()
            .filter_map(|life| {
                let left = if life.saw_eof() { 0 } else { life.left().len() };
                let taken = &life.input()[..life.input().len() - left];
                let lines = done(taken).filter(|line| !line.trim_matches([' ', '\x1b']).is_empty());
                let said = lines.filter(|line| !line.starts_with('/')).count();
                Some((life.client()?.number(), said))
            })
            .collect();
        for (client, seen) in net.clients() {
            let received = seen.received();
            let whole = received.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = std::str::from_utf8(&received[..whole]).map_err(|error| error.to_string())?;
            let mut view = View { me: client.number(), ..View::default() };
            for line in lines.lines() {
                view.hear(line, &said, self.lines_per_second.is_some())
                    .map_err(|what| format!("client {client}, told {line:?}: {what}"))?;
            }
        }
        Ok(())
    }

    fn check_handler(&self, chat: &services::Chat, _: &[Life]) -> Result<(), String> {
        let ghosts: Vec<_> = chat.members().map(|(_, name)| name).collect();
        if ghosts.is_empty() { Ok(()) } else { Err(format!("{ghosts:?} are gone, and in the room")) }
    }

    fn may_overflow(&self) -> bool {
        true
    }

    fn keeps_readers(&self) -> bool {
        true
    }

    fn headroom(&self) -> usize {
        HEADROOM
    }
}

/// A unique line.
fn line(client: usize, number: usize) -> String {
    format!("{number} {}", "x".repeat((client * 7 + number * 13) % 40))
}

/// The lines of a stream that a member completes before it leaves.
fn done(stream: &[u8]) -> impl Iterator<Item = &str> {
    let lines = std::str::from_utf8(stream).unwrap_or("").lines();
    let mut quit = false;
    lines.take_while(move |line| !std::mem::replace(&mut quit, line.starts_with("/quit")))
}

/// A parsed line of the chat.
enum Heard<'a> {
    You(&'a str),
    Joined(&'a str),
    Left(&'a str),
    Renamed(&'a str, &'a str),
    Who(Vec<&'a str>),
    Said(&'a str, &'a str),
    SlowDown,
    Other,
}

impl<'a> Heard<'a> {
    fn parse(line: &'a str) -> Self {
        if line == "! slow down" {
            return Self::SlowDown;
        }
        if let Some((name, text)) = line.strip_prefix('<').and_then(|line| line.split_once("> ")) {
            return Self::Said(name, text);
        }
        let Some(notice) = line.strip_prefix("* ") else { return Self::Other };
        if let Some(name) = notice.strip_prefix("you are ") {
            Self::You(name)
        } else if let Some(name) = notice.strip_suffix(" joined") {
            Self::Joined(name)
        } else if let Some(name) = notice.strip_suffix(" left").or_else(|| notice.strip_suffix(" left: done"))
        {
            Self::Left(name)
        } else if let Some((old, new)) = notice.split_once(" is now ") {
            Self::Renamed(old, new)
        } else {
            Self::Who(notice.split(", ").collect())
        }
    }
}

/// The room as one member sees it.
#[derive(Default)]
struct View {
    me: usize,
    /// The members before it, once it has got their names.
    before: Option<Vec<String>>,
    /// Itself and the members after it, in order.
    since: Vec<String>,
    /// The number of each client's next line, once a line of it was received.
    next: BTreeMap<usize, usize>,
}

impl View {
    fn knows_before(&self, name: &str) -> bool {
        self.before.iter().flatten().any(|other| other == name)
    }

    fn is_new(&self, name: &str) -> Result<(), String> {
        let known = self.knows_before(name) || self.since.iter().any(|other| other == name);
        if known { Err("there is one of that name".into()) } else { Ok(()) }
    }

    /// The place of a name in the order of joining; `Ok(None)` if it is before
    /// this member, which has not got those names yet.
    fn find(&mut self, name: &str) -> Result<Option<(&mut Vec<String>, usize)>, String> {
        if let Some(place) = self.since.iter().position(|other| other == name) {
            return Ok(Some((&mut self.since, place)));
        }
        let Some(before) = &mut self.before else { return Ok(None) };
        let place = before.iter().position(|other| other == name).ok_or("there is nobody of that name")?;
        Ok(Some((before, place)))
    }

    fn hear(&mut self, line: &str, said: &BTreeMap<usize, usize>, limited: bool) -> Result<(), String> {
        match Heard::parse(line) {
            Heard::You(name) if self.since.is_empty() => self.since.push(name.into()),
            _ if self.since.is_empty() => return Err("its own name should come first".into()),
            Heard::Joined(name) => {
                self.is_new(name)?;
                self.since.push(name.into());
            }
            Heard::Renamed(old, new) => {
                self.is_new(new)?;
                if let Some((list, place)) = self.find(old)? {
                    list[place] = new.into();
                }
            }
            Heard::Left(name) => self.lose(name, said)?,
            Heard::Who(names) => self.list(&names)?,
            Heard::Said(name, text) => self.listen(name, text)?,
            Heard::SlowDown if limited => {}
            Heard::You(_) | Heard::SlowDown | Heard::Other => return Err("that is not said here".into()),
        }
        Ok(())
    }

    fn list(&mut self, names: &[&str]) -> Result<(), String> {
        let before = self.before.clone().unwrap_or_else(|| {
            let count = names.len().saturating_sub(self.since.len());
            names[..count].iter().copied().map(String::from).collect()
        });
        if !before.iter().chain(&self.since).eq(names) {
            return Err(format!("it knows of {before:?}, itself and {:?}", self.since));
        }
        self.before = Some(before);
        Ok(())
    }

    fn listen(&mut self, name: &str, text: &str) -> Result<(), String> {
        let saw_it_come = self.find(name)?.is_some() && !self.knows_before(name);
        let client: usize = name.strip_prefix('c').and_then(|name| name.parse().ok()).ok_or("who is that")?;
        let number: usize =
            text.split(' ').next().and_then(|number| number.parse().ok()).ok_or("what is that")?;
        let expected = self.next.entry(client).or_insert(if saw_it_come { 0 } else { number });
        if *expected != number || text != line(client, number) || client == self.me {
            return Err(format!("line {expected} of {name} was to come"));
        }
        *expected += 1;
        Ok(())
    }

    /// Removes a member that has left, and checks that all its lines were
    /// received.
    fn lose(&mut self, name: &str, said: &BTreeMap<usize, usize>) -> Result<(), String> {
        let saw_it_come = self.find(name)?.is_some() && !self.knows_before(name);
        if let Some((list, place)) = self.find(name)? {
            list.remove(place);
        }
        let Some(client) = name.strip_prefix('c').and_then(|name| name.parse().ok()) else { return Ok(()) };
        let heard = self.next.get(&client).copied().or_else(|| saw_it_come.then_some(0));
        let said = said.get(&client).copied();
        if heard.is_some() && heard != said {
            return Err(format!("{said:?} lines of it were taken, and {heard:?} heard"));
        }
        Ok(())
    }
}
