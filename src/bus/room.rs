//! `Room`: how far this node is in a room, and the way back after a hole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::command::{Command, Entering, Remaining, RoomRef};
use super::event::{Gap, GapReason, Message, NodeId, PresenceChange};
use super::limits::MOST_IN_FLIGHT;
use super::position::{Epoch, Position};
use super::presence::{Listing, Told as ToldChange};
use super::wire::{Frame, items, text};
use crate::GroupId;

/// How a room follows Redis.
///
/// ```text
/// Away -- the link is ready --> Reading -- all read --> Live
///            a message that is not the next: Live --> Reading
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// There is no link.
    Away,
    /// It reads the log behind its position. Messages that are told meanwhile are in the
    /// log before the answer.
    Reading,
    /// Each message that is told is the next one.
    Live,
}

/// Whether a member of this node was told that it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    NotYet,
    Listed,
}

/// A member of this node.
#[derive(Debug)]
pub(super) struct OwnMember {
    pub(super) value: Bytes,
    /// The number of the call that has entered it.
    pub(super) serial: u64,
    pub(super) told: Told,
}

impl OwnMember {
    /// The member on its way to the list, under this name.
    pub(super) fn entering(&self, room: RoomRef, name: &Arc<str>) -> Entering {
        let (member, value) = (Arc::clone(name), self.value.clone());
        Entering { room, member, value, serial: self.serial }
    }
}

/// A room that this node is subscribed to.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) at: RoomRef,
    /// The connections that are in it.
    pub(super) group: GroupId,
    /// The handler wants it, whoever is in it.
    pub(super) is_held: bool,
    /// Since when nobody is in it.
    pub(super) empty_since: Option<Instant>,
    pub(super) follows: Follows,
    /// The last message that was delivered, or where it stood when it was subscribed to.
    pub(super) position: Option<Position>,
    /// When Redis was last asked about it.
    pub(super) asked: Instant,
    pub(super) listing: Listing,
    pub(super) own: BTreeMap<Arc<str>, OwnMember>,
    /// Members of this node were entered: Redis may list one that has left since.
    pub(super) has_entered: bool,
    /// The last message of each node, to drop those that come twice.
    publishers: BTreeMap<NodeId, Publisher>,
    heard: u64,
    /// Members were told that messages go to this node alone.
    pub(super) has_lost_order: bool,
}

/// The last messages of a node in a room.
#[derive(Debug, Default)]
struct Publisher {
    highest: u64,
    /// The numbers that have come: bit 0 of the first is the highest, bit 1 the one below.
    seen: [u64; WINDOW / 64],
    /// How many messages the room had had at the last one.
    heard: u64,
}

/// How many numbers of a node a reader remembers. Those of messages that Redis refuses, or
/// that are sent again, come behind at most as many as are in flight.
const WINDOW: usize = MOST_IN_FLIGHT;

impl Publisher {
    /// Notes a number; false if it has come before, or is too old to know.
    fn is_new(&mut self, number: u64) -> bool {
        if number > self.highest {
            let by = usize::try_from(number - self.highest).unwrap_or(usize::MAX);
            self.shift(by);
            self.highest = number;
        }
        let Ok(below) = usize::try_from(self.highest - number) else { return false };
        let Some(word) = self.seen.get_mut(below / 64) else { return false };
        let bit = 1 << (below % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn shift(&mut self, by: usize) {
        let (words, bits) = (by / 64, by % 64);
        for at in (0..self.seen.len()).rev() {
            let word = |at: Option<usize>| at.map_or(0, |at| self.seen[at]);
            let low = word(at.checked_sub(words));
            let lower = word(at.checked_sub(words.saturating_add(1)));
            self.seen[at] = if bits == 0 { low } else { low << bits | lower >> (64 - bits) };
        }
    }
}

/// A message as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) position: Position,
    pub(super) node: NodeId,
    pub(super) number: u64,
    /// `None`: it is too long for this node.
    pub(super) payload: Option<Bytes>,
}

/// A step of a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Message(Entry),
    Gap { from: Position, to: Position, why: GapReason },
}

impl Room {
    pub(super) fn new(at: RoomRef, group: GroupId, now: Instant) -> Self {
        Self {
            at,
            group,
            is_held: false,
            empty_since: None,
            follows: Follows::Away,
            position: None,
            asked: now,
            listing: Listing::default(),
            own: BTreeMap::new(),
            has_entered: false,
            publishers: BTreeMap::new(),
            heard: 0,
            has_lost_order: false,
        }
    }

    pub(super) fn link_lost(&mut self) {
        self.follows = Follows::Away;
        self.listing.link_lost();
    }

