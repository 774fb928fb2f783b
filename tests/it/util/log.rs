//! The library's log, captured for a test.

use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::process::assert_alone;

struct Capture(Mutex<Vec<(Level, String)>>);

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Everything logged so far in this process, from the first call on. Only
/// [`alone`](super::alone).
#[track_caller]
pub(crate) fn captured_logs() -> Vec<(Level, String)> {
    assert_alone();
    static CAPTURE: OnceLock<&'static Capture> = OnceLock::new();
    let capture = CAPTURE.get_or_init(|| {
        let capture: &'static Capture = Box::leak(Box::new(Capture(Mutex::default())));
        log::set_logger(capture).expect("nobody else sets a logger here");
        log::set_max_level(LevelFilter::Debug);
        capture
    });
    capture.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
