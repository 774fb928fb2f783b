//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::peers::{Given, Peer};
use crate::rows::Kind;
use crate::run::Settings;

/// Compares serve-forever with a bare mio loop, tokio and message-io
#[derive(Debug, Parser)]
#[command(name = "peers", max_term_width = 100)]
pub(crate) struct Cli {
    /// Run each server of each row so many times, all of them in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure echoes so many times in each round: all servers of a row run side by side and are
    /// loaded in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    windows: u32,
    /// Measure for so long each time, after a fifth of it for warming up
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Only these rows; may be given several times, or with commas
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Of these, only the rows whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    named: String,
    /// Every row once, tiny and for a moment: does it all work?
    #[arg(long, conflicts_with_all = ["rounds", "windows", "seconds"])]
    smoke: bool,
    /// The form of the report on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,
    /// Keep callgrind's profiles in this folder, of the longer run of each
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
    /// Draw the ratios to the floor into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Put the table of docs/performance.md between the two marks in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// A form of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people
    Text,
    /// Everything, every single run included
    Json,
    /// A line for each row
    Markdown,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be one of the servers, on a free port of the loopback, until killed
    Serve {
        /// Which
        peer: Peer,
        /// Where files go
        #[arg(long)]
        folder: Option<PathBuf>,
        /// MiB of memory to hold
        #[arg(long, default_value_t = 0)]
        ballast: usize,
        /// The Redis of a node
        #[arg(long)]
        redis: Option<SocketAddr>,
    },
}

impl Cli {
    /// Reads the command line, or ends the process with what is wrong with it.
    pub(crate) fn from_env() -> Self {
        Self::parse()
    }

    /// The server to be, if it is not to compare.
    pub(crate) fn serve(&self) -> Option<(Peer, Given)> {
        self.command.as_ref().map(|Command::Serve { peer, folder, ballast, redis }| {
            (*peer, Given { folder: folder.clone(), ballast: *ballast, redis: *redis })
        })
    }

    /// How to compare.
    pub(crate) fn settings(&self) -> Settings {
        let only = if self.only.is_empty() { Kind::ALL.to_vec() } else { self.only.clone() };
        let (named, profiles, smoke) = (self.named.clone(), self.profiles.clone(), self.smoke);
        let (rounds, windows, window) = if smoke {
            (1, 1, Duration::from_millis(100))
        } else {
            (self.rounds as usize, self.windows as usize, Duration::from_secs_f64(self.seconds))
        };
        Settings { rounds, windows, window, only, named, smoke, profiles }
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "a time is in seconds, from 0.05 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_kinds_can_be_chosen_and_are_all_taken_otherwise() {
        let cli = Cli::parse_from(["peers", "--only", "echo,chat", "--rounds", "3"]);
        assert_eq!(cli.settings().only, [Kind::Echo, Kind::Chat]);
        assert_eq!(cli.settings().rounds, 3);
        assert_eq!(Cli::parse_from(["peers", "--only", "tls", "--named", "64 B"]).settings().named, "64 B");
        assert_eq!(Cli::parse_from(["peers", "--smoke"]).settings().only, Kind::ALL);
    }

    #[test]
    fn senseless_arguments_are_refused() {
        for line in [
            &["peers", "--rounds", "0"],
            &["peers", "--windows", "0"],
            &["peers", "--seconds", "0"],
            &["peers", "serve", "nobody"],
        ] as [&[_]; 4]
        {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
