//! Sizes, times and counts as people write and read them.

use std::time::Duration;

/// The largest message: more would not fit in memory with a few connections,
/// and the arithmetic on outstanding bytes stays far from overflow.
pub(crate) const MAX_SIZE: u64 = 1 << 30;

/// The longest time an option takes, a day; it keeps sums of times far from
/// overflow.
const MAX_SECONDS: f64 = 86_400.0;

/// Reads a size in bytes: `64`, `4k`, `1M`; the suffixes are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|size| (1..=MAX_SIZE).contains(size))
        .ok_or_else(|| "a size is a number of bytes from 1 to 1G, such as 64, 4k or 1M".to_owned())
}

/// Reads a time that may be zero: `2`, `0.5`, `500ms`, `10s`, `2m`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60.0)
    } else {
        (text, 1.0)
    };
    number
        .parse::<f64>()
        .ok()
        .map(|n| n * unit)
        .filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time is in seconds up to a day, such as 5, 0.5, 500ms or 2m".to_owned())
}

/// Reads a time that must not be zero.
pub(crate) fn parse_positive_time(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        Duration::ZERO => Err("it must be more than zero".to_owned()),
        time => Ok(time),
    }
}

/// Reads a rate in messages per second, above zero and at most a thousand
/// million.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        // Below one in a day the schedule's arithmetic has no meaning left.
        .filter(|rate| (1.0 / MAX_SECONDS..=1e9).contains(rate))
        .ok_or_else(|| "a rate is a number of messages per second above 0, such as 1000".to_owned())
}

/// A number with `decimals` places and its thousands apart: `1,234,567.8`.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.as_str()),
    };
    let whole = plain.find('.').unwrap_or(plain.len());
    let mut text = String::from(sign);
    for (at, character) in plain.char_indices() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(character);
    }
    text
}

/// A count with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    // Above 2^53 a count loses its last digits here, at a hundred years of a
    // million messages a second.
    grouped(value as f64, 0)
}

/// A size in the largest unit that divides it: `64 B`, `1 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || format!("{} B", count(bytes)),
            |(shift, unit)| format!("{} {unit}", count(bytes >> shift)),
        )
}

/// A time in microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1M"), Ok(1 << 20));
        assert_eq!(parse_size("1G"), Ok(MAX_SIZE));
        for bad in ["", "0", "0k", "k", "-1", "1.5", "2G", "1KB", "99999999999999999999", "é"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_times() {
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
        assert_eq!(parse_time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_positive_time("5s"), Ok(Duration::from_secs(5)));
        assert!(parse_positive_time("0").is_err());
        for bad in ["", "s", "-1", "inf", "NaN", "1e9", "5h"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_rates() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        assert_eq!(parse_rate("1e6"), Ok(1e6));
        for bad in ["", "0", "-1", "inf", "NaN", "1e-9", "1e10"] {
            assert!(parse_rate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn groups_thousands() {
        assert_eq!(grouped(0.0, 1), "0.0");
        assert_eq!(grouped(999.94, 1), "999.9");
        assert_eq!(grouped(1000.0, 0), "1,000");
        assert_eq!(grouped(1_234_567.89, 1), "1,234,567.9");
        assert_eq!(grouped(-1234.0, 0), "-1,234");
        assert_eq!(count(123_456), "123,456");
    }

    #[test]
    fn names_sizes() {
        assert_eq!(size(64), "64 B");
        assert_eq!(size(1025), "1,025 B");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(3 << 20), "3 MiB");
        assert_eq!(size(MAX_SIZE), "1 GiB");
    }
}
