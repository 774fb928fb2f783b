//! Logs, on stderr, so that stdout holds results and nothing else.

use std::io::{self, IsTerminal, Write};

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use super::backlog::Backlog;

/// Whether to colour what goes to stderr: it is a terminal and nobody objects
/// (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

/// Starts logging; the program goes on whether anybody reads it or not.
///
/// `-v` and `--quiet` are what the user typed now and win over `RUST_LOG`,
/// which stands in the environment; without either, warnings are shown.
/// What is returned is to be [ended](Backlog::end) with the program.
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

/// What `RUST_LOG` asks for: the subset of its usual language without regular
/// expressions.
#[derive(Debug, PartialEq, Eq)]
struct Directives {
    /// The level of what no target names.
    level: LevelFilter,
    /// Levels of targets, by prefix.
    targets: Vec<(String, LevelFilter)>,
    /// What could not be read.
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
