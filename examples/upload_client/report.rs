//! The report of an upload: the outcome of each file, and the progress of all.

use std::io::{self, ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::file::Source;
use crate::{complain, streams};

/// See the module.
#[derive(Debug)]
pub(crate) struct Report {
    quiet: bool,
    /// Only where stderr is a terminal.
    bar: Option<ProgressBar>,
    failed: bool,
    /// What standard output said first.
    untold: Option<io::Error>,
    /// For each file, whether it is known what became of it.
    settled: Vec<bool>,
}

impl Report {
    pub(crate) fn new(sources: &[Source], quiet: bool) -> Self {
        let total = sources.iter().map(|source| source.size).sum();
        let bar = (!quiet && io::stderr().is_terminal()).then(|| bar(total));
        Self { quiet, bar, failed: false, untold: None, settled: vec![false; sources.len()] }
    }

    /// The first file from this place on that is still to be sent.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        (from..self.settled.len()).find(|place| !self.settled[*place])
    }

    pub(crate) fn is_settled(&self, place: usize) -> bool {
        self.settled[place]
    }

    /// True when each file was taken.
    pub(crate) fn all_are_there(&self) -> bool {
        !self.failed && self.settled.iter().all(|settled| *settled)
    }

    /// The server has it.
    pub(crate) fn taken(&mut self, place: usize, source: &Source, size: u64) {
        self.settled[place] = true;
        if !self.quiet {
            let mut written = Ok(());
            self.beside_the_bar(|| written = writeln!(io::stdout(), "{}: {size} bytes", source.shown()));
            self.note(written);
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        // A reader who has left is not interested.
        if let Some(error) = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
            self.untold.get_or_insert(error);
        }
    }

    /// True when standard output has taken each line.
    pub(crate) fn all_are_told(&mut self) -> bool {
        self.note(streams::all_is_written());
        if let Some(error) = &self.untold {
            complain(&format!("standard output: {error}"));
        }
        self.untold.is_none()
    }

    /// A file has another size than was thought.
    pub(crate) fn resize(&self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// The server does not have it, and why.
    pub(crate) fn failed(&mut self, place: usize, source: &Source, why: &str) {
        self.settled[place] = true;
        self.failed = true;
        self.beside_the_bar(|| complain(&format!("{}: {why}", source.shown())));
    }

    /// The server does not have the rest of them, for one reason.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.end();
        let lost = self.settled.iter().filter(|settled| !**settled).count();
        let files = if lost == 1 { "file" } else { "files" };
        if lost > 0 {
            complain(&format!("{lost} {files} did not arrive: {why}"));
        }
        self.failed |= lost > 0;
        self.settled.fill(true);
    }

    fn beside_the_bar(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// So many bytes have left, the last of them of this file.
    pub(crate) fn sent(&self, bytes: u64, source: &Source) {
        if let Some(bar) = &self.bar {
            bar.set_message(source.name.escape_debug().to_string());
            bar.set_position(bytes);
        }
    }

    /// Leaves the line as if there had been no bar.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: u64) -> ProgressBar {
    // On 80 columns, this leaves some for the name.
    // <https://no-color.org>
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let template = if plain {
        "{bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}"
    } else {
        "{bar:24.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}"
    };
    let style = ProgressStyle::with_template(template).expect("a template that is right");
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}
