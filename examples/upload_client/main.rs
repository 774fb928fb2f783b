//! Teaches: sending much at the pace of the peer. It sends files to an upload
//! service, over one connection.
//!
//! ```text
//! cargo run --features cli --example upload_client -- 127.0.0.1:8898 photo.jpg notes.txt
//! ```
//!
//! `file.rs` reads, `sender.rs` is the handler, `report.rs` says what becomes
//! of each file.

#[path = "../common/address.rs"]
mod address;
mod file;
mod report;
mod sender;
#[path = "../../src/bin/reactor-echo/streams.rs"]
mod streams;
#[path = "../../src/bin/reactor-echo/tls.rs"]
mod tls;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serve_forever::{Config, Limits, Reactor};

use crate::address::Address;
use crate::file::Source;
use crate::report::Report;
use crate::sender::Sender;

/// What was asked for makes no sense.
const USAGE: u8 = 2;

/// Sends files to an upload service.
#[derive(Debug, Parser)]
#[command(after_help = "\
Each file is stored under its own name, without its directory. Where one is
refused, the others are still sent.

Exit status: 0 when all files are there, 1 when one was refused, changed its
size while it was sent, or did not arrive, or when standard output is full; 2 when the arguments make no sense
(then nothing was sent).")]
struct Options {
    /// How the server tells a header from what follows. In `chunk` it answers
    /// nothing to a file that it takes; 50 ms pass before each header, and
    /// between a header and its data
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    framing: Framing,
    /// No progress bar, and no line for each file that is there
    #[arg(short, long)]
    quiet: bool,
    /// The server: HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH; of the
    /// addresses of a name, the first that can be connected to
    #[arg(value_parser = address::parse)]
    endpoint: Address,
    #[command(flatten)]
    tls: tls::TlsArguments,
    /// What to send
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// How a header ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Framing {
    /// With a line end
    Lines,
    /// With what one write has sent
    Chunk,
}

fn main() -> ExitCode {
    let options = Options::try_parse().unwrap_or_else(|error| streams::leave(&error));
    let sources = options.files.iter().map(|path| Source::new(path, options.framing)).collect();
    let sources: Vec<Source> = match sources {
        Ok(sources) => sources,
        Err(error) => return fail(USAGE, &error),
    };
    match send(&options, sources) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(status)
}

/// Says what is wrong; whether anybody reads it changes nothing.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "upload_client: {message}");
}

/// Sends them; true if all are there.
fn send(options: &Options, sources: Vec<Source>) -> serve_forever::Result<bool> {
    // An answer is short, and may take as long as the server's disk does.
    let limits = Limits { max_input: 4096, ..Limits::default() };
    let report = Report::new(&sources, options.quiet);
    let mut reactor = Reactor::new(Config::default())?;
    let linger = limits.linger;
    let mut to = options.endpoint.clone();
    to.secure(&options.tls)?;
    let sender = Sender::new(to.clone(), options.framing, linger, sources, report);
    let service = reactor.add(sender, limits)?;
    to.connect(&mut reactor, &service)?;
    reactor.serve_forever()?;
    let report = reactor.get_mut(&service).report_mut();
    Ok(report.all_are_there() && report.all_are_told())
}
