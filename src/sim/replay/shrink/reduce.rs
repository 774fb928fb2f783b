//! Delta debugging of a case: drops what it fails without, in large steps before small
//! ones.

use std::time::Duration;

use super::case::{Case, Ending, Pace, Piece};
use super::shrinking::Shrinking;
use crate::StreamHandler;
use crate::sim::explore::kind_of;

/// The byte that stands for any other, once which byte it is does not matter.
const ANY: u8 = b'a';

/// Cases of up to so many bytes have each byte made simple.
const FEW: usize = 256;

/// Runs of cases, counted, and the fault that they are to show.
pub(super) struct Trial<'a, H> {
    shrinking: &'a Shrinking<H>,
    fault: Option<String>,
    runs: usize,
}

impl<'a, H: StreamHandler> Trial<'a, H> {
    pub(super) const fn new(shrinking: &'a Shrinking<H>) -> Self {
        Self { shrinking, fault: None, runs: 0 }
    }

    pub(super) const fn runs(&self) -> usize {
        self.runs
    }

    /// Whether a case fails in the same way as the first one that did. False once all runs
    /// are spent.
    pub(super) fn fails(&mut self, case: &Case) -> bool {
        if self.runs == self.shrinking.runs {
            return false;
        }
        self.runs += 1;
        let Some(fault) = self.shrinking.fault(case).map(|fault| kind_of(&fault)) else { return false };
        *self.fault.get_or_insert_with(|| fault.clone()) == fault
    }
}

/// Makes a case that fails as small as it gets.
pub(super) fn reduce<H: StreamHandler>(trial: &mut Trial<'_, H>, mut case: Case) -> Case {
    loop {
        let before = case.clone();
        case = drop_pieces(trial, case);
        case = join_pieces(trial, case);
        case = drop_bytes(trial, case);
        case = simplify(trial, case);
        if case == before {
            return case;
        }
    }
}

/// Tries a smaller case, and returns the one that is left.
fn attempt<H: StreamHandler>(trial: &mut Trial<'_, H>, case: &mut Case, smaller: Case) -> bool {
    let is_smaller = smaller != *case && !smaller.pieces.is_empty() && trial.fails(&smaller);
    if is_smaller {
        *case = smaller;
    }
    is_smaller
}

/// Goes over `len` things in runs of half of them, a quarter of them, down to one, and has
/// each run dropped. `drop_run` returns the things that are left, if it could.
fn by_halves(mut len: usize, mut drop_run: impl FnMut(usize, usize) -> Option<usize>) {
    let mut size = len.div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < len {
            match drop_run(from, (from + size).min(len)) {
                Some(left) => len = left,
                None => from += size,
            }
        }
        size /= 2;
    }
}

fn drop_pieces<H: StreamHandler>(trial: &mut Trial<'_, H>, mut case: Case) -> Case {
    by_halves(case.pieces.len(), |from, to| {
        let mut smaller = case.clone();
        smaller.pieces.drain(from..to);
        attempt(trial, &mut case, smaller).then_some(case.pieces.len())
    });
    case
}

/// Drops the cuts between pieces.
fn join_pieces<H: StreamHandler>(trial: &mut Trial<'_, H>, mut case: Case) -> Case {
    by_halves(case.pieces.len().saturating_sub(1), |from, to| {
        let mut smaller = case.clone();
        let joined: Vec<Piece> = smaller.pieces.drain(from + 1..=to).collect();
        let first = &mut smaller.pieces[from];
        joined.into_iter().for_each(|piece| first.bytes.extend_from_slice(&piece.bytes));
        attempt(trial, &mut case, smaller).then_some(case.pieces.len() - 1)
    });
    case
}

fn drop_bytes<H: StreamHandler>(trial: &mut Trial<'_, H>, mut case: Case) -> Case {
    let mut place = 0;
    while place < case.pieces.len() {
        let count = case.pieces.len();
        by_halves(case.pieces[place].bytes.len(), |from, to| {
            let mut smaller = case.clone();
            smaller.pieces[place].bytes.drain(from..to);
            if smaller.pieces[place].bytes.is_empty() {
                return None; // `drop_pieces` has tried that
            }
            attempt(trial, &mut case, smaller).then_some(case.pieces[place].bytes.len())
        });
        if case.pieces.len() == count {
            place += 1;
        }
    }
    case
}

/// Tries an even pace, the usual end, no waiting, and bytes that say nothing.
fn simplify<H: StreamHandler>(trial: &mut Trial<'_, H>, mut case: Case) -> Case {
    let even = Case { pace: Pace::Even, ..case.clone() };
    attempt(trial, &mut case, even);
    let finished = Case { ending: Ending::Finish, ..case.clone() };
    attempt(trial, &mut case, finished);
    let tcp = Case { is_unix: false, ..case.clone() };
    attempt(trial, &mut case, tcp);
    for place in 0..case.pieces.len() {
        let mut smaller = case.clone();
        smaller.pieces[place].after = Duration::ZERO;
        attempt(trial, &mut case, smaller);
    }
    if case.pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>() > FEW {
        return case;
    }
    for place in 0..case.pieces.len() {
        for byte in 0..case.pieces[place].bytes.len() {
            let mut smaller = case.clone();
            smaller.pieces[place].bytes[byte] = ANY;
            attempt(trial, &mut case, smaller);
        }
    }
    case
}
