//! `Cli`: the command line of `reactor-echo`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::endpoint::Endpoint;
use crate::load::{LoadOptions, Pace, Window};
use crate::place::Place;
use crate::report::FIELDS;
use crate::streams;
use crate::tls::TlsArguments;
use crate::units::{parse_positive_time, parse_rate, parse_size, parse_time};

const EXAMPLES: &str = "\
Examples:
  reactor-echo
      the embedded server, 50 connections of 64 bytes, 5 seconds
  reactor-echo -c 200 -p 16 -n 1000000 --output json
      a million messages, 16 in flight on each connection, as JSON
  reactor-echo serve 127.0.0.1:7000 unix:/tmp/echo.sock
      an echo server on two endpoints until a signal
  reactor-echo bench --connect 127.0.0.1:7000 --rate 20000 --svg latency.svg
      any echo server at a fixed rate, with a chart

Exit status: 0 when every message came back right, 1 when one did not or the
run failed, 2 when the arguments make no sense.";

const BENCH_EXAMPLES: &str = "\
Examples:
  reactor-echo bench --connect 127.0.0.1:7000
  reactor-echo bench --connect unix:/tmp/echo.sock -c 10 -s 1M -d 10
  reactor-echo bench --connect [::1]:7000 -c 100 --idle 15000
  reactor-echo bench --connect tls://localhost:7443 --tls-ca server.pem
  reactor-echo bench --connect tcp://server:7 --rate 5000 --svg latency.svg";

/// Measures an echo server: how many messages a second, how late, at what cost.
///
/// Without a command it starts a server in this process and loads it from a
/// second thread, each on a CPU of its own where the system allows. Results go
/// to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{FIELDS}"),
)]
pub(crate) struct Cli {
    /// What to do instead of the default run.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The load of the default run.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The report of the default run.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    /// How much is said on stderr.
    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

impl Cli {
    /// Reads the command line, or ends the process with its fault.
    pub(crate) fn from_env() -> Self {
        Self::read(std::env::args_os()).unwrap_or_else(|error| streams::leave(&error))
    }

    fn read<T: Into<OsString> + Clone>(line: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(line)?;
        // The default run's options would be ignored before a command. Clap's
        // `args_conflicts_with_subcommands` refuses the global ones with them.
        if let Some(name) = matches.subcommand_name() {
            let misplaced = command.get_arguments().find(|argument| {
                let source = matches.value_source(argument.get_id().as_str());
                !argument.is_global_set() && source == Some(ValueSource::CommandLine)
            });
            if let Some(argument) = misplaced {
                let message = format!("{argument} has its place after {name}, not before it");
                return Err(command.error(ErrorKind::ArgumentConflict, message));
            }
        }
        Self::from_arg_matches(&matches)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGINT, SIGTERM or SIGHUP, then let the connections finish
    Serve(ServeArgs),
    /// Load any echo server and check every byte that comes back
    #[command(
        after_help = BENCH_EXAMPLES,
        after_long_help = format!("{BENCH_EXAMPLES}\n\n{FIELDS}"),
    )]
    Bench(BenchArgs),
}

/// `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The server: HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) connect: Endpoint,
    /// Whose certificates are believed.
    #[command(flatten)]
    pub(crate) tls: TlsArguments,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The report.
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// What a run sends, and when.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Connections which carry messages
    #[arg(short, long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Bytes per message, such as 64, 4k or 1M
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = parse_size)]
    pub(crate) size: u64,
    /// Messages each connection keeps outstanding
    #[arg(short, long, value_name = "N", default_value_t = 1, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pipeline: u32,
    /// How long to begin messages; those begun are waited for [default: 5]
    #[arg(short, long, value_name = "SECONDS", conflicts_with = "messages",
          value_parser = parse_positive_time)]
    pub(crate) duration: Option<Duration>,
    /// Measure exactly this many messages instead
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// Open loop: messages per second over all connections, each sent at its
    /// time whatever is outstanding, its latency counted from that time
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// How long to run before measuring
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_time)]
    pub(crate) warmup: Duration,
    /// Further connections, which are open and silent
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) idle: u32,
    /// Give up on a connection which owes bytes and moves none for so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_positive_time)]
    pub(crate) timeout: Duration,
}

impl LoadArgs {
    /// The load on `endpoint`.
    pub(crate) fn options(&self, endpoint: Endpoint) -> LoadOptions {
        LoadOptions {
            endpoint,
            tls: None,
            connections: self.connections as usize,
            idle: self.idle as usize,
            size: self.size,
            pace: match self.rate {
                Some(rate) => Pace::Open { rate },
                None => Pace::Closed { pipeline: self.pipeline.into() },
            },
            warmup: self.warmup,
            window: match self.messages {
                Some(count) => Window::Messages(count),
                None => Window::Time(self.duration.unwrap_or(Duration::from_secs(5))),
            },
            timeout: self.timeout,
        }
    }
}

