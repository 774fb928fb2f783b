//! Chart of latency by percentile, as SVG.

use std::error::Error;

use hdrhistogram::Histogram;
use plotters::prelude::*;

/// The picture's size in pixels.
const SIZE: (u32, u32) = (960, 540);

/// Points on each halving of the distance to 100 %.
const POINTS_PER_HALVING: u32 = 10;

/// Draws the chart the way HdrHistogram's own plots are drawn: each step of the
/// horizontal axis is one more nine, so the tail, which matters, has the room.
/// The vertical axis is logarithmic, or a tail of milliseconds would press the
/// microseconds of all others flat.
///
/// # Errors
///
/// The histogram is empty, or the drawing fails.
pub(crate) fn svg(latency: &Histogram<u64>, caption: &str) -> Result<String, Box<dyn Error>> {
    if latency.is_empty() {
        return Err("there is no latency to draw".into());
    }
    let end = nines(latency.len());
    let (unit, divisor) = unit(latency.max());
    let points: Vec<(f64, f64)> = latency
        .iter_quantiles(POINTS_PER_HALVING)
        .map(|point| {
            let value = point.value_iterated_to() as f64 / divisor;
            (position(point.quantile_iterated_to()).min(end), value)
        })
        .collect();
    // The histogram holds nothing below a nanosecond, so the range is never
    // empty, and has a logarithm.
    let (bottom, top) = decades(latency.min() as f64 / divisor, latency.max() as f64 / divisor);

    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..end, (bottom..top).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            // This number puts the labels on whole steps.
            .x_labels(end as usize + 1)
            .x_desc("percentile")
            .y_desc(format!("latency ({unit})"))
            .x_label_formatter(&|step| percentile(*step))
            .y_label_formatter(&|value| crate::units::grouped(*value, decimals(*value)))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .draw()?;
        chart.draw_series(LineSeries::new(points, RGBColor(0, 95, 175).stroke_width(2)))?;
        area.present()?;
    }
    Ok(text)
}

/// The position of a quantile: 0 at 0 %, 1 at 90 %, 2 at 99 %.
fn position(quantile: f64) -> f64 {
    // The last quantile is 1, at infinity; the caller cuts it.
    -(1.0 - quantile).log10()
}

/// The length of the axis: to the quantile of a single one of `count` messages,
/// beyond which no data exists.
fn nines(count: u64) -> f64 {
    (count as f64).log10().max(1.0)
}

/// The percentile at a whole step of the axis.
fn percentile(step: f64) -> String {
    match step.round() as usize {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

/// The unit that keeps the axis' numbers short, and its nanoseconds.
fn unit(max: u64) -> (&'static str, f64) {
    if max < 10_000_000 { ("µs", 1e3) } else { ("ms", 1e6) }
}

/// The whole decades around these values, with a margin above.
fn decades(min: f64, max: f64) -> (f64, f64) {
    let bottom = 10_f64.powf(min.max(1e-3).log10().floor());
    (bottom, (max * 1.1).max(bottom * 10.0))
}

/// The decimals of a label of the axis.
fn decimals(value: f64) -> usize {
    match value {
        value if value < 0.01 => 3,
        value if value < 0.1 => 2,
        value if value < 1.0 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_one_step() {
        assert_eq!(position(0.0), 0.0);
        assert!((position(0.9) - 1.0).abs() < 1e-9);
        assert!((position(0.999) - 3.0).abs() < 1e-9);
        assert_eq!(percentile(0.0), "0 %");
        assert_eq!(percentile(2.0), "99 %");
        assert_eq!(percentile(4.0), "99.99 %");
    }

    #[test]
    fn draws_one_message_and_many() {
        for count in [1, 1000, 1_000_000] {
            let mut latency = Histogram::<u64>::new(3).expect("3 digits are valid");
            latency.record_n(25_000, count).expect("it resizes");
            latency.record(90_000).expect("it resizes");
            let text = svg(&latency, "a <caption> & more").expect("a chart");
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
            assert!(text.contains("90 %") && text.contains("latency (µs)"));
            assert!(!text.contains("NaN") && !text.contains("inf"));
            assert!(text.contains("&lt;caption&gt; &amp; more"));
        }
    }

    // On a linear axis the first decade would be a hundredth of the height.
    #[test]
    fn each_decade_of_latency_has_the_same_room() {
        assert_eq!(decades(25.0, 900.0), (10.0, 900.0 * 1.1));
        assert_eq!(decades(10.0, 10.0), (10.0, 100.0));
        let mut latency = Histogram::<u64>::new(3).expect("3 digits are valid");
        for nanos in [10_000, 100_000, 1_000_000, 9_000_000] {
            latency.record_n(nanos, 10).expect("it resizes");
        }
        let text = svg(&latency, "decades").expect("a chart");
        let height = |label: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let at = lines.iter().position(|line| line.trim() == label);
            let at = at.unwrap_or_else(|| panic!("no label {label}: {text}"));
            let attribute = lines[at - 1].split(" y=\"").nth(1).and_then(|rest| rest.split('"').next());
            attribute.and_then(|y| y.parse::<f64>().ok()).expect("a text stands somewhere")
        };
        let first = height("10") - height("100");
        let second = height("100") - height("1,000");
        assert!(first > 50.0 && (first - second).abs() < 2.0, "{first} {second}");
    }

    #[test]
    fn does_not_draw_nothing() {
        let latency = Histogram::<u64>::new(3).expect("3 digits are valid");
        assert!(svg(&latency, "").is_err());
    }
}
