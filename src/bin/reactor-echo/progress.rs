//! `Progress`: a progress bar on stderr, if that is a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::logging::colours;

/// The bar's length in steps.
const STEPS: u64 = 1000;

/// A bar, or none.
#[derive(Debug)]
pub(crate) struct Progress {
    /// None when stderr is no terminal or the user wants quiet.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar for the whole run.
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = !quiet && io::stderr().is_terminal();
        Self {
            bar: shown.then(|| {
                let template = if colours() {
                    "{prefix:<10} {bar:40.cyan/blue} {percent:>3} %  {msg}"
                } else {
                    "{prefix:<10} {bar:40} {percent:>3} %  {msg}"
                };
                let style =
                    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
                // No thread of its own draws it: that would be load on the
                // CPUs which are measured.
                let target = ProgressDrawTarget::stderr_with_hz(10);
                ProgressBar::with_draw_target(Some(STEPS), target).with_style(style)
            }),
        }
    }

    /// Shows how far an activity is, from 0 to 1.
    pub(crate) fn show(&self, activity: &'static str, fraction: f64, detail: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(activity);
            bar.set_message(detail());
            bar.set_position((fraction * STEPS as f64) as u64);
        }
    }

    /// Clears the bar's line.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
