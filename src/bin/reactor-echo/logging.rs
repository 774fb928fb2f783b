//! Logs, on stderr, so that stdout holds results and nothing else.

use std::io::{self, IsTerminal, Write};

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use super::backlog::Backlog;

/// Whether to colour stderr: it is a terminal and `NO_COLOR` is not set
/// (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

/// Starts logging, which never blocks on a reader of stderr.
///
/// `-v` and `--quiet` are what the user typed now and win over `RUST_LOG`,
/// which stands in the environment; without either, warnings are shown. The
/// program has to [end](Backlog::end) the returned backlog.
pub(crate) fn init(verbose: u8, quiet: bool) -> Backlog {
    let mut directives = Directives::default();
    if quiet {
        directives.level = LevelFilter::Error;
    } else if verbose > 0 {
        directives.level = match verbose {
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        };
    } else if let Ok(text) = std::env::var("RUST_LOG") {
        directives = Directives::parse(&text);
    }

    let backlog = Backlog::new(io::stderr);
    let mut builder = Builder::new();
    builder.filter_level(directives.level);
    for (target, level) in &directives.targets {
        builder.filter_module(target, *level);
    }
    let style = if colours() { WriteStyle::Always } else { WriteStyle::Never };
    builder.write_style(style).target(Target::Pipe(Box::new(backlog.clone())));
    builder.format(|line, record| {
        let (time, level) = (line.timestamp_millis(), record.level());
        let style = line.default_level_style(level);
        writeln!(line, "{time} {style}{level:<5}{style:#} [{}] {}", record.target(), record.args())
    });
    // It fails only when a logger is set already, and then that one serves.
    let _ = builder.try_init();

    for text in &directives.unknown {
        log::warn!("RUST_LOG: {text:?} is neither LEVEL nor TARGET=LEVEL");
    }
    backlog
}

/// The levels of `RUST_LOG`: the subset of its usual language without regular
/// expressions.
#[derive(Debug, PartialEq, Eq)]
struct Directives {
    /// The level of other targets.
    level: LevelFilter,
    /// Levels of targets, by prefix.
    targets: Vec<(String, LevelFilter)>,
    /// The parts that could not be parsed.
    unknown: Vec<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { level: LevelFilter::Warn, targets: Vec::new(), unknown: Vec::new() }
    }
}

impl Directives {
    fn parse(text: &str) -> Self {
        let mut directives = Self::default();
        let items = text.split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some((target, level)) => match level.trim().parse() {
                    Ok(level) => directives.targets.push((target.trim().to_owned(), level)),
                    Err(_) => directives.unknown.push(item.to_owned()),
                },
                None => match item.parse() {
                    Ok(level) => directives.level = level,
                    Err(_) => directives.unknown.push(item.to_owned()),
                },
            }
        }
        directives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_levels_and_targets() {
        let directives = Directives::parse("info, mio=trace,serve_forever=off,");
        assert_eq!(directives.level, LevelFilter::Info);
        assert_eq!(
            directives.targets,
            [("mio".to_owned(), LevelFilter::Trace), ("serve_forever".to_owned(), LevelFilter::Off)]
        );
        assert!(directives.unknown.is_empty());
    }

    #[test]
    fn keeps_warnings_on_and_names_what_it_cannot_read() {
        let directives = Directives::parse("loud,mio=very");
        assert_eq!(directives.level, LevelFilter::Warn);
        assert_eq!(directives.unknown, ["loud", "mio=very"]);
        assert_eq!(Directives::parse(""), Directives::default());
    }
}
