//! The report: as text, as JSON, as a chart.

pub(crate) mod chart;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod text;

use crate::outcome::{CpuRatios, Measure, RowReport, Summary};
use crate::rows::Kind;
use crate::run::Settings;
use crate::system::machine::Machine;

/// Everything that was measured, and on what.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    settings: Settings,
    rows: Vec<Entry>,
}

/// A row that is summed up.
#[derive(Debug)]
struct Entry {
    kind: Kind,
    name: String,
    unit: &'static str,
    measure: Measure,
    skipped: Option<String>,
    /// For which part of the time others had one of the CPUs.
    disturbance: Option<f64>,
    peers: Vec<Summary>,
    /// How many times as good ours is as each of the others, by label.
    ours_to: Vec<(&'static str, f64)>,
    /// The same by the CPU time of both.
    ours_to_by_cpu: Vec<CpuRatios>,
}

impl Report {
    pub(crate) fn new(machine: Machine, settings: Settings, rows: Vec<RowReport>) -> Self {
        let entry = |report: &RowReport| {
            let base = report.row.without_idle.as_ref().and_then(|name| {
                rows.iter().find(|other| other.row.kind == report.row.kind && other.row.name == *name)
            });
            Entry {
                kind: report.row.kind,
                name: report.row.name.clone(),
                unit: report.row.unit(),
                measure: report.measure(),
                skipped: report.skipped.clone(),
                disturbance: report.disturbance(),
                peers: report.summaries(base),
                ours_to: report.ours_to().map(|(peer, ratio)| (peer.label(), ratio)).collect(),
                ours_to_by_cpu: report.ours_to_by_cpu().collect(),
            }
        };
        let entries = rows.iter().map(entry).collect();
        Self { machine, settings, rows: entries }
    }

    /// What went wrong, one line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let of_row = |row: &Entry| {
            let head = format!("{:?}, {}", row.kind, row.name);
            let errors = row.peers.iter().filter_map(|peer| Some((peer.label, peer.error.clone()?)));
            errors.map(|(label, error)| format!("{head}, {label}: {error}")).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of_row).collect()
    }
}
