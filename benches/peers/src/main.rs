//! `serve-forever` beside what one would take instead: the same work, checked
//! byte by byte, by a bare mio loop, by tokio, by message-io and by ours.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! The program is the runner, the load and, as a child process of itself with
//! `serve PEER`, each of the servers. README.md says what is compared and why
//! it is fair.

mod calls;
mod cli;
mod instructions;
mod load;
mod outcome;
mod peers;
mod report;
mod rows;
mod run;
mod server;
mod system;

use std::error::Error as StdError;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Output};

/// Whatever goes wrong, in words.
type Error = Box<dyn StdError + Send + Sync>;
/// A result with [`Error`].
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let cli = Cli::from_env();
    let outcome = match cli.serve() {
        Some((peer, given)) => server::serve(peer, &given).map(|()| true),
        None => compare(&cli),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every row and reports; true if nothing failed.
fn compare(cli: &Cli) -> Result<bool> {
    let report = run::run(&cli.settings())?;
    let text = match cli.output {
        Output::Text => report::text::text(&report),
        Output::Json => report::json::json(&report)?,
        Output::Markdown => report::markdown::markdown(&report),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    if let Some(path) = &cli.svg {
        let svg = report::chart::svg(&report)?;
        fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = &cli.table {
        let replaced = fs::read_to_string(path).map_err(Error::from).and_then(|text| {
            let table = report::markdown::markdown(&report);
            Ok(fs::write(path, report::markdown::replace(&text, &table)?)?)
        });
        replaced.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("peers: {failure}");
    }
    Ok(failures.is_empty())
}