/// How results are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportArgs {
    /// The form of the results on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,
    /// Draw latency by percentile into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// A form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table for people
    Text,
    /// One flat object
    Json,
    /// A header line and one row
    Csv,
}

/// How much is said on stderr.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages on stderr")]
pub(crate) struct TalkArgs {
    /// Log more: -v info, -vv debug, -vvv trace; otherwise RUST_LOG decides
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// No progress bar, and no log below errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to serve: HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, unix:PATH, and
    /// for datagrams udp://HOST:PORT or unixgram:PATH; port 0 takes a free one
    #[arg(value_name = "ENDPOINT", default_value = "127.0.0.1:7000")]
    pub(crate) endpoints: Vec<Place>,
    /// What to answer
    #[arg(long, value_name = "NAME", default_value = "echo")]
    pub(crate) service: Served,
    /// Connections at once; one more is closed as soon as it is accepted
    /// [default: 10000, or half of the limit of file descriptors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,
    /// Close a connection on which nothing moves for so long; 0 never does
    /// [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = parse_time)]
    pub(crate) idle: Option<Duration>,
    /// After a signal, how long connections have to finish
    #[arg(alias = "drain", long, value_name = "SECONDS", default_value = "10", value_parser = parse_time)]
    pub(crate) grace: Duration,
    /// For tls://: the certificate and its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// For tls://: the private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// What `serve` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// What came
    Echo,
    /// What came, in ASCII capitals
    Upper,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_run_takes_the_load_of_bench() {
        let load = "-c 3 -s 4k -p 8 -n 100 --warmup 0 --idle 2 --timeout 1";
        let report = "--output json --svg x.svg -q";
        let cli = parse(&format!("reactor-echo {load} {report}")).expect("valid");
        let options = cli.load.options(Endpoint::Unix("x".into()));
        assert_eq!((options.connections, options.idle), (3, 2));
        assert_eq!(options.size, 4096);
        assert_eq!(options.pace, Pace::Closed { pipeline: 8 });
        assert_eq!(options.window, Window::Messages(100));
        let bench = format!("reactor-echo bench --connect unix:x {load} {report}");
        assert!(parse(&bench).is_ok());
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let cli = parse("reactor-echo").expect("valid");
        let options = cli.load.options(Endpoint::Unix("x".into()));
        assert_eq!((options.connections, options.size), (50, 64));
        assert_eq!(options.window, Window::Time(Duration::from_secs(5)));
        assert!(cli.command.is_none());
    }

    #[test]
    fn an_open_loop_has_a_rate_and_no_pipeline() {
        let cli = parse("reactor-echo --rate 250.5").expect("valid");
        let options = cli.load.options(Endpoint::Unix("x".into()));
        assert_eq!(options.pace, Pace::Open { rate: 250.5 });
        let error = parse("reactor-echo --rate 1 -p 2").expect_err("invalid");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn verbosity_has_its_place_before_and_after_a_command() {
        for line in ["reactor-echo -vv bench --connect unix:x", "reactor-echo bench --connect unix:x -vv"] {
            assert_eq!(parse(line).expect("valid").talk.verbose, 2, "{line}");
        }
    }

    #[test]
    fn serve_takes_several_endpoints() {
        let line = "reactor-echo serve [::1]:0 unix:x --service upper --idle 30 -v";
        let Some(Command::Serve(args)) = parse(line).expect("valid").command else {
            panic!("it is serve");
        };
        assert_eq!(args.endpoints.len(), 2);
        assert_eq!(args.service, Served::Upper);
        assert_eq!(args.idle, Some(Duration::from_secs(30)));
    }

    #[test]
    fn senseless_arguments_are_refused() {
        for line in [
            "reactor-echo -c 0",
            "reactor-echo -s 0",
            "reactor-echo -p 0",
            "reactor-echo -n 0",
            "reactor-echo -d 0",
            "reactor-echo -d 1 -n 1",
            "reactor-echo --rate 0",
            "reactor-echo --rate x",
            "reactor-echo --timeout 0",
            "reactor-echo --output xml",
            "reactor-echo -v -q",
            "reactor-echo -c 5 bench --connect unix:x",
            "reactor-echo --output json serve",
            "reactor-echo bench",
            "reactor-echo bench --connect nowhere",
            "reactor-echo bench --connect udp://127.0.0.1:7",
            "reactor-echo serve --service lower",
            "reactor-echo nonsense",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