    /// Whether Redis lists no member of this node, or is being told to take it off.
    pub(super) const fn is_accounted_for(&self) -> bool {
        !self.has_entered || self.listing.is_known()
    }

    /// Whether an own member that exits now is the last one.
    pub(super) fn remaining(&self) -> Remaining {
        if self.own.is_empty() { Remaining::None } else { Remaining::Some }
    }

    /// What sets a change right that was told of a member of this node, and is not as this
    /// node has it now: a command of a link that is gone may be carried out behind those of
    /// its successor. (`Unlisted` is set right with the next sign of life.)
    pub(super) fn correct(&self, told: ToldChange) -> Option<Command> {
        let ToldChange { change, member, value, .. } = told;
        match (change, self.own.get(&member)) {
            (PresenceChange::Joined, None) => Some(Command::Exit(self.at.clone(), member, self.remaining())),
            (PresenceChange::Joined, Some(own)) if own.value != value => {
                Some(Command::Enter(own.entering(self.at.clone(), &member)))
            }
            (PresenceChange::Left, Some(own)) => Some(Command::Enter(own.entering(self.at.clone(), &member))),
            _ => None,
        }
    }

    pub(super) fn gap(&self, from: Position, to: Position, why: GapReason) -> Gap {
        Gap { room: Arc::clone(&self.at.name), from, to, why }
    }

    /// The message of an entry, unless it has come before. Redis drops what it has had
    /// already; this drops what it had, forgot, and got again.
    pub(super) fn message(&mut self, entry: Entry, most_publishers: usize) -> Option<Message> {
        self.heard += 1;
        if self.publishers.len() >= most_publishers && !self.publishers.contains_key(&entry.node) {
            let oldest = self.publishers.iter().min_by_key(|(_, last)| last.heard);
            if let Some(node) = oldest.map(|(node, _)| *node) {
                self.publishers.remove(&node);
            }
        }
        let publisher = self.publishers.entry(entry.node).or_default();
        publisher.heard = self.heard;
        if !publisher.is_new(entry.number) {
            return None;
        }
        Some(Message {
            room: Arc::clone(&self.at.name),
            position: Some(entry.position),
            node: entry.node,
            payload: entry.payload?,
        })
    }
}

impl Entry {
    /// Reads messages as they are told: `EPOCH:OFFSET:NODE:NUMBER:`, of the first one, and
    /// `LENGTH:PAYLOAD` for each.
    pub(super) fn parse_all(told: &Bytes, most: usize) -> Option<Vec<Self>> {
        let mut parts = told.splitn(5, |byte| *byte == b':');
        let mut position = Position::from_parts(parts.next()?, parts.next()?)?;
        let (node, mut number) = publisher(parts.next()?, parts.next()?)?;
        let mut rest = parts.next()?;
        let mut all = Vec::new();
        while !rest.is_empty() {
            let colon = rest.iter().position(|byte| *byte == b':')?;
            let length = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
            let (payload, behind) = rest[colon + 1..].split_at_checked(length)?;
            let payload = Some(told.slice_ref(payload)).filter(|payload| payload.len() <= most);
            all.push(Self { position, node, number, payload });
            position.offset = position.offset.checked_add(1)?;
            (number, rest) = (number.checked_add(1)?, behind);
        }
        Some(all)
    }
}

fn publisher(node: &[u8], number: &[u8]) -> Option<(NodeId, u64)> {
    let at = Position::from_parts(node, number)?;
    Some((NodeId(at.epoch.0), at.offset))
}

/// An answer of the script that reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The last message of the room.
    head: Position,
    relation: Relation,
    /// There is more behind the entries.
    has_more: bool,
    /// Number, publisher and payload of each message.
    entries: Vec<(u64, NodeId, u64, Option<Bytes>)>,
}

/// How the position that was asked for is related to the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    SameEpoch,
    /// It is of the epoch before, whose last message this is, as far as Redis knows.
    EpochBefore(Position),
    /// It is of another epoch; that of now began behind this message.
    Unknown(Position),
}

