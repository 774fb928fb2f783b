//! The account of a run with several nodes: what each was told, and whether that can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::{Gap, Position};

/// What a node was told of the room, in order.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Message(Position, String),
    Gap(Gap),
}

/// The log of a node.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) told: Vec<Told>,
    /// Where it was when it had subscribed.
    pub(super) start: Option<Position>,
    /// What was answered to its publications.
    pub(super) published: Vec<(String, Position)>,
}

/// Checks the logs of all nodes against each other. `reached` is the last position of each
/// node.
pub(super) fn check(logs: &[&Log], reached: &[Option<Position>]) -> Result<(), String> {
    let mut all = BTreeMap::new();
    for (node, log) in logs.iter().enumerate() {
        check_log(log).map_err(|what| format!("node {node}: {what}"))?;
        for told in &log.told {
            if let Told::Message(position, text) = told
                && let Some(other) = all.insert(*position, text).filter(|other| *other != text)
            {
                return Err(format!("{position} is {other} and {text}"));
            }
        }
    }
    let published = logs.iter().flat_map(|log| &log.published).map(|(text, position)| (*position, text));
    let all: Vec<_> = all.into_iter().chain(published).collect();
    for (node, (log, reached)) in logs.iter().zip(reached).enumerate() {
        check_whole(log, *reached, &all).map_err(|what| format!("node {node}: {what}"))?;
    }
    Ok(())
}

/// Each message is behind the one before, or a gap stands between them; none comes twice.
fn check_log(log: &Log) -> Result<(), String> {
    let mut at = None;
    let mut texts = BTreeSet::new();
    for told in &log.told {
        match told {
            Told::Gap(gap) => {
                // What came twice was not told again.
                let is_here = |at: Position| at.epoch == gap.from.epoch && at.offset <= gap.from.offset;
                if !at.is_none_or(is_here) {
                    return Err(format!("{gap:?} comes at {at:?}"));
                }
                at = Some(gap.to);
            }
            Told::Message(position, text) => {
                let is_behind =
                    at.is_none_or(|at: Position| at.epoch == position.epoch && at.offset < position.offset);
                if !is_behind {
                    return Err(format!("{text} at {position} comes behind {at:?}"));
                }
                if !texts.insert(text) {
                    return Err(format!("{text} comes twice"));
                }
                at = Some(*position);
            }
        }
    }
    Ok(())
}

/// Everything that anybody knows of was told to this node, or is in one of its gaps, or
/// before it subscribed, or behind what it has reached.
fn check_whole(log: &Log, reached: Option<Position>, all: &[(Position, &String)]) -> Result<(), String> {
    let (Some(start), Some(reached)) = (log.start, reached) else { return Ok(()) };
    let texts: BTreeSet<_> = log
        .told
        .iter()
        .filter_map(|told| match told {
            Told::Message(_, text) => Some(text),
            Told::Gap(_) => None,
        })
        .collect();
    let mut known = BTreeSet::from([start.epoch]);
    for told in &log.told {
        match told {
            Told::Message(position, _) => _ = known.insert(position.epoch),
            Told::Gap(gap) => known.extend([gap.from.epoch, gap.to.epoch]),
        }
    }
    let changed = known.len() > 1;
    for (position, text) in all {
        let is_in_a_gap = |told: &Told| {
            let Told::Gap(Gap { from, to, .. }) = told else { return false };
            if from.epoch == to.epoch {
                position.epoch == from.epoch && (from.offset + 1..=to.offset).contains(&position.offset)
            } else {
                (position.epoch == from.epoch && position.offset > from.offset)
                    || (position.epoch == to.epoch && position.offset <= to.offset)
            }
        };
        let is_before = position.epoch == start.epoch && position.offset <= start.offset;
        let is_behind = position.epoch == reached.epoch && position.offset > reached.offset;
        // Of an epoch that came and went while the node was away, or before or after it.
        let is_elsewhere = !known.contains(&position.epoch)
            && (changed || log.told.is_empty() || position.epoch != reached.epoch);
        let is_told = texts.contains(text) || log.told.iter().any(is_in_a_gap);
        if !(is_told || is_before || is_behind || is_elsewhere) {
            return Err(format!("{text} at {position} is lost in silence"));
        }
    }
    Ok(())
}
