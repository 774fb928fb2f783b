//! The account after a run: nothing lost in silence, nothing twice, one order.

use std::collections::{BTreeMap, BTreeSet};

use serve_forever::bus::Position;

use super::nodes::{Node, Told};

/// What the nodes were told, in sum.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) gaps: usize,
    pub(super) published: usize,
}

/// Checks what all nodes were told against each other, and against what was published.
pub(super) fn check(nodes: &[Node]) -> Sum {
    let logs: Vec<_> = nodes.iter().map(|node| node.ask(|node, _| node.handler().told.clone())).collect();
    let published: Vec<_> =
        nodes.iter().flat_map(|node| node.ask(|node, _| node.handler().published.clone())).collect();
    let mut sum = Sum { published: published.len(), ..Sum::default() };
    let mut all: BTreeMap<Position, &str> = BTreeMap::new();
    for (number, log) in logs.iter().enumerate() {
        sum.gaps += log.iter().filter(|told| matches!(told, Told::Gap(_))).count();
        check_log(number, log);
        for told in log {
            if let Told::Message(position, text) = told {
                let before = all.insert(*position, text);
                assert!(before.is_none_or(|before| before == text), "{position} is {before:?} and {text}");
            }
        }
    }
    let told: Vec<_> = all.into_iter().map(|(position, text)| (text.to_owned(), position)).collect();
    check_whole(&logs, &published);
    check_whole(&logs, &told);
    sum
}

/// Each message is behind the one before, or a gap stands between them; none comes twice.
/// (Numbers may be left out: those of messages that Redis had told, lost, and got again.
/// That they were no others, [`check_whole`] sees.)
fn check_log(node: usize, log: &[Told]) {
    let mut at: Option<Position> = None;
    let mut texts = BTreeSet::new();
    for told in log {
        match told {
            Told::Gap(gap) => {
                let is_here = |at: Position| at.epoch == gap.from.epoch && at.offset <= gap.from.offset;
                assert!(at.is_none_or(is_here), "node {node} is at {at:?}: {gap:?}");
                at = Some(gap.to);
            }
            Told::Message(position, text) => {
                if let Some(at) = at {
                    let is_behind = at.epoch == position.epoch && at.offset < position.offset;
                    assert!(is_behind, "node {node}: {text} at {position} comes behind {at}");
                }
                assert!(texts.insert(text), "node {node} has {text} twice");
                at = Some(*position);
            }
        }
    }
}

/// What was answered with a position, or told to one node, was told to every node, or is
/// in one of its gaps.
fn check_whole(logs: &[Vec<Told>], published: &[(String, Position)]) {
    for (node, log) in logs.iter().enumerate() {
        let texts: BTreeSet<_> = log
            .iter()
            .filter_map(|told| match told {
                Told::Message(_, text) => Some(text.as_str()),
                Told::Gap(_) => None,
            })
            .collect();
        for (text, position) in published.iter().filter(|(text, _)| !texts.contains(text.as_str())) {
            let is_in_a_gap = log.iter().any(|told| match told {
                Told::Gap(gap) if gap.from.epoch == gap.to.epoch => {
                    position.epoch == gap.from.epoch
                        && (gap.from.offset + 1..=gap.to.offset).contains(&position.offset)
                }
                // From here to the end of that epoch, and to the beginning of the next.
                Told::Gap(gap) => {
                    (position.epoch == gap.from.epoch && position.offset > gap.from.offset)
                        || (position.epoch == gap.to.epoch && position.offset <= gap.to.offset)
                        || !knows(log, *position)
                }
                Told::Message(..) => false,
            });
            assert!(is_in_a_gap, "node {node} has lost {text} at {position} in silence");
        }
    }
}

/// Whether a node was told anything of this epoch.
fn knows(log: &[Told], position: Position) -> bool {
    log.iter().any(|told| match told {
        Told::Message(at, _) => at.epoch == position.epoch,
        Told::Gap(gap) => gap.from.epoch == position.epoch || gap.to.epoch == position.epoch,
    })
}
