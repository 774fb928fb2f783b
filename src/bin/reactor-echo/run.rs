//! The commands which run a load: the default one and `bench`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::cli::{BenchArgs, Cli, Output, ReportArgs};
use crate::endpoint::Endpoint;
use crate::load::{self, LoadOptions, LoadReport, Observer};
use crate::progress::Progress;
use crate::report::Report;
use crate::server::{Embedded, ServerSample};
use crate::{chart, limits, pin, streams, units};

/// Loads an embedded server.
pub(crate) fn standalone(cli: &Cli) -> Result<(), Box<dyn Error>> {
    check_chart(&cli.report)?;
    // Both ends of every connection are in this process.
    let connections = u64::from(cli.load.connections) + u64::from(cli.load.idle);
    limits::reserve_sockets(2 * connections)?;

    let cpus = pin::pair();
    let server = Embedded::start(cpus.map(|(server, _)| server))?;
    if let Some((_, client)) = cpus {
        pin::current_thread(client, "load");
    }
    let options = cli.load.options(server.endpoint().clone());
    let mut watch = Watch::new(cli.talk.quiet, Some(&server));
    let load = load::run(&options, &mut watch);
    let used = watch.finish();
    // The server's error explains a failed load, and so comes first.
    server.stop()?;
    report(&options, &load?, used?.as_ref(), &cli.report)
}

/// Loads the server `--connect` names.
pub(crate) fn bench(args: &BenchArgs, quiet: bool) -> Result<(), Box<dyn Error>> {
    check_chart(&args.report)?;
    let mut options = args.load.options(args.connect.clone());
    if let Endpoint::Tls { host, .. } = &args.connect {
        options.tls = Some(args.tls.client(host)?);
    }
    let mut watch = Watch::new(quiet, None);
    let load = load::run(&options, &mut watch);
    watch.finish()?;
    report(&options, &load?, None, &args.report)
}

/// Checks before the run that the chart can be written.
fn check_chart(args: &ReportArgs) -> Result<(), String> {
    let Some(path) = &args.svg else { return Ok(()) };
    let opened = fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the results; faults of the run are the error.
fn report(
    options: &LoadOptions,
    load: &LoadReport,
    server: Option<&ServerSample>,
    args: &ReportArgs,
) -> Result<(), Box<dyn Error>> {
    let report = Report { options, load, server };
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => report.json(),
        Output::Csv => report.csv(),
    };
    let written = io::stdout().lock().write_all(text.as_bytes()).and_then(|()| streams::all_is_written());
    written.map_err(|error| format!("standard output: {error}"))?;

    // Reported before the chart fails for lack of latencies, which this may
    // explain.
    if let Some(complaint) = report.complaint() {
        return Err(complaint.into());
    }
    if let Some(path) = &args.svg {
        let svg = chart::svg(&load.latency, &report.load_in_words())?;
        write(path, &svg).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Writes a file and checks its close, for some file systems report errors only
/// then (close(2)).
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    Ok(nix::unistd::close(file)?)
}

/// Shows progress and takes the server's samples at the window's marks.
#[derive(Debug)]
struct Watch<'a> {
    /// The bar.
    progress: Progress,
    /// The embedded server, where there is one.
    server: Option<&'a Embedded>,
    /// Its samples at the window's marks.
    samples: Vec<io::Result<ServerSample>>,
}

impl<'a> Watch<'a> {
    fn new(quiet: bool, server: Option<&'a Embedded>) -> Self {
        Self { progress: Progress::new(quiet), server, samples: Vec::with_capacity(2) }
    }

    fn sample(&mut self) {
        self.samples.extend(self.server.map(Embedded::sample));
    }

    /// The resources that the server used within the window.
    fn finish(self) -> io::Result<Option<ServerSample>> {
        self.progress.clear();
        let mut samples = self.samples.into_iter();
        let (Some(opened), Some(closed)) = (samples.next(), samples.next()) else {
            return Ok(None);
        };
        Ok(Some(closed?.since(&opened?)))
    }
}

impl Observer for Watch<'_> {
    fn connecting(&mut self, established: usize, wanted: usize) {
        let fraction = established as f64 / wanted as f64;
        self.progress
            .show("connecting", fraction, || format!("{} connections", units::count(established as u64)));
    }

    fn warming_up(&mut self, fraction: f64) {
        self.progress.show("warming up", fraction, String::new);
    }

    fn window_opens(&mut self) {
        self.sample();
    }

    fn measuring(&mut self, fraction: f64, messages: u64) {
        self.progress.show("measuring", fraction, || format!("{} messages", units::count(messages)));
    }

    fn window_closed(&mut self) {
        self.sample();
    }
}