impl Page {
    pub(super) fn parse(frame: &Frame) -> Option<Self> {
        let all = items(frame)?;
        let (head, entries) = all.split_at_checked(6)?;
        let word = |at: usize| head.get(at).and_then(text);
        let head = Position::from_parts(word(0)?, word(1)?)?;
        let relation = match &word(2)?[..] {
            b"same" => Relation::SameEpoch,
            b"before" => Relation::EpochBefore(Position::from_parts(word(3)?, word(4)?)?),
            _ => {
                let began = std::str::from_utf8(word(4)?).ok()?.parse().ok()?;
                Relation::Unknown(Position { offset: began, ..head })
            }
        };
        let has_more = &word(5)?[..] == b"more";
        let entry = |entry: &[Frame]| {
            let [offset, key, payload] = entry else { return None };
            let offset = std::str::from_utf8(text(offset)?).ok()?.parse().ok()?;
            let key = text(key)?;
            let colon = key.iter().position(|byte| *byte == b':')?;
            let (node, number) = publisher(&key[..colon], &key[colon + 1..])?;
            Some((offset, node, number, text(payload).cloned()))
        };
        Some(Self { head, relation, has_more, entries: entries.chunks(3).map(entry).collect::<Option<_>>()? })
    }

    /// What follows for a reader at `from`: its steps, its new position, and whether it
    /// has to ask again.
    pub(super) fn steps(self, from: Option<Position>) -> (Vec<Step>, Position, bool) {
        let Some(from) = from else { return (Vec::new(), self.head, false) };
        let mut reader = Reader { at: from, steps: Vec::new() };
        let epoch = self.head.epoch;
        match self.relation {
            Relation::Unknown(began) => reader.skip_to(began, GapReason::Forgotten),
            Relation::EpochBefore(last) if from.offset > last.offset => {
                reader.skip_to(Position { epoch, ..last }, GapReason::Restarted);
            }
            _ => {}
        }
        for (offset, node, number, payload) in self.entries {
            self.relation.cross(&mut reader, epoch, offset);
            if offset <= reader.at.offset {
                continue;
            }
            let position = Position { offset, ..reader.at };
            if position != reader.at.next() {
                reader.skip_to(Position { offset: offset - 1, ..reader.at }, GapReason::Trimmed);
            }
            if payload.is_none() {
                reader.skip_to(position, GapReason::TooLong);
            } else {
                reader.steps.push(Step::Message(Entry { position, node, number, payload }));
                reader.at = position;
            }
        }
        if !self.has_more {
            self.relation.cross(&mut reader, epoch, u64::MAX);
            reader.skip_to(self.head, GapReason::Trimmed);
        }
        (reader.steps, reader.at, self.has_more)
    }
}

impl Relation {
    /// Takes a reader into the epoch of now, if the next message is of it.
    fn cross(self, reader: &mut Reader, epoch: Epoch, next: u64) {
        if let Self::EpochBefore(last) = self
            && reader.at.epoch != epoch
            && next > last.offset
        {
            reader.skip_to(last, GapReason::Trimmed);
            reader.skip_to(Position { epoch, ..last }, GapReason::Restarted);
        }
    }
}

/// A reader of a log.
struct Reader {
    at: Position,
    steps: Vec<Step>,
}

