//! `reactor-echo` measures an echo server, its own or any other.
//!
//! The load it makes is code of its own, without the reactor this package is
//! about, so that the two can check each other.

mod backlog;
mod chart;
mod cli;
mod endpoint;
mod limits;
mod load;
mod logging;
mod pin;
mod place;
mod progress;
mod report;
mod run;
mod serve;
mod server;
mod standing;
mod streams;
mod tls;
mod units;

use std::io::Write;
use std::process::ExitCode;

use crate::backlog::Backlog;
use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::from_env();
    let mut backlog = logging::init(cli.talk.verbose, cli.talk.quiet);
    let status = run(&cli, &mut backlog);
    backlog.end();
    status
}

/// Runs the command; errors go to the log's stream.
fn run(cli: &Cli, errors: &mut Backlog) -> ExitCode {
    let result = match &cli.command {
        None => run::standalone(cli),
        Some(Command::Bench(args)) => run::bench(args, cli.talk.quiet),
        Some(Command::Serve(args)) => return serve::run(args, errors),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The program goes on without a reader.
            let _ = errors.write_all(format!("reactor-echo: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}
