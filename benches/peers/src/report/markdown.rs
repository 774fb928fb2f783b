//! The table of docs/performance.md: a line for each row, and between two marks so that
//! the next run can put its own there.

use std::fmt::Write;

use super::text::{grouped, ratio};
use super::{Entry, Report};
use crate::Result;
use crate::outcome::{Measure, Summary};

/// What it stands between, each on a line of its own.
const BEGIN: &str = "<!-- performance: made by benches/peers with --table, not by hand -->";
const END: &str = "<!-- end of performance -->";

/// The table, and what it was measured on.
pub(crate) fn markdown(report: &Report) -> String {
    let settings = &report.settings;
    let mut text = String::new();
    if settings.smoke {
        text.push_str(
            "**A smoke run, to show the form: the rows are tiny, and the figures mean nothing.**\n\n",
        );
    }
    let _ = writeln!(
        text,
        "{}Measured on {}. Medians of {}.\n",
        report.machine.text().trim_end().replace('\n', "; ") + ". ",
        report.machine.provenance(),
        settings.text()
    );
    text.push_str("| what | serve-forever | × floor | × tokio | ± | decided by |\n");
    text.push_str("| --- | ---: | ---: | ---: | ---: | --- |\n");
    for row in &report.rows {
        line(&mut text, row);
    }
    text
}

fn line(text: &mut String, row: &Entry) {
    let kind = format!("{:?}", row.kind).to_lowercase();
    let _ = write!(text, "| {kind}: {} ", row.name);
    if let Some(reason) = &row.skipped {
        let _ = writeln!(text, "| skipped: {} | | | | |", reason.replace('|', "/"));
        return;
    }
    let Some(ours) = row.peers.iter().find(|peer| peer.peer.is_ours()) else {
        text.push_str("| | | | | |\n");
        return;
    };
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), ratio);
    let spread = ours.to_floor_spread.map_or_else(String::new, |spread| format!("{:.0} %", spread * 100.0));
    let _ = writeln!(
        text,
        "| {} | {} | {} | {spread} | {} |",
        figure(row, ours),
        cell(ours.to_floor),
        cell(ours.to_tokio),
        decided_by(row.measure)
    );
}

/// What is compared: the rate, or the CPU time.
fn figure(row: &Entry, ours: &Summary) -> String {
    let failed = if ours.error.is_some() { "**failed**, " } else { "" };
    let figure = match row.measure {
        Measure::ServerCpu => ours.server_micros.map(|micros| format!("{:.2} µs", micros.median)),
        _ => ours.value.map(|value| format!("{} {}", grouped(value.median), row.unit)),
    };
    format!("{failed}{}", figure.unwrap_or_default())
}

const fn decided_by(measure: Measure) -> &'static str {
    match measure {
        Measure::Rate | Measure::Pace => "rate",
        Measure::ServerCpu => "server's CPU time for each",
        Measure::Amount => "amount",
    }
}

/// A text with the table between its marks, whatever stood there before.
///
/// # Errors
///
/// The marks are not there, once each and in order.
pub(crate) fn replace(text: &str, table: &str) -> Result<String> {
    let single = |mark: &str| -> Result<usize> {
        let mut found = text.match_indices(mark).map(|(place, _)| place);
        match (found.next(), found.next()) {
            (Some(place), None) => Ok(place),
            _ => Err(format!("{mark} has to be there once").into()),
        }
    };
    let (begin, end) = (single(BEGIN)? + BEGIN.len(), single(END)?);
    if begin > end {
        return Err("the marks are not in order".into());
    }
    Ok(format!("{}\n\n{}\n\n{}", &text[..begin], table.trim(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(between: &str) -> String {
        format!("# Title\n\n{BEGIN}{between}{END}\n\nMore.\n")
    }

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let first = replace(&marked("\nold\n"), "| a |\n").expect("the marks are there");
        assert_eq!(first, marked("\n\n| a |\n\n"));
        assert_eq!(replace(&first, "| a |\n").expect("they still are"), first, "twice is as once");
        assert_eq!(replace(&first, "| b |").expect("they still are"), marked("\n\n| b |\n\n"));
    }

    #[test]
    fn a_text_without_both_marks_once_and_in_order_is_an_error() {
        for text in ["", BEGIN, END, &format!("{END}{BEGIN}"), &format!("{BEGIN}{BEGIN}{END}")] {
            assert!(replace(text, "table").is_err(), "{text}");
        }
    }

    #[test]
    fn the_page_of_the_project_has_the_marks() {
        let page = include_str!("../../../../docs/performance.md");
        let once = replace(page, "| table |").expect("the marks are there");
        assert_eq!(replace(&once, "| table |").expect("they still are"), once);
    }
}
