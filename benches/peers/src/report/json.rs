//! The report with every single run.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Entry, Report};
use crate::Result;
use crate::outcome::{CpuRatios, Measure, Summary};
use crate::rows::Kind;
use crate::run::Settings;
use crate::system::machine::Machine;

#[derive(Serialize)]
struct Whole<'a> {
    machine: &'a Machine,
    settings: &'a Settings,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    kind: Kind,
    name: &'a str,
    unit: &'static str,
    measure: Measure,
    skipped: Option<&'a str>,
    disturbance: Option<f64>,
    ours_to: Map<String, Value>,
    ours_to_by_cpu: &'a [CpuRatios],
    peers: &'a [Summary],
}

/// One object; README.md tells its fields.
///
/// # Errors
///
/// None that is known.
pub(crate) fn json(report: &Report) -> Result<String> {
    let row = |row: &'_ Entry| {
        let ours_to = row.ours_to.iter().map(|(label, ratio)| ((*label).to_owned(), Value::from(*ratio)));
        ours_to.collect::<Map<_, _>>()
    };
    let rows = report.rows.iter().map(|entry| Row {
        kind: entry.kind,
        name: &entry.name,
        unit: entry.unit,
        measure: entry.measure,
        skipped: entry.skipped.as_deref(),
        disturbance: entry.disturbance,
        ours_to: row(entry),
        ours_to_by_cpu: &entry.ours_to_by_cpu,
        peers: &entry.peers,
    });
    let whole = Whole { machine: &report.machine, settings: &report.settings, rows: rows.collect() };
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}
