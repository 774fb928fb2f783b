//! The ratios to the floor as bars, in SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::text::ratio;
use super::{Entry, Report};
use crate::Result;
use crate::outcome::Measure;
use crate::peers::Peer;

const WIDTH: i32 = 960;
/// Where the bars begin, and how long one of 1 is.
const LEFT: i32 = 330;
const UNIT: f64 = 480.0;
/// Longer ones are cut; their number tells.
const LONGEST: f64 = 1.1;
const BAR: i32 = 16;
const GAP: i32 = 8;
const TOP: i32 = 70;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A group of bars for each row that was run.
///
/// # Errors
///
/// There is nothing to draw, or the drawing fails.
pub(crate) fn svg(report: &Report) -> Result<String> {
    let rows: Vec<&Entry> = report.rows.iter().filter(|row| bars(row).next().is_some()).collect();
    if rows.is_empty() {
        return Err("there is nothing to draw: nothing could be compared with the floor".into());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are a few dozen")]
    let height = TOP + rows.iter().map(|row| GAP + (1 + bars(row).count() as i32) * BAR).sum::<i32>() + GAP;
    let mut text = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area, &rows, height).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn bars(row: &Entry) -> impl Iterator<Item = (Peer, &'static str, f64)> {
    row.peers.iter().filter_map(|peer| Some((peer.peer, peer.label, peer.to_floor?)))
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area<'_>, rows: &[&Entry], height: i32) -> Drawn {
    area.fill(&WHITE)?;
    let title = "How many times as good as a bare mio loop (1 is the floor, more is better)";
    write(area, title, (WIDTH / 2, 24), 18, HPos::Center)?;
    let note = "rates where every server was busy, else (*) the server's CPU time; latency, memory, calls, instructions: fewer";
    write(area, note, (WIDTH / 2, 46), 13, HPos::Center)?;
    let mut y = TOP;
    for row in rows {
        let star = if row.measure == Measure::ServerCpu { " *" } else { "" };
        let name = format!("{}: {}{star}", format!("{:?}", row.kind).to_lowercase(), row.name);
        write(area, &name, (12, y + BAR / 2), 14, HPos::Left)?;
        y += BAR;
        for (peer, label, value) in bars(row) {
            bar(area, y, peer, label, value)?;
            y += BAR;
        }
        y += GAP;
    }
    let one = LEFT + length(1.0);
    area.draw(&PathElement::new([(one, TOP - 8), (one, height - 8)], BLACK.stroke_width(1)))?;
    Ok(area.present()?)
}

fn bar(area: &Area<'_>, y: i32, peer: Peer, label: &str, value: f64) -> Drawn {
    let end = LEFT + length(value.min(LONGEST)).max(1);
    area.draw(&Rectangle::new([(LEFT, y + 2), (end, y + BAR - 2)], color(peer).filled()))?;
    write(area, label, (LEFT - 8, y + BAR / 2), 12, HPos::Right)?;
    let cut = if value > LONGEST { " →" } else { "" };
    write(area, &format!("{}{cut}", precise(value)), (end + 6, y + BAR / 2), 12, HPos::Left)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: u32, side: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

/// Small ones with a digit more.
fn precise(value: f64) -> String {
    if value < 0.1 { format!("{value:.3}") } else { ratio(value) }
}

#[allow(clippy::cast_possible_truncation, reason = "a few hundred pixels")]
fn length(value: f64) -> i32 {
    (value * UNIT) as i32
}

fn color(peer: Peer) -> RGBColor {
    if peer.is_floor() {
        RGBColor(150, 150, 150)
    } else if peer.is_ours() {
        RGBColor(0, 95, 175)
    } else if peer.is_tokio() {
        RGBColor(215, 120, 0)
    } else {
        RGBColor(225, 185, 130)
    }
}
