//! The table for people.

use std::fmt::Write;
use std::time::Duration;

use super::{QUANTILES, Report, total};
use crate::load::{Pace, Window};
use crate::units::{count, grouped, micros, size};

/// A line of the table.
#[derive(Debug)]
struct Row {
    /// What is measured.
    name: String,
    /// How much, aligned on the right.
    value: String,
    /// The unit, and what else belongs to it.
    note: String,
}

fn row(name: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Row {
    Row { name: name.into(), value: value.into(), note: note.into() }
}

impl Report<'_> {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let rows = self.rows();
        let names = width(rows.iter().map(|row| &row.name));
        let values = width(rows.iter().map(|row| &row.value));
        let mut text = format!("{}\n{}\n\n", self.options.endpoint, self.load_in_words());
        for Row { name, value, note } in rows {
            let line = format!("  {name:<names$}  {value:>values$}  {note}");
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// What was asked, in one line; the chart's caption too.
    pub(crate) fn load_in_words(&self) -> String {
        let options = self.options;
        let mut text = match options.connections {
            1 => "1 connection".to_owned(),
            more => format!("{} connections", count(more as u64)),
        };
        if options.idle > 0 {
            text += &format!(" and {} idle", count(options.idle as u64));
        }
        text += &format!(" × {}", size(options.size));
        text += &match options.pace {
            Pace::Closed { pipeline } => {
                format!(", closed loop, {} outstanding each", count(pipeline))
            }
            Pace::Open { rate } if rate.fract() == 0.0 => {
                format!(", open loop, {} messages/s", grouped(rate, 0))
            }
            Pace::Open { rate } => format!(", open loop, {rate} messages/s"),
        };
        text += &match options.window {
            Window::Time(time) => format!(", {} s", time.as_secs_f64()),
            Window::Messages(messages) => format!(", {} messages", count(messages)),
        };
        if !options.warmup.is_zero() {
            text += &format!(" after {} s of warm-up", options.warmup.as_secs_f64());
        }
        text
    }

    fn rows(&self) -> Vec<Row> {
        let load = self.load;
        let elapsed = load.elapsed.as_secs_f64();
        let mut rows = vec![
            row("messages/s", shown(self.messages_per_second(), 0), ""),
            row("MB/s", shown(self.megabytes_per_second(), 1), "one way"),
            row("messages", count(load.messages), format!("in {elapsed:.3} s")),
        ];
        if load.lost > 0 {
            rows.push(row("  lost", count(load.lost), ""));
        }
        for (_, name, quantile) in QUANTILES {
            let value = shown(self.latency_us(quantile), 1);
            rows.push(row(format!("latency {name}"), value, "µs"));
        }

        if let Some(used) = self.server {
            let cpu = self.per_message(micros(used.cpu));
            let note = cpu_note(used.cpu, load.elapsed);
            rows.push(row("server CPU/message", shown(cpu, 2), note));
            let calls = self.per_message(total(used));
            rows.push(row("server calls/message", shown(calls, 2), ""));
            for &(name, number) in used.calls.iter().filter(|(_, number)| *number > 0) {
                let value = shown(self.per_message(number as f64), 2);
                rows.push(row(format!("  {name}"), value, ""));
            }
        }
        let cpu = self.per_message(micros(load.cpu));
        let note = cpu_note(load.cpu, load.elapsed);
        rows.push(row("client CPU/message", shown(cpu, 2), note));

        match load.failures.total() {
            0 => rows.push(row("errors", "none", "")),
            errors => rows.push(row("errors", count(errors), "")),
        }
        for (kind, number, first) in load.failures.iter() {
            rows.push(row(format!("  {kind}"), count(number), first));
        }
        rows
    }
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| grouped(value, decimals))
}

/// The unit of CPU time, and how much of the time it was: near 100 % that side
/// sets the rate.
fn cpu_note(used: Duration, elapsed: Duration) -> String {
    if elapsed.is_zero() {
        return "µs".to_owned();
    }
    let share = used.as_secs_f64() / elapsed.as_secs_f64();
    format!("µs, {:.0} % of one CPU", 100.0 * share)
}

/// The widest, in characters.
fn width<'a>(cells: impl Iterator<Item = &'a String>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}