impl Reader {
    fn skip_to(&mut self, to: Position, why: GapReason) {
        if self.at != to {
            self.steps.push(Step::Gap { from: self.at, to, why });
            self.at = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const fn epoch(number: u64) -> Epoch {
        Epoch(number)
    }

    const fn at(number: u64, offset: u64) -> Position {
        Position { epoch: epoch(number), offset }
    }

    fn entries(offsets: std::ops::RangeInclusive<u64>) -> Vec<(u64, NodeId, u64, Option<Bytes>)> {
        offsets.map(|offset| (offset, NodeId(1), offset, Some(Bytes::new()))).collect()
    }

    /// The steps, as `FROM>TO` and the offsets of messages.
    fn shown(page: Page, from: Position) -> String {
        let (steps, position, has_more) = page.steps(Some(from));
        let show = |step: &Step| match step {
            Step::Message(entry) => format!("{}:{}", entry.position.epoch.0, entry.position.offset),
            Step::Gap { from, to, why } => {
                format!("{}:{}>{}:{} {why:?}", from.epoch.0, from.offset, to.epoch.0, to.offset)
            }
        };
        let steps: Vec<_> = steps.iter().map(show).collect();
        format!(
            "{} | {}:{}{}",
            steps.join(", "),
            position.epoch.0,
            position.offset,
            if has_more { " …" } else { "" }
        )
    }

    fn page(head: Position, relation: Relation, entries: Vec<(u64, NodeId, u64, Option<Bytes>)>) -> Page {
        Page { head, relation, has_more: false, entries }
    }

    #[test]
    fn a_reader_gets_what_is_there_and_a_gap_for_the_rest() {
        let same = Relation::SameEpoch;
        assert_eq!(shown(page(at(1, 5), same, entries(4..=5)), at(1, 3)), "1:4, 1:5 | 1:5");
        assert_eq!(shown(page(at(1, 5), same, entries(5..=5)), at(1, 2)), "1:2>1:4 Trimmed, 1:5 | 1:5");
        assert_eq!(shown(page(at(1, 5), same, vec![]), at(1, 2)), "1:2>1:5 Trimmed | 1:5");
        assert_eq!(shown(page(at(1, 5), same, vec![]), at(1, 5)), " | 1:5");
        let empty = page(at(2, 3), Relation::Unknown(at(2, 3)), vec![]);
        assert_eq!(shown(empty, at(1, 9)), "1:9>2:3 Forgotten | 2:3");
        let unknown = Relation::Unknown(at(2, 0));
        assert_eq!(
            shown(page(at(2, 2), unknown, entries(1..=2)), at(1, 9)),
            "1:9>2:0 Forgotten, 2:1, 2:2 | 2:2"
        );
        let trimmed = page(at(2, 6), unknown, entries(6..=6));
        assert_eq!(shown(trimmed, at(1, 2)), "1:2>2:0 Forgotten, 2:0>2:5 Trimmed, 2:6 | 2:6");
        let first = Page { has_more: true, ..page(at(2, 6), unknown, entries(1..=1)) };
        assert_eq!(shown(first, at(1, 2)), "1:2>2:0 Forgotten, 2:1 | 2:1 …");
        let long = page(at(1, 1), same, vec![(1, NodeId(1), 1, None)]);
        assert_eq!(shown(long, at(1, 0)), "1:0>1:1 TooLong | 1:1");
    }

    #[test]
    fn a_reader_of_the_epoch_before_crosses_over_with_a_gap() {
        let before = Relation::EpochBefore(at(1, 4));
        let whole = page(at(2, 6), before, entries(3..=6));
        assert_eq!(shown(whole, at(1, 2)), "1:3, 1:4, 1:4>2:4 Restarted, 2:5, 2:6 | 2:6");
        // It has seen what Redis has lost.
        let lost = page(at(2, 6), before, entries(5..=6));
        assert_eq!(shown(lost, at(1, 5)), "1:5>2:4 Restarted, 2:5, 2:6 | 2:6");
        let nothing_since = page(at(2, 4), before, vec![]);
        assert_eq!(shown(nothing_since, at(1, 4)), "1:4>2:4 Restarted | 2:4");
        let trimmed = page(at(2, 6), before, entries(6..=6));
        assert_eq!(
            shown(trimmed, at(1, 2)),
            "1:2>1:4 Trimmed, 1:4>2:4 Restarted, 2:4>2:5 Trimmed, 2:6 | 2:6"
        );
        // A page that ends in the epoch before goes on from there.
        let first = Page { has_more: true, ..page(at(2, 6), before, entries(3..=4)) };
        assert_eq!(shown(first, at(1, 2)), "1:3, 1:4 | 1:4 …");
    }

    #[test]
    fn messages_are_told_in_one_piece() {
        let told = |text: &'static str| Entry::parse_all(&text.into(), 5);
        let entry = |offset, number, payload: Option<&'static str>| Entry {
            position: at(0xe, offset),
            node: NodeId(0xa),
            number,
            payload: payload.map(Into::into),
        };
        let prefix = "000000000000000e:7:000000000000000a:3:";
        let whole = format!("{prefix}2:a:0:6:longer5:1:b:c");
        for end in 0..whole.len() {
            let part = Entry::parse_all(&whole[..end].to_owned().into(), 5);
            let is_shorter = ["", "2:a:", "0:", "6:longer"]
                .iter()
                .scan(prefix.len(), |end, part| {
                    *end += part.len();
                    Some(*end)
                })
                .any(|boundary| boundary == end);
            assert_eq!(part.is_some(), is_shorter, "{end}");
        }
        let all = vec![
            entry(7, 3, Some("a:")),
            entry(8, 4, Some("")),
            entry(9, 5, None),
            entry(10, 6, Some("1:b:c")),
        ];
        assert_eq!(Entry::parse_all(&whole.into(), 5), Some(all));
        for text in [
            "",
            "hello",
            "e:7:a:3",
            "000000000000000e:7:000000000000000a:3:-1:a",
            "e:7:a:3:99999999999999999999:a",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_new_once(numbers in proptest::collection::vec(1..2000_u64, 0..200)) {
            let (mut publisher, mut all) = (Publisher::default(), BTreeSet::new());
            for number in numbers {
                let highest = all.last().copied().unwrap_or(0);
                let is_new = all.insert(number);
                let is_known = number + (WINDOW as u64) > highest;
                prop_assert_eq!(publisher.is_new(number), is_new && is_known, "{} behind {}", number, highest);
            }
        }
    }
}
