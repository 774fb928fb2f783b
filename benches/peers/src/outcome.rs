//! The result of a row: medians, and ratios of figures from the same round.

use serde::{Serialize, Serializer};

use crate::Result;
use crate::load::Work;
use crate::peers::Peer;
use crate::rows::Row;
use crate::run::Figure;

/// A server that is busy for less than this share of the time waits for the
/// load, and how many messages there were says more about that.
const SATURATED: f64 = 0.95;

/// With others on its CPU for more than this share of the time, it says more
/// about them.
const DISTURBED: f64 = 0.05;

/// A row with everything that was measured.
#[derive(Debug)]
pub(crate) struct RowReport {
    pub(crate) row: Row,
    pub(crate) peers: Vec<PeerRuns>,
    /// Why it was not run, if it was not.
    pub(crate) skipped: Option<String>,
}

/// All runs of one server in a row.
#[derive(Debug)]
pub(crate) struct PeerRuns {
    pub(crate) peer: Peer,
    /// By round; none where one failed.
    runs: Vec<Option<Figure>>,
    /// What went wrong first.
    pub(crate) error: Option<String>,
}

/// What decides a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// How many there were in a second.
    Rate,
    /// The server's CPU time for each: the load, or other programs, were the
    /// limit.
    ServerCpu,
    /// How many there were in a second, whoever was the limit.
    Pace,
    /// Nanoseconds, bytes, system calls or instructions: fewer are better.
    Amount,
}

/// The middle of some values, and how far they are apart.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Median {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One server in a row, summed up.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) peer: Peer,
    pub(crate) label: &'static str,
    /// How many in a second; or nanoseconds, bytes, system calls, instructions.
    pub(crate) value: Option<Median>,
    /// Microseconds of the server's CPU time for each.
    pub(crate) server_micros: Option<Median>,
    /// For which part of the time the server had something to do, from 0 to 1.
    pub(crate) server_share: Option<Median>,
    /// The same of the load, and of the program that it runs.
    pub(crate) load_share: Option<Median>,
    /// How many times as good as the floor, by the row's measure.
    pub(crate) to_floor: Option<f64>,
    /// Half of the spread of that, as a part of it.
    pub(crate) to_floor_spread: Option<f64>,
    /// How many times as good as tokio.
    pub(crate) to_tokio: Option<f64>,
    /// How many times as good as without idle connections.
    pub(crate) to_without_idle: Option<f64>,
    pub(crate) error: Option<String>,
    pub(crate) runs: Vec<Option<Figure>>,
}

/// How ours does beside another server by the CPU time of both for each, round by round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CpuRatios {
    /// The other's label.
    pub(crate) to: &'static str,
    /// How many times as good ours is.
    pub(crate) median: f64,
    /// What half of the rounds lie between.
    pub(crate) quartiles: [f64; 2],
    /// The rounds in which ours took less.
    pub(crate) better: usize,
    pub(crate) rounds: usize,
}

