//! Logs, on stderr, so that stdout holds results and nothing else.

use std::io::{self, IsTerminal};

use log::{LevelFilter, Log, Metadata, Record};
use serve_forever::Printable;
use simple_logger::SimpleLogger;

/// Whether to colour what goes to stderr: it is a terminal and nobody objects
/// (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

/// Starts logging.
///
/// `-v` and `--quiet` are what the user typed now and win over `RUST_LOG`,
/// which stands in the environment; without either, warnings are shown.
pub(crate) fn init(verbose: u8, quiet: bool) {
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

    let mut logger = SimpleLogger::new().with_level(directives.level).with_colors(colours());
    for (target, level) in &directives.targets {
        logger = logger.with_module_level(target, *level);
    }
    log::set_max_level(logger.max_level());
    // It fails only when a logger is set already, and then that one serves.
    let _ = log::set_boxed_logger(Box::new(Undaunted(logger)));

    for text in &directives.unknown {
        log::warn!("RUST_LOG: {text:?} is neither LEVEL nor TARGET=LEVEL");
    }
}

/// A logger that outlives its stderr: `eprintln!`, which the inner one uses,
/// panics when nobody reads that any more. A record is one line, whoever's
/// text is in it.
struct Undaunted(SimpleLogger);

impl Log for Undaunted {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let _ = std::panic::catch_unwind(|| {
            let text = Printable(record.args());
            let mut plain = Record::builder();
            plain.metadata(record.metadata().clone()).module_path(record.module_path());
            self.0.log(&plain.args(format_args!("{text}")).build());
        });
    }

    fn flush(&self) {
        self.0.flush();
    }
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
