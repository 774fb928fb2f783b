//! `reactor-echo` measures an echo server, its own or any other.
//!
//! The load it makes is code of its own, without the reactor this package is
//! about, so that the two can check each other.

mod chart;
mod cli;
mod endpoint;
mod limits;
mod load;
mod logging;
mod pin;
mod progress;
mod report;
mod run;
mod serve;
mod server;
mod units;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::from_env();
    logging::init(cli.talk.verbose, cli.talk.quiet);
    let result = match &cli.command {
        None => run::standalone(&cli),
        Some(Command::Bench(args)) => run::bench(args, cli.talk.quiet),
        Some(Command::Serve(args)) => return serve::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reactor-echo: {error}");
            ExitCode::FAILURE
        }
    }
}