impl PeerRuns {
    /// Adds a round.
    pub(crate) fn add(&mut self, outcome: Result<Figure>) {
        match outcome {
            Ok(figure) => self.runs.push(Some(figure)),
            Err(error) => {
                self.runs.push(None);
                self.error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn works(&self) -> impl Iterator<Item = Work> + Clone {
        self.runs.iter().filter_map(|run| match run {
            Some(Figure::Work(work)) => Some(*work),
            _ => None,
        })
    }

    /// How good a round was by a measure: more is better.
    fn score(&self, round: usize, measure: Measure) -> Option<f64> {
        Some(match (self.runs.get(round)?.as_ref()?, measure) {
            (Figure::Work(work), Measure::ServerCpu) => 1.0 / work.server_micros(),
            (Figure::Work(work), _) => work.per_second(),
            // A server that takes nothing is not infinitely good.
            (Figure::Amount { amount }, _) => 1.0 / amount.max(1.0),
        })
    }

    /// How many times as good as another: the median of the ratios of each
    /// round.
    fn ratio(&self, other: &Self, measure: Measure) -> Option<f64> {
        self.ratios(other, measure).map(|ratio| ratio.median)
    }

    fn ratios(&self, other: &Self, measure: Measure) -> Option<Median> {
        Median::of(self.by_round(other, measure))
    }

    /// The ratio of each round in which both ran.
    fn by_round(&self, other: &Self, measure: Measure) -> impl Iterator<Item = f64> {
        let ratio = move |round| Some(self.score(round, measure)? / other.score(round, measure)?);
        (0..self.runs.len()).filter_map(ratio)
    }
}

impl RowReport {
    pub(crate) fn new(row: Row) -> Self {
        let runs = |peer: &Peer| PeerRuns { peer: *peer, runs: Vec::new(), error: None };
        Self { peers: row.peers.iter().map(runs).collect(), row, skipped: None }
    }

    /// What decides it: how many there were, if every server that did not fail
    /// had as much to do as it could, and the CPU to itself.
    pub(crate) fn measure(&self) -> Measure {
        if self.row.by_pace {
            return Measure::Pace;
        }
        let shares =
            self.peers.iter().filter_map(|peer| Median::of(peer.works().map(|work| work.server_share())));
        match shares.map(|share| share.median).reduce(f64::min) {
            None => Measure::Amount,
            Some(share) if share >= SATURATED && self.disturbance() < Some(DISTURBED) => Measure::Rate,
            Some(_) => Measure::ServerCpu,
        }
    }

    /// For which part of the time others had one of the CPUs, in the middle.
    pub(crate) fn disturbance(&self) -> Option<f64> {
        let works = self.peers.iter().flat_map(PeerRuns::works);
        Median::of(works.map(|work| work.disturbance())).map(|median| median.median)
    }

    /// How many times as good ours is as each of the others.
    pub(crate) fn ours_to(&self) -> impl Iterator<Item = (Peer, f64)> {
        let measure = self.measure();
        self.pairs().filter_map(move |(ours, other)| Some((other.peer, ours.ratio(other, measure)?)))
    }

    /// The same by the server's CPU time, whatever decides the row; nothing where no
    /// work was done.
    pub(crate) fn ours_to_by_cpu(&self) -> impl Iterator<Item = CpuRatios> {
        let has_work = self.measure() != Measure::Amount;
        self.pairs().filter(move |_| has_work).filter_map(|(ours, other)| {
            CpuRatios::of(other.peer.label(), ours.by_round(other, Measure::ServerCpu).collect())
        })
    }

    /// Ours with each of the others.
    fn pairs(&self) -> impl Iterator<Item = (&PeerRuns, &PeerRuns)> {
        let ours = self.peers.iter().find(|peer| peer.peer.is_ours());
        ours.into_iter().flat_map(|ours| {
            self.peers.iter().filter(|peer| peer.peer != ours.peer).map(move |other| (ours, other))
        })
    }

    /// Its servers, with `base` as the row without idle connections.
    pub(crate) fn summaries(&self, base: Option<&Self>) -> Vec<Summary> {
        let measure = self.measure();
        let floor = self.peers.iter().find(|peer| peer.peer.is_floor());
        let tokio = self.peers.iter().find(|peer| peer.peer.is_tokio());
        let summary = |peer: &PeerRuns| {
            let same = base.and_then(|base| base.peers.iter().find(|other| other.peer == peer.peer));
            // Of two rows with different measures, both tell the CPU time.
            let both =
                if base.is_some_and(|base| base.measure() == measure) { measure } else { Measure::ServerCpu };
            let works = peer.works();
            let amounts = peer.runs.iter().filter_map(|run| match run {
                Some(Figure::Amount { amount }) => Some(*amount),
                _ => None,
            });
            Summary {
                peer: peer.peer,
                label: peer.peer.label(),
                value: Median::of(works.clone().map(|work| work.per_second()).chain(amounts)),
                server_micros: Median::of(works.clone().map(|work| work.server_micros())),
                server_share: Median::of(works.clone().map(|work| work.server_share())),
                load_share: Median::of(works.map(|work| work.load_share())),
                to_floor: floor.and_then(|floor| peer.ratio(floor, measure)),
                to_floor_spread: floor
                    .and_then(|floor| peer.ratios(floor, measure))
                    .map(|ratios| ratios.spread()),
                to_tokio: tokio.and_then(|tokio| peer.ratio(tokio, measure)),
                to_without_idle: same.and_then(|same| peer.ratio(same, both)),
                error: peer.error.clone(),
                runs: peer.runs.clone(),
            }
        };
        self.peers.iter().map(summary).collect()
    }
}

impl CpuRatios {
    fn of(to: &'static str, mut ratios: Vec<f64>) -> Option<Self> {
        ratios.sort_by(f64::total_cmp);
        let quarter = ratios.len() / 4;
        let quartiles = [*ratios.get(quarter)?, ratios[ratios.len() - 1 - quarter]];
        let better = ratios.iter().filter(|ratio| **ratio > 1.0).count();
        let (median, rounds) = (Median::of(ratios.iter().copied())?.median, ratios.len());
        Some(Self { to, median, quartiles, better, rounds })
    }
}

impl Median {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// Half of the spread as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Kind, rows};

    fn work(count: u64, busy: f64) -> Result<Figure> {
        let work = Work {
            count,
            seconds: 1.0,
            server_cpu_seconds: busy,
            server_waited_seconds: 0.0,
            load_cpu_seconds: 1.0,
            load_waited_seconds: 0.0,
        };
        Ok(Figure::Work(work))
    }

    fn row() -> RowReport {
        RowReport::new(rows(&[Kind::Echo], false, 20_000).swap_remove(0))
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut row = row();
        // The machine is half as fast in the second round, for everybody.
        for (floor, ours) in [(1000, 900), (500, 450), (1000, 910)] {
            row.peers[0].add(work(floor, 1.0));
            row.peers[1].add(work(ours, 1.0));
        }
        assert_eq!(row.measure(), Measure::Rate);
        let summaries = row.summaries(None);
        assert!((summaries[1].to_floor.expect("both ran") - 0.9).abs() < 1e-9);
        assert_eq!(summaries[1].value.expect("it ran").median, 900.0);
        assert_eq!(row.ours_to().count(), 1, "the others did not run");
    }

    #[test]
    fn a_server_that_waits_is_measured_by_its_cpu_time() {
        let mut row = row();
        row.peers[0].add(work(1000, 0.5));
        row.peers[1].add(work(1000, 1.0));
        assert_eq!(row.measure(), Measure::ServerCpu);
        assert!((row.summaries(None)[1].to_floor.expect("both ran") - 0.5).abs() < 1e-9);
    }

    #[test]
    fn cpu_times_are_compared_round_by_round_whatever_decides_the_row() {
        let mut row = row();
        // Each round is slower than the one before, for everybody; in the last ours is
        // the worse one.
        for (seconds, ours) in [(1.0, 0.8), (2.0, 0.8), (4.0, 0.8), (8.0, 0.8), (16.0, 1.25)] {
            row.peers[0].add(work(1000, seconds));
            row.peers[1].add(work(1000, seconds * ours));
        }
        let to_floor: Vec<_> = row.ours_to_by_cpu().collect();
        let [CpuRatios { to, median, quartiles, better, rounds }] = to_floor[..] else {
            panic!("the others did not run: {to_floor:?}")
        };
        assert_eq!((to, better, rounds), (row.peers[0].peer.label(), 4, 5));
        assert!([median, quartiles[0], quartiles[1]].iter().all(|ratio| (ratio - 1.25).abs() < 1e-9));
        let mut bytes = RowReport::new(rows(&[Kind::Memory], false, 20_000).swap_remove(0));
        bytes.peers[0].add(Ok(Figure::Amount { amount: 100.0 }));
        bytes.peers[1].add(Ok(Figure::Amount { amount: 200.0 }));
        assert_eq!(bytes.ours_to_by_cpu().count(), 0, "bytes take no time");
    }

    #[test]
    fn half_of_the_rounds_lie_between_the_quartiles() {
        let of = |ratios: &[f64]| CpuRatios::of("another", ratios.to_vec()).map(|of| of.quartiles);
        assert_eq!(of(&[5.0, 1.0, 4.0, 2.0, 3.0]), Some([2.0, 4.0]));
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]), Some([3.0, 6.0]));
        assert_eq!(of(&[7.0]), Some([7.0, 7.0]));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_failure_is_kept_and_the_other_rounds_count() {
        let mut row = row();
        row.peers[0].add(work(1000, 1.0));
        row.peers[0].add(work(1000, 1.0));
        row.peers[1].add(Err("it fell over".into()));
        row.peers[1].add(work(800, 1.0));
        let ours = &row.summaries(None)[1];
        assert_eq!(ours.error.as_deref(), Some("it fell over"));
        assert!((ours.to_floor.expect("it ran once") - 0.8).abs() < 1e-9);
    }

    #[test]
    fn fewer_bytes_are_better() {
        let mut row = RowReport::new(rows(&[Kind::Memory], false, 20_000).swap_remove(0));
        row.peers[0].add(Ok(Figure::Amount { amount: 100.0 }));
        row.peers[1].add(Ok(Figure::Amount { amount: 200.0 }));
        assert_eq!(row.measure(), Measure::Amount);
        assert_eq!(row.summaries(None)[1].to_floor, Some(0.5));
    }

    #[test]
    fn medians_of_odd_and_even_numbers_of_values() {
        assert_eq!(Median::of([3.0, 1.0, 2.0]).map(|m| m.median), Some(2.0));
        assert_eq!(Median::of([4.0, 1.0, 2.0, 3.0]).map(|m| m.median), Some(2.5));
        assert!(Median::of([]).is_none());
    }
}
