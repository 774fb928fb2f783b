//! The report for people.

use std::fmt::Write;

use super::{Entry, Report};
use crate::outcome::{Measure, Median, Summary};
use crate::rows::Kind;

/// Others may have a CPU for this part of the time without a word about it.
const QUIET: f64 = 0.02;

/// Tables, one for each row.
pub(crate) fn text(report: &Report) -> String {
    let settings = &report.settings;
    let mut text = report.machine.text();
    let _ = writeln!(
        text,
        "{}; medians, and half of the spread; ratios are medians over the rounds, more is better",
        settings.text()
    );
    if settings.smoke {
        text.push_str("A SMOKE TEST: the rows are tiny, and the figures mean nothing.\n");
    }
    for row in &report.rows {
        table(&mut text, row);
    }
    text
}

fn table(text: &mut String, row: &Entry) {
    let _ = writeln!(text, "\n{}: {}", format!("{:?}", row.kind).to_lowercase(), row.name);
    if let Some(reason) = &row.skipped {
        let _ = writeln!(text, "  skipped: {reason}");
        return;
    }
    let amount = row.measure == Measure::Amount;
    let idle = row.peers.iter().any(|peer| peer.to_without_idle.is_some());
    let _ = write!(text, "  {:<22}{:>15}{:>9}", "", row.unit, "±");
    if !amount {
        let _ = write!(text, "{:>14}{:>9}{:>8}", "server CPU", "±", "busy");
        if row.kind == Kind::Kv {
            let _ = write!(text, "{:>8}", "load");
        }
    }
    let _ = write!(text, "{:>10}{:>10}", "× floor", "× tokio");
    if idle {
        let _ = write!(text, "{:>16}", "× without idle");
    }
    text.push('\n');
    for peer in &row.peers {
        line(text, peer, row.kind, amount, idle);
    }
    let _ = match row.measure {
        Measure::Rate => {
            writeln!(text, "  every server had something to do all the time: ratios of {}", row.unit)
        }
        Measure::ServerCpu => {
            writeln!(text, "  not every server was the limit: ratios of the server's CPU time for each")
        }
        Measure::Pace => writeln!(text, "  whoever was the limit: ratios of {}", row.unit),
        Measure::Amount => writeln!(text, "  fewer are better: ratios say how many times fewer"),
    };
    if let Some(disturbance) = row.disturbance.filter(|disturbance| *disturbance > QUIET) {
        let percent = disturbance * 100.0;
        let _ = writeln!(text, "  NOISY: other programs had a CPU of the two for {percent:.0} % of the time");
    }
    if !row.ours_to.is_empty() {
        let ratios: Vec<_> =
            row.ours_to.iter().map(|(label, value)| format!("{} × {label}", ratio(*value))).collect();
        let _ = writeln!(text, "  serve-forever: {}", ratios.join(", "));
    }
    for of in &row.ours_to_by_cpu {
        let [low, high] = of.quartiles.map(ratio);
        let _ = writeln!(
            text,
            "  by the server's CPU time for each: {} × {}, in half of the rounds {low} to {high}; better in {} of {}",
            ratio(of.median),
            of.to,
            of.better,
            of.rounds
        );
    }
}

fn line(text: &mut String, peer: &Summary, kind: Kind, amount: bool, idle: bool) {
    let _ = write!(text, "  {:<22}", peer.label);
    let value = peer.value.map_or_else(|| "-".to_owned(), |value| grouped(value.median));
    let _ = write!(text, "{value:>15}{:>9}", spread(peer.value));
    if !amount {
        let micros =
            peer.server_micros.map_or_else(|| "-".into(), |micros| format!("{:.3} µs", micros.median));
        let share = |share: Option<Median>| {
            share.map_or_else(|| "-".into(), |share| format!("{:.0} %", share.median * 100.0))
        };
        let busy = share(peer.server_share);
        let _ = write!(text, "{micros:>14}{:>9}{busy:>8}", spread(peer.server_micros));
        // The load of all other rows is this program, which spins.
        if kind == Kind::Kv {
            let _ = write!(text, "{:>8}", share(peer.load_share));
        }
    }
    let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), ratio);
    let _ = write!(text, "{:>10}{:>10}", cell(peer.to_floor), cell(peer.to_tokio));
    if idle {
        let _ = write!(text, "{:>16}", cell(peer.to_without_idle));
    }
    text.push('\n');
    if let Some(error) = &peer.error {
        let failed = peer.runs.iter().filter(|run| run.is_none()).count();
        let _ = writeln!(text, "    FAILED in {failed} of {} rounds: {error}", peer.runs.len());
    }
}

/// A ratio with as many digits as mean something.
pub(super) fn ratio(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn spread(value: Option<Median>) -> String {
    value.map_or_else(String::new, |value| format!("{:.1} %", value.spread() * 100.0))
}

/// A number in groups of three digits; a small one with what is behind the
/// point.
pub(super) fn grouped(value: f64) -> String {
    if value > 0.0 && value < 10.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_ratios_short() {
        assert_eq!([0.4, 2.021, 999.0, 1000.0].map(grouped), ["0.40", "2.02", "999", "1,000"]);
        assert_eq!([0.0, -20.0, 1_234_567.0].map(grouped), ["0", "-20", "1,234,567"]);
        assert_eq!([0.987, 1.0, 42.4].map(ratio), ["0.99", "1.00", "42"]);
    }
}
